"""A Gaussian process over paths, subtrees, choices and training-free scores.

Rasmussen and Williams 2006; the blocks are those of BANANAS (paths, arXiv:1910.11858) and NAS-BOWL
(Weisfeiler-Lehman subtrees, arXiv:2006.07556). One rational quadratic kernel sees the weighted sum of the squared
distances of all blocks, each score a block of its own, so that what says nothing gets no weight; a linear kernel on
each block of counts and on all scores is added. Weights, amplitudes and noise are the most probable under log-normal
priors (marginal likelihood, its gradient in closed form), so that a few dozen values do not overfit them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.estimators.predictors._inputs import Columns, Scores, check_fitted, check_values, read
from sartor.estimators.predictors._structure import Block, Structure
from sartor.estimators.predictors._warp import Scale, WarpKind
from sartor.registry import Spec
from sartor.space import Architecture, Space

SPEC = Spec(
    "gaussian-process",
    "sartor.estimators.predictors.gaussian_process:GaussianProcess",
    "Gaussian process over paths, subtrees, choices and training-free scores",
    extra="predictors",
    citation="Rasmussen and Williams 2006; Ru et al. 2021, arXiv:2006.07556",
)

Array = npt.NDArray[np.float64]
_PART = 4096
"""Architectures predicted at a time: bounds the memory."""
_JITTER = 1e-6
_PRIOR_LINEAR = _PRIOR_NOISE = 0.1
_PRIOR_SCORES = 0.5
"""Medians of the priors of amplitudes and of the noise, in the variance of the values."""
_BOUND = 6.0
"""Farthest logarithm from its prior's median."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    blocks: list[Block]
    """Those with a kernel, then one a score."""
    scales: Array
    """Of the blocks: median squared distances."""
    linear_scales: Array
    num_counts: int
    weights: Array
    amplitude: float
    linear: Array
    factor: Array
    """Lower Cholesky factor of the covariance of the values."""
    solved: Array


class GaussianProcess:
    """Predicts by a process whose hyperparameters are fitted anew each time.

    Fitting 100 values takes some tenths of a second. An architecture is described when first met (about a fifth of a
    millisecond for a cell) and remembered, so that asking again about thousands is fast.

    Args:
        space: Whose architectures are predicted.
        seed: Not used: nothing is random.
        features: Training-free scores, each weighted by itself.
        warp: Scale on which values are Gaussian.
        num_likelihood: Values that the hyperparameters are fitted to, spread evenly over those given; all are used to
            predict.
        max_steps: Of L-BFGS.
        structure: Shared with another predictor that is fitted to the same values, so that each architecture is
            described once.

    Raises:
        InputError: ``num_likelihood`` or ``max_steps`` below 1.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        features: Columns | None = None,
        warp: WarpKind = "log",
        num_likelihood: int = 300,
        max_steps: int = 50,
        structure: Structure | None = None,
    ) -> None:
        if num_likelihood < 1 or max_steps < 1:
            raise InputError(f"num_likelihood and max_steps are at least 1, got {num_likelihood} and {max_steps}")
        self._structure, self._features, self._kind = structure or Structure(space), features, warp
        self._num_likelihood, self._max_steps = num_likelihood, max_steps
        self._fitted: _Fitted | None = None

    def fit(self, architectures: Sequence[Architecture], values: Array) -> None:
        """See `sartor.contracts.Predictor`."""
        from scipy.linalg import cho_solve, cholesky

        values = check_values(architectures, values)
        self._scale, targets = Scale.fit(values, self._kind)
        counts = self._structure.fit(architectures)
        if self._features is not None:
            self._scores = Scores(read(self._features, architectures))
        blocks = [*counts, *self._score_blocks(architectures)]
        distances = np.stack([block.squared(block) for block in blocks])
        scales = np.array([_median(each) for each in distances])
        distances /= scales[:, None, None]
        linear = np.stack(_linear(blocks, blocks, len(counts)))
        linear_scales = np.array([float(np.trace(each)) / len(values) or 1.0 for each in linear])
        linear /= linear_scales[:, None, None]
        rows = np.unique(np.linspace(0, len(values) - 1, self._num_likelihood).astype(int))
        weights, amplitude, shares, noise = _most_probable(
            distances[:, rows][:, :, rows],
            linear[:, rows][:, :, rows],
            targets[rows],
            _medians(len(counts), len(blocks) - len(counts), len(linear)),
            self._max_steps,
        )
        covariance = amplitude * _kernel(np.tensordot(weights, distances, 1))[0] + np.tensordot(shares, linear, 1)
        covariance[np.diag_indices(len(values))] += noise + _JITTER
        factor = cholesky(covariance, lower=True)
        solved = cho_solve((factor, True), targets)
        self._fitted = _Fitted(blocks, scales, linear_scales, len(counts), weights, amplitude, shares, factor, solved)

    def _score_blocks(self, architectures: Sequence[Architecture]) -> list[Block]:
        if self._features is None:
            return []
        scores = self._scores(read(self._features, architectures))
        return [Block(column[:, None], column**2) for column in scores.T]

    def predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """See `sartor.contracts.Predictor`."""
        check_fitted(self._fitted)
        if not architectures:
            return np.empty(0), np.empty(0)
        starts = range(0, len(architectures), _PART)
        parts = [self._scale.moments(*self._predict(architectures[i : i + _PART])) for i in starts]
        return np.concatenate([mean for mean, _ in parts]), np.concatenate([std for _, std in parts])

    def _predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """Returns means and standard deviations on the scale, on which they are Gaussian, ``[n]`` each."""
        from scipy.linalg import solve_triangular

        fitted = self._fitted
        check_fitted(fitted)
        assert fitted is not None
        blocks = [*self._structure(architectures), *self._score_blocks(architectures)]
        squared = sum(
            weight / scale * block.squared(own)
            for weight, scale, block, own in zip(fitted.weights, fitted.scales, blocks, fitted.blocks, strict=True)
        )
        shares = fitted.linear / fitted.linear_scales
        cross = fitted.amplitude * _kernel(np.asarray(squared))[0]
        for share, product in zip(shares, _linear(blocks, fitted.blocks, fitted.num_counts), strict=True):
            cross += share * product
        prior = fitted.amplitude + sum(
            share * norms for share, norms in zip(shares, _linear_norms(blocks, fitted.num_counts), strict=True)
        )
        explained = solve_triangular(fitted.factor, cross.T, lower=True)
        variance = np.maximum(prior - (explained**2).sum(0), 1e-9)
        return cross @ fitted.solved, np.sqrt(variance)


def _median(squared: Array) -> float:
    positive = squared[squared > 1e-12]
    return float(np.median(positive)) if len(positive) else 1.0


def _linear(blocks: Sequence[Block], others: Sequence[Block], num_counts: int) -> list[Array]:
    """Returns the inner products of each block of counts, and the sum of those of the scores."""
    products = [block.seen @ other.seen.T for block, other in zip(blocks, others, strict=True)]
    scores = products[num_counts:]
    return products[:num_counts] + ([np.asarray(sum(scores))] if scores else [])


def _linear_norms(blocks: Sequence[Block], num_counts: int) -> list[Array]:
    scores = [block.norms for block in blocks[num_counts:]]
    return [block.norms for block in blocks[:num_counts]] + ([np.asarray(sum(scores))] if scores else [])


def _kernel(squared: Array) -> tuple[Array, Array]:
    """Returns the rational quadratic kernel of exponent 1 and its derivative by the squared distance."""
    kernel = 1 / (1 + squared / 2)
    return kernel, -0.5 * kernel**2


def _medians(num_counts: int, num_scores: int, num_linear: int) -> Array:
    """Returns the logarithms of the priors' medians: weights, amplitude, linear amplitudes, noise."""
    medians: Array = np.log(
        np.concatenate(
            [
                np.full(num_counts, 1 / num_counts),
                np.full(num_scores, _PRIOR_SCORES / max(num_scores, 1)),
                [1.0],
                np.full(num_linear, _PRIOR_LINEAR),
                [_PRIOR_NOISE],
            ]
        )
    )
    return medians


def _most_probable(
    distances: Array, linear: Array, targets: Array, medians: Array, max_steps: int
) -> tuple[Array, float, Array, float]:
    """Returns weights of distances, amplitude, linear amplitudes and noise: the maximum a posteriori.

    Args:
        distances: ``[b, n, n]``.
        linear: ``[l, n, n]``.
        targets: ``[n]``.
        medians: Of the priors, logarithms, which all have deviation 1.
        max_steps: Of L-BFGS.
    """
    from scipy.linalg import LinAlgError, cho_solve, cholesky
    from scipy.optimize import minimize

    num, n = len(distances), len(targets)
    diagonal = np.diag_indices(n)
    flat, flat_linear = distances.reshape(num, -1), linear.reshape(len(linear), -1)

    def loss(logarithms: Array) -> tuple[float, Array]:
        own = np.exp(logarithms)
        weights, amplitude, shares, noise = own[:num], own[num], own[num + 1 : -1], own[-1]
        kernel, slope = _kernel((weights @ flat).reshape(n, n))
        covariance = amplitude * kernel + (shares @ flat_linear).reshape(n, n)
        covariance[diagonal] += noise + _JITTER
        away = logarithms - medians
        try:
            factor = cholesky(covariance, lower=True)
        except LinAlgError:
            return 1e12, away
        inverse = cho_solve((factor, True), np.eye(n))
        solved = inverse @ targets
        value = 0.5 * targets @ solved + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        outer = 0.5 * (inverse - np.outer(solved, solved))
        gradient = np.concatenate(
            [
                flat @ (outer * slope).ravel() * amplitude * weights,
                [(outer * kernel).sum() * amplitude],
                flat_linear @ outer.ravel() * shares,
                [np.trace(outer) * noise],
            ]
        )
        return float(value), gradient + away

    bounds = list(zip(medians - _BOUND, medians + _BOUND, strict=True))
    found = minimize(loss, medians, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": max_steps})
    own = np.exp(found.x)
    return own[:num], float(own[num]), own[num + 1 : -1], float(own[-1])
