"""Values on a scale on which they can be learnt, and predictions back in their unit.

Accuracies have a heavy tail: many networks fail, good ones differ by little. A model of the values themselves spends
itself on the failures (Snelson et al. 2004, "Warped Gaussian Processes", learn such a scale; here it is read off the
quantiles, which a dozen values determine).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError

Array = npt.NDArray[np.float64]
WarpKind = Literal["log", "rank", "none"]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_SHARES = _WEIGHTS / _WEIGHTS.sum()
"""Gauss-Hermite quadrature under a standard normal distribution."""
_TAIL = 0.1
"""Share of the values beyond which the tail begins."""
_UNKNOWN = 0.01
"""Unit where all values are equal, relative to them."""


@dataclass(frozen=True, eq=False)
class Warp:
    """A strictly increasing function of values; linear where all values are equal.

    Attributes:
        kind: ``log``: linear on the side of the median where values are dense, logarithmic on the other, so that what
            lies beyond the best still has room; ``rank``: to the quantiles of a normal distribution; ``none``.
        centre: Value that becomes 0.
        unit: Distance from the centre that becomes 1, on the dense side.
        sign: 1 when the tail is below the centre, else -1.
        low: Smallest of the values that are answered.
        high: Largest.
        knots: For ``rank``: values ascending, and where they go, ``[2, k]``.
    """

    kind: WarpKind
    centre: float
    unit: float
    sign: float
    low: float
    high: float
    knots: Array

    @classmethod
    def fit(cls, values: Array, kind: WarpKind = "log") -> Warp:
        """Returns the warp for values of shape ``[n]``, ``n`` >= 1.

        Raises:
            InputError: An unknown kind.
        """
        if kind not in ("log", "rank", "none"):
            raise InputError(f"warp is log, rank or none, got {kind!r}")
        centre = float(np.median(values))
        below, above = centre - float(np.quantile(values, _TAIL)), float(np.quantile(values, 1 - _TAIL)) - centre
        # Ties may fill one side.
        unknown = _UNKNOWN * (abs(centre) or 1.0)
        unit = min((side for side in (below, above) if side > 0), default=float(values.std()) or unknown)
        spread = float(np.ptp(values)) or unit
        return cls(
            kind,
            centre,
            unit,
            1.0 if below >= above else -1.0,
            float(values.min()) - spread,
            float(values.max()) + spread,
            _knots(values) if kind == "rank" else np.empty((2, 0)),
        )

    def __call__(self, values: Array) -> Array:
        """Returns values on the scale, of the same shape."""
        if self.kind == "rank":
            return _line(values, *self.knots)
        scaled = self.sign * (values - self.centre) / self.unit
        if self.kind == "none":
            return self.sign * scaled
        return self.sign * np.where(scaled < 0, -np.log1p(np.maximum(-scaled, 0.0)), scaled)

    def inverse(self, warped: Array) -> Array:
        """Returns the values of numbers on the scale: at most one range of the fitted values beyond them."""
        if self.kind == "rank":
            values = _line(warped, *self.knots[::-1])
        else:
            scaled = self.sign * warped
            if self.kind == "log":
                # Beyond what is answered, and no further, so that nothing overflows.
                farthest = np.log1p((self.high - self.low) / self.unit)
                scaled = np.where(scaled < 0, -np.expm1(np.minimum(-scaled, farthest)), scaled)
            values = self.centre + self.unit * self.sign * scaled
        return np.clip(values, self.low, self.high)

    def moments(self, mean: Array, std: Array) -> tuple[Array, Array]:
        """Returns means and standard deviations of the values of normal distributions on the scale, ``[n]`` each.

        What is uncertain has its mean nearer to the tail than the value of its ``mean``.
        """
        if self.kind == "none":
            return self.inverse(mean), self.unit * std
        points = self.inverse(mean[:, None] + std[:, None] * _NODES)
        means = points @ _SHARES
        return means, np.sqrt(np.maximum((points - means[:, None]) ** 2 @ _SHARES, 0.0))


@dataclass(frozen=True, eq=False)
class Scale:
    """A warp, then mean 0 and variance 1: what models learn.

    Attributes:
        warp: Comes first.
        mean, std: Of the warped values.
    """

    warp: Warp
    mean: float
    std: float

    @classmethod
    def fit(cls, values: Array, kind: WarpKind = "log") -> tuple[Scale, Array]:
        """Returns the scale of values of shape ``[n]``, ``n`` >= 1, and the values on it.

        Raises:
            InputError: An unknown kind.
        """
        warp = Warp.fit(values, kind)
        warped = warp(values)
        scale = cls(warp, float(warped.mean()), float(warped.std()) or 1.0)
        return scale, (warped - scale.mean) / scale.std

    def moments(self, mean: Array, std: Array) -> tuple[Array, Array]:
        """Returns means and standard deviations of the values of normal distributions on the scale, ``[n]`` each."""
        return self.warp.moments(self.mean + self.std * mean, self.std * std)


def _knots(values: Array) -> Array:
    """Returns the different values and the normal quantiles of their mean ranks."""
    known, counts = np.unique(values, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2
    quantile = NormalDist().inv_cdf
    return np.stack([known, [quantile(share) for share in (ranks / len(values)).tolist()]])


def _line(points: Array, before: Array, after: Array) -> Array:
    """Returns the polygon through the knots at ``points``, its first and last pieces going on."""
    if len(before) == 1:
        shifted: Array = points - before[0] + after[0]
        return shifted
    at = np.clip(np.searchsorted(before, points) - 1, 0, len(before) - 2)
    slopes = np.diff(after) / np.diff(before)
    line: Array = after[at] + slopes[at] * (points - before[at])
    return line


def normal_scores(values: Array) -> Array:
    """Returns the normal quantiles of the ranks, ``[n]``; ties share theirs."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores: Array = ndtri((rankdata(values) - 0.5) / len(values))
    return scores
