"""From observations to a continuous path: natural cubic splines and the rectilinear path, missing values exactly.

A path is made of pieces, each a polynomial of u in 0..1. Every channel has knots of its own, where it was observed; the
pieces are those between rows, on which what goes through a channel's own knots is written exactly. A controlled
differential equation does not depend on how fast its path is gone through, so that series of one batch share the
pieces although their times differ.

A row is real when its time is after that of the row above; others fill a series up to the length of its batch and
change nothing. Tensors only, no branch on values: what is here is exported with the network.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Interpolation = Literal["cubic", "rectilinear"]

REDUCTIONS = 6
"""Steps of cyclic reduction. Rows of a natural spline's matrix, scaled to a diagonal of 1, have off-diagonals that sum
to at most 1/2; each step squares that bound, so that 2^-64 is left after six, whatever the length."""


class Path(NamedTuple):
    """Pieces X(u) = X(0) + slope u + bend u^2 + twist u^3 for u in 0..1, one behind the other.

    Attributes:
        start: Of the first piece, ``(n, channels)``.
        slope: ``(n, pieces, channels)``.
        bend, twist: As ``slope``; None where all pieces are straight.
        width: Of the pieces in a variable in which the derivative has no jumps, or 1 where there is none; 0 for those
            that fill up; ``(n, pieces)``.
        stride: Pieces from one row to the next.
    """

    start: Tensor
    slope: Tensor
    bend: Tensor | None
    twist: Tensor | None
    width: Tensor
    stride: int

    @property
    def smooth(self) -> bool:
        """Whether the derivative has no jumps."""
        return self.bend is not None

    def derivative(self, u: float | Tensor) -> Tensor:
        """Returns dX/du of all pieces, ``(n, pieces, channels)``."""
        if self.bend is None or self.twist is None:
            return self.slope
        return self.slope + (2 * u) * self.bend + (3 * u * u) * self.twist

    def rise(self, u: float | Tensor) -> Tensor:
        """Returns X(u) - X(0) of all pieces, ``(n, pieces, channels)``."""
        if self.bend is None or self.twist is None:
            return u * self.slope
        return u * (self.slope + u * (self.bend + u * self.twist))

    def knots(self) -> Tensor:
        """Returns the values at the ends of all pieces, the first's start before, ``(n, pieces + 1, channels)``."""
        return self.start.unsqueeze(1) + functional.pad(self.rise(1.0).cumsum(1), (0, 0, 1, 0))


def make_path(time: Tensor, values: Tensor, interpolation: Interpolation, counts: float | None = None) -> Path:
    """Returns the path of time and values, and of how often and with what sum each channel was observed so far.

    Args:
        time: ``(n, rows)``, ascending.
        values: ``(n, rows, channels)``, NaN where missing.
        interpolation: ``cubic`` is smooth and looks ahead; ``rectilinear`` is causal: from row to row first time
            passes, then values jump (Kidger et al. 2020, arXiv:2005.08926; Morrill et al. 2021, arXiv:2106.11028).
        counts: Observations that are one unit of the channels that count and sum them, None without these. Sums are
            the augmentation by cumulative sums of Morrill et al. 2020, arXiv:2006.00873.
    """
    elapsed, real = real_rows(time)
    observed = real.unsqueeze(-1) & ~values.isnan()
    values = torch.where(observed, values, 0.0)
    ticks = torch.cat((observed.to(values.dtype), values), -1) / counts if counts is not None else values[..., :0]
    make = _natural_cubic if interpolation == "cubic" else _rectilinear
    return make(elapsed, real, observed, values, ticks)


def with_sums(path: Path, features: Tensor) -> Path:
    """Returns a path with further channels: the sums of features of the rows until then, straight from row to row.

    Args:
        path: Of ``channels``.
        features: ``(n, rows, more)``.
    """
    steps = features[:, 1:]
    if path.stride > 1:
        # They come with a row, not while time passes before it.
        steps = functional.pad(steps.unsqueeze(2), (0, 0, path.stride - 1, 0)).flatten(1, 2)
    nothing = torch.zeros_like(steps)
    bend, twist = (None if each is None else torch.cat((each, nothing), -1) for each in (path.bend, path.twist))
    start = torch.cat((path.start, features[:, 0]), -1)
    return Path(start, torch.cat((path.slope, steps), -1), bend, twist, path.width, path.stride)


def real_rows(time: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the time since the first row, ``(n, rows)``, that never falls, and which rows are real."""
    gap = functional.pad(time[:, 1:] - time[:, :-1], (1, 0))
    real = functional.pad(gap[:, 1:] > 0, (1, 0), value=True)
    return gap.clamp_min(0).cumsum(1), real


def _packed(mask: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Moves what is in the mask to the front: the place of the last such row at or before each row (-1 for none), and
    the values there, ``(n, rows, channels)``, 0 behind the last."""
    place = mask.to(torch.int64).cumsum(1) - 1
    rows = mask.shape[1]
    # What is not wanted goes behind the end, which is cut off.
    index = torch.where(mask, place, rows)
    room = functional.pad(torch.zeros_like(values), (0, 0, 0, 1))
    return place, room.scatter(1, index, values)[:, :rows]


def last_observed(observed: Tensor, values: Tensor) -> Tensor:
    """Returns the last value at or before each row, ``(n, rows, channels)``; 0 before the first."""
    place, packed = _packed(observed, values)
    return torch.where(place >= 0, packed.gather(1, place.clamp_min(0)), 0.0)


def _rectilinear(elapsed: Tensor, real: Tensor, observed: Tensor, values: Tensor, ticks: Tensor) -> Path:
    filled = last_observed(observed, values)
    gap = (elapsed[:, 1:] - elapsed[:, :-1]).unsqueeze(-1)
    jump = filled[:, 1:] - filled[:, :-1]
    passing = torch.cat((gap, torch.zeros_like(jump), torch.zeros_like(ticks[:, 1:])), -1)
    jumping = torch.cat((torch.zeros_like(gap), jump * real[:, 1:].unsqueeze(-1), ticks[:, 1:]), -1)
    slope = torch.stack((passing, jumping), 2).flatten(1, 2)
    width = real[:, 1:].to(values.dtype).repeat_interleave(2, 1)
    start = torch.cat((elapsed[:, :1], filled[:, 0], ticks[:, 0]), -1)
    return Path(start, slope, None, None, width, 2)


def _natural_cubic(elapsed: Tensor, real: Tensor, observed: Tensor, values: Tensor, ticks: Tensor) -> Path:
    """Each channel by a natural spline through its own observations.

    Before the first and after the last of them, rows are held to have been observed with the nearest value: what a
    cubic would say there is far off.
    """
    rows = values.shape[1]
    so_far = observed.to(torch.int64).cumsum(1)
    first = (observed & (so_far == 1)).to(values.dtype)
    last = (observed & (so_far == so_far[:, -1:])).to(values.dtype)
    begin = real.unsqueeze(-1) & (so_far == 0)
    end = real.unsqueeze(-1) & ~observed & ~begin & (so_far == so_far[:, -1:])
    values = torch.where(begin, (first * values).sum(1, keepdim=True), values)
    values = torch.where(end, (last * values).sum(1, keepdim=True), values)
    knot = observed | begin | end
    place, x = _packed(knot, values)
    _, t = _packed(knot, elapsed.unsqueeze(-1).expand_as(values))
    num = knot.to(torch.int64).sum(1, keepdim=True)
    number = torch.arange(rows, device=values.device).view(1, rows, 1)
    inside = number[:, :-1] + 1 < num
    h = torch.where(inside, t[:, 1:] - t[:, :-1], 1.0)
    d = torch.where(inside, x[:, 1:] - x[:, :-1], 0.0) / h
    second = _second_derivatives(h, d, (number[:, 1:-1] + 1 < num))
    b = d - h * (2 * second[:, :-1] + second[:, 1:]) / 6
    c, e = second[:, :-1] / 2, (second[:, 1:] - second[:, :-1]) / (6 * h)
    # From the pieces between a channel's knots to those between rows.
    own = place[:, :-1].clamp(0, rows - 2)
    b, c, e, since = (each.gather(1, own) for each in (b, c, e, t[:, :-1]))
    since = elapsed[:, :-1].unsqueeze(-1) - since
    gap = (elapsed[:, 1:] - elapsed[:, :-1]).unsqueeze(-1)
    slope = gap * (b + since * (2 * c + 3 * e * since))
    bend, twist = gap.square() * (c + 3 * e * since), gap.square() * gap * e
    zeros = torch.zeros_like(gap)
    more = torch.zeros_like(ticks[:, 1:])
    return Path(
        torch.cat((elapsed[:, :1], values[:, 0], ticks[:, 0]), -1),
        torch.cat((gap, slope, ticks[:, 1:]), -1),
        torch.cat((zeros, bend, more), -1),
        torch.cat((zeros, twist, more), -1),
        gap[..., 0],
        1,
    )


def _second_derivatives(h: Tensor, d: Tensor, inner: Tensor) -> Tensor:
    """Returns a natural spline's second derivatives at its knots, ``(n, knots, channels)``.

    Solves h_(k-1) M_(k-1) + 2 (h_(k-1) + h_k) M_k + h_k M_(k+1) = 6 (d_k - d_(k-1)) with M = 0 at both ends by
    parallel cyclic reduction (Hockney and Jesshope 1981): all rows at once, no loop over knots.

    Args:
        h: Widths between knots, ``(n, knots - 1, channels)``.
        d: Slopes of the chords, as ``h``.
        inner: Which knots but the first and the last in memory lie between two others.
    """
    middle = 2 * (h[:, :-1] + h[:, 1:])
    before = torch.where(inner, h[:, :-1] / middle, 0.0)
    after = torch.where(inner, h[:, 1:] / middle, 0.0)
    right = torch.where(inner, 6 * (d[:, 1:] - d[:, :-1]) / middle, 0.0)
    num = before.shape[1]
    for step in range(REDUCTIONS):
        shift = 2**step
        if shift >= num:
            break
        a_up, a_down = _shifted(before, shift)
        c_up, c_down = _shifted(after, shift)
        r_up, r_down = _shifted(right, shift)
        scale = 1 - before * c_up - after * a_down
        right = (right - before * r_up - after * r_down) / scale
        before, after = -before * a_up / scale, -after * c_down / scale
    return functional.pad(right, (0, 0, 1, 1))


def _shifted(x: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """Returns the rows so many before and after each, 0 beyond the ends."""
    return functional.pad(x[:, :-by], (0, 0, by, 0)), functional.pad(x[:, by:], (0, 0, 0, by))
