"""Metrics of control: functions of predictions. No torch."""

from __future__ import annotations

import numpy as np

from sartor.task import Predictions


def mean_return(predictions: Predictions) -> float:
    """Returns the mean sum of rewards of the episodes."""
    return float(predictions["episode_return"].mean())


def normalised(value: float, expert: np.ndarray, random: np.ndarray) -> float:
    """Returns where a mean return lies between that of random actions, 0, and the expert's, 1."""
    low = float(random.mean())
    return (value - low) / max(float(expert.mean()) - low, 1e-9)


def normalised_return(predictions: Predictions) -> float:
    """Returns where the mean return lies between that of random actions, 0, and the expert's, 1."""
    return normalised(mean_return(predictions), predictions["expert_return"], predictions["random_return"])


def imitation_error(predictions: Predictions) -> float:
    """Returns the share of choices that differ from the demonstrated ones, or the root mean squared error of actions in
    halves of their range."""
    return float(np.sqrt((predictions["action_error"] ** 2).mean()) if predictions["action_error"].dtype != bool
                 else predictions["action_error"].mean())  # fmt: skip
