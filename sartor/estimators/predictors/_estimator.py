"""A fitted predictor in place of training, so that a search can run on predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sartor.contracts import Candidate, Context, Predictor
from sartor.trials import Fidelity


class Predicted:
    """Estimates a metric by the mean that a fitted predictor says.

    Args:
        predictor: Fitted; it must pickle where workers are other processes.
        metric: Name under which the mean is returned; ``<metric>_std`` is its deviation.
        fidelities: Of the search; the prediction is the same at each.

    Example:
        >>> predictor.fit(architectures, accuracies)
        >>> estimator = Predicted(predictor, "accuracy")
    """

    def __init__(
        self, predictor: Predictor, metric: str = "accuracy", fidelities: Sequence[Fidelity] = (Fidelity(1.0),)
    ) -> None:
        self.fidelities = tuple(fidelities)
        self._predictor, self._metric = predictor, metric

    def estimate(self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context) -> Mapping[str, float]:
        """Returns mean and deviation; the network is never built, and ``seed`` is not used."""
        mean, std = self._predictor.predict([candidate.architecture])
        values = {self._metric: float(np.asarray(mean)[0]), f"{self._metric}_std": float(np.asarray(std)[0])}
        context.report(1, **values)
        return values
