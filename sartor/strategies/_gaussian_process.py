"""Regression by a Gaussian process on encoded architectures, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_LENGTHS = (0.5, 1.0, 2.0)
"""Length scales tried, in units of the median distance between the inputs."""
_NOISES = (0.03, 0.1, 0.3, 0.6)
"""Shares of the variance that may be noise."""
_LINEAR = 0.5
"""Share of the signal that is additive over choices: what a width costs, costs nearly as much beside any kernel."""


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process: linear plus squared-exponential kernel (Rasmussen and Williams 2006, chapters 2, 4 and 5).

    The squared exponential of one-hot features falls with the number of choices that differ; length scale and noise are
    those of the highest marginal likelihood on a small grid, which cannot overfit a few dozen values.
    """

    inputs: Array
    centre: Array
    scale: float
    length: float
    signal: float
    """Share of the variance that is not noise."""
    whitener: Array
    weights: Array
    mean: float
    std: float

    @classmethod
    def fit(cls, inputs: Array, targets: Array) -> GaussianProcess:
        """Returns the process of ``inputs``, shape ``(n, features)``, and ``targets``, shape ``(n,)``, ``n`` >= 1."""
        mean, std = float(targets.mean()), float(targets.std()) or 1.0
        values = (targets - mean) / std
        centre = inputs.mean(0)
        scale = float(((inputs - centre) ** 2).sum(1).mean()) or 1.0
        squared = _squared(inputs, inputs)
        typical = float(np.median(squared[squared > 0])) if (squared > 0).any() else 1.0
        best: tuple[float, float, float, Array, Array] | None = None
        for length in (typical * factor**2 for factor in _LENGTHS):
            # One decomposition serves all shares of noise.
            spectrum, vectors = np.linalg.eigh(_kernel(inputs, inputs, squared, centre, scale, length))
            projected = vectors.T @ values
            for noise in _NOISES:
                variances = (1 - noise) * np.maximum(spectrum, 0.0) + noise
                likelihood = -0.5 * float((projected**2 / variances + np.log(variances)).sum())
                if best is None or likelihood > best[0]:
                    whitener = vectors.T / np.sqrt(variances)[:, None]
                    best = likelihood, length, 1 - noise, whitener, vectors @ (projected / variances)
        assert best is not None, "the grid is not empty"
        _, length, signal, whitener, solved = best
        return cls(inputs, centre, scale, length, signal, whitener, signal * solved, mean, std)

    def marginals(self, inputs: Array) -> tuple[Array, Array]:
        """Returns mean and standard deviation without noise, shape ``(k,)`` each, in units of the targets."""
        cross = _kernel(inputs, self.inputs, _squared(inputs, self.inputs), self.centre, self.scale, self.length)
        solved = self.whitener @ (self.signal * cross.T)
        prior = _LINEAR * ((inputs - self.centre) ** 2).sum(1) / self.scale + (1 - _LINEAR)
        variance = np.maximum(self.signal * prior - (solved**2).sum(0), 0.0)
        return self.mean + self.std * (cross @ self.weights), self.std * np.sqrt(variance)

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Returns mean, shape ``(k,)``, and covariance without noise, shape ``(k, k)``, in units of the targets."""
        cross = _kernel(inputs, self.inputs, _squared(inputs, self.inputs), self.centre, self.scale, self.length)
        prior = _kernel(inputs, inputs, _squared(inputs, inputs), self.centre, self.scale, self.length)
        solved = self.whitener @ (self.signal * cross.T)
        return self.mean + self.std * (cross @ self.weights), self.std**2 * (self.signal * prior - solved.T @ solved)


def _squared(first: Array, second: Array) -> Array:
    """Returns squared distances, shape ``(n, m)``."""
    norms = (first**2).sum(1)[:, None] + (second**2).sum(1)
    squared: Array = np.maximum(norms - 2 * first @ second.T, 0.0)
    return squared


def _kernel(first: Array, second: Array, squared: Array, centre: Array, scale: float, length: float) -> Array:
    linear: Array = (first - centre) @ (second - centre).T / scale
    return _LINEAR * linear + (1 - _LINEAR) * np.exp(-0.5 * squared / length)


def draw(mean: Array, covariance: Array, rng: np.random.Generator) -> Array:
    """Returns one joint sample, shape ``(k,)``."""
    variance = float(np.diag(covariance).mean())
    lower = np.linalg.cholesky(covariance + (1e-6 * variance + 1e-12) * np.eye(len(mean)))
    sample: Array = mean + lower @ rng.standard_normal(len(mean))
    return sample
