"""Architectures as standardised columns: an encoding, and training-free scores beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.space import Architecture, Space

Array = npt.NDArray[np.float64]
Columns = Callable[[Sequence[Architecture]], Array]
"""Architectures to columns, ``[n, k]``: an encoding, or training-free scores."""


def check_values(architectures: Sequence[Architecture], values: Array) -> Array:
    """Returns values as float64 of shape ``[n]``.

    Raises:
        InputError: None, another number than of architectures, or not finite.
    """
    checked = np.asarray(values, np.float64)
    if checked.shape != (len(architectures),) or not len(checked):
        raise InputError(
            f"expected one value for each of at least one architecture, got {checked.shape} for {len(architectures)}"
        )
    if not np.isfinite(checked).all():
        bad = int(np.flatnonzero(~np.isfinite(checked))[0])
        raise InputError(f"expected finite values, got {checked[bad]} at position {bad}")
    return checked


def check_fitted(fitted: object) -> None:
    """Raises `InputError` when nothing was fitted yet."""
    if fitted is None:
        raise InputError("the predictor was not fitted: call fit(architectures, values) before predict")


def read(columns: Columns, architectures: Sequence[Architecture]) -> Array:
    """Returns columns of architectures as float64, ``[n, k]``.

    Raises:
        InputError: Another shape.
    """
    found = np.asarray(columns(architectures), np.float64)
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or len(found) != len(architectures):
        raise InputError(f"expected columns of shape ({len(architectures)}, k), got {found.shape}")
    return found


class Scores:
    """Training-free scores on a common scale, learnt from those of the trained architectures.

    Each column becomes the normal quantile of its rank among them, which is indifferent to the many magnitudes of such
    scores, with straight lines between; what is not finite counts as the worst seen.
    """

    def __init__(self, scores: Array) -> None:
        from sartor.estimators.predictors._warp import Warp

        finite = np.where(np.isfinite(scores), scores, np.nan)
        self._lowest = [float(np.nanmin(column)) if np.isfinite(column).any() else 0.0 for column in finite.T]
        self._warps = [Warp.fit(column, "rank") for column in self._filled(scores).T]

    def _filled(self, scores: Array) -> Array:
        return np.where(np.isfinite(scores), scores, np.array(self._lowest, np.float64))

    def __call__(self, scores: Array) -> Array:
        """Returns scores on that scale, ``[n, k]``, from -4 to 4."""
        columns = self._filled(scores).T
        warped = [
            warp(column) if len(warp.knots[0]) > 1 else np.zeros(len(column))
            for warp, column in zip(self._warps, columns, strict=True)
        ]
        return np.clip(np.stack(warped, 1), -4.0, 4.0) if warped else np.zeros((len(scores), 0))


class Inputs:
    """What networks and trees read: an encoding's columns as mean 0 and variance 1, scores by rank.

    Args:
        space: Whose architectures are read.
        encoding: One-hot when None.
        features: Training-free scores, or None.
    """

    def __init__(self, space: Space, encoding: Columns | None, features: Columns | None) -> None:
        from sartor.space.encodings.one_hot import OneHot

        self._encoding: Columns = OneHot(space) if encoding is None else encoding
        self._features = features

    def fit(self, architectures: Sequence[Architecture]) -> Array:
        """Returns the columns of trained architectures, ``[n, k]``, and keeps their scales."""
        encoded = read(self._encoding, architectures)
        self._centre, self._scale = encoded.mean(0), encoded.std(0)
        # What all trained ones share says nothing, and would be divided by nothing.
        self._kept = self._scale > 1e-9
        if self._features is not None:
            self._scores = Scores(read(self._features, architectures))
        return self(architectures)

    def __call__(self, architectures: Sequence[Architecture]) -> Array:
        """Returns the columns of architectures, ``[n, k]``."""
        kept = self._kept
        encoded: Array = (read(self._encoding, architectures)[:, kept] - self._centre[kept]) / self._scale[kept]
        if self._features is None:
            return encoded
        return np.hstack([encoded, self._scores(read(self._features, architectures))])
