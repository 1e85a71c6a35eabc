"""Neural controlled differential equations: a state that moves as the path of the observations does.

    dz = f(z) dX,    X: time, the channels and, by choice, how often each was observed so far

Three kinds of f(z), each linear in dX:

| kind | dz | solved |
|---|---|---|
| nonlinear | a network's matrix, tanh at its end, times dX (Kidger et al. 2020, arXiv:2005.08926) | step by step |
| low rank | a matrix linear in dX, diagonal and of low rank beside, times z, and B dX | step by step |
| diagonal | complex: (-F dt + i W dX) z + B dX | piece by piece in closed form, all pieces at once |

Linear ones are those of Cirone et al. 2024 (arXiv:2402.19047) and Walker et al. 2025 (arXiv:2505.17761): one that is
dense, or several diagonal ones in layers, are as expressive as nonlinear ones, and the state of a diagonal one after
each piece is an associative scan, so that no loop goes over time. Unlike theirs, both forget with time and turn with
values (as unitary developments of a path do, Lou et al. 2022, arXiv:2204.00740): a real matrix of values lets a state
grow with the exponential of the path, which overflowed on splines through noisy values that lie close in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.tasks.series.paths import Interpolation, Path, make_path, real_rows, with_sums

SLOWEST, FASTEST = 0.3, 30.0
"""Rates at which linear states forget at first, by mean length of a series."""
NODES = 6
"""Of the rule that integrates over a curved piece; exact for polynomials of degree 11."""
NEAR_ZERO = 1e-12
"""Squares of a below which (exp(a) - 1) / a is taken for 1."""


class Solver(Protocol):
    """Solves along a path; see ``sartor.tasks.series.solvers``."""

    def final(self, field: nn.Module, state: Tensor, path: Path) -> Tensor: ...

    def along(self, field: nn.Module, state: Tensor, path: Path) -> Tensor: ...


class NonlinearField(nn.Module):
    """A network's matrix times dX.

    Args:
        hidden: Values of the state.
        channels: Of the path.
        width: Of the hidden layers.
        depth: Hidden layers.
    """

    def __init__(self, hidden: int, channels: int, width: int = 32, depth: int = 1) -> None:
        super().__init__()
        sizes = [hidden, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.last = nn.Linear(sizes[-1], hidden * channels)
        self.hidden, self.channels = hidden, channels

    def forward(self, state: Tensor, dx: Tensor) -> Tensor:
        x = state
        for layer in self.layers:
            x = functional.silu(layer(x))
        # Without a bound, states grow beyond all bounds early in training (Kidger 2022, arXiv:2202.02435, 3.1).
        matrix = torch.tanh(self.last(x)).view(-1, self.hidden, self.channels)
        return torch.bmm(matrix, dx.unsqueeze(-1)).squeeze(-1)


class LowRankField(nn.Module):
    """A matrix that forgets with time and, of low rank, mixes values, times the state, and what dX alone drives.

    The part that mixes is skew-symmetric, U diag(G dX) V' - V diag(G dX) U', so that it turns a state and never
    makes it longer, whatever the path does.

    Args:
        hidden: Values of the state.
        channels: Of the path, the first of which is time.
        rank: Of U and V.
    """

    def __init__(self, hidden: int, channels: int, rank: int = 4) -> None:
        super().__init__()
        self.forget = _forget(hidden)
        self.first, self.second = (nn.Parameter(torch.randn(hidden, rank) / math.sqrt(hidden)) for _ in range(2))
        self.strength = nn.Linear(channels, rank, bias=False)
        self.drive = nn.Linear(channels, hidden, bias=False)

    def forward(self, state: Tensor, dx: Tensor) -> Tensor:
        strength = self.strength(dx)
        turned = functional.linear((state @ self.second) * strength, self.first) - functional.linear(
            (state @ self.first) * strength, self.second
        )
        driven: Tensor = self.drive(dx)
        return driven + turned - functional.softplus(self.forget) * state * dx[:, :1]


def _forget(hidden: int) -> nn.Parameter:
    """Returns what softplus makes rates of forgetting of, evenly spread in the logarithm."""
    rates = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), hidden)
    return nn.Parameter(torch.log(torch.expm1(rates)))


class SolvedCDE(nn.Module):
    """A controlled differential equation, solved step by step.

    Args:
        num_channels: Of the data.
        rows: Observations of a series, on average: the unit in which they are counted.
        field: A factory called with ``hidden`` and the channels of the path.
        solver: See ``sartor.tasks.series.solvers``.
        hidden: Values of the state.
        interpolation: See ``make_path``.
        counts: Whether the path counts observations.
        features: Channels of the path that sum what a small network makes of each row's values; none for 0. Such a
            learnt path is that of Jhin et al. 2022 (arXiv:2204.08771) in its purpose.
    """

    def __init__(
        self,
        num_channels: int,
        rows: float,
        *,
        field: Callable[[int, int], nn.Module],
        solver: Solver,
        hidden: int = 32,
        interpolation: Interpolation = "cubic",
        counts: bool = False,
        features: int = 0,
    ) -> None:
        super().__init__()
        self.reader = _Reader(num_channels, rows, interpolation, counts, features)
        self.hidden, self.solver = hidden, solver
        self.initial = nn.Linear(self.reader.num_channels, hidden)
        self.field = field(hidden, self.reader.num_channels)

    @property
    def causal(self) -> bool:
        """Whether states at a row depend on what came until then only."""
        return self.reader.interpolation == "rectilinear"

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        """Maps ``(n, rows)`` and ``(n, rows, channels)`` to the state at the end, ``(n, hidden)``."""
        path = self.reader(time, values)
        return self.solver.final(self.field, self.initial(path.start), path)

    def along(self, time: Tensor, values: Tensor) -> Tensor:
        """Returns the state after each row, ``(n, rows, hidden)``."""
        path = self.reader(time, values)
        return self.solver.along(self.field, self.initial(path.start), path)[:, :: path.stride]


class DiagonalCDE(nn.Module):
    """Layers of diagonal linear controlled differential equations, exactly solved; the next one's path is made of what
    a network reads from the states after each row.

    Args:
        num_channels, rows, hidden, interpolation, counts, features: As for ``SolvedCDE``.
        depth: Layers.
    """

    def __init__(
        self,
        num_channels: int,
        rows: float,
        *,
        hidden: int = 32,
        depth: int = 1,
        features: int = 0,
        interpolation: Interpolation = "cubic",
        counts: bool = False,
    ) -> None:
        super().__init__()
        self.reader = _Reader(num_channels, rows, interpolation, counts, features)
        self.hidden = hidden
        channels = [self.reader.num_channels, *[hidden + 1] * (depth - 1)]
        self.layers = nn.ModuleList(_DiagonalLayer(each, hidden) for each in channels)

    @property
    def causal(self) -> bool:
        """Whether states at a row depend on what came until then only."""
        return self.reader.interpolation == "rectilinear"

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        """Maps ``(n, rows)`` and ``(n, rows, channels)`` to the state at the end, ``(n, hidden)``."""
        return self.along(time, values)[:, -1]

    def along(self, time: Tensor, values: Tensor) -> Tensor:
        """Returns the state after each row, ``(n, rows, hidden)``."""
        path = self.reader(time, values)
        elapsed = functional.pad(path.rise(1.0)[..., :1].cumsum(1), (0, 0, 1, 0))
        out: Tensor | None = None
        for layer in self.layers:
            if out is not None:
                control = torch.cat((elapsed, out), -1)
                slope = control[:, 1:] - control[:, :-1]
                path = Path(control[:, 0], slope, None, None, path.width, path.stride)
            found = layer(path)
            out = found if out is None else out + found
        assert out is not None
        return out[:, :: path.stride]


class _RowFeatures(nn.Module):
    """What a network makes of the values of each row and of which are there, ``(n, rows, features)``."""

    def __init__(self, num_channels: int, features: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * num_channels, 2 * features), nn.Linear(2 * features, features)

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        _, real = real_rows(time)
        observed = real.unsqueeze(-1) & ~values.isnan()
        x = torch.cat((torch.where(observed, values, 0.0), observed.to(values.dtype)), -1)
        found: Tensor = self.second(functional.silu(self.first(x)))
        return found * real.unsqueeze(-1)


class _DiagonalLayer(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        half = hidden // 2
        self.forget = _forget(half)
        self.turn = nn.Linear(channels, half, bias=False)
        self.drive = nn.Linear(channels, hidden, bias=False)
        self.initial = nn.Linear(channels, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.mix, self.out = nn.Linear(hidden, 2 * hidden), nn.Linear(hidden, hidden)

    def forward(self, path: Path) -> Tensor:
        """Returns what is read from the state after each piece, ``(n, pieces + 1, hidden)``."""
        forget = functional.softplus(self.forget)
        states = diagonal_states(self.initial(path.start), forget, self.turn.weight, self.drive.weight, path)
        out: Tensor = self.out(functional.glu(self.mix(self.norm(states)), -1))
        return out + states


def diagonal_states(start: Tensor, forget: Tensor, turn: Tensor, drive: Tensor, path: Path) -> Tensor:
    """Returns the solution of dz = (-F dt + i W dX) z + B dX after each piece, ``(n, pieces + 1, 2 half)``.

    Over a piece z becomes exp(a) z + b: a = -F dt + i W dX over the whole piece, b the integral of B dX times exp of
    what a still lacks, which on straight pieces is B dX (exp(a) - 1) / a, on curved ones is integrated by Gauss's rule.

    Args:
        start: State before the first piece, ``(n, 2 half)``: real parts, then imaginary ones.
        forget: F, ``(half,)``, above 0.
        turn: W, ``(half, channels)``.
        drive: B, ``(2 half, channels)``: real parts, then imaginary ones.
        path: Of ``channels``, the first of which is time.
    """
    whole = path.rise(1.0)
    decay, angle = -forget * whole[..., :1], functional.linear(whole, turn)
    size = torch.exp(decay)
    gain = (size * torch.cos(angle), size * torch.sin(angle))
    if not path.smooth:
        # exp(a) - 1 without the cancellation that it has where a is small.
        less = (torch.expm1(decay) * torch.cos(angle) - 2 * torch.sin(angle / 2).square(), gain[1])
        square = decay.square() + angle.square()
        tiny = square < NEAR_ZERO
        over = torch.where(tiny, 1.0, square)
        share = (
            torch.where(tiny, 1.0, (less[0] * decay + less[1] * angle) / over),
            torch.where(tiny, 0.0, (less[1] * decay - less[0] * angle) / over),
        )
        shift = _times(share, _parts(functional.linear(path.slope, drive)))
    else:
        # All nodes at once, in a dimension before those of the path.
        u, weight = (torch.tensor(each).to(whole).view(-1, 1, 1, 1) for each in _rule())
        rise = path.rise(u)
        left = weight * torch.exp(decay + forget * rise[..., :1])
        rest = angle - functional.linear(rise, turn)
        driven = _parts(functional.linear(path.derivative(u), drive))
        each = _times((left * torch.cos(rest), left * torch.sin(rest)), driven)
        shift = (each[0].sum(0), each[1].sum(0))
    gain, shift = _scanned(gain, shift)
    begin = _parts(start.unsqueeze(1))
    moved = _times(gain, begin)
    after = torch.cat((moved[0] + shift[0], moved[1] + shift[1]), -1)
    return torch.cat((start.unsqueeze(1), after), 1)


Complex = tuple[Tensor, Tensor]
"""Real and imaginary parts: formats of exported networks have no complex numbers."""


def _parts(x: Tensor) -> Complex:
    real, imaginary = x.chunk(2, -1)
    return real, imaginary


def _times(a: Complex, b: Complex) -> Complex:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _scanned(gain: Complex, shift: Complex) -> tuple[Complex, Complex]:
    """Returns the maps z -> gain z + shift of all pieces up to each, ``(n, pieces, half)`` each.

    An inclusive scan (Hillis and Steele 1986): log2(pieces) steps, each of all pieces at once.
    """
    pieces, by = gain[0].shape[1], 1
    while by < pieces:
        early: Complex = (gain[0][:, :-by], gain[1][:, :-by])
        late: Complex = (gain[0][:, by:], gain[1][:, by:])
        moved = _times(late, (shift[0][:, :-by], shift[1][:, :-by]))
        both = _times(late, early)
        shift = (
            torch.cat((shift[0][:, :by], moved[0] + shift[0][:, by:]), 1),
            torch.cat((shift[1][:, :by], moved[1] + shift[1][:, by:]), 1),
        )
        gain = (torch.cat((gain[0][:, :by], both[0]), 1), torch.cat((gain[1][:, :by], both[1]), 1))
        by *= 2
    return gain, shift


def _rule() -> tuple[Sequence[float], Sequence[float]]:
    """Returns places in 0..1 and weights of Gauss's rule."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    return ((x + 1) / 2).tolist(), (weight / 2).tolist()


class _Reader(nn.Module):
    """Observations to a path."""

    def __init__(
        self, num_channels: int, rows: float, interpolation: Interpolation, counts: bool, features: int
    ) -> None:
        super().__init__()
        if interpolation not in ("cubic", "rectilinear"):
            raise InputError(f"there is no interpolation {interpolation!r}: expected cubic or rectilinear")
        self.interpolation: Interpolation = interpolation
        self.counts, self.rows = rows if counts else None, rows
        self.features = _RowFeatures(num_channels, features) if features else None
        self.num_channels = 1 + num_channels * (3 if counts else 1) + features

    def forward(self, time: Tensor, values: Tensor) -> Path:
        path = make_path(time, values, self.interpolation, self.counts)
        return path if self.features is None else with_sums(path, self.features(time, values) / self.rows)
