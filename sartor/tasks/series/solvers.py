"""Solvers of dz = f(z) dX along a path: fixed steps, and Dormand and Prince's adaptive ones; gradients by either way.

``backpropagation`` keeps every step and is exact for the steps that were taken; ``adjoint`` solves a second equation
backwards (Chen et al. 2018, arXiv:1806.07366, algorithm 1): what it keeps does not grow with the length of a series, it
takes about twice the time, and its gradient is that of the equation, not of the steps, so that it differs by as much as
the steps err. Errors of gradients of parameters do not decide about its steps (Kidger et al. 2021, arXiv:2009.09457).

Every series of a batch has steps of its own, so that what is said of one does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sartor.errors import DivergedError, ExportError, InputError, near
from sartor.tasks.series.paths import Path

Method = Literal["euler", "midpoint", "rk4"]
Field = nn.Module
"""Maps a state ``(n, hidden)`` and the path's derivative ``(n, channels)`` to the state's, ``(n, hidden)``."""


class Tableau(NamedTuple):
    """A Runge-Kutta method: places of its stages, what each takes of those before, and what the step takes of all."""

    place: tuple[float, ...]
    earlier: tuple[tuple[float, ...], ...]
    weight: tuple[float, ...]


TABLEAUS: dict[str, Tableau] = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "midpoint": Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": Tableau(
        (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
}
DORMAND_PRINCE = Tableau(
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
    (
        (), (1 / 5,), (3 / 40, 9 / 40), (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)  # fmt: skip
"""Of order 5 (Dormand and Prince 1980); its seventh stage is the first of the next step."""
ERROR_WEIGHT = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""The difference to the result of order 4, seven stages."""
SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0
"""How a next step follows from an error (Hairer, Norsett and Wanner 1993, II.4)."""
FIRST_STEP = 0.05
"""Of the way, tried at first."""
STEPS_A_PIECE, FEWEST_STEPS = 50, 2_000
"""Tries after which an adaptive solver gives up."""


# --- fixed steps


@dataclass(frozen=True)
class FixedSteps:
    """The same number of steps in each piece of a path.

    Args:
        method: ``euler``, ``midpoint`` or ``rk4``: of order 1, 2 and 4.
        steps: In a piece.
        adjoint: How gradients are found; see the module.
    """

    method: Method = "rk4"
    steps: int = 1
    adjoint: bool = False

    def __post_init__(self) -> None:
        if self.method not in TABLEAUS:
            raise InputError(f"there is no solver {self.method!r}{near(self.method, TABLEAUS)}")
        if self.steps < 1:
            raise InputError(f"steps: expected at least 1 in a piece, got {self.steps}")

    @property
    def name(self) -> str:
        return self.method

    def final(self, field: Field, state: Tensor, path: Path) -> Tensor:
        """Returns the state at the end of the path, ``(n, hidden)``."""
        if self.adjoint and torch.is_grad_enabled():
            found: Tensor = _FixedAdjoint.apply(field, path, self, state, *field.parameters())  # type: ignore[no-untyped-call]
            return found
        return self._solve(field, state, path)[-1]

    def along(self, field: Field, state: Tensor, path: Path) -> Tensor:
        """Returns the state before the first and after each piece, ``(n, pieces + 1, hidden)``."""
        return torch.stack(self._solve(field, state, path), 1)

    def _solve(self, field: Field, state: Tensor, path: Path) -> list[Tensor]:
        rates = _Rates(path)
        states = [state]
        for piece in range(path.slope.shape[1]):
            for step in range(self.steps):
                state = self._step(field, state, rates, piece, step)
            states.append(state)
        return states

    def _step(self, field: Field, state: Tensor, rates: _Rates, piece: int, step: int) -> Tensor:
        tableau, h = TABLEAUS[self.method], 1 / self.steps
        slopes: list[Tensor] = []
        for place, earlier in zip(tableau.place, tableau.earlier, strict=True):
            here = _ahead(state, slopes, earlier, h)
            slopes.append(field(here, rates((step + place) * h, piece)))
        return _ahead(state, slopes, tableau.weight, h)


class _Rates:
    """A path's derivative at some place of a piece; each place is computed once, of all pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[float, Sequence[Tensor]] = {}

    def __call__(self, u: float, piece: int) -> Tensor:
        u = u if self.path.smooth else 0.0
        if u not in self._known:
            self._known[u] = self.path.derivative(u).unbind(1)
        return self._known[u][piece]


def _ahead(state: Tensor, slopes: Sequence[Tensor], weights: Sequence[float], h: float) -> Tensor:
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            state = torch.add(state, slope, alpha=weight * h)
    return state


class _FixedAdjoint(torch.autograd.Function):
    """The final state, and its gradient by the same method run backwards from there."""

    @staticmethod
    def forward(ctx: Any, field: Field, path: Path, solver: FixedSteps, state: Tensor, *parameters: Tensor) -> Tensor:
        _refuse_gradients(path)
        rates = _Rates(path)
        for piece in range(path.slope.shape[1]):
            for step in range(solver.steps):
                state = solver._step(field, state, rates, piece, step)
        ctx.field, ctx.path, ctx.solver = field, path, solver
        ctx.save_for_backward(state, *parameters)
        return state

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grad,) = gradients
        state, *parameters = ctx.saved_tensors
        field, path, solver = ctx.field, ctx.path, ctx.solver
        tableau, h = TABLEAUS[solver.method], 1 / solver.steps
        rates = _Rates(path)
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for piece in reversed(range(path.slope.shape[1])):
            for step in reversed(range(solver.steps)):
                slopes: list[Tensor] = []
                turns: list[Tensor] = []
                for place, earlier, weight in zip(*tableau, strict=True):
                    dx = rates((step + 1 - place) * h, piece)
                    own = parameters if weight else []
                    slope, turn, parts = _backwards(
                        field, _ahead(state, slopes, earlier, -h), _ahead(grad, turns, earlier, h), dx, own
                    )
                    slopes.append(slope)
                    turns.append(turn)
                    for total, part in zip(sums, parts, strict=False):
                        total.add_(part, alpha=weight * h)
                state, grad = _ahead(state, slopes, tableau.weight, -h), _ahead(grad, turns, tableau.weight, h)
        return None, None, None, grad, *sums


def _refuse_gradients(path: Path) -> None:
    if any(isinstance(each, Tensor) and each.requires_grad for each in path):
        raise InputError("the adjoint gives no gradients of the path: expected one made of data")


def _backwards(
    field: Field, state: Tensor, grad: Tensor, dx: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Returns f, and the products of a gradient with its derivatives in the state and in the parameters."""
    with torch.enable_grad():
        state = state.detach().requires_grad_()
        slope = field(state, dx)
        found = torch.autograd.grad(slope, (state, *parameters), grad, materialize_grads=True, allow_unused=True)
    return slope.detach(), found[0], found[1:]


# --- adaptive steps


@dataclass(frozen=True)
class DormandPrince:
    """Steps as long as the tolerance allows: Dormand and Prince's pair of orders 5 and 4.

    On a smooth path a step may pass many observations; on one whose derivative jumps it ends where the piece does. It
    cannot be exported: how many steps it takes depends on the data.

    Args:
        tolerance: Error of a step, relative to the state's magnitude and, below 1, absolute.
        adjoint: How gradients are found; see the module.
    """

    tolerance: float = 1e-3
    adjoint: bool = False
    name = "dopri5"

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise InputError(f"tolerance: expected a number between 0 and 1, got {self.tolerance}")

    def final(self, field: Field, state: Tensor, path: Path) -> Tensor:
        """Returns the state at the end of the path, ``(n, hidden)``.

        Raises:
            DivergedError: the steps become too short, or too many.
            ExportError: the network is being traced.
        """
        self._refuse_export()
        if self.adjoint and torch.is_grad_enabled():
            found: Tensor = _AdaptiveAdjoint.apply(field, path, self, state, *field.parameters())  # type: ignore[no-untyped-call]
            return found
        return self._walk(_Way(path), field, state, path)

    def along(self, field: Field, state: Tensor, path: Path) -> Tensor:
        """Returns the state before the first and after each piece, ``(n, pieces + 1, hidden)``, without gradients.

        Raises:
            DivergedError: as ``final``.
            InputError: the path is smooth, so that steps do not end where pieces do.
        """
        self._refuse_export()
        if path.smooth:
            raise InputError("dopri5 passes over the ends of smooth pieces: expected a rectilinear path")
        with torch.no_grad():
            states = state.unsqueeze(1).repeat(1, path.slope.shape[1] + 1, 1)

            def keep(stages: _Stages, done: Tensor, now: Tensor, then: Tensor, after: Tensor) -> None:
                for row in torch.nonzero(done & (then == then.round()))[:, 0].tolist():
                    states[row, int(then[row]) :] = after[row]

            self._walk(_Way(path), field, state, path, keep)
        return states

    def _refuse_export(self) -> None:
        if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
            raise ExportError(
                "the solver dopri5 takes as many steps as the data ask for, which no exported file can: choose one with"
                " fixed steps (solver: euler, midpoint or rk4)"
            )

    def _walk(self, way: _Way, field: Field, state: Tensor, path: Path, accepted: Accepted | None = None) -> Tensor:
        return self._integrate(way, field, state, path, accepted)

    def _integrate(
        self, way: _Way, slope: Slope, state: Tensor, path: Path, accepted: Accepted | None = None
    ) -> Tensor:
        """Goes a way; everything that decides about steps is kept from gradients."""
        now, end = way.begin, way.end
        sign = 1.0 if way.forward else -1.0
        span = (end - now).abs()
        least = span.clamp_min(1e-12) * 1e-7
        h = FIRST_STEP * span
        first: Tensor | None = None
        tries = FEWEST_STEPS + STEPS_A_PIECE * path.slope.shape[1]
        for _ in range(tries):
            left = (way.next_stop(now) - now).abs()
            if not bool((left > 0).any()):
                return state
            step = torch.minimum(h, left)
            # Not to leave a last step of next to nothing.
            step = torch.where((left < step * 1.01) | (left - step < least), left, step)
            then = torch.where(step >= left, way.next_stop(now), now + sign * step)
            signed = (sign * step).to(state.dtype).unsqueeze(-1)
            moments = [now + sign * place * step for place in DORMAND_PRINCE.place]
            rates = way.rates(now, torch.stack([*moments, then]))
            stages = _Stages([], rates, [])
            for earlier, rate in zip(DORMAND_PRINCE.earlier, rates, strict=False):
                here = _ahead_by(state, stages.slopes, earlier, signed)
                stages.states.append(here)
                stages.slopes.append(first if first is not None and not stages.slopes else slope(here, rate))
            after = _ahead_by(state, stages.slopes, DORMAND_PRINCE.weight, signed)
            last = slope(after, rates[-1])
            with torch.no_grad():
                error = _ahead_by(torch.zeros_like(state), [*stages.slopes, last], ERROR_WEIGHT, signed)
                scale = self.tolerance * torch.maximum(state.abs(), after.abs()).clamp_min(1.0)
                size = (error / scale).square().mean(-1).sqrt().double()
                size = torch.where(size.isfinite(), size, torch.inf)
                moving = left > 0
                done = moving & (size <= 1)
                factor = (SAFETY * size.clamp_min(1e-10) ** -0.2).clamp(SHRINK, GROW)
                tried = torch.where(moving, step, h)
                # A step that a piece's end cut short says little about longer ones.
                h = torch.where(done & (step < h), torch.maximum(h, tried * factor), tried * factor)
                stuck = moving & ~done & (h < least)
                if bool(stuck.any()):
                    row = int(torch.nonzero(stuck)[0, 0])
                    raise DivergedError(self._problem(float(now[row]), float(end[row]), "steps became too short"))
                if accepted is not None:
                    accepted(stages, done, step, then, after)
            took = done.unsqueeze(-1)
            state = torch.where(took, after, state)
            now = torch.where(done, then, now)
            first = torch.where(took, last, stages.slopes[0]) if path.smooth else None
        row = int((end - now).abs().argmax())
        raise DivergedError(self._problem(float(now[row]), float(end[row]), f"{tries} steps were not enough"))

    def _problem(self, at: float, end: float, what: str) -> str:
        return (
            f"the solver dopri5 with tolerance {self.tolerance:g} stopped at {at:.4g} of {end:.4g}: {what}; the"
            " equation diverges or is stiff: allow a larger tolerance, a smaller learning rate, or take fixed steps"
        )


class _Stages(NamedTuple):
    """Of a step: where each was evaluated, the path's derivative there, and what came out."""

    states: list[Tensor]
    rates: Sequence[Tensor]
    slopes: list[Tensor]


class _Way:
    """How a path is gone through, by each series at its own pace: a variable in float64, and its derivative there."""

    def __init__(self, path: Path, *, forward: bool = True) -> None:
        self.path, self.forward = path, forward
        width = path.width.double()
        self.knots = torch.cat((torch.zeros_like(width[:, :1]), width.cumsum(1)), 1)
        start, stop = self.knots[:, 0], self.knots[:, -1]
        self.begin, self.end = (start, stop) if forward else (stop, start)
        self._ends = self.knots[:, 1:].contiguous()
        parts = (path.slope,) if path.bend is None or path.twist is None else (path.slope, path.bend, path.twist)
        self._pieces = torch.cat((*parts, path.width.unsqueeze(-1)), -1)

    def next_stop(self, now: Tensor) -> Tensor:
        """Returns the end of each one's way or, where the derivative jumps, the end of the piece."""
        if self.path.smooth:
            return self.end
        if self.forward:
            return torch.minimum(now.floor() + 1, self.end)
        return torch.maximum(now.ceil() - 1, self.end)

    def rates(self, now: Tensor, moments: Tensor) -> Sequence[Tensor]:
        """Returns dX by the variable at some moments of a step, ``(n, channels)`` each.

        Args:
            now: Where the step starts, ``(n,)``: where the derivative jumps it is read from the step's side.
            moments: ``(m, n)``.
        """
        rows = torch.arange(len(now), device=now.device)
        most = self.path.slope.shape[1] - 1
        if not self.path.smooth:
            piece = (now.floor() if self.forward else now.ceil() - 1).long().clamp(0, most)
            return [self.path.slope[rows, piece]] * len(moments)
        piece = torch.searchsorted(self._ends, moments.T.contiguous()).clamp_max(most).T
        read = self._pieces[rows, piece]
        width = read[..., -1:].clamp_min(1e-30)
        slope, bend, twist = read[..., :-1].chunk(3, -1)
        u = (moments - self.knots[rows, piece]).unsqueeze(-1).to(width.dtype) / width
        # Pieces that fill up have no width, and nothing moves on them.
        return ((slope + u * (2 * bend + 3 * u * twist)) / width).unbind(0)


Slope = Callable[[Tensor, Tensor], Tensor]
Accepted = Callable[[_Stages, Tensor, Tensor, Tensor, Tensor], None]
"""Told of each try: its stages, which series accepted it, the lengths, where it led and the state there."""


def _ahead_by(state: Tensor, slopes: Sequence[Tensor], weights: Sequence[float], h: Tensor) -> Tensor:
    total: Tensor | None = None
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            total = slope * weight if total is None else torch.add(total, slope, alpha=weight)
    return state if total is None else state + h * total


class _AdaptiveAdjoint(torch.autograd.Function):
    """The final state, and its gradient by the equation of states and gradients, solved backwards."""

    @staticmethod
    def forward(
        ctx: Any, field: Field, path: Path, solver: DormandPrince, state: Tensor, *parameters: Tensor
    ) -> Tensor:
        _refuse_gradients(path)
        final = solver._walk(_Way(path), field, state, path)
        ctx.field, ctx.path, ctx.solver = field, path, solver
        ctx.save_for_backward(final, *parameters)
        return final

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        state, *parameters = ctx.saved_tensors
        field, path, solver = ctx.field, ctx.path, ctx.solver
        hidden = state.shape[1]
        # The equation is linear in the gradient: of magnitude 1 the tolerance means something.
        norm = gradients[0].abs().amax(-1, keepdim=True).clamp_min(torch.finfo(state.dtype).tiny)
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        way = _Way(path, forward=False)

        def slope(both: Tensor, dx: Tensor) -> Tensor:
            found, turn, _ = _backwards(field, both[:, :hidden], both[:, hidden:], dx, [])
            return torch.cat((found, -turn), 1)

        def accepted(stages: _Stages, done: Tensor, step: Tensor, then: Tensor, after: Tensor) -> None:
            length = torch.where(done, step, 0.0).to(state.dtype).unsqueeze(-1) * norm
            used = [i for i, weight in enumerate(DORMAND_PRINCE.weight) if weight]
            both = torch.cat([stages.states[i] for i in used])
            dx = torch.cat([stages.rates[i] for i in used])
            shares = torch.cat([length * DORMAND_PRINCE.weight[i] for i in used])
            for total, part in zip(
                sums, _backwards(field, both[:, :hidden], both[:, hidden:] * shares, dx, parameters)[2], strict=True
            ):
                total.add_(part)

        both = solver._integrate(way, slope, torch.cat((state, gradients[0] / norm), 1), path, accepted)
        return None, None, None, both[:, hidden:] * norm, *sums
