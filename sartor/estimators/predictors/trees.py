"""Gradient-boosted trees (Friedman 2001; as predictors of architectures Luo et al. 2020, arXiv:2007.04785).

scikit-learn's, on counts of paths and subtrees, choices and training-free scores. Each split looks at a tenth of the
columns, which are many more than values. Several ensembles of other random draws are averaged; their disagreement and
the error on values left out give the deviations, as in `sartor.estimators.predictors.ensemble`.

On hundreds of values the exact splits of ``GradientBoostingRegressor`` are as good as those of
``HistGradientBoostingRegressor``, and several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.estimators.predictors._committee import folds
from sartor.estimators.predictors._inputs import Columns, Scores, check_fitted, check_values, read
from sartor.estimators.predictors._structure import Structure
from sartor.estimators.predictors._warp import Scale, WarpKind
from sartor.estimators.predictors.ensemble import calibrated
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.trials import derive_seed

SPEC = Spec(
    "trees",
    "sartor.estimators.predictors.trees:Trees",
    "gradient-boosted trees over paths, subtrees, choices and training-free scores",
    extra="predictors",
    citation="Friedman 2001; Luo et al. 2020, arXiv:2007.04785",
)

Array = npt.NDArray[np.float64]
_NUM_FOLDS = 5


class Trees:
    """Predicts by boosted trees.

    Args:
        space: Whose architectures are predicted.
        seed: Same seed and values, same predictions.
        features: Training-free scores, columns beside the counts.
        warp: Scale on which values are learnt.
        num_ensembles: Averaged, at least 2.
        num_trees: In each.
        learning_rate: Share of each tree that is added.
        max_depth: Of a tree.
        structure: Shared with another predictor that is fitted to the same values, so that each architecture is
            described once.

    Raises:
        InputError: ``num_ensembles`` below 2, or ``num_trees`` or ``max_depth`` below 1.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        features: Columns | None = None,
        warp: WarpKind = "log",
        num_ensembles: int = 3,
        num_trees: int = 300,
        learning_rate: float = 0.04,
        max_depth: int = 6,
        structure: Structure | None = None,
    ) -> None:
        if num_ensembles < 2 or min(num_trees, max_depth) < 1:
            raise InputError("num_ensembles is at least 2; num_trees and max_depth are at least 1")
        self._structure, self._features, self._kind = structure or Structure(space), features, warp
        self._seed, self._num = seed, num_ensembles
        self._num_trees, self._rate, self._depth = num_trees, learning_rate, max_depth
        self._ensembles: list[Any] | None = None

    def fit(self, architectures: Sequence[Architecture], values: Array) -> None:
        """See `sartor.contracts.Predictor`."""
        inputs, targets = self.grow(architectures, values)
        n = len(targets)
        self._floor = 1.0
        if n > 2:
            num_folds = min(_NUM_FOLDS, n)
            own = folds(n, num_folds, np.random.default_rng([self._seed, 44]))
            unseen = np.empty((2, n))
            for fold in range(num_folds):
                kept = own != fold
                for i in range(2):
                    unseen[i, ~kept] = self._boosted(inputs[kept], targets[kept], i).predict(inputs[~kept])
            self._factor, self._floor = calibrated(targets - unseen.mean(0), unseen.var(0, ddof=1))

    def grow(self, architectures: Sequence[Architecture], values: Array) -> tuple[Array, Array]:
        """Fits without leaving values out, so that deviations are the disagreement and no more.

        Returns:
            Columns, ``[n, k]``, and the standardised values, ``[n]``, that were fitted.
        """
        values = check_values(architectures, values)
        self._scale, targets = Scale.fit(values, self._kind)
        self._structure.fit(architectures)
        if self._features is not None:
            self._scores = Scores(read(self._features, architectures))
        inputs = self._columns(architectures)
        self._ensembles = [self._boosted(inputs, targets, i) for i in range(self._num)]
        self._factor, self._floor = 1.0, 0.0
        return inputs, targets

    def _boosted(self, inputs: Array, targets: Array, number: int) -> Any:
        from sklearn.ensemble import GradientBoostingRegressor

        ensemble = GradientBoostingRegressor(
            n_estimators=self._num_trees,
            learning_rate=self._rate,
            max_depth=self._depth,
            min_samples_leaf=3,
            subsample=0.7 if len(targets) > 5 else 1.0,
            max_features=0.1,
            random_state=derive_seed(self._seed, number),
        )
        return ensemble.fit(inputs, targets)

    def _columns(self, architectures: Sequence[Architecture]) -> Array:
        columns = [block.seen for block in self._structure(architectures)]
        if self._features is not None:
            columns.append(self._scores(read(self._features, architectures)))
        # A space without any choice has no column of its own.
        return np.hstack([*columns, np.zeros((len(architectures), 1))])

    def predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """See `sartor.contracts.Predictor`. The noise of single trainings is part of the deviations."""
        check_fitted(self._ensembles)
        assert self._ensembles is not None
        if not architectures:
            return np.empty(0), np.empty(0)
        inputs = self._columns(architectures)
        said = np.stack([ensemble.predict(inputs) for ensemble in self._ensembles])
        variance = self._factor * said.var(0, ddof=1) + self._floor
        return self._scale.moments(said.mean(0), np.sqrt(variance))
