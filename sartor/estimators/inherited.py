"""Performance estimation by inherited weights: an architecture is scored with those that a supernet has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sartor.errors import InputError
from sartor.estimators.training import evaluate
from sartor.supernets.statistics import recalibrate
from sartor.training import Step, to_device

if TYPE_CHECKING:
    from sartor.contracts import Candidate, Context
    from sartor.data import Splits
    from sartor.space import Architecture, Space
    from sartor.supernets import SharedWeights
    from sartor.task import Task
    from sartor.trials import Fidelity

NUM_CALIBRATION_BATCHES = 8
"""Batches of the train part from which statistics of normalisations are estimated."""


class Inherited:
    """Scores architectures by shared weights.

    Args:
        task: What the networks are for.
        weights: Of all architectures.
        train: Rows on which statistics of normalisations are estimated (``batch`` as of `sartor.data.Rows`).
        validation: What is scored.
        num_batches: For the statistics; 0 uses those that training left.
        seed: Which batches.

    Raises:
        InputError: a negative number of batches.
    """

    def __init__(
        self,
        task: Task,
        weights: SharedWeights,
        train: Any,
        validation: Any,
        *,
        num_batches: int = NUM_CALIBRATION_BATCHES,
        seed: int = 0,
    ) -> None:
        if num_batches < 0:
            raise InputError(f"expected a number of batches of at least 0, got {num_batches}")
        self.task, self.weights, self.train, self.validation = task, weights, train, validation
        self.num_batches, self.seed = num_batches, seed

    def network(self, architecture: Architecture) -> nn.Module:
        """Returns the architecture's network on the shared weights, its normalisations calibrated; use it at once."""
        return self.calibrated(self.weights.network(architecture), architecture)

    def child(self, architecture: Architecture) -> nn.Module:
        """Returns the architecture's stand-alone network, calibrated, in eval mode."""
        return self.calibrated(self.weights.child(architecture), architecture).eval()

    def calibrated(self, network: nn.Module, architecture: Architecture) -> nn.Module:
        """Returns the network with statistics estimated on the train part."""
        return recalibrate(network, lambda module: self._run(module, architecture)) if self.num_batches else network

    def _run(self, network: nn.Module, architecture: Architecture) -> None:
        """Runs the network as training does: through the task's loss, on augmented batches."""
        learner = self.task.learner(architecture)
        recipe = self.task.recipe_for(architecture)
        for number in range(self.num_batches):
            step = Step(number, self.num_batches, self.seed, recipe, architecture=architecture)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(step.default_seed)
                learner.loss(network, to_device(learner.batch(network, self.train, step), step.device), step)

    def score(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns the metrics on the validation part."""
        return evaluate(self.task, self.network(architecture), architecture, self.validation)[0]


class InheritedScores:
    """Scores candidates by the shared weights of a recorded run: an estimator for a search.

    Args:
        task, space, splits: As of every estimator; the weights must be of this space.
        fidelities: One, which says that nothing is trained.
        weights: ``FOLDER:RUN`` of the shared weights.

    Raises:
        InputError: the weights are of another space, or of a method that scores none.
    """

    def __init__(
        self, task: Task, space: Space, splits: Splits, fidelities: Sequence[Fidelity], *, weights: str
    ) -> None:
        from sartor._supernet import open_supernet

        supernet = open_supernet(weights)
        if supernet.space.fingerprint != space.fingerprint:
            differs = "; ".join(supernet.space.diff(space))
            raise InputError(f"the shared weights of {weights} are of another space: {differs}")
        self.fidelities = tuple(fidelities)
        self._scorer = supernet.scorer()

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> Mapping[str, float]:
        """Returns the metrics on the validation part; the same for any seed."""
        return self._scorer.score(candidate.architecture)
