"""A function of one variable as a drawing: its lines, their bands, and under them where the data are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.pictures import Curve
from sartor.report._explanation import round_ticks

WIDTH, HEIGHT = 520.0, 240.0
LEFT, RIGHT, TOP = 62.0, 12.0, 10.0
DENSITY = 34.0
"""Height of the lane under the lines that shows where the data are."""
GAP, BELOW = 8.0, 34.0
MOST_TICKS = 12
"""Names of categories that are written; the others are in the tips."""
LONGEST_TICK = 12


@dataclass(frozen=True)
class Line:
    path: str
    band: str
    color: str
    name: str


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    tip: str


@dataclass(frozen=True)
class CurveView:
    """Positions in the units of the drawing."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    zero: float | None
    points: tuple[tuple[float, float, str, str], ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    floor: float = HEIGHT - BELOW
    bottom: float = HEIGHT - BELOW - DENSITY - GAP
    kind: str = "curve"


def curve(picture: Curve) -> CurveView:
    """Returns the drawing."""
    floor, right = HEIGHT - BELOW, WIDTH - RIGHT
    bottom = floor - DENSITY - GAP
    named = bool(picture.ticks)
    x = np.asarray(picture.x, np.float64)
    ends = (-0.5, len(x) - 0.5) if named else (float(x[0]), float(x[-1]))
    levels = round_ticks(float(min(picture.low.min(), 0.0)), float(max(picture.high.max(), 0.0)))

    def across(value: float) -> float:
        return LEFT + (right - LEFT) * (value - ends[0]) / max(ends[1] - ends[0], 1e-300)

    def up(value: float) -> float:
        return bottom - (bottom - TOP) * (value - levels[0]) / max(levels[-1] - levels[0], 1e-300)

    lines, points = [], []
    for i, series in enumerate(picture.y):
        color, name = f"var(--s{i % 8})", picture.names[i] if i < len(picture.names) else ""
        low, high = picture.low[i], picture.high[i]
        if named:
            step = 0.3
            band = " ".join(
                f"M{across(v - step):.1f},{up(a):.1f}H{across(v + step):.1f}V{up(b):.1f}H{across(v - step):.1f}Z"
                for v, a, b in zip(x, low, high, strict=True)
            )
            path = " ".join(
                f"M{across(v - step):.1f},{up(y):.1f}H{across(v + step):.1f}" for v, y in zip(x, series, strict=True)
            )
        else:
            outline = [*zip(x, high, strict=True), *reversed(list(zip(x, low, strict=True)))]
            band = "M" + "L".join(f"{across(v):.1f},{up(y):.1f}" for v, y in outline) + "Z"
            path = "M" + "L".join(f"{across(v):.1f},{up(y):.1f}" for v, y in zip(x, series, strict=True))
        lines.append(Line(path, band, color, name))
        for k, (v, y, a, b) in enumerate(zip(x, series, low, high, strict=True)):
            where = picture.ticks[k] if named else f"{v:.4g}"
            said = f"{name + ', ' if name else ''}{picture.x_label} {where}: {y:.3g} ({a:.3g} to {b:.3g})"
            points.append((across(v), up(y), color, said))
    # The root keeps sparse ranges visible.
    heights = np.sqrt(picture.density / max(float(picture.density.max()), 1e-300)) * DENSITY
    edges = np.linspace(LEFT, right, len(heights) + 1)
    bars = tuple(
        Bar(float(a), floor - float(h), float(b - a), float(h), f"{share:.1%} of the data")
        for a, b, h, share in zip(edges[:-1], edges[1:], heights, picture.density, strict=True)
    )
    every = -(-len(x) // MOST_TICKS)
    if named:
        x_ticks = tuple((across(v), _short(picture.ticks[k])) for k, v in enumerate(x) if k % every == 0)
    else:
        x_ticks = tuple((across(v), f"{v:g}") for v in round_ticks(*ends) if ends[0] <= v <= ends[1])
    return CurveView(
        picture.title,
        picture.x_label,
        picture.y_label,
        tuple(lines),
        bars,
        x_ticks,
        tuple((up(v), f"{v:g}") for v in levels),
        up(0.0),
        tuple(points),
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TICK else text[: LONGEST_TICK - 1] + "…"
