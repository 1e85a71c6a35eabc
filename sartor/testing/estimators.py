"""What every estimator must hold: ``check_estimator`` raises ``AssertionError`` with what was expected and what came.

Example:
    >>> def test_training_conforms():
    ...     check_estimator(lambda: Training(task, space, splits, fidelities, checkpoint_s=0.0),
    ...                     lambda: Candidate(task, space, task.baseline(), seed=3))
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from sartor.contracts import Candidate, Estimator
from sartor.space import Architecture
from sartor.testing.randomness import global_random_state
from sartor.trials import Fidelity

Series = dict[str, dict[int, float]]


class Interrupted(BaseException):
    """Stands for a killed process: nothing may catch it."""


class MemoryContext:
    """A context that keeps everything in memory, written as an engine writes it.

    Attributes:
        saves: How often a checkpoint was saved.
        points: Series -> step -> value reported.
        kept: Name -> state kept as a result.
        parent: Architecture and weights that are inherited, or None.
    """

    def __init__(self, checkpoint: bytes | None = None, *, interrupt_at: int | None = None) -> None:
        self.deadline: float | None = None
        self.checkpoint, self.interrupt_at = checkpoint, interrupt_at
        self.parent: tuple[Architecture, dict[str, Any]] | None = None
        self.saves = 0
        self.points: Series = {}
        self.kept: dict[str, Mapping[str, Any]] = {}

    def report(self, step: int, **values: float) -> None:
        for series, value in values.items():
            self.points.setdefault(series, {})[step] = value

    def load(self) -> dict[str, Any] | None:
        if self.checkpoint is None:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(self.checkpoint), weights_only=True)
        return state

    def inherited(self) -> tuple[Architecture, dict[str, Any]] | None:
        return self.parent

    def save(self, state: Mapping[str, Any]) -> None:
        file = io.BytesIO()
        torch.save(dict(state), file)
        self.checkpoint = file.getvalue()
        self.saves += 1
        if self.saves == self.interrupt_at:
            raise Interrupted(f"at checkpoint {self.saves}")

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        self.kept[name] = dict(state)


def check_estimator(
    make: Callable[[], Estimator],
    make_candidate: Callable[[], Candidate],
    *,
    seed: int = 0,
    max_interruptions: int = 5,
) -> None:
    """Checks an estimator's promises at all its fidelities.

    Metrics are finite numbers; the same seed gives the same metrics and series and moves no global random state; an
    estimate interrupted at a checkpoint and taken up again ends as if nothing had happened; one that goes on from the
    checkpoint of the fidelity below ends as one made directly.

    Args:
        make: Returns a new estimator; let it checkpoint often, or there is nothing to interrupt.
        make_candidate: Returns a new candidate, always the same one.
        seed: Of the estimates.
        max_interruptions: How many of a highest-fidelity estimate's checkpoints are tried, spread evenly.

    Raises:
        AssertionError: a promise is broken.
    """
    fidelities = make().fidelities
    assert isinstance(fidelities, tuple) and fidelities, f"fidelities must be a non-empty tuple, got {fidelities!r}"
    amounts = [fidelity.amount for fidelity in fidelities]
    assert amounts == sorted(set(amounts)), f"fidelities must ascend, got {fidelities}"
    direct = {}
    for fidelity in fidelities:
        direct[fidelity] = _checked(make, make_candidate, fidelity, seed)
    checkpoint = None
    for fidelity in fidelities:
        context = MemoryContext(checkpoint)
        metrics = _estimate(make, make_candidate, fidelity, seed, context)
        assert metrics == direct[fidelity][0], (
            f"going on to {fidelity} from the fidelity below gives {metrics}, directly {direct[fidelity][0]}"
        )
        checkpoint = context.checkpoint
    highest = fidelities[-1]
    metrics, whole = direct[highest]
    for stop in _spread(whole.saves, max_interruptions):
        context = MemoryContext(interrupt_at=stop)
        try:
            _estimate(make, make_candidate, highest, seed, context)
        except Interrupted:
            pass
        else:
            raise AssertionError(f"the interruption at checkpoint {stop} of {whole.saves} was caught")
        resumed = MemoryContext(context.checkpoint)
        again = _estimate(make, make_candidate, highest, seed, resumed)
        assert again == metrics, f"interrupted at checkpoint {stop} of {whole.saves}: {again}, otherwise {metrics}"
        points = {
            series: context.points.get(series, {}) | resumed.points.get(series, {})
            for series in {*context.points, *resumed.points}
        }
        assert points == whole.points, f"interrupted at checkpoint {stop}: the series differ"


def _estimate(
    make: Callable[[], Estimator],
    make_candidate: Callable[[], Candidate],
    fidelity: Fidelity,
    seed: int,
    context: MemoryContext,
) -> dict[str, float]:
    return dict(make().estimate(make_candidate(), fidelity=fidelity, seed=seed, context=context))


def _checked(
    make: Callable[[], Estimator], make_candidate: Callable[[], Candidate], fidelity: Fidelity, seed: int
) -> tuple[dict[str, float], MemoryContext]:
    before = global_random_state()
    context, other = MemoryContext(), MemoryContext()
    metrics = _estimate(make, make_candidate, fidelity, seed, context)
    assert metrics, "an estimate needs at least one metric"
    for name, value in metrics.items():
        assert isinstance(name, str) and isinstance(value, (int, float)), f"expected a number, got {name!r}: {value!r}"
        assert math.isfinite(value), f"metric {name!r} is {value} at {fidelity}"
    again = _estimate(make, make_candidate, fidelity, seed, other)
    assert again == metrics, f"one seed gives {metrics} and {again} at {fidelity}"
    for series, points in context.points.items():
        assert all(map(math.isfinite, points.values())), f"series {series!r} has a point that is not finite"
        assert min(points) >= 0, f"series {series!r} has a point before step 0"
    assert global_random_state() == before, "the estimate changed a global random state (random, numpy or torch)"
    return metrics, context


def _spread(count: int, most: int) -> list[int]:
    """Returns up to ``most`` numbers from 1 to ``count``, the first and the last among them."""
    return sorted({int(number) for number in np.linspace(1, count, num=min(count, most)).round()}) if count else []
