"""Asynchronous successive halving, ASHA (Li et al. 2020, arXiv:1810.05934), around another strategy.

The other strategy (the sampler) proposes architectures at the lowest fidelity; whenever something may be promoted to
the next rung, it is, else a new architecture begins. With several objectives the top of a rung is its first
non-domination levels, and of the level that is cut, the points that spread best, starting from the best in the primary
objective (MO-ASHA with epsilon-net, Schmucker et al. 2021, arXiv:2106.12639).

Rungs hold trials within the limits alone. Levels are kept up to date as results come in (`Levels`), so that asking does
not sort the rung again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.goals import Goals
from sartor.registry import Spec, find
from sartor.space import Architecture, Space
from sartor.strategies._fidelity import ascending
from sartor.strategies._fresh import check_at_least
from sartor.strategies._levels import Levels
from sartor.strategies._standing import Standing, standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "asha",
    "sartor.strategies.asha:Asha",
    "asynchronous successive halving around another strategy",
    citation="Li et al. 2020, arXiv:1810.05934; Schmucker et al. 2021, arXiv:2106.12639",
)


class Asha:
    """Promotes the best of each rung to the next fidelity.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending: the rungs.
        seed: Same seed and results, same proposals.
        initial: Proposed first, at the lowest fidelity.
        sampler: Name of the strategy that proposes new architectures.
        sampler_options: Its keyword arguments.
        eta: One in so many of a rung is promoted.

    Raises:
        InputError: ``eta`` below 2, unknown sampler, or ``asha`` itself as sampler.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        sampler: str = "evolution",
        sampler_options: Mapping[str, Any] | None = None,
        eta: int = 3,
    ) -> None:
        check_at_least("eta", eta, 2)
        if sampler == "asha":
            raise InputError(f"asha needs a strategy that proposes new architectures, not {sampler!r}: e.g. evolution")
        self._space, self._goals, self._fidelities, self._eta = space, goals, ascending(fidelities), eta
        kind = find("strategies", sampler).load()
        self._sampler = kind(space, goals, self._fidelities[:1], seed=seed, initial=initial, **(sampler_options or {}))
        self._rungs = [_Rung(len(goals.objectives)) for _ in self._fidelities]

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            proposal = self._promotion()
            if proposal is None:
                new = self._sampler.ask(1)
                if not new:
                    break
                proposal = new[0]
            proposals.append(proposal)
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        rung_of = {fidelity: rung for fidelity, rung in zip(self._fidelities, self._rungs, strict=True)}
        for trial in trials:
            result = standing(trial, self._goals)
            if result is not None and result.feasible and trial.proposal.fidelity in rung_of:
                rung_of[trial.proposal.fidelity].add(trial.number, result)
        self._sampler.tell(trials)

    def _promotion(self) -> Proposal | None:
        """Returns the promotion to the highest rung for which there is one."""
        for below in reversed(range(len(self._rungs) - 1)):
            rung = self._rungs[below]
            position = rung.promotable(self._eta)
            if position is not None:
                rung.promoted.add(position)
                number, result = rung.entries[position]
                return Proposal(result.architecture, self._fidelities[below + 1], continues=number)
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self._sampler.state_dict(), "rungs": [rung.state_dict() for rung in self._rungs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sampler.load_state_dict(state["sampler"])
        self._rungs = [_Rung.from_state(self._space, len(self._goals.objectives), rung) for rung in state["rungs"]]


class _Rung:
    """Feasible results of one fidelity, and which of them were promoted."""

    def __init__(self, num_objectives: int) -> None:
        self.entries: list[tuple[int, Standing]] = []
        """Trial number and standing, in the order told."""
        self.promoted: set[int] = set()
        self._levels = Levels(num_objectives)
        self._settled = False
        """Whether nothing has come in since the last time that there was nothing to promote."""

    def add(self, number: int, result: Standing) -> None:
        self.entries.append((number, result))
        self._levels.add(result.losses)
        self._settled = False

    def promotable(self, eta: int) -> int | None:
        """Returns the position of the best entry that is in the top ``1 / eta`` and not promoted, or None."""
        if self._settled:
            return None
        room = len(self.entries) // eta
        for level in self._levels.members:
            if room <= 0:
                break
            waiting = [i for i in level if i not in self.promoted]
            if waiting:
                order = _spread(self._levels.losses[level])
                for i in order[:room]:
                    if level[i] not in self.promoted:
                        return level[i]
            room -= len(level)
        self._settled = True
        return None

    def state_dict(self) -> dict[str, Any]:
        return {
            "entries": [[number, result.to_json()] for number, result in self.entries],
            "promoted": sorted(self.promoted),
        }

    @classmethod
    def from_state(cls, space: Space, num_objectives: int, state: Mapping[str, Any]) -> _Rung:
        rung = cls(num_objectives)
        for number, result in state["entries"]:
            rung.add(number, Standing.from_json(space, result))
        rung.promoted = set(state["promoted"])
        return rung


def _spread(losses: npt.NDArray[np.float64]) -> list[int]:
    """Returns the order of an epsilon-net: the best in the first objective, then always the farthest from those taken.

    Args:
        losses: Points of one level, shape ``(num_points, num_objectives)``.
    """
    span = np.ptp(losses, axis=0)
    points = losses / np.where(span > 0, span, 1.0)
    order = [int(np.lexsort(losses.T[::-1])[0])]
    distance = np.linalg.norm(points - points[order[0]], axis=1)
    distance[order[0]] = -1.0
    while len(order) < len(points):
        farthest = int(distance.argmax())
        order.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(points - points[farthest], axis=1))
        distance[farthest] = -1.0
    return order
