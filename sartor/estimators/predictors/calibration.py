"""How good a predictor is: whether it ranks as the values do, and whether its deviations are true."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sartor.contracts import Predictor
from sartor.errors import InputError
from sartor.space import Architecture

Array = npt.NDArray[np.float64]

INTERVALS = {0.5: 0.6744897501960817, 0.8: 1.2815515655446004, 0.95: 1.959963984540054}
"""Share of a normal distribution -> half the width of the interval that holds it, in standard deviations."""
_LEAST_STD = 1e-9


@dataclass(frozen=True)
class Report:
    """Figures of predictions of values that were not trained on.

    Attributes:
        num_trained: Values fitted, None when not known.
        num_tested: Values predicted.
        kendall_tau: Rank correlation tau-b from -1 to 1; NaN where values or means are all equal.
        within: Share -> share of the values inside the interval that should hold so many.
        negative_log_likelihood: Mean, of normal distributions; in nats, and of the values' unit.
        z_std: Standard deviation of (value - mean) / std: above 1 when deviations are too small.
        rmse: Root of the mean squared error, in the unit of the values.
        fit_s: Seconds of ``fit`` on this machine, None when not measured.
        predict_s: Seconds of ``predict``.
    """

    num_trained: int | None
    num_tested: int
    kendall_tau: float
    within: dict[float, float]
    negative_log_likelihood: float
    z_std: float
    rmse: float
    fit_s: float | None = None
    predict_s: float | None = None


def figures(mean: Array, std: Array, values: Array, num_trained: int | None = None) -> Report:
    """Returns the figures of predictions, ``[n]`` each, ``n`` >= 2.

    Raises:
        InputError: Shapes that differ, or fewer than two.
    """
    from scipy.stats import kendalltau

    if not mean.shape == std.shape == values.shape or mean.ndim != 1 or len(mean) < 2:
        raise InputError(f"expected three arrays [n], n >= 2, got {mean.shape}, {std.shape} and {values.shape}")
    varied = len(np.unique(values)) > 1 and len(np.unique(mean)) > 1
    kept = np.maximum(std, _LEAST_STD)
    z = (values - mean) / kept
    return Report(
        num_trained,
        len(values),
        float(kendalltau(mean, values).statistic) if varied else math.nan,
        {share: float((np.abs(z) <= width).mean()) for share, width in INTERVALS.items()},
        float((0.5 * z**2 + np.log(kept) + 0.5 * math.log(2 * math.pi)).mean()),
        float(z.std()),
        float(np.sqrt(((values - mean) ** 2).mean())),
    )


def report(
    predictor: Predictor,
    trained: Sequence[Architecture],
    values: Array,
    tested: Sequence[Architecture],
    wanted: Array,
) -> Report:
    """Fits a predictor to ``trained`` and returns its figures on ``tested``, which should not overlap.

    Args:
        predictor: Fitted here.
        trained: Architectures, at least one.
        values: Theirs, ``[n]``.
        tested: Others, at least two.
        wanted: Their values, ``[m]``.
    """
    start = time.perf_counter()
    predictor.fit(trained, values)
    fitted = time.perf_counter()
    mean, std = predictor.predict(tested)
    done = time.perf_counter()
    found = figures(mean, std, np.asarray(wanted, np.float64), len(trained))
    return Report(**{**vars(found), "fit_s": fitted - start, "predict_s": done - fitted})
