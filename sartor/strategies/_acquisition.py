"""Which candidate is worth a training: functions of what a model says of it, smaller is better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Acquisition = Callable[[Array, Array, float, np.random.Generator], Array]
"""Means and deviations of losses, ``[k]`` each, and the smallest mean of what is known, to values, ``[k]``."""


def mean(means: Array, deviations: Array, best: float, rng: np.random.Generator) -> Array:
    """Returns the means: greedy."""
    return means


def independent_sample(means: Array, deviations: Array, best: float, rng: np.random.Generator) -> Array:
    """Returns a sample of each candidate by itself (White et al. 2021, arXiv:1910.11858: ITS)."""
    return rng.normal(means, deviations)


def improvement(means: Array, deviations: Array, best: float, rng: np.random.Generator) -> Array:
    """Returns the negative logarithm of the expected improvement."""
    return -log_improvement(means, deviations, best)


def log_improvement(means: Array, deviations: Array, best: float) -> Array:
    """Returns the logarithm of the expected improvement of losses on ``best``, ``[k]``.

    Far from the best the tail's expansion is used, as the difference underflows (Ament et al. 2023, arXiv:2310.20708).
    """
    from scipy.special import log_ndtr, ndtr

    z = (best - means) / deviations
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    near = np.log(np.maximum(density + z * ndtr(z), 1e-300))
    far = np.where(z < 0, log_ndtr(np.minimum(z, 0)) - np.log1p(z**2) + np.log(np.maximum(-z, 1.0)), 0.0)
    return np.asarray(np.log(deviations) + np.where(z > -4, near, far))
