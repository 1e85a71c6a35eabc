"""Metrics of labelled images: functions of predictions, ``label`` ``(n,)`` and ``probabilities`` ``(n, classes)``."""

from __future__ import annotations

import numpy as np

from sartor.task import Predictions

NUM_BINS = 15
"""Bins of the calibration error (Guo et al. 2017)."""



def confusion(predictions: Predictions) -> np.ndarray:
    """Returns counts, int64 of shape ``(classes, classes)``: rows are true classes, columns predicted ones."""
    probabilities = predictions["probabilities"]
    num = probabilities.shape[1]
    flat = predictions["label"] * num + probabilities.argmax(1)
    return np.bincount(flat, minlength=num * num).reshape(num, num)


def accuracy(predictions: Predictions) -> float:
    """Returns the share of images whose most probable class is theirs."""
    return float((predictions["probabilities"].argmax(1) == predictions["label"]).mean())


def balanced_accuracy(predictions: Predictions) -> float:
    """Returns the mean recall of the classes that have images."""
    counts = confusion(predictions)
    present = counts.sum(1)
    return float((np.diag(counts)[present > 0] / present[present > 0]).mean())


def cross_entropy(predictions: Predictions) -> float:
    """Returns the mean negative log probability of the true class, in nats."""
    rows = np.arange(len(predictions["label"]))
    chosen = predictions["probabilities"][rows, predictions["label"]]
    # Underflow to 0 would make one image decide; a double's least is 708 nats away.
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def calibration_error(predictions: Predictions) -> float:
    """Returns the expected calibration error, 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    probabilities = predictions["probabilities"]
    sure = probabilities.max(1)
    right = probabilities.argmax(1) == predictions["label"]
    bins = np.minimum(NUM_BINS - 1, np.ceil(sure * NUM_BINS).astype(np.int64) - 1)
    gap = np.bincount(bins, weights=right - sure, minlength=NUM_BINS)
    return float(np.abs(gap).sum() / len(sure))
