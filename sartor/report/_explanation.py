"""What mattered, drawn: shares of the variance as bars, means of values as dots, and what the best share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.errors import SartorError
from sartor.explain import ChoiceImportance, Effect, Importance, Shared, explain_run
from sartor.report._wording import format_metric, label
from sartor.units import format_figure, unit_of

if TYPE_CHECKING:
    from sartor.runs import Record

NUM_BARS = 8
NUM_PAIRS = 3
NUM_DOTTED = 4
"""Choices whose values are drawn."""
NUM_VALUES = 16
"""Values of one choice that are drawn: those tried most, in their order."""
NUM_SHARED = 10
TELLING = 0.02
"""Pairs below this share, and values of choices below it, are not drawn."""

WIDTH, LEFT, RIGHT = 560.0, 196.0, 52.0
ROW, HEAD = 22.0, 24.0
MAX_TEXT = 27
"""Characters that fit left of the bars."""


@dataclass(frozen=True)
class Bar:
    """A share with its interval; positions in the picture's units."""

    text: str
    tip: str
    y: float
    end: float
    low: float
    high: float
    share: str
    pair: bool


@dataclass(frozen=True)
class Dot:
    text: str
    tip: str
    y: float
    x: float
    low: float
    high: float
    tried: bool


@dataclass(frozen=True)
class Head:
    text: str
    tip: str
    y: float


@dataclass(frozen=True)
class Chart:
    """One figure explained: two pictures that share their left edge."""

    title: str
    words: str
    fidelities: str
    bars: tuple[Bar, ...]
    bar_ticks: tuple[tuple[float, str], ...]
    bars_height: float
    heads: tuple[Head, ...]
    dots: tuple[Dot, ...]
    dot_ticks: tuple[tuple[float, str], ...]
    dots_height: float
    width: float = WIDTH
    left: float = LEFT
    right: float = WIDTH - RIGHT


@dataclass(frozen=True)
class SharedRow:
    row: Shared
    chance: str
    telling: bool


@dataclass(frozen=True)
class Mattered:
    """The section of the page; ``missing`` says why there is nothing."""

    charts: tuple[Chart, ...] = ()
    shared: tuple[SharedRow, ...] = ()
    words: str = ""
    num_tests: int = 0
    missing: str = ""


def mattered(record: Record, run_id: str) -> Mattered:
    """Returns what the page says of the choices of a search."""
    try:
        found = explain_run(record, run_id)
    except (SartorError, OSError) as error:
        return Mattered(missing=f"The search cannot be explained: {error}")
    rows = tuple(
        SharedRow(row, f"{row.chance:.2g}" if row.chance >= 0.001 else "< 0.001", row.chance < 0.05)
        for row in found.shared.rows[:NUM_SHARED]
    )
    return Mattered(tuple(chart(f) for f in found.figures), rows, found.shared.words, found.shared.num_tests)


def chart(figure: Importance) -> Chart:
    """Returns the pictures of one figure; without bars when there is nothing to tell."""
    bars, bar_ticks, bars_height = _bars(figure)
    heads, dots, dot_ticks, dots_height = _dots(figure)
    return Chart(
        title=label(figure.objective),
        words=figure.words,
        fidelities=", ".join(figure.fidelities) if len(figure.fidelities) > 1 else "",
        bars=bars,
        bar_ticks=bar_ticks,
        bars_height=bars_height,
        heads=heads,
        dots=dots,
        dot_ticks=dot_ticks,
        dots_height=dots_height,
    )


def _short(text: str, most: int = MAX_TEXT) -> str:
    """Returns a text that fits; what differs between keys is mostly at their end."""
    return text if len(text) <= most else f"{text[: most // 3]}…{text[-(most - most // 3 - 1) :]}"


def _bars(figure: Importance) -> tuple[tuple[Bar, ...], tuple[tuple[float, str], ...], float]:
    parts = [(c.share, c.low, c.high, c.name, _short(c.name), False) for c in figure.choices[:NUM_BARS]]
    for pair in [p for p in figure.interactions if p.share >= TELLING][:NUM_PAIRS]:
        text = " × ".join(_short(name, MAX_TEXT // 2 - 1) for name in pair.names)
        parts.append((pair.share, pair.low, pair.high, " with ".join(pair.names), text, True))
    if not parts:
        return (), (), 0.0
    ticks = round_ticks(0.0, min(1.0, max(high for _, _, high, *_ in parts)))
    # The axis ends at a tick, so that no bar is longer than it.
    scale = (WIDTH - RIGHT - LEFT) / max(ticks[-1], 1e-9)

    def at(share: float) -> float:
        return LEFT + scale * share

    bars = tuple(
        Bar(
            text,
            f"{name}: {share:.1%} of the variance, 90% interval {low:.1%} to {high:.1%}",
            ROW * i + ROW / 2,
            at(share),
            at(low),
            at(high),
            f"{share:.0%}" if share >= 0.01 else "< 1%",
            pair,
        )
        for i, (share, low, high, name, text, pair) in enumerate(parts)
    )
    return bars, tuple((at(tick), f"{tick:.0%}") for tick in ticks), ROW * len(parts)


def _dots(
    figure: Importance,
) -> tuple[tuple[Head, ...], tuple[Dot, ...], tuple[tuple[float, str], ...], float]:
    shown = [c for c in figure.choices[:NUM_DOTTED] if c.share >= TELLING] or list(figure.choices[:1])
    effects = [(choice, _drawn(choice)) for choice in shown]
    ends = [end for _, drawn in effects for e in drawn for end in (e.low, e.high)]
    if not ends:
        return (), (), (), 0.0
    ticks = round_ticks(min(ends), max(ends))
    scale = (WIDTH - RIGHT - LEFT) / max(ticks[-1] - ticks[0], 1e-300)

    def at(value: float) -> float:
        return LEFT + scale * (value - ticks[0])

    heads, dots, y = [], [], 0.0
    for choice, drawn in effects:
        left_out = len(choice.effects) - len(drawn)
        where = f", where active ({choice.active:.0%} of the space)" if choice.active < 0.999 else ""
        rest = f", {left_out} values left out" if left_out else ""
        heads.append(Head(f"{_short(choice.name, 60)}{where}{rest}", choice.name, y + HEAD / 2 + 2))
        y += HEAD
        for e in drawn:
            mean, low, high = (_figure(figure.objective, v) for v in (e.mean, e.low, e.high))
            tip = f"{choice.name} = {e.value}: mean {mean}, 90% interval {low} to {high}, "
            tip += f"{e.num_trials} trial{'' if e.num_trials == 1 else 's'}"
            dots.append(Dot(_short(e.value), tip, y + ROW / 2, at(e.mean), at(e.low), at(e.high), e.num_trials > 0))
            y += ROW
    return tuple(heads), tuple(dots), tuple((at(t), _tick(figure.objective, t)) for t in ticks), y


def _drawn(choice: ChoiceImportance) -> list[Effect]:
    order = sorted(range(len(choice.effects)), key=lambda i: (-choice.effects[i].num_trials, i))
    return [choice.effects[i] for i in sorted(order[:NUM_VALUES])]


def _figure(name: str, value: float) -> str:
    return format_figure(name, value) if unit_of(name) is not None else format_metric(value)


def _tick(name: str, value: float) -> str:
    return format_figure(name, value) if unit_of(name) is not None else f"{value:g}"


def round_ticks(low: float, high: float) -> list[float]:
    """Returns three to six round numbers that enclose the range."""
    span = max(high - low, abs(high) * 1e-6, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= span / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(np.round(step * i, 12)) for i in range(first, max(last, first + 1) + 1)]
