"""Metrics of event sequences, of predictions in nats and in the unit of the times. No torch."""

from __future__ import annotations

import numpy as np

from sartor.task import Predictions


def log_likelihood(predictions: Predictions) -> float:
    """Returns nats an event: the log-likelihood of all windows over their number of events."""
    return float(predictions["sequence_log_likelihood"].sum() / max(1, len(predictions["gap"])))


def type_accuracy(predictions: Predictions) -> float:
    """Returns the share of events whose type was the most probable one at the time when they came."""
    return float((predictions["type_probabilities"].argmax(1) == predictions["type"]).mean())


def time_error(predictions: Predictions) -> float:
    """Returns the mean absolute error of the time of the next event, which is predicted by its median."""
    return float(np.abs(predictions["median_gap"] - predictions["gap"]).mean())


def calibration_error(predictions: Predictions) -> float:
    """Returns the Kolmogorov-Smirnov distance of rescaled gaps from the exponential distribution, 0..1.

    Under the true process the integral of the intensity from one event to the next is exponential with mean 1
    (Papangelou 1972; Ogata 1988). The wait from the last event to the end of a window is censored and left out, for
    which long gaps come a little too seldom in short windows.
    """
    rescaled = np.sort(predictions["rescaled_gap"])
    expected = 1 - np.exp(-rescaled)
    step = np.arange(len(rescaled) + 1) / len(rescaled)
    return float(np.maximum(expected - step[:-1], step[1:] - expected).max())
