"""What a step of compression is given, with everything it finishes kept on disk."""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sartor.compress._contract import Value
from sartor.compress.calibration import finite
from sartor.devices.counts import Counts
from sartor.devices.cpu import CpuLatency
from sartor.engine import _checkpoint
from sartor.errors import InputError
from sartor.estimators.training import evaluate, seeded_learner, steps_for
from sartor.goals import Limit
from sartor.space import Architecture
from sartor.task import Task
from sartor.training import Learner, Recipe, Single, Step, TrainingState, fit
from sartor.training.average import put
from sartor.trials import Fidelity, Figure, derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

NUM_REPORTS = 64
"""Points of each training series."""
CHECKPOINT_S = 5.0


def keep(path: Path, value: Any) -> None:
    """Writes a value, networks included, whole or not at all.

    Raises:
        InputError: it cannot be pickled; the message says what.
    """
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"the network cannot be kept between steps, since {error}: define its classes and functions at the top of"
            " a module"
        ) from error
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def kept(path: Path) -> Any:
    """Returns what ``keep`` wrote. It runs what was pickled: for files of one's own runs alone."""
    return torch.load(path, weights_only=False)


class Stages:
    """A `sartor.compress.StepContext` whose stages are files of a folder.

    Args:
        task, architecture: What the network is for.
        train, validation: Parts of the data.
        limits: What must hold in the end.
        recipe: For fine-tuning.
        epochs: To spend on training.
        seed: Of the step.
        teacher: The network before any step.
        folder: Where stages are kept; made.
        say: Told what the person should know.
        report: Told points of training series.
    """

    def __init__(
        self,
        task: Task,
        architecture: Architecture,
        train: Any,
        validation: Any,
        *,
        limits: Sequence[Limit],
        recipe: Recipe,
        epochs: float,
        seed: int,
        teacher: nn.Module,
        folder: Path,
        say: Callable[[str], None],
        report: Callable[[str, int, Mapping[str, float]], None] | None = None,
    ) -> None:
        self.task, self.architecture, self.train, self.validation = task, architecture, train, validation
        self.limits, self.recipe, self.epochs, self.seed = tuple(limits), recipe, epochs, seed
        self.teacher, self.folder = teacher, folder
        self.inputs = task.example_inputs(architecture)
        self._say, self._report = say, report
        self._device: CpuLatency | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, make: Callable[[], Value]) -> Value:
        path = self.folder / f"{name}.stage.pt"
        if path.exists():
            found: Value = kept(path)
            return found
        value = make()
        keep(path, value)
        return value

    def fine_tune(
        self,
        name: str,
        network: nn.Module,
        *,
        epochs: float,
        learner: Learner | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:
        if not (math.isfinite(epochs) and epochs >= 0):
            raise InputError(f"expected a number of epochs of at least 0, got {epochs}")
        if epochs == 0:
            return network.eval()
        checkpoint = self.folder / f"{name}.checkpoint.pt"

        def train() -> nn.Module:
            seed = derive_seed(self.seed, "fine-tune", name)
            used = recipe or self.recipe
            total = steps_for(Fidelity(epochs), self.train, used)
            state = _checkpoint.load(checkpoint)
            end = fit(
                Single(network, self.architecture),
                learner or seeded_learner(self.task, self.architecture, seed),
                self.train,
                used,
                total=total,
                seed=seed,
                state=None if state is None else TrainingState.from_dict(state),
                report=None if self._report is None else self._points(name),
                report_every=max(1, math.ceil(total / NUM_REPORTS)),
                checkpoint=lambda now: _checkpoint.save(checkpoint, now.to_dict(), durable=True),
                checkpoint_s=CHECKPOINT_S,
            )
            if end.averaged is not None:
                put(network, end.averaged)
            return network.eval()

        found = self.stage(name, train)
        checkpoint.unlink(missing_ok=True)
        return found

    def _points(self, name: str) -> Any:
        def report(step: int, **values: float) -> None:
            assert self._report is not None
            self._report(name, step, values)

        return report

    def batches(self, count: int, size: int | None = None) -> list[Any]:
        seed = derive_seed(self.seed, "batches")
        recipe = self.recipe if size is None else _of_size(self.recipe, size)
        learner = seeded_learner(self.task, self.architecture, seed)
        found = []
        for number in range(count):
            step = Step(number, max(1, count), seed, recipe, architecture=self.architecture)
            found.append(learner.batch(self.teacher, self.train, step))
        return finite(found, missing=self.task.missing_values)

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        seed = derive_seed(self.seed, "loss")
        learner = seeded_learner(self.task, self.architecture, seed)
        step = Step(0, 1, seed, self.recipe, architecture=self.architecture)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(step.default_seed)
            return learner.loss(network, batch, step)

    def deployed_inputs(self, count: int) -> list[tuple[Tensor, ...]]:
        """Returns what ``task.predict`` gives the deployed network for rows of the training part."""
        from sartor._export import calibration_inputs

        seed = derive_seed(self.seed, "rows")
        rows = calibration_inputs(
            self.task, self.deploy(self.teacher), self.inputs, self.train, num=count, seed=seed
        )
        return finite(rows, missing=self.task.missing_values)

    def deploy(self, network: nn.Module) -> nn.Module:
        return self.task.deploy(network, self.architecture).eval()

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        return evaluate(self.task, network, self.architecture, self.validation)[0]

    def measure(self, network: nn.Module, *names: str) -> dict[str, Figure]:
        deployed = self.deploy(network)
        found: dict[str, Figure] = {}
        if not names or set(names) & set(Counts.figures):
            found.update(Counts().count(deployed, self.inputs))
        if not names or set(names) & set(CpuLatency.figures):
            self._device = self._device or CpuLatency()
            found.update(self._device.measure(deployed, self.inputs))
        return {name: figure for name, figure in found.items() if not names or name in names}

    def say(self, text: str) -> None:
        self._say(text)


def _of_size(recipe: Recipe, size: int) -> Recipe:
    import dataclasses

    return dataclasses.replace(recipe, batch_size=size)
