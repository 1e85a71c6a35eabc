"""A training-free ranking, corrected by a few trainings.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) whose prior mean is the training-free rank: what the
trainings say otherwise is learnt over the paths and subtrees of the architectures, so that it moves those alike. Far
from everything trained the rank stays what it was. Both are normal scores of ranks, on which failures and outliers do
not rule. Weights of the kernel, its length and the noise are fixed, as twenty values cannot tell them: they were chosen
on NAS-Bench-201/CIFAR-10, how far the rank is believed beforehand on two graphs of NAS-Bench-Graph too, on one of which
it ranks the wrong way. What is trained is spread over the ranking (`spread`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.estimators.predictors._structure import Block, Structure
from sartor.estimators.predictors._warp import normal_scores
from sartor.space import Architecture, Space

CALIBRATED = "calibrated"
"""What the corrected ranking is called beside the scores."""
LEAST = 5
"""Trainings of which anything is learnt."""
Array = npt.NDArray[np.float64]

_SLOPE, _SLOPE_VARIANCE = 0.6, 0.2
"""Of the trained rank over the training-free one, before anything is trained: it may be worth nothing."""
_OFFSET_VARIANCE = 4.0
_SIGNAL, _NOISE = 0.4, 0.3
_LENGTH = 0.25
"""Squared distance at which similarity is halved, in units of the mean squared distance."""
_PART = 4_096
"""Architectures described at a time."""


def spread(prior: Array, num: int, seed: int) -> list[int]:
    """Returns rows to train: one drawn from each of ``num`` equal parts of the ranking; the dead are left out.

    Args:
        prior: Training-free score, ``[n]``, higher is better, minus infinity for the dead.
        num: How many, at least `LEAST`.
        seed: Of the draw.

    Raises:
        InputError: Too few, or more than are alive.
    """
    alive = np.flatnonzero(prior > -math.inf)
    if not LEAST <= num <= len(alive):
        raise InputError(f"expected from {LEAST} trainings to {len(alive)}, as many as are alive, got {num}")
    rng = np.random.default_rng([seed, 0xCA1])
    order = alive[np.argsort(prior[alive], kind="stable")]
    return [int(rng.choice(part)) for part in np.array_split(order, num)]


def calibrated(
    space: Space, architectures: Sequence[Architecture], prior: Array, rows: Sequence[int], values: Sequence[float]
) -> Array:
    """Returns a score of each architecture, ``[n]``, higher is better; the dead stay at minus infinity.

    Args:
        space: Of the architectures.
        architectures: All that are ranked.
        prior: Their training-free score, ``[n]``, e.g. the aggregate's.
        rows: Of those trained, at least `LEAST`, none of them dead.
        values: What training came to, higher is better; minus infinity where it failed.

    Raises:
        InputError: Too few trainings, another number of values, a NaN, or a row of a dead network.
    """
    trained, found = list(rows), np.asarray(values, np.float64)
    alive = prior > -math.inf
    if len(trained) < LEAST or len(found) != len(trained):
        raise InputError(f"expected a value of each of at least {LEAST} trainings, got {len(found)} of {len(trained)}")
    if np.isnan(found).any() or not alive[trained].all():
        raise InputError("expected numbers, of networks that are alive")
    before = np.full(len(prior), -math.inf)
    before[alive] = normal_scores(prior[alive])
    known = before[trained]
    kernels = _similar(space, architectures, trained)
    covariance = _SIGNAL * kernels[trained] + _OFFSET_VARIANCE + _SLOPE_VARIANCE * np.outer(known, known)
    covariance[np.diag_indices(len(trained))] += _NOISE
    wanted = normal_scores(found)
    wanted = wanted / (wanted.std() or 1.0)
    solved = np.linalg.solve(covariance, wanted - _SLOPE * known)
    result = np.full(len(prior), -math.inf)
    own = before[alive]
    cross = _SIGNAL * kernels[alive] + _OFFSET_VARIANCE + _SLOPE_VARIANCE * np.outer(own, known)
    result[alive] = _SLOPE * own + cross @ solved
    return result


def _similar(space: Space, architectures: Sequence[Architecture], rows: Sequence[int]) -> Array:
    """Returns how alike architectures and those of some rows are, from 0 to 1, ``[n, rows]``.

    The rational quadratic kernel of exponent 1, the mean over paths and subtrees; over choices in a space whose graphs
    are not known.
    """
    structure = Structure(space, ("paths", "subtrees") if space.is_wired else ("choices",))
    chosen = structure.fit([architectures[row] for row in rows])
    parts = [
        _squared(structure(architectures[i : i + _PART]), chosen) for i in range(0, len(architectures), _PART)
    ]
    whole = [np.concatenate(blocks) for blocks in zip(*parts, strict=True)]
    kernels = [1 / (1 + squared / (_LENGTH * (squared.mean() or 1.0))) for squared in whole]
    mean: Array = np.mean(kernels, axis=0)
    return mean


def _squared(blocks: Sequence[Block], others: Sequence[Block]) -> list[Array]:
    return [block.squared(other) for block, other in zip(blocks, others, strict=True)]
