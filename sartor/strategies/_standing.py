"""How good a finished trial is, limits first: constraint domination (Deb et al. 2002, doi:10.1109/4235.996017, VI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.front import domination_ranks
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.strategies._fresh import from_text
from sartor.trials import Trial

WORST = 1e300
"""The largest violation; infinity has no JSON."""


@dataclass(frozen=True)
class Standing:
    """What a strategy remembers of a trial.

    Attributes:
        architecture: Which.
        amount: Fidelity.
        violation: Summed relative excess over the limits; 0 when feasible.
        losses: Objectives, smaller is better; empty when it was not trained.
    """

    architecture: Architecture
    amount: float
    violation: float
    losses: tuple[float, ...]

    @property
    def feasible(self) -> bool:
        return self.violation == 0.0

    @property
    def key(self) -> tuple[float, float, float]:
        """Sorts by limits, then by fidelity (a promoted one was better at the lower), then by the primary objective."""
        return (self.violation, -self.amount, self.losses[0]) if self.feasible else (self.violation, 0.0, 0.0)

    def to_json(self) -> list[Any]:
        return [self.architecture.to_json(), self.amount, self.violation, list(self.losses)]

    @classmethod
    def from_json(cls, space: Space, value: Sequence[Any]) -> Standing:
        text, amount, violation, losses = value
        return cls(from_text(space, text), amount, violation, tuple(losses))


def standing(trial: Trial, goals: Goals) -> Standing | None:
    """Returns how a trial stands; None when it failed, so that nothing is known but that it is not to be had."""
    amount = trial.proposal.fidelity.amount
    if trial.state == "infeasible":
        # Without a known excess (a limit that only the engine knew) it is as bad as can be.
        return Standing(trial.architecture, amount, min(goals.excess(trial.values) or WORST, WORST), ())
    if trial.state != "complete":
        return None
    losses = goals.losses(trial)
    if not np.isfinite(losses).all():
        return None
    return Standing(trial.architecture, amount, min(goals.excess(trial.values), WORST), tuple(losses.tolist()))


def constrained_ranks(standings: Sequence[Standing]) -> npt.NDArray[np.intp]:
    """Returns levels under constraint domination: feasible ones by non-domination, then the others by violation.

    Args:
        standings: Of one fidelity, or of several where a higher one counts as better.
    """
    ranks = np.zeros(len(standings), dtype=np.intp)
    level = 0
    for amount in sorted({s.amount for s in standings if s.feasible}, reverse=True):
        index = [i for i, s in enumerate(standings) if s.feasible and s.amount == amount]
        ranks[index] = level + domination_ranks([standings[i].losses for i in index])
        level = int(ranks[index].max()) + 1
    broken = [i for i, s in enumerate(standings) if not s.feasible]
    if broken:
        _, order = np.unique([standings[i].violation for i in broken], return_inverse=True)
        ranks[broken] = level + order.reshape(-1)
    return ranks
