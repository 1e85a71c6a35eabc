"""The page of a compression: before and after, what each step did and cost, and which steps are worth their price."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sartor.report._wording import certainty, format_metric, label, was_disturbed
from sartor.trials import Figure
from sartor.units import format_duration, format_figure

if TYPE_CHECKING:
    from sartor.compress.pipeline import Stage
    from sartor.runs import Record

_SIZE = 520, 300
_MARGIN = 64, 16, 24, 44
"""Left, right, top, bottom of the chart, in pixels."""


@dataclass(frozen=True)
class Cell:
    """A cost after a step: its text, its share of what it was, and how it is known."""

    text: str
    share: str
    better: bool | None
    known: str
    disturbed: bool


@dataclass(frozen=True)
class Row:
    """A network after a step."""

    number: int
    step: str
    on_front: bool
    validation: str
    change: str
    test: str
    cells: tuple[Cell, ...]
    file: str
    told: str


@dataclass(frozen=True)
class Dot:
    """A network in the chart; places in pixels."""

    x: float
    y: float
    text: str
    on_front: bool


@dataclass(frozen=True)
class Page:
    """All that the page of a compression shows."""

    run: Any
    title: str
    created: str
    elapsed: str
    metric: str
    costs: tuple[str, ...]
    rows: tuple[Row, ...]
    dots: tuple[Dot, ...]
    line: str
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]
    x_label: str
    size: tuple[int, int]
    limits: tuple[tuple[str, str, bool], ...]
    notes: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    command: str


def compression_page(record: Record, run_id: str) -> Page:
    """Returns what is shown of a run of kind ``compress``, finished or not."""
    from sartor.compress.pipeline import COSTS, stages_of

    run = record.run(run_id)
    config = run.config
    stages = stages_of(record, run_id)
    primary, direction = config["primary"], config["direction"]
    shown = tuple(name for name in COSTS if any(name in stage.costs for stage in stages))
    cost = next((name for name, _ in config["objectives"] if name != primary), "latency_ms")
    folder = record.path(run_id)
    rows = tuple(
        Row(
            number=stage.number,
            step=stage.step,
            on_front=stage.is_on_front,
            validation=format_metric(stage.metrics[primary]),
            change="" if not stage.number else f"{stage.metrics[primary] - stages[0].metrics[primary]:+.4f}",
            test=format_metric(stage.metrics[f"test.{primary}"]) if f"test.{primary}" in stage.metrics else "",
            cells=tuple(_cell(name, stage.costs.get(name), stages[0].costs.get(name), stage.number) for name in shown),
            file="" if stage.file is None else stage.file.relative_to(folder).as_posix(),
            told=_told(stage.record),
        )
        for stage in stages
    )
    dots, line, ticks_x, ticks_y = _chart(stages, primary, cost, direction)
    last = stages[-1] if stages else None
    limits = tuple(
        (
            f"{label(name)} at most {format_figure(name, bound)}",
            format_figure(name, last.costs[name].value) if last and name in last.costs else "not known",
            bool(last and name in last.costs and last.costs[name].value <= bound),
        )
        for name, bound in config["limits"]
    )
    common = {"seed": config["seed"], "epochs of each step": config["epochs"], "data": config["data"]}
    steps = [(name, json.dumps(options)) for name, _, options in config["steps"]]
    return Page(
        run=run,
        title=f"{config['task_name']} compressed by {', '.join(name for name, *_ in config['steps'])}",
        created=datetime.fromtimestamp(run.created, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        elapsed=format_duration(run.elapsed_s),
        metric=label(primary),
        costs=tuple(label(name) for name in shown),
        rows=rows,
        dots=dots,
        line=line,
        ticks_x=ticks_x,
        ticks_y=ticks_y,
        x_label=label(cost),
        size=_SIZE,
        limits=limits,
        notes=tuple(text for _, kind, text in record.log(run_id) if kind == "note"),
        settings=(*((name, str(value)) for name, value in common.items()), *steps),
        command=config.get("command") or "",
    )


def _cell(name: str, figure: Figure | None, before: Figure | None, number: int) -> Cell:
    if figure is None:
        return Cell("", "", None, "", False)
    share, better = "", None
    if number and before is not None and before.value:
        share = f"×{figure.value / before.value:.2f}"
        error = (figure.error or 0) + (before.error or 0)
        if abs(figure.value / before.value - 1) > error:
            better = figure.value < before.value
        else:
            share = "same within error"
    return Cell(format_figure(name, figure.value), share, better, certainty(figure), was_disturbed(figure))


def _told(told: Mapping[str, Any]) -> str:
    return json.dumps(told, indent=1, ensure_ascii=False) if told else ""


def _chart(
    stages: tuple[Stage, ...], primary: str, cost: str, direction: str
) -> tuple[tuple[Dot, ...], str, tuple[tuple[float, str], ...], tuple[tuple[float, str], ...]]:
    """Returns dots, the line through the front, and ticks along and up."""
    known = [stage for stage in stages if cost in stage.costs]
    if not known:
        return (), "", (), ()
    left, right, top, bottom = _MARGIN
    width, height = _SIZE[0] - left - right, _SIZE[1] - top - bottom
    xs = [stage.costs[cost].value for stage in known]
    ys = [stage.metrics[primary] for stage in known]

    def spread(values: list[float]) -> tuple[float, float]:
        low, high = min(values), max(values)
        room = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
        return low - room, high + room

    (low_x, high_x), (low_y, high_y) = spread(xs), spread(ys)

    def at_x(value: float) -> float:
        return round(left + width * (value - low_x) / (high_x - low_x), 1)

    def at_y(value: float) -> float:
        share = (value - low_y) / (high_y - low_y)
        return round(top + height * (1 - share), 1)

    dots = tuple(
        Dot(at_x(x), at_y(y), f"{stage.number} {stage.step}", stage.is_on_front)
        for stage, x, y in zip(known, xs, ys, strict=True)
    )
    front = sorted((dot for dot in dots if dot.on_front), key=lambda dot: dot.x)
    ticks_x = tuple((at_x(value), format_figure(cost, value)) for value in sorted({min(xs), max(xs)}))
    ticks_y = tuple((at_y(value), format_metric(value)) for value in sorted({min(ys), max(ys)}))
    return dots, " ".join(f"{dot.x},{dot.y}" for dot in front), ticks_x, ticks_y
