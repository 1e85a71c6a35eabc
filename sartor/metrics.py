"""Metrics that several tasks share: functions of predictions. No torch.

Of classes: ``label`` int64 ``(n,)`` and ``probabilities`` float64 ``(n, classes)``. Of numbers: ``target`` and
``value``, float64 ``(n,)``.
"""

from __future__ import annotations

import numpy as np

from sartor.task import Metric, Predictions

NUM_BINS = 15
"""Bins of the calibration error (Guo et al. 2017)."""


def confusion(predictions: Predictions) -> np.ndarray:
    """Returns counts, int64 of shape ``(classes, classes)``: rows are true classes, columns predicted ones."""
    probabilities = predictions["probabilities"]
    num = probabilities.shape[1]
    flat = predictions["label"] * num + probabilities.argmax(1)
    return np.bincount(flat, minlength=num * num).reshape(num, num)


def correct(predictions: Predictions) -> np.ndarray:
    """Returns for each example whether its most probable class is its own, bool ``(n,)``."""
    found: np.ndarray = predictions["probabilities"].argmax(1) == predictions["label"]
    return found


def accuracy(predictions: Predictions) -> float:
    """Returns the share of examples whose most probable class is theirs."""
    return float(correct(predictions).mean())


def balanced_accuracy(predictions: Predictions) -> float:
    """Returns the mean recall of the classes that have examples."""
    counts = confusion(predictions)
    present = counts.sum(1)
    return float((np.diag(counts)[present > 0] / present[present > 0]).mean())


def surprise(predictions: Predictions) -> np.ndarray:
    """Returns the negative log probability of each example's class, in nats, float64 ``(n,)``."""
    rows = np.arange(len(predictions["label"]))
    chosen = predictions["probabilities"][rows, predictions["label"]]
    # Underflow to 0 would make one example decide; a double's least is 708 nats away.
    found: np.ndarray = -np.log(np.maximum(chosen, np.finfo(np.float64).tiny))
    return found


def cross_entropy(predictions: Predictions) -> float:
    """Returns the mean negative log probability of the true class, in nats."""
    return float(surprise(predictions).mean())


def calibration_error(predictions: Predictions) -> float:
    """Returns the expected calibration error, 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    probabilities = predictions["probabilities"]
    sure = probabilities.max(1)
    right = probabilities.argmax(1) == predictions["label"]
    bins = np.minimum(NUM_BINS - 1, np.ceil(sure * NUM_BINS).astype(np.int64) - 1)
    gap = np.bincount(bins, weights=right - sure, minlength=NUM_BINS)
    return float(np.abs(gap).sum() / len(sure))


def area_under_curve(predictions: Predictions) -> float:
    """Returns the area under the ROC curve of the second of two classes, ties counted half; 0.5 without both."""
    label, score = predictions["label"], predictions["probabilities"][:, 1]
    positive = int(label.sum())
    negative = len(label) - positive
    if not positive or not negative:
        return 0.5
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    # The mean rank of ties (Mann and Whitney 1947).
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[label == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def squared_errors(predictions: Predictions) -> np.ndarray:
    """Returns the squared error of each example, ``(n,)``."""
    found: np.ndarray = (predictions["value"] - predictions["target"]) ** 2
    return found


def root_mean_squared_error(predictions: Predictions) -> float:
    """Returns the root of the mean squared error, in the target's unit."""
    return float(np.sqrt(squared_errors(predictions).mean()))


def absolute_errors(predictions: Predictions) -> np.ndarray:
    """Returns the absolute error of each example, in the target's unit, ``(n,)``."""
    found: np.ndarray = np.abs(predictions["value"] - predictions["target"])
    return found


def mean_absolute_error(predictions: Predictions) -> float:
    """Returns the mean absolute error, in the target's unit."""
    return float(absolute_errors(predictions).mean())


def r_squared(predictions: Predictions) -> float:
    """Returns the share of the target's variance that is explained, at most 1; 0 where the target does not vary."""
    target = predictions["target"]
    spread = ((target - target.mean()) ** 2).sum()
    return float(1 - ((predictions["value"] - target) ** 2).sum() / spread) if spread else 0.0


OF_CLASSES = {
    "cross_entropy": Metric(cross_entropy, "min", "nats", surprise),
    "accuracy": Metric(accuracy, each=correct),
    "balanced_accuracy": Metric(balanced_accuracy),
    "calibration_error": Metric(calibration_error, "min"),
}
OF_NUMBERS = {
    "rmse": Metric(root_mean_squared_error, "min", each=squared_errors),
    "mae": Metric(mean_absolute_error, "min", each=absolute_errors),
    "r2": Metric(r_squared),
}
"""What is measured of classes and of numbers, the primary metric first."""


def metrics_of(num_classes: int) -> dict[str, Metric]:
    """Returns the metrics of so many classes, two of them with ``auc``; of numbers for 0."""
    if not num_classes:
        return dict(OF_NUMBERS)
    return {**OF_CLASSES, "auc": Metric(area_under_curve)} if num_classes == 2 else dict(OF_CLASSES)
