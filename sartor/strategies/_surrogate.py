"""A Gaussian process over several descriptions of an architecture at once.

Its kernel is a weighted sum: one squared exponential for each description (choices one by one, paths, training-free
scores), and a linear one over the choices. Weights, length scales and noise are those of the highest marginal
likelihood under broad priors, found by a coordinate search from where the last fit ended: deterministic, and cheap
enough to repeat with every result (Rasmussen and Williams 2006, chapters 2, 4 and 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cholesky, solve_triangular

Array = npt.NDArray[np.float64]
Groups = Sequence[npt.NDArray[np.floating]]
"""One matrix a description, ``[n, features]`` each; the first has the choices one by one."""

_STEPS = (1.0, -1.0, 0.4, -0.4)
"""Of the coordinate search, in the logarithm of a parameter."""
_NUM_SWEEPS = 2
_LOG_NOISE, _NOISE_SPREAD = np.log(0.02), 1.5
"""Prior of the logarithm of the share of the variance that is noise."""
_JITTER = 1e-6
_CAP = 4.0


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted process; made by `fit`.

    Attributes:
        parameters: Logarithms of the weights, of the length scales (in units of the median squared distance between the
            inputs) and of the noise: where the next fit may begin.
    """

    parameters: Array
    _groups: Groups
    _kernel: _Kernel
    _lower: Array
    _weights: Array
    _mean: float
    _std: float
    _variance: float

    @classmethod
    def fit(cls, groups: Groups, targets: Array, start: Array | None = None, *, search: bool = True) -> Surrogate:
        """Returns the process of ``targets``, ``[n]``, n >= 1.

        Args:
            groups: Descriptions of the architectures.
            targets: Their values.
            start: Parameters to begin with, where they are of as many descriptions.
            search: Whether they are improved.
        """
        kernel = _Kernel.of(groups)
        mean, std = float(targets.mean()), float(targets.std()) or 1.0
        values = (targets - mean) / std
        parts = kernel.parts(groups, groups)
        if start is not None and len(start) != kernel.num_parameters:
            start = None
        parameters = np.zeros(kernel.num_parameters) if start is None else start.copy()
        if start is None:
            parameters[-1] = _LOG_NOISE
        if search and len(targets) > 2:
            parameters = _best(kernel, parts, values, parameters, _NUM_SWEEPS if start is None else 1)
        lower = cholesky(_noisy(kernel, parts, parameters), lower=True, check_finite=False)
        solved = solve_triangular(lower, values, lower=True, check_finite=False)
        variance = float(solved @ solved) / len(values) if values.any() else 1.0
        weights = solve_triangular(lower, solved, lower=True, trans=1, check_finite=False)
        return cls(parameters, groups, kernel, lower, weights, mean, std, max(variance, 1e-12))

    def marginals(self, groups: Groups) -> tuple[Array, Array]:
        """Returns means and standard deviations of the values without noise, ``[k]`` each."""
        cross = self._kernel.mixed(self._kernel.parts(groups, self._groups), self.parameters)
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        prior = self._kernel.diagonal(groups, self.parameters)
        variance = self._variance * np.maximum(prior - (solved**2).sum(0), 1e-10)
        return self._mean + self._std * (cross @ self._weights), self._std * np.sqrt(variance)

    def joint(self, groups: Groups) -> tuple[Array, Array]:
        """Returns means, ``[k]``, and the covariance of the values without noise, ``[k, k]``."""
        cross = self._kernel.mixed(self._kernel.parts(groups, self._groups), self.parameters)
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        prior = self._kernel.mixed(self._kernel.parts(groups, groups), self.parameters)
        covariance = self._std**2 * self._variance * (prior - solved.T @ solved)
        return self._mean + self._std * (cross @ self._weights), covariance


@dataclass(frozen=True, eq=False)
class _Kernel:
    """What the kernel takes from the inputs that it is fitted to."""

    centre: Array
    scale: float
    medians: tuple[float, ...]

    @classmethod
    def of(cls, groups: Groups) -> _Kernel:
        centre = groups[0].mean(0)
        scale = float(((groups[0] - centre) ** 2).sum(1).mean()) or 1.0
        medians = []
        for group in groups:
            distances = _squared(group, group)
            apart = distances[distances > 1e-9]
            medians.append(float(np.median(apart)) if len(apart) else 1.0)
        return cls(centre, scale, tuple(medians))

    @property
    def num_parameters(self) -> int:
        return 2 * len(self.medians) + 2

    def parts(self, first: Groups, second: Groups) -> list[Array]:
        """Returns the linear kernel and the scaled squared distances, ``[n, m]`` each."""
        linear = (first[0] - self.centre) @ (second[0] - self.centre).T / self.scale
        apart = [_squared(a, b) for a, b in zip(first, second, strict=True)]
        for each, median in zip(apart, self.medians, strict=True):
            each /= median
        return [linear, *apart]

    def _shares(self, parameters: Array) -> tuple[Array, Array]:
        num = len(self.medians)
        weights = np.exp(parameters[: num + 1])
        return weights / weights.sum(), np.exp(parameters[num + 1 : -1])

    def mixed(self, parts: Sequence[Array], parameters: Array) -> Array:
        weights, lengths = self._shares(parameters)
        mixed: Array = weights[0] * parts[0]
        # In place: thousands of candidates by hundreds of results are moved about, not computed.
        kernel = np.empty_like(mixed)
        for weight, length, apart in zip(weights[1:], lengths, parts[1:], strict=True):
            np.multiply(apart, -0.5 / length, out=kernel)
            np.exp(kernel, out=kernel)
            kernel *= weight
            mixed += kernel
        return mixed

    def diagonal(self, groups: Groups, parameters: Array) -> Array:
        weights, _ = self._shares(parameters)
        linear = ((groups[0] - self.centre) ** 2).sum(1) / self.scale
        return np.asarray(weights[0] * linear + weights[1:].sum())


def _squared(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Array:
    """Returns squared distances, ``[n, m]``."""
    squared: Array = first @ (-2.0 * second.T)
    squared += np.einsum("ij,ij->i", first, first)[:, None]
    squared += np.einsum("ij,ij->i", second, second)
    return np.maximum(squared, 0.0, out=squared)


def _noisy(kernel: _Kernel, parts: Sequence[Array], parameters: Array) -> Array:
    mixed = kernel.mixed(parts, parameters)
    mixed.flat[:: len(mixed) + 1] += np.exp(parameters[-1]) + _JITTER
    return mixed


def _score(kernel: _Kernel, parts: Sequence[Array], values: Array, parameters: Array) -> float:
    """Returns the logarithm of the marginal likelihood, its scale profiled out, and of the prior."""
    try:
        lower = cholesky(_noisy(kernel, parts, parameters), lower=True, check_finite=False)
    except LinAlgError:
        return -np.inf
    solved = solve_triangular(lower, values, lower=True, check_finite=False)
    variance = max(float(solved @ solved) / len(values), 1e-12)
    apart = np.append(parameters[:-1], (parameters[-1] - _LOG_NOISE) / _NOISE_SPREAD)
    prior = 0.5 * float(apart @ apart)
    return -0.5 * len(values) * float(np.log(variance)) - float(np.log(np.diag(lower)).sum()) - prior


def _best(kernel: _Kernel, parts: Sequence[Array], values: Array, parameters: Array, num_sweeps: int) -> Array:
    best = _score(kernel, parts, values, parameters)
    for _ in range(num_sweeps):
        for i in range(len(parameters)):
            for step in _STEPS:
                tried = parameters.copy()
                tried[i] += step
                score = _score(kernel, parts, values, tried)
                if score > best:
                    best, parameters = score, tried
    return parameters


def capped(losses: Array) -> Array:
    """Returns losses of which the worst are drawn in: where the bad ones differ does not matter, but rules the fit.

    Beyond the median, at most four times the median distance of the better half from it counts.
    """
    median = float(np.median(losses))
    spread = float(np.median(np.abs(losses[losses <= median] - median)))
    return np.minimum(losses, median + _CAP * spread) if spread > 0 else losses
