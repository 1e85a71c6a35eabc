"""What a step of compression is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sartor.goals import Limit
    from sartor.space import Architecture
    from sartor.task import Task
    from sartor.training import Learner, Recipe
    from sartor.trials import Figure

Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome:
    """What a step made.

    Attributes:
        network: A plain network that torch can pickle (no parametrisations, no hooks, no lambdas), on the CPU, takes
            what the network before took; the next step goes on from it.
        record: What was done, JSON-able: kept in the run and shown in the report.
        file: What is deployed when it is not an export of ``network``, e.g. a quantised ONNX file; below
            ``StepContext.folder``. Its inputs and outputs are those of the deployed network. Such a step is the last.
        runs: With ``file``: what the file computes, as a module that stands for the deployed network (it is not
            deployed again): scored instead of ``network``.
    """

    network: nn.Module
    record: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    runs: nn.Module | None = None


class StepContext(Protocol):
    """What a step is given beside the network.

    Attributes:
        task: What the network is for: losses, metrics, preprocessing.
        architecture: What the task's methods are given as the network's architecture.
        train, validation: Parts of the data, as the task's learner and ``predict`` read them. A step may choose its
            own numbers on ``train`` or on a part that it splits off; ``validation`` is what is reported.
        inputs: Example inputs of the deployed network, batch size 1.
        limits: What must hold in the end; a step heads for those that it can move.
        recipe: For fine-tuning: the task's own at a lower rate.
        epochs: To spend on the training of this step in all; 0 for none.
        seed: Of this step; everything random is derived from it.
        teacher: The trained network before any step, in eval mode; not to be changed.
        folder: Where files of this step go; exists.
    """

    task: Task
    architecture: Architecture
    train: Any
    validation: Any
    inputs: tuple[torch.Tensor, ...]
    limits: tuple[Limit, ...]
    recipe: Recipe
    epochs: float
    seed: int
    teacher: nn.Module
    folder: Path

    def stage(self, name: str, make: Callable[[], Value]) -> Value:
        """Returns ``make()``, or what it returned before an interruption.

        ``make`` is a function of what earlier stages returned and of ``seed``; its value (networks included) is
        pickled. Stages of a step have different names.
        """
        ...

    def fine_tune(
        self,
        name: str,
        network: nn.Module,
        *,
        epochs: float,
        learner: Learner | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:
        """Returns the network trained by ``sartor.training.fit`` on ``train``: a stage that checkpoints as it goes.

        Args:
            name: Of the stage.
            network: Trained in place where it is trained now.
            epochs: Of ``train``.
            learner: Instead of the task's own, e.g. one around it (``task.learner(architecture)``).
            recipe: Instead of ``recipe``.
        """
        ...

    def batches(self, count: int, size: int | None = None) -> list[Any]:
        """Returns batches of ``train`` as ``task.learner(...).batch`` gives them, the same at every call.

        Raises:
            DataError: numbers in them are not finite.
        """
        ...

    def loss(self, network: nn.Module, batch: Any) -> torch.Tensor:
        """Returns the task's loss of a network on a batch, a scalar with a graph; nothing random differs by call."""
        ...

    def deployed_inputs(self, count: int) -> list[tuple[torch.Tensor, ...]]:
        """Returns inputs of the deployed network, from ``train``, batch size 1 each, e.g. to calibrate an ONNX file.

        Raises:
            DataError: numbers in them are not finite.
            InputError: the task's network cannot be followed there.
        """
        ...

    def deploy(self, network: nn.Module) -> nn.Module:
        """Returns ``task.deploy(network, architecture)`` in eval mode."""
        ...

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Returns the task's metrics on ``validation``."""
        ...

    def measure(self, network: nn.Module, *names: str) -> dict[str, Figure]:
        """Returns costs of the deployed network (all when none is named): latency_ms, macs, params ..."""
        ...

    def say(self, text: str) -> None:
        """Tells the person and keeps it in the run's log."""
        ...
