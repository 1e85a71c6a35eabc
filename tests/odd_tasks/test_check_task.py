"""The conformance suites find what is wrong: each case breaks one promise of a task or an estimator that conforms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sartor.contracts import Candidate, Context
from sartor.data import Splits
from sartor.errors import DataError, DivergedError
from sartor.estimators import Training
from sartor.space import Architecture
from sartor.task import Metric
from sartor.testing.estimators import check_estimator
from sartor.testing.tasks import check_listing, check_task
from sartor.training import Step
from sartor.trials import Fidelity
from tests.odd_tasks.brackets import Brackets


class Leaking(Brackets):
    def data(self) -> Splits:
        splits = super().data()
        return dataclasses.replace(splits, ids={**splits.ids, "validation": splits.ids["train"][:5]})


class Unsealed(Brackets):
    def data(self) -> Splits:
        splits = super().data()
        return dataclasses.replace(splits, test=splits.validation)


class Peeking(Brackets):
    def data(self) -> Splits:
        splits = super().data()
        assert splits.test is not None
        splits.test.open()
        return splits


class Changing(Brackets):
    made = iter(range(10**6))

    def data(self) -> Splits:
        return dataclasses.replace(super().data(), fingerprint=str(next(self.made)))


class Outside(Brackets):
    def baseline(self) -> Architecture:
        return Architecture({"width": 17, "layers": 1})


class Infinite(Brackets):
    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return super().loss(network, batch, step) / 0.0


class Detached(Brackets):
    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return 0.0 * super().loss(network, batch, step)


class Global(Brackets):
    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return super().loss(network, batch, step) * float(np.random.uniform(0.5, 1.0))  # noqa: NPY002


class Tensors(Brackets):
    def predict(self, deployed: nn.Module, part: Any) -> Any:
        return {name: torch.from_numpy(array) for name, array in super().predict(deployed, part).items()}


class Reading(Brackets):
    """Its metric looks at something beside the predictions."""

    calls = iter(range(10**6))
    metrics = {"calls": Metric(lambda predictions: float(next(Reading.calls)))}


class Options(Brackets):
    @dataclasses.dataclass
    class Options:
        """Not frozen."""


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (Leaking, DataError, "5 ids are in both train and validation"),
        (Unsealed, AssertionError, "not sealed"),
        (Peeking, AssertionError, "was opened"),
        (Changing, AssertionError, "not the same when made twice"),
        (Outside, AssertionError, "not an architecture of the task's space"),
        (Infinite, DivergedError, "player 'network'"),
        (Detached, AssertionError, "moved no parameter"),
        (Global, AssertionError, "differs between two trainings"),
        (Tensors, AssertionError, "expected a numpy array"),
        (Reading, AssertionError, "metrics differ when evaluated twice"),
        (Options, AssertionError, "must be a frozen dataclass"),
    ],
)
def test_a_broken_task_is_found(kind: type[Brackets], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        check_task(kind(), num_architectures=0)


class Wrapped:
    """An estimator that does something wrong around a good one."""

    def __init__(self, wrong: Callable[[dict[str, float], Context], Mapping[str, float]]) -> None:
        task = Brackets()
        self._inner = Training(
            task, task.space(), task.data(), [Fidelity(2, "steps"), Fidelity(4, "steps")], checkpoint_s=0.0
        )
        self.fidelities, self._wrong = self._inner.fidelities, wrong

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> Mapping[str, float]:
        metrics = self._inner.estimate(candidate, fidelity=fidelity, seed=seed, context=context)
        return self._wrong(dict(metrics), context)


def moves_numpy(metrics: dict[str, float], context: Context) -> dict[str, float]:
    np.random.uniform()  # noqa: NPY002
    return metrics


NUMBERS = iter(range(10**6))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda metrics, context: metrics | {"balanced": float("nan")}, "is nan"),
        (lambda metrics, context: metrics | {"number": float(next(NUMBERS))}, "one seed gives"),
        (moves_numpy, "global random state"),
        (lambda metrics, context: metrics | {"trunk": float(context.load()["trunk"]["step"] * 0 + context.saves)},
         "going on to"),
    ],
)  # fmt: skip
def test_a_broken_estimator_is_found(wrong: Any, message: str):
    task = Brackets()
    with pytest.raises(AssertionError, match=message):
        check_estimator(lambda: Wrapped(wrong), lambda: Candidate(task, task.space(), task.baseline()))


def test_listing_tasks_loads_no_torch():
    check_listing("tasks")
