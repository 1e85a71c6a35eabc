"""Final values from the beginnings of learning curves.

Two ways at once, as each fails where the other does not:

- Parametric curves (Domhan, Springenberg and Hutter 2015, "Speeding up Automatic Hyperparameter Optimization of Deep
  Neural Networks by Extrapolation of Learning Curves"): three families, ``a - b t^-c``, ``a - b / log(t + c)`` and
  ``a - b exp(-c t)``, fitted by least squares, the rate ``c`` on a grid, each weighted by how well it fits.
- A regression over finished curves (as in Baker et al. 2017, arXiv:1705.10823): from the last value, the sum over the
  curve (Ru et al. 2021, arXiv:2006.04492), the slope at its end and the extrapolation to the final value, by ridge
  regression with the penalty of the least error when each curve in turn is left out.

Without finished curves, the extrapolation alone is given, its deviation from the disagreement of the families. With
them, deviations are those of the curves left out, so that they are calibrated.

Deviation from Domhan et al.: no Markov chain, three of eleven families; the regression corrects what they miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.registry import Spec

SPEC = Spec(
    "curves",
    "sartor.estimators.predictors.curves:Curves",
    "final values from partial learning curves; fits curves, not architectures",
    citation="Domhan et al. 2015; Baker et al. 2017, arXiv:1705.10823; Ru et al. 2021, arXiv:2006.04492",
)

Array = npt.NDArray[np.float64]
Curve = Sequence[tuple[float, float]]
"""Points (step, value), steps above 0 and ascending."""
_RATES = np.geomspace(0.05, 4.0, 16)
_SHIFTS = np.geomspace(1.1, 20.0, 8)
_RIDGES = np.geomspace(1e-3, 1e3, 13)
_MIN_FINISHED = 4
"""Finished curves from which a regression is made."""
_BEYOND = 1.0
"""How far beyond the values seen an extrapolation may go, in their range."""


@dataclass(frozen=True, eq=False)
class _Regression:
    centre: Array
    scale: Array
    weights: Array
    inverse: Array
    mean: float
    std: float
    low: float
    high: float


class Curves:
    """Extrapolates partial learning curves to a step.

    Not a `sartor.contracts.Predictor` of architectures: it is given points of curves instead.

    Args:
        final: Step whose value is wanted.

    Raises:
        InputError: ``final`` is not above 0.
    """

    def __init__(self, final: float) -> None:
        if not final > 0:
            raise InputError(f"final is a step above 0, got {final}")
        self._final = float(final)
        self._regression: _Regression | None = None

    def fit(self, curves: Sequence[Curve], values: Array) -> None:
        """Learns from beginnings of finished curves, about as long as those to predict, and their values at ``final``.

        Fewer than four teach nothing: then `predict` extrapolates alone.

        Raises:
            InputError: Another number of values than of curves; a curve that is not as `Curve` says.
        """
        values = np.asarray(values, np.float64)
        if values.shape != (len(curves),) or not np.isfinite(values).all():
            raise InputError(f"expected a finite value for each of {len(curves)} curves, got shape {values.shape}")
        self._regression = None
        if len(curves) < _MIN_FINISHED:
            return
        described = np.stack([self._describe(curve) for curve in curves])
        centre, scale = described.mean(0), described.std(0)
        scale[scale < 1e-12] = 1.0
        inputs = (described - centre) / scale
        targets = values - values.mean()
        best: tuple[float, Array, Array, float] | None = None
        for ridge in _RIDGES:
            inverse = np.linalg.inv(inputs.T @ inputs + ridge * np.eye(inputs.shape[1]))
            weights = inverse @ inputs.T @ targets
            leverage = np.einsum("ij,jk,ik->i", inputs, inverse, inputs) + 1 / len(values)
            # The residual of a value left out, in closed form (Allen 1974).
            left_out = (targets - inputs @ weights) / np.maximum(1 - leverage, 1e-3)
            error = float((left_out**2).mean())
            if best is None or error < best[0]:
                best = error, weights, inverse, float(np.sqrt(error))
        assert best is not None, "the grid is not empty"
        _, weights, inverse, std = best
        spread = float(np.ptp(values))
        self._regression = _Regression(
            centre,
            scale,
            weights,
            inverse,
            float(values.mean()),
            std,
            float(values.min()) - _BEYOND * spread,
            float(values.max()) + _BEYOND * spread,
        )

    def predict(self, curves: Sequence[Curve]) -> tuple[Array, Array]:
        """Returns means and standard deviations of the values at ``final``, ``[n]`` each.

        Raises:
            InputError: A curve that is not as `Curve` says.
        """
        if not curves:
            return np.empty(0), np.empty(0)
        own = self._regression
        if own is None:
            found = [extrapolated(curve, self._final) for curve in curves]
            return np.array([mean for mean, _ in found]), np.array([std for _, std in found])
        inputs = (np.stack([self._describe(curve) for curve in curves]) - own.centre) / own.scale
        mean = np.clip(own.mean + inputs @ own.weights, own.low, own.high)
        # Curves unlike those seen are known less.
        farther = np.einsum("ij,jk,ik->i", inputs, own.inverse, inputs)
        return mean, own.std * np.sqrt(1 + farther)

    def _describe(self, curve: Curve) -> Array:
        steps, values = _points(curve)
        widths = np.diff(steps, prepend=0.0)
        behind = values[-max(len(values) // 4, 2) :]
        slope = float(behind[-1] - behind[0])
        return np.array([values[-1], values @ widths / steps[-1], slope, extrapolated(curve, self._final)[0]])


def _points(curve: Curve) -> tuple[Array, Array]:
    points = np.asarray(curve, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise InputError(f"a curve is finite points (step, value), at least one, got shape {points.shape}")
    steps, values = points[:, 0], points[:, 1]
    if steps[0] <= 0 or (np.diff(steps) <= 0).any():
        raise InputError(f"the steps of a curve are above 0 and ascend, got {steps.tolist()}")
    return steps, values


def extrapolated(curve: Curve, final: float) -> tuple[float, float]:
    """Returns mean and standard deviation of the value of a curve at step ``final``, from its points alone.

    Of fewer than three points it is the last value, with the range of the values as deviation.
    """
    steps, values = _points(curve)
    spread = float(np.ptp(values))
    if len(values) < 3 or spread == 0:
        return float(values[-1]), spread
    if final <= steps[-1]:
        return float(np.interp(final, steps, values)), 0.0
    time, end = steps / steps[-1], final / steps[-1]
    shapes = [(time**-rate, end**-rate) for rate in _RATES]
    shapes += [(1 / np.log(steps + shift), 1 / np.log(final + shift)) for shift in _SHIFTS]
    shapes += [(np.exp(-rate * time), np.exp(-rate * end)) for rate in _RATES]
    # The end of the curve says more of what follows.
    weights = time / time.sum()
    guesses, errors = [], []
    for shape, last in shapes:
        centred, around = shape - weights @ shape, values - weights @ values
        variance = float(weights @ centred**2)
        slope = float(weights @ (centred * around)) / variance if variance > 1e-15 else 0.0
        guesses.append(float(weights @ values) + slope * (last - float(weights @ shape)))
        errors.append(float(weights @ (around - slope * centred) ** 2))
    noise = max(min(errors), (1e-3 * spread) ** 2)
    likelihood = np.exp(-0.5 * len(values) * np.log(np.maximum(errors, noise) / noise))
    shares = likelihood / likelihood.sum()
    guess = np.clip(guesses, values.min() - _BEYOND * spread, values.max() + _BEYOND * spread)
    mean = float(shares @ guess)
    return mean, float(np.sqrt(shares @ (guess - mean) ** 2 + noise))
