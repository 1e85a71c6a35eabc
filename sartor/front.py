"""The Pareto front: which trials no other beats in every objective, how much they cover, which one to take. No torch.

All functions of arrays take losses: one row a point, one column an objective, smaller is better.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from sartor.errors import BudgetError, InputError, near
from sartor.goals import Goals, Limit
from sartor.trials import Trial
from sartor.units import format_figure, unit_of

if TYPE_CHECKING:
    from sartor.space import Architecture

__all__ = ["Front", "crowding_distance", "domination_ranks", "hypervolume", "non_dominated"]

Losses = npt.NDArray[np.float64]
_ROWS_AT_ONCE = 1024
"""Rows of the domination table made at once, so that its memory is bounded."""
_FARTHEST = 3.0
"""From the best to what counts at all, in distances from the best to the median."""


def non_dominated(losses: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Returns which points no other point dominates; of equal points, all or none.

    Args:
        losses: Shape ``(num_points, num_objectives)``, smaller is better.

    Returns:
        Shape ``(num_points,)``.

    Example:
        >>> non_dominated([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).tolist()
        [True, True, False]
    """
    return np.asarray(domination_ranks(losses) == 0)


def domination_ranks(losses: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Returns the level of each point in non-dominated sorting: 0 is the front, 1 the front of the rest, and so on.

    Two objectives take ``n log n`` (Jensen 2003, doi:10.1109/TEVC.2003.817234), more take ``n^2``.

    Args:
        losses: Shape ``(num_points, num_objectives)``, smaller is better.

    Raises:
        InputError: not a table, or a value is not a number.
    """
    points = _checked(losses)
    if points.shape[1] == 1:
        return np.unique(points[:, 0], return_inverse=True)[1].reshape(-1).astype(np.intp)
    if points.shape[1] == 2:
        return _ranks_2d(points)
    return _ranks(points)


def _checked(losses: npt.ArrayLike) -> Losses:
    points = np.asarray(losses, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] == 0:
        raise InputError(f"expected losses of shape (num_points, num_objectives), got {points.shape}")
    if np.isnan(points).any():
        raise InputError(f"point {int(np.isnan(points).any(1).argmax())} has an objective that is not a number")
    return points


def _ranks_2d(points: Losses) -> npt.NDArray[np.intp]:
    ranks = np.empty(len(points), dtype=np.intp)
    order = np.lexsort((points[:, 1], points[:, 0]))
    # lowest[k] is the smallest second loss seen on level k; these ascend, so a point's level is found by bisection.
    lowest: list[float] = []
    previous, level = None, 0
    for i, point in zip(order.tolist(), points[order].tolist(), strict=True):
        if point != previous:
            level = bisect_right(lowest, point[1])
            if level == len(lowest):
                lowest.append(point[1])
            else:
                lowest[level] = point[1]
        ranks[i], previous = level, point
    return ranks


def _dominates(first: Losses, second: Losses) -> npt.NDArray[np.bool_]:
    """Returns the table of which of ``first`` (rows) dominates which of ``second`` (columns)."""
    no_worse = (first[:, None] <= second).all(-1)
    return np.asarray(no_worse & (first[:, None] < second).any(-1))


def _ranks(points: Losses) -> npt.NDArray[np.intp]:
    table = np.concatenate(
        [_dominates(points[at : at + _ROWS_AT_ONCE], points) for at in range(0, len(points), _ROWS_AT_ONCE)]
        or [np.zeros((0, 0), dtype=bool)]
    )
    dominators = table.sum(0)
    ranks = np.full(len(points), -1, dtype=np.intp)
    level = 0
    while (front := (dominators == 0) & (ranks < 0)).any():
        ranks[front] = level
        dominators = dominators - table[front].sum(0)
        level += 1
    return ranks


def crowding_distance(losses: npt.ArrayLike) -> Losses:
    """Returns how far apart each point's neighbours are (Deb et al. 2002, doi:10.1109/4235.996017, III.B).

    Args:
        losses: Points of one level, shape ``(num_points, num_objectives)``.

    Returns:
        Shape ``(num_points,)``; infinite for a point that is extreme in an objective.
    """
    points = _checked(losses)
    distance = np.zeros(len(points))
    if len(points) == 0:
        return distance
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = math.inf
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def hypervolume(losses: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Returns the exact volume of what the points dominate, up to ``reference``.

    By exclusive contributions (While, Bradstreet and Barone 2012, "WFG", doi:10.1109/TEVC.2010.2077298), with a sweep
    in two objectives.

    Args:
        losses: Shape ``(num_points, num_objectives)``, smaller is better.
        reference: Shape ``(num_objectives,)``; points that are not better in every objective add nothing.

    Example:
        >>> hypervolume([[0.0, 0.5], [0.5, 0.0]], [1.0, 1.0])
        0.75
    """
    points = _checked(losses)
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (points.shape[1],):
        raise InputError(f"expected a reference of {points.shape[1]} objectives, got shape {corner.shape}")
    points = points[(points < corner).all(1)]
    return _volume(points[non_dominated(points)], corner)


def _volume(points: Losses, corner: Losses) -> float:
    """Returns the hypervolume of mutually non-dominated points that are all better than the corner."""
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, 0], kind="stable")]
    if points.shape[1] == 2:
        above = np.concatenate([corner[1:], points[:-1, 1]])
        return float(((corner[0] - points[:, 0]) * (above - points[:, 1])).sum())
    total = 0.0
    for i, point in enumerate(points):
        rest = np.maximum(points[i + 1 :], point)
        total += float(np.prod(corner - point)) - _volume(np.unique(rest[non_dominated(rest)], axis=0), corner)
    return total


class Front(Sequence[Trial]):
    """The feasible, complete trials that no other one beats in all objectives, sorted by the second objective.

    An architecture evaluated several times is represented by its trial of the highest fidelity (the first of equal
    ones), whether or not a shorter one scored better.

    Args:
        trials: Of one run, in any state and order.
        goals: Objectives and limits.

    Example:
        >>> Front([], Goals((Objective("accuracy"), Objective("latency_ms", "min"))))
        Front(0 of 0 trials: accuracy max, latency_ms min)
    """

    def __init__(self, trials: Iterable[Trial], goals: Goals) -> None:
        self.goals = goals
        trials = list(trials)
        self._given = trials
        best: dict[Architecture, Trial] = {}
        for trial in sorted(trials, key=lambda trial: (-trial.proposal.fidelity.amount, trial.number)):
            if trial.state == "complete":
                best.setdefault(trial.architecture, trial)
        self._feasible = [trial for trial in best.values() if not goals.broken(trial.values)]
        losses = np.array([goals.losses(trial) for trial in self._feasible]).reshape(-1, len(goals.objectives))
        kept = np.flatnonzero(non_dominated(losses))
        # By the second objective, then the first, the rest and the number: a total order.
        columns = [1, 0, *range(2, losses.shape[1])] if losses.shape[1] > 1 else [0]
        key = [(*losses[i, columns].tolist(), self._feasible[i].number) for i in kept]
        order = [int(kept[j]) for j in sorted(range(len(kept)), key=key.__getitem__)]
        self._trials = tuple(self._feasible[i] for i in order)
        self._losses = losses[order]
        self._losses.flags.writeable = False
        self._all_losses = losses

    def on(self, device: str) -> Front:
        """Returns the front of one device, of a search for several: what it beats there alone.

        Raises:
            InputError: no objective is of that device.
        """
        return Front(self._given, self.goals.on(device))

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...

    def __getitem__(self, index: int | slice) -> Trial | Sequence[Trial]:
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def losses(self) -> Losses:
        """Losses of the trials, shape ``(num_trials, num_objectives)``, smaller is better; read-only."""
        return self._losses

    def covering(self, num: int) -> list[Trial]:
        """Returns at most ``num`` trials that stand for the front, in its order.

        The best in the primary objective, then always the one that adds most hypervolume: greedy subset selection
        (Guerreiro, Fonseca and Paquete 2016, doi:10.1162/EVCO_a_00188); costs count by their logarithms. The reference
        is the worst of all feasible trials, but no farther from the best than three times the median, so that one
        outlier does not make the others alike. The cheapest trials, often no better than chance, add little.

        Raises:
            InputError: ``num`` is below 1.
        """
        if num < 1:
            raise InputError(f"expected at least 1 trial of the front, got {num}")
        if len(self) <= num:
            return list(self)
        points, every = self._scaled(self._losses), self._scaled(self._all_losses)
        best = every.min(0)
        reference = np.minimum(every.max(0), best + _FARTHEST * (np.median(every, 0) - best))
        by_primary = np.argsort(points[:, 0], kind="stable").tolist()
        chosen = by_primary[:1]
        while len(chosen) < num:
            # Of those that add nothing the best in the primary objective comes first.
            rest = [i for i in by_primary if i not in chosen]
            chosen.append(max(rest, key=lambda i: hypervolume(points[[*chosen, i]], reference)))
        return [self[i] for i in sorted(chosen)]

    def _scaled(self, losses: Losses) -> Losses:
        """Returns losses with those that are costs, above 0, as logarithms."""
        scaled = losses.copy()
        for column, objective in enumerate(self.goals.objectives):
            if unit_of(objective.name) is not None and (self._all_losses[:, column] > 0).all():
                scaled[:, column] = np.log(losses[:, column])
        return scaled

    def pick(self, *limits: Limit | str, by: str | None = None) -> Trial:
        """Returns the best trial that meets further limits.

        All feasible trials are looked at, not only the front, since a limit may be on a figure that is no objective.

        Args:
            limits: ``Limit("latency_ms", 1.0)`` or text such as ``"latency<=1ms"``.
            by: What is best: an objective, a cost (smaller is better) or ``test.`` and an objective; by default the
                primary objective.

        Raises:
            BudgetError: no trial meets them; the message has the closest.
            InputError: the trials have no such figure.
        """
        parsed = [Limit.parse(limit) if isinstance(limit, str) else limit for limit in limits]
        goals = Goals(self.goals.objectives, tuple(parsed))
        if not self._feasible:
            raise BudgetError("no complete trial meets the limits of the search, so there is none to pick")
        for trial in self._feasible:
            for name in [limit.name for limit in parsed] + ([by] if by is not None else []):
                if name not in trial.values:
                    raise InputError(f"trial {trial.number} has no {name!r}{near(name, trial.values)}")
        within = [trial for trial in self._feasible if not goals.broken(trial.values)]
        if not within:
            closest = min(self._feasible, key=lambda trial: (goals.excess(trial.values), trial.number))
            found = ", ".join(
                f"{x.name} {format_figure(x.name, closest.values[x.name])}" for x in goals.broken(closest.values)
            )
            raise BudgetError(
                f"none of {len(self._feasible)} networks meets {' and '.join(map(str, parsed))}; the closest, trial"
                f" {closest.number}, has {found}: raise the limit or search with it"
            )
        sign = self._sign(by or goals.primary.name)
        name = by or goals.primary.name
        return min(within, key=lambda trial: (sign * trial.values[name], *goals.losses(trial).tolist(), trial.number))

    def _sign(self, name: str) -> float:
        """Returns 1 when smaller is better, -1 when larger is."""
        for objective in self.goals.objectives:
            if name.removeprefix("test.") == objective.name:
                return objective.loss(1.0)
        if unit_of(name) is not None:
            return 1.0
        known = [objective.name for objective in self.goals.objectives]
        raise InputError(
            f"cannot tell whether more {name!r} is better: pick by an objective or a cost{near(name, known)}"
        )

    def hypervolume(self, reference: Mapping[str, float] | Sequence[float]) -> float:
        """Returns the exact volume that the front dominates, up to a reference.

        Args:
            reference: The worst value that counts of each objective, as the objective is written (an accuracy of 0.1,
                a latency of 1 ms): by name, or in the order of the objectives.
        """
        objectives = self.goals.objectives
        if isinstance(reference, Mapping):
            missing = [objective.name for objective in objectives if objective.name not in reference]
            if missing:
                raise InputError(f"the reference has no {missing[0]!r}; it has {sorted(reference)}")
            reference = [reference[objective.name] for objective in objectives]
        if len(reference) != len(objectives):
            raise InputError(f"expected a reference of {len(objectives)} objectives, got {len(reference)}")
        corner = [objective.loss(value) for objective, value in zip(objectives, reference, strict=True)]
        return hypervolume(self._losses, corner)

    def to_rows(self) -> list[dict[str, Any]]:
        """Returns one dict a trial: number, fidelity, objectives, the other costs, architecture; plain values."""
        names = [objective.name for objective in self.goals.objectives]
        return [
            {
                "trial": trial.number,
                "fidelity": str(trial.proposal.fidelity),
                **{name: trial.values[name] for name in names},
                **{name: figure.value for name, figure in trial.costs.items() if name not in names},
                "architecture": dict(trial.architecture),
            }
            for trial in self
        ]

    def __str__(self) -> str:
        rows = self.to_rows()
        if not rows:
            return "an empty front: no complete trial meets the limits"
        columns = list(dict.fromkeys(name for row in rows for name in row if name != "architecture"))
        table = [[name.removesuffix("_ms").removesuffix("_mj").removesuffix("_bytes") for name in columns]]
        table += [[_cell(name, row.get(name)) for name in columns] for row in rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in table)
        return "\n".join(lines)

    def __repr__(self) -> str:
        goals = ", ".join(f"{objective.name} {objective.direction}" for objective in self.goals.objectives)
        return f"Front({len(self)} of {len(self._feasible)} trials: {goals})"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    return format_figure(name, value) if isinstance(value, float) or unit_of(name) is not None else str(value)
