"""One perceptron, as PNAS has (Liu et al. 2018, arXiv:1712.00559), its error measured by cross-validation.

It says the same deviation of every architecture, that of values left out of trainings on the rest: `ensemble` tells
known from unknown ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sartor.estimators.predictors._committee import Committee, Training, folds, left_out
from sartor.estimators.predictors._inputs import Columns, Inputs, check_fitted, check_values
from sartor.estimators.predictors._warp import Scale, WarpKind
from sartor.registry import Spec
from sartor.space import Architecture, Space

SPEC = Spec(
    "mlp",
    "sartor.estimators.predictors.mlp:MLP",
    "one perceptron, one deviation for all",
    citation="Liu et al. 2018, arXiv:1712.00559",
)

Array = npt.NDArray[np.float64]
_NUM_FOLDS = 5


class MLP:
    """Predicts by one perceptron.

    Args:
        space: Whose architectures are predicted.
        seed: Same seed and values, same predictions.
        encoding: What the network reads; one-hot when None.
        features: Training-free scores, columns beside the encoding.
        warp: Scale on which values are learnt.
        training: Of the network.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        encoding: Columns | None = None,
        features: Columns | None = None,
        warp: WarpKind = "log",
        training: Training | None = None,
    ) -> None:
        self._inputs = Inputs(space, encoding, features)
        self._seed, self._kind, self._training = seed, warp, training or Training()
        self._committee: Committee | None = None

    def fit(self, architectures: Sequence[Architecture], values: Array) -> None:
        """See `sartor.contracts.Predictor`."""
        values = check_values(architectures, values)
        self._scale, targets = Scale.fit(values, self._kind)
        inputs = self._inputs.fit(architectures)
        n = len(targets)
        num_folds = min(_NUM_FOLDS, n) if n > 2 else 0
        own = folds(n, max(num_folds, 1), np.random.default_rng([self._seed, 42]))
        shares = np.vstack([np.ones((1, n)), *([left_out(own, num_folds, 1)] if num_folds else [])])
        self._committee = Committee(inputs, targets, shares, self._training, self._seed)
        self._deviation = 1.0
        if num_folds:
            unseen = self._committee.predict(inputs)[1 + own, np.arange(n)]
            self._deviation = float(np.sqrt(((targets - unseen) ** 2).mean()))

    def predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """See `sartor.contracts.Predictor`. The noise of single trainings is part of the deviations."""
        check_fitted(self._committee)
        assert self._committee is not None
        if not architectures:
            return np.empty(0), np.empty(0)
        mean = self._committee.predict(self._inputs(architectures))[0]
        return self._scale.moments(mean, np.full(len(mean), self._deviation))
