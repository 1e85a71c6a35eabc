"""One number to reward a trial by: objectives scalarised with soft limits (MnasNet, Tan et al., arXiv:1807.11626).

MnasNet multiplies the accuracy by a power of ``cost / target``. Here the logarithm of that power is added to the rank
of the trial among all told at its fidelity, from -1 (worst) to 1 (best): metrics need be neither positive nor of a
known scale, and the best few are told apart as well as the rest. A cost that is an objective counts on both sides of
its target (its limit, else the median told), a cost that is only limited counts beyond the limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.goals import Goals
from sartor.trials import Trial
from sartor.units import unit_of

Array = npt.NDArray[np.float64]

_EXPONENT = 0.2
"""Of a cost that is an objective: half the cost is worth a rise of 0.14, by 7% of all trials."""
_BEYOND = 1.0
"""Of a cost beyond its limit."""
_LEAST_COST = 1e-9
_MOST = 2.0
"""Largest part of a reward that a cost takes or gives."""


@dataclass(frozen=True)
class _Told:
    amount: float
    losses: tuple[float, ...]
    """Of the objectives that are no costs, smaller is better; empty when it broke a limit."""
    costs: Mapping[str, float]
    """Logarithms."""


class Reward:
    """Rewards of all trials told, by what is known of all of them.

    Args:
        goals: Objectives and limits.
    """

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self._limits = {limit.name: math.log(limit.bound) for limit in goals.limits}
        self._objectives = [o.name for o in goals.objectives if unit_of(o.name) is not None]
        self._learned = [i for i, o in enumerate(goals.objectives) if unit_of(o.name) is None]
        self._told: list[_Told] = []

    def __len__(self) -> int:
        return len(self._told)

    def tell(self, trial: Trial) -> bool:
        """Adds a trial; returns False when it failed, or has no finite value, and so has no reward."""
        losses: tuple[float, ...] = ()
        if trial.state == "complete":
            found = self._goals.losses(trial)
            if not np.isfinite(found).all():
                return False
            losses = tuple(found[self._learned].tolist())
        elif trial.state != "infeasible":
            return False
        values = trial.values
        names = dict.fromkeys([*self._objectives, *self._limits])
        costs = {
            name: math.log(max(values[name], _LEAST_COST))
            for name in names
            if math.isfinite(values.get(name, math.nan))
        }
        if self._goals.broken(values):
            losses = ()
        self._told.append(_Told(trial.proposal.fidelity.amount, losses, costs))
        return True

    def values(self) -> Array:
        """Returns the reward of each trial in the order told, as things stand now."""
        rewards = np.full(len(self._told), -1.0)
        for amount in sorted({told.amount for told in self._told}):
            rows = [i for i, told in enumerate(self._told) if told.amount == amount and told.losses]
            if rows:
                table = np.array([self._told[i].losses for i in rows])
                rewards[rows] = np.mean([_utility(column) for column in table.T], axis=0)
        for name in dict.fromkeys([*self._objectives, *self._limits]):
            rows = [i for i, told in enumerate(self._told) if name in told.costs]
            if not rows:
                continue
            costs = np.array([self._told[i].costs[name] for i in rows])
            over = costs - self._limits.get(name, float(np.median(costs)))
            below = _EXPONENT if name in self._objectives else 0.0
            above = _BEYOND if name in self._limits else _EXPONENT
            rewards[rows] -= np.clip(np.where(over > 0, above, below) * over, -_MOST, _MOST)
        return rewards

    def state_dict(self) -> list[Any]:
        return [[told.amount, list(told.losses), dict(told.costs)] for told in self._told]

    def load_state_dict(self, state: Sequence[Any]) -> None:
        self._told = [_Told(amount, tuple(losses), dict(costs)) for amount, losses, costs in state]


def _utility(losses: Array) -> Array:
    """Returns from -1 for the largest loss to 1 for the smallest; equal losses have equal utilities, one alone 0."""
    if len(losses) == 1:
        return np.zeros(1)
    values, inverse, counts = np.unique(-losses, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ends - (counts + 1) / 2
    found: Array = 2 * ranks[inverse.reshape(-1)] / (len(losses) - 1) - 1
    return found
