"""What the costs told so far say about the costs of other architectures.

A cost is known without training, of infeasible trials too, and its logarithm is nearly additive over choices: a dozen
figures are enough to leave most architectures beyond the limits unasked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.strategies._fresh import Fresh, from_text
from sartor.strategies._gaussian_process import GaussianProcess
from sartor.trials import Trial
from sartor.units import unit_of

Array = npt.NDArray[np.float64]

MIN_TOLD = 4
"""Figures of a cost from which it is predicted."""
MAX_FITTED = 256
"""Figures that a process is fitted to, the latest: a fit takes cubic time."""
_GROWTH = 1.2
"""A process is fitted anew when so many times more figures are told: a function of their number, so that a restored
strategy predicts the same."""
_LEAST_COST = 1e-9
"""A cost of zero (no parameters, no operations) has no logarithm."""
_LEAST_SPREAD = 0.03
"""Standard deviation of a prediction's logarithm at least: measurements repeat within a few percent."""


class CostModel:
    """A Gaussian process for the logarithm of each cost that is an objective or limited.

    Args:
        space: Encodes architectures.
        goals: Objectives and limits.
    """

    def __init__(self, space: Space, goals: Goals) -> None:
        self.space, self.limits = space, goals.limits
        costs = [o.name for o in goals.objectives if unit_of(o.name) is not None]
        self.names = list(dict.fromkeys([*costs, *(limit.name for limit in goals.limits)]))
        self._told: dict[str, tuple[Architecture, dict[str, float]]] = {}
        self._fitted: dict[str, tuple[int, GaussianProcess]] = {}

    def tell(self, trial: Trial) -> None:
        """Learns the costs of a trial in any state."""
        values = trial.values
        costs = {name: math.log(max(values[name], _LEAST_COST)) for name in self.names if name in values}
        if costs:
            digest = Fresh.digest(trial.architecture)
            known = self._told.get(digest, (self.space.architecture(trial.architecture), {}))
            if known[1] and known[1] != known[1] | costs:
                # Others may have been fitted with what was known of it before.
                self._fitted = {}
            self._told[digest] = known[0], known[1] | costs

    def known(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns the logarithms of an architecture's costs, as far as they were told."""
        return self._told.get(Fresh.digest(architecture), (architecture, {}))[1]

    def _process(self, name: str) -> GaussianProcess | None:
        told = [(architecture, costs[name]) for architecture, costs in self._told.values() if name in costs]
        num = MIN_TOLD
        while max(num + 1, int(num * _GROWTH)) <= len(told):
            num = max(num + 1, int(num * _GROWTH))
        if len(told) < num:
            return None
        if name not in self._fitted or self._fitted[name][0] != num:
            used = told[:num][-MAX_FITTED:]
            inputs = encoded(self.space, [architecture for architecture, _ in used])
            self._fitted[name] = num, GaussianProcess.fit(inputs, np.array([value for _, value in used]))
        return self._fitted[name][1]

    def predict(self, name: str, inputs: Array) -> tuple[Array, Array] | None:
        """Returns mean and deviation of a cost's logarithm, shape ``(k,)`` each, or None while too few are known."""
        process = self._process(name)
        if process is None:
            return None
        mean, deviation = process.marginals(inputs)
        return mean, np.maximum(deviation, _LEAST_SPREAD)

    def log_feasible(self, architectures: Sequence[Architecture]) -> Array:
        """Returns the logarithm of the probability that all limits hold (Gardner et al. 2014), shape ``(k,)``."""
        if not self.limits:
            return np.zeros(len(architectures))
        return self.log_feasible_of(encoded(self.space, architectures))

    def log_feasible_of(self, inputs: Array) -> Array:
        """Returns the same of `encoded` architectures."""
        total = np.zeros(len(inputs))
        for limit in self.limits:
            predicted = self.predict(limit.name, inputs)
            if predicted is not None:
                total += _log_normal_cdf((math.log(limit.bound) - predicted[0]) / predicted[1])
        return total

    def state_dict(self) -> list[Any]:
        return [[architecture.to_json(), dict(costs)] for architecture, costs in self._told.values()]

    def load_state_dict(self, state: Sequence[Any]) -> None:
        self._told, self._fitted = {}, {}
        for text, costs in state:
            architecture = from_text(self.space, text)
            self._told[Fresh.digest(architecture)] = architecture, dict(costs)


def encoded(space: Space, architectures: Sequence[Architecture]) -> Array:
    """Returns the architectures as float64 features, shape ``(n, num_features)``."""
    return np.asarray(space.encode(architectures), dtype=np.float64)


def _log_normal_cdf(z: Array) -> Array:
    """Returns the logarithm of the standard normal's distribution function, floored where it underflows."""
    return np.log(np.maximum([0.5 * math.erfc(-value / math.sqrt(2)) for value in z.tolist()], 1e-12))
