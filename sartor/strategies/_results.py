"""What was told of trained architectures, as models read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.front import domination_ranks
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.strategies._costs import MAX_FITTED, CostModel
from sartor.strategies._fresh import Fresh, from_text
from sartor.trials import Trial

Array = npt.NDArray[np.float64]
_AUGMENTATION = 0.05
_RIDGE = 2.0
"""So many results' worth of belief that the gain from a fidelity to the next does not depend on the costs."""


@dataclass
class Known:
    """A trained architecture, and its losses of the learned objectives by fidelity."""

    architecture: Architecture
    losses: dict[float, list[float]]


class Results:
    """Losses and costs of what was trained, each architecture once, in the order first told.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.

    Attributes:
        costs: Knows the costs, of infeasible architectures too.
        learned: The objectives that are known by training alone.
    """

    def __init__(self, space: Space, goals: Goals) -> None:
        self._space, self._goals = space, goals
        self.costs = CostModel(space, goals)
        self.learned = [o for o in goals.objectives if o.name not in self.costs.names]
        self._known: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def known(self) -> list[Known]:
        return list(self._known.values())

    def tell(self, trial: Trial) -> None:
        """Learns costs and, of a complete trial, losses."""
        self.costs.tell(trial)
        if trial.state != "complete":
            return
        losses = self._goals.losses(trial)
        if np.isfinite(losses).all():
            digest = Fresh.digest(trial.architecture)
            known = self._known.setdefault(digest, Known(self._space.architecture(trial.architecture), {}))
            kept = [i for i, o in enumerate(self._goals.objectives) if o in self.learned]
            known.losses[trial.proposal.fidelity.amount] = losses[kept].tolist()

    def within(self) -> list[Known]:
        """Returns those that meet the limits."""
        return [known for known in self._known.values() if self._is_within(known.architecture)]

    def _is_within(self, architecture: Architecture) -> bool:
        costs = self.costs.known(architecture)
        return all(costs.get(limit.name, -np.inf) <= np.log(limit.bound) + 1e-12 for limit in self._goals.limits)

    def fitted(self) -> list[Known]:
        """Returns the results that are modelled: at most 256, half of them the best, the others the latest."""
        trained = self.known
        if len(trained) <= MAX_FITTED:
            return trained
        order = np.argsort(self.lifted(trained)[:, 0], kind="stable") if self.learned else np.arange(len(trained))
        kept = set(order[: MAX_FITTED // 2].tolist())
        latest = (i for i in reversed(range(len(trained))) if i not in kept)
        kept |= {next(latest) for _ in range(MAX_FITTED - len(kept))}
        return [trained[i] for i in sorted(kept)]

    def lifted(self, trained: Sequence[Known]) -> Array:
        """Returns each one's losses as they would be at the highest fidelity reached by any, ``[n, num_learned]``.

        A lower fidelity is lifted by what the architectures that have both gained from it to the next one, on average
        and by their costs: large networks gain more from long trainings than small ones.
        """
        amounts = sorted({amount for known in trained for amount in known.losses})
        costs = np.array([self._costs_of(known) for known in trained])
        highest = [max(known.losses) for known in trained]
        found = np.array([known.losses[amount] for known, amount in zip(trained, highest, strict=True)])
        for lower, upper in zip(amounts, amounts[1:], strict=False):
            pairs = [i for i, known in enumerate(trained) if lower in known.losses and upper in known.losses]
            if pairs:
                gains = [np.subtract(trained[i].losses[upper], trained[i].losses[lower]) for i in pairs]
                rows = [i for i, amount in enumerate(highest) if amount <= lower]
                found[rows] += _predicted(costs[pairs], np.array(gains), costs[rows])
        return found

    def _costs_of(self, known: Known) -> list[float]:
        told = self.costs.known(known.architecture)
        return [told.get(name, 0.0) for name in self.costs.names]

    def losses(self, trained: Sequence[Known]) -> Array:
        """Returns the losses of all objectives, costs as logarithms, ``[num_trained, num_objectives]``."""
        learned = self.lifted(trained)
        at = {o.name: i for i, o in enumerate(self.learned)}
        return np.array(
            [
                [learned[row, at[o.name]] if o.name in at else costs[o.name] for o in self._goals.objectives]
                for row, costs in enumerate(self.costs.known(known.architecture) for known in trained)
            ]
        )

    def elite(self, trained: Sequence[Known], num: int) -> list[Architecture]:
        """Returns the ``num`` best by non-domination, then half as many more that are best in the primary objective."""
        losses = self.losses(trained)
        order = np.lexsort((losses[:, 0], domination_ranks(losses)))
        by_primary = np.argsort(losses[:, 0], kind="stable")
        best = dict.fromkeys([*order[:num].tolist(), *by_primary[: num // 2].tolist()])
        return [trained[i].architecture for i in best]

    def state_dict(self) -> dict[str, Any]:
        known = [
            [known.architecture.to_json(), [[amount, losses] for amount, losses in known.losses.items()]]
            for known in self._known.values()
        ]
        return {"costs": self.costs.state_dict(), "known": known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.costs.load_state_dict(state["costs"])
        self._known = {}
        for text, losses in state["known"]:
            known = Known(from_text(self._space, text), {amount: list(each) for amount, each in losses})
            self._known[Fresh.digest(known.architecture)] = known


def _predicted(inputs: Array, values: Array, new: Array) -> Array:
    """Returns values at ``new`` inputs, ``[k, w]``: the mean, and a ridge regression on the inputs within their range.

    Args:
        inputs: ``[n, d]``, d >= 0.
        values: ``[n, w]``.
        new: ``[k, d]``.
    """
    centre, scale = inputs.mean(0), inputs.std(0)
    scaled = (inputs - centre) / np.where(scale > 0, scale, 1.0)
    mean = values.mean(0)
    slopes = np.linalg.solve(scaled.T @ scaled + _RIDGE * np.eye(len(centre)), scaled.T @ (values - mean))
    low, high = inputs.min(0), inputs.max(0)
    beyond: Array = (np.clip(new, low, high) - centre) / np.where(scale > 0, scale, 1.0)
    return np.asarray(mean + beyond @ slopes)


def scalarised(losses: Array, weights: Array | None, known: Array) -> Array:
    """Returns a value of each row of losses, smaller is better: the augmented Chebyshev sum, or the first column.

    Args:
        losses: ``[n, num_objectives]``.
        weights: ``[num_objectives]``, or None for the primary objective alone.
        known: Losses that set the scale: their worst and best are 1 apart, ``[m, num_objectives]``.
    """
    low, high = known.min(0), known.max(0)
    scaled: Array = (losses - low) / np.where(high > low, high - low, 1.0)
    if weights is None:
        return scaled[:, 0]
    summed: Array = (weights * scaled).max(1) + _AUGMENTATION * (weights * scaled).sum(1)
    return summed


def drawn_weights(num_objectives: int, turn: int, rng: np.random.Generator) -> Array | None:
    """Returns random weights, or None every other turn: the best network within the limits is asked for most."""
    return None if num_objectives == 1 or turn % 2 == 0 else rng.dirichlet(np.ones(num_objectives))
