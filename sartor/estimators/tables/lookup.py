"""A table as a task, an estimator and a device, so that what runs on trainings runs on look-ups unchanged.

    from sartor.engine import Problem
    task = TableTask("DIR", table="nasbench201", dataset="cifar100", protocol="noisy")
    problem = Problem(
        task.reference(),
        devices=(("sartor.estimators.tables.lookup:TableDevice", {"folder": "DIR", "table": "nasbench201",
                                                                  "dataset": "cifar100", "device": "pixel3"}),),
        estimator="sartor.estimators.tables.lookup:Lookup",
        fidelities=tuple(task.table.fidelities),
    )

Nothing loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sartor.data import Splits
from sartor.errors import InputError, near
from sartor.estimators.tables._table import ProtocolName, Table
from sartor.registry import find
from sartor.task import Metric, Predictions, Task
from sartor.trials import Fidelity, Figure

if TYPE_CHECKING:
    from sartor.contracts import Candidate, Context
    from sartor.space import Architecture, Space


def load(folder: str | Path, table: str, dataset: str | None = None) -> Table:
    """Returns a table by name.

    Args:
        folder: Where the benchmark's files are.
        table: Name of the benchmark.
        dataset: One of its own; its first when None.

    Raises:
        InputError: Unknown names; a file that is missing or not as expected.
    """
    make = find("tables", table).load()
    loaded: Table = make(folder) if dataset is None else make(folder, dataset=dataset)
    return loaded


class TableTask(Task):
    """The task whose networks a table has trained.

    Data source and licence are the table's. Rows stand for examples: a look-up reads no others.

    Args:
        source: Folder of the benchmark's files.

    Attributes:
        table: The table.

    Raises:
        InputError: No folder; unknown names; the table has no such protocol; a file is not as expected.
    """

    @dataclass(frozen=True)
    class Options:
        """Benchmark, data set (None: its first) and protocol."""

        table: str = "nasbench201"
        dataset: str | None = None
        protocol: ProtocolName = "clean"

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        if source is None:
            raise InputError("a table needs the folder of its files; --table DIR names it")
        self.table = load(source, self.options.table, self.options.dataset)
        self.table.protocol(self.options.protocol)
        self.metrics = {self.table.metric: Metric(_not_predicted, self.table.direction, self.table.unit)}

    def data(self) -> Splits:
        rows = np.arange(len(self.table))
        return Splits(train=rows, validation=rows, fingerprint=f"{self.table.name} {self.table.space.fingerprint}")

    def space(self) -> Space:
        return self.table.space

    def baseline(self) -> Architecture:
        """Returns the architecture of median figure, as observed: what an average choice gives."""
        order = np.argsort(self.table.observed(protocol=self.options.protocol), kind="stable")
        return self.table.architectures[int(order[len(order) // 2])]


def _not_predicted(predictions: Predictions) -> float:
    raise InputError("the networks of a table are looked up, not run")


class Lookup:
    """Looks up what a table has.

    Args:
        task: Whose table and protocol are used.
        space: Not used: an architecture is looked up by its values.
        splits: Not used.
        fidelities: Of the table.

    Raises:
        InputError: The task is no `TableTask`; the table lacks a fidelity.
    """

    def __init__(self, task: Task, space: Space, splits: Splits | None, fidelities: Sequence[Fidelity]) -> None:
        if not isinstance(task, TableTask):
            raise InputError(f"a look-up needs a TableTask, got {type(task).__name__}")
        self.fidelities = tuple(fidelities)
        self._table = task.table
        self._values = {each: task.table.observed(each, task.options.protocol) for each in self.fidelities}

    def estimate(self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context) -> Mapping[str, float]:
        """Returns the table's metric; neither seed nor network is read.

        Raises:
            InputError: The architecture is not in the table, or the fidelity not one of those given.
        """
        if fidelity not in self._values:
            raise InputError(f"the look-up has {', '.join(map(str, self.fidelities))}, not {fidelity}")
        return {self._table.metric: float(self._values[fidelity][self._table.index(candidate.architecture)])}


class TableDevice:
    """The costs that a table has of its architectures, on one of its devices.

    The figures carry what is known of their error: 0 for counts, None where its makers stated none.

    Args:
        folder: Where the benchmark's files are.
        table: Name of the benchmark.
        dataset: One of its own; its first when None.
        device: One of the table's; without it only costs that are the same on every device.

    Raises:
        InputError: Unknown names; the table has no cost; a file is missing or not as expected.
    """

    needs: Literal["architecture", "network", "trained"] = "architecture"

    def __init__(self, folder: str | Path, table: str, dataset: str | None = None, device: str | None = None) -> None:
        self._table = load(folder, table, dataset)
        if device is not None and device not in self._table.devices:
            raise InputError(f"table {self._table.name} has no device {device!r}{near(device, self._table.devices)}")
        self._device = device
        self.name = f"{self._table.name}/{device or 'counts'}"
        own = self._table.devices[device] if device is not None else {}
        self.figures: tuple[str, ...] = tuple({**self._table.costs, **own})
        if not self.figures:
            raise InputError(f"table {self._table.name} has no cost that is the same on every device; name one")

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns the figures; only the candidate's architecture is read.

        Raises:
            InputError: The architecture is not in the table.
        """
        return self._table.figures(self._table.index(candidate.architecture), self._device)
