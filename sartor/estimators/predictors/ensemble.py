"""A deep ensemble whose deviations are calibrated on values that it has not seen.

Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474, as the predictor of BANANAS (White, Neiswanger and
Savani 2021, arXiv:1910.11858): perceptrons that differ in their first weights alone; where they disagree, little is
known. Such deviations are too small by a factor that depends on the space, so it is measured: pairs of networks are
trained on four fifths of the values, five times, and the variance becomes ``a * disagreement + b`` with the ``a`` and
``b`` under which the values left out are likeliest. The mean of a pair errs more than that of the ensemble, so that the
deviations are rather too large.

Deviations from the papers: the networks are small and learn warped values by squared errors, all at once as one
batched network; no adversarial examples, no variance of each network's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.estimators.predictors._committee import Committee, Training, folds, left_out
from sartor.estimators.predictors._inputs import Columns, Inputs, check_fitted, check_values
from sartor.estimators.predictors._warp import Scale, WarpKind
from sartor.registry import Spec
from sartor.space import Architecture, Space

SPEC = Spec(
    "ensemble",
    "sartor.estimators.predictors.ensemble:Ensemble",
    "deep ensemble of perceptrons, deviations calibrated by cross-validation",
    citation="Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474; White et al. 2021, arXiv:1910.11858",
)

Array = npt.NDArray[np.float64]
_NUM_FOLDS = 5
_NUM_UNSEEING = 2
"""Networks that leave one fold out."""
_FACTORS = np.concatenate([[0.0], np.geomspace(0.25, 64.0, 9)])
"""Of the networks' disagreement."""
_FLOORS = np.geomspace(1e-3, 2.0, 12)
"""Variances added, in that of the values."""


class Ensemble:
    """Predicts by the mean of several perceptrons.

    Args:
        space: Whose architectures are predicted.
        seed: Same seed and values, same predictions.
        encoding: What the networks read; one-hot when None. BANANAS reads paths.
        features: Training-free scores, columns beside the encoding.
        num_networks: In the ensemble, at least 2.
        warp: Scale on which values are learnt.
        training: Of the networks.

    Raises:
        InputError: ``num_networks`` below 2.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        encoding: Columns | None = None,
        features: Columns | None = None,
        num_networks: int = 5,
        warp: WarpKind = "log",
        training: Training | None = None,
    ) -> None:
        if num_networks < 2:
            raise InputError(f"num_networks is at least 2, got {num_networks}")
        self._inputs = Inputs(space, encoding, features)
        self._seed, self._num, self._kind = seed, num_networks, warp
        self._training = training or Training()
        self._committee: Committee | None = None

    def fit(self, architectures: Sequence[Architecture], values: Array) -> None:
        """See `sartor.contracts.Predictor`."""
        values = check_values(architectures, values)
        self._scale, targets = Scale.fit(values, self._kind)
        inputs = self._inputs.fit(architectures)
        n = len(targets)
        num_folds = min(_NUM_FOLDS, n) if n > 2 else 0
        own = folds(n, max(num_folds, 1), np.random.default_rng([self._seed, 41]))
        shares = np.ones((self._num, n))
        if num_folds:
            shares = np.vstack([shares, left_out(own, num_folds, _NUM_UNSEEING)])
        self._committee = Committee(inputs, targets, shares, self._training, self._seed)
        self._factor, self._floor = 1.0, 1.0
        if num_folds:
            said = self._committee.predict(inputs)[self._num :].reshape(num_folds, _NUM_UNSEEING, n)
            unseen = said[own, :, np.arange(n)]
            self._factor, self._floor = calibrated(targets - unseen.mean(1), unseen.var(1, ddof=1))

    def predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """See `sartor.contracts.Predictor`. The noise of single trainings is part of the deviations."""
        check_fitted(self._committee)
        assert self._committee is not None
        if not architectures:
            return np.empty(0), np.empty(0)
        said = self._committee.predict(self._inputs(architectures))[: self._num]
        variance = self._factor * said.var(0, ddof=1) + self._floor
        return self._scale.moments(said.mean(0), np.sqrt(variance))


def calibrated(residuals: Array, variances: Array) -> tuple[float, float]:
    """Returns factor and floor under which residuals, ``[n]``, are likeliest: N(0, factor * variance + floor)."""
    total = _FACTORS[:, None, None] * variances + _FLOORS[:, None]
    losses = (np.log(total) + residuals**2 / total).sum(2)
    i, j = np.unravel_index(int(losses.argmin()), losses.shape)
    return float(_FACTORS[i]), float(_FLOORS[j])
