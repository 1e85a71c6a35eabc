"""A Gaussian process and boosted trees, averaged: the best ranking by a few hundred values, and not the fastest.

The two err in different ways. Their shares are those of the least squared error on values that both have not seen
(Wolpert 1992, "Stacked Generalization"; Breiman 1996, "Stacked Regressions", whose shares are not negative either),
held near one half, as a few dozen values cannot tell. Deviations are the process's, scaled so that the values left out
have the spread that is said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sartor.estimators.predictors._committee import folds
from sartor.estimators.predictors._inputs import Columns, check_fitted, check_values
from sartor.estimators.predictors._structure import Structure
from sartor.estimators.predictors._warp import Warp, WarpKind
from sartor.estimators.predictors.gaussian_process import GaussianProcess
from sartor.estimators.predictors.trees import Trees
from sartor.registry import Spec
from sartor.space import Architecture, Space

SPEC = Spec(
    "stack",
    "sartor.estimators.predictors.stack:Stack",
    "Gaussian process and boosted trees, averaged by what they say of values left out",
    extra="predictors",
    citation="Wolpert 1992; Breiman 1996",
)

Array = npt.NDArray[np.float64]
_NUM_FOLDS = 3
_HELD = 20
"""Values' worth of belief that both are equally good."""
_LEAST = 6
"""Values below which none is left out."""


class Stack:
    """Predicts by the weighted mean of a Gaussian process and boosted trees.

    Args:
        space: Whose architectures are predicted.
        seed: Same seed and values, same predictions.
        features: Training-free scores, read by both.
        tree_features: Further scores, read by the trees alone, which many columns disturb less.
        warp: Scale on which values are learnt.
        num_trees: In each of the ensembles of `Trees`.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        features: Columns | None = None,
        tree_features: Columns | None = None,
        warp: WarpKind = "log",
        num_trees: int = 300,
    ) -> None:
        self._seed, self._kind = seed, warp
        # On the scale of the stack already, so that both speak of the same.
        structure = Structure(space)
        self._process = GaussianProcess(space, seed, features=features, warp="none", structure=structure)
        self._trees = Trees(
            space, seed, features=tree_features or features, warp="none", num_trees=num_trees, structure=structure
        )
        self._warp: Warp | None = None

    def fit(self, architectures: Sequence[Architecture], values: Array) -> None:
        """See `sartor.contracts.Predictor`."""
        values = check_values(architectures, values)
        warp = Warp.fit(values, self._kind)
        targets = warp(values)
        n = len(targets)
        self._share, self._scale = 0.5, 1.0
        if n >= _LEAST:
            own = folds(n, _NUM_FOLDS, np.random.default_rng([self._seed, 45]))
            process, trees, deviations = np.empty(n), np.empty(n), np.empty(n)
            for fold in range(_NUM_FOLDS):
                kept = np.flatnonzero(own != fold).tolist()
                left = [architectures[i] for i in np.flatnonzero(own == fold).tolist()]
                self._fit([architectures[i] for i in kept], targets[kept])
                process[own == fold], deviations[own == fold] = self._process.predict(left)
                trees[own == fold] = self._trees.predict(left)[0]
            apart = process - trees
            spread = float(apart @ apart)
            if spread > 0:
                # Least squares, with _HELD more values for which one half is best.
                found = (float(apart @ (targets - trees)) + 0.5 * _HELD * spread / n) / (spread * (1 + _HELD / n))
                self._share = min(max(found, 0.0), 1.0)
            errors = (targets - self._mixed(process, trees)) / np.maximum(deviations, 1e-12)
            # One belief of 1 for each ten values that may be chance.
            self._scale = float(np.sqrt((errors @ errors + 10) / (n + 10)))
        self._fit(architectures, targets)
        self._warp = warp

    def _fit(self, architectures: Sequence[Architecture], targets: Array) -> None:
        self._process.fit(architectures, targets)
        self._trees.grow(architectures, targets)

    def _mixed(self, process: Array, trees: Array) -> Array:
        return self._share * process + (1 - self._share) * trees

    def predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """See `sartor.contracts.Predictor`. The noise of single trainings is part of the deviations."""
        check_fitted(self._warp)
        assert self._warp is not None
        process, deviation = self._process.predict(architectures)
        trees, _ = self._trees.predict(architectures)
        return self._warp.moments(self._mixed(process, trees), self._scale * deviation)
