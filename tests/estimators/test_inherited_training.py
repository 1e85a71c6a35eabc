"""A trial that goes on from one of another architecture begins with what that one computes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sartor.contracts import Candidate
from sartor.errors import UnsupportedNetworkError
from sartor.estimators import Training
from sartor.testing.estimators import Interrupted, MemoryContext
from sartor.trials import Fidelity
from tests.estimators.digits import Digits

SHORT = (Fidelity(1.0),)


def candidate(task: Digits, width: int) -> Candidate:
    space = task.space()
    return Candidate(task, space, space.architecture({**task.baseline(), "network.width": width}), 3)


def estimated(task: Digits, width: int, context: MemoryContext) -> dict[str, float]:
    training = Training(task, task.space(), task.data(), SHORT, keep=True, checkpoint_s=0.0)
    return dict(training.estimate(candidate(task, width), fidelity=SHORT[0], seed=3, context=context))


def child_of(task: Digits, width: int = 4) -> MemoryContext:
    first, context = MemoryContext(), MemoryContext()
    estimated(task, width, first)
    context.parent = (candidate(task, width).architecture, dict(first.kept["network"]))
    return context


def test_a_child_is_better_than_its_parent_and_than_a_training_of_the_same_length_from_scratch() -> None:
    task = Digits()
    first = MemoryContext()
    parent = estimated(task, 4, first)["accuracy"]
    context = MemoryContext()
    context.parent = (candidate(task, 4).architecture, dict(first.kept["network"]))
    grown = estimated(task, 8, context)["accuracy"]
    assert grown > parent and grown > estimated(task, 8, MemoryContext())["accuracy"]


def test_a_child_that_does_not_learn_scores_what_its_parent_scored() -> None:
    task = Digits()
    context = child_of(task)
    assert context.parent is not None
    still = Digits()
    still.recipe = dataclasses.replace(still.recipe, learning_rate=0.0, ema_decay=None)
    space = still.space().given({"recipe.learning_rate": 3e-3})
    assert space.count() > 0
    child = candidate(still, 8)
    # Statistics of batch normalisation would still move in training, so that none is done.
    from sartor.estimators.training import _inherit

    learner = still.learner(child.architecture)
    _inherit(child, *context.parent, learner, still.data().train, 3)
    parent = candidate(still, 4)
    parent.network.load_state_dict(context.parent[1])
    x = still.data().validation.columns["x"]
    assert torch.allclose(child.network.eval()(x), parent.network.eval()(x), atol=1e-4)


def test_a_child_interrupted_ends_as_if_nothing_had_happened() -> None:
    task = Digits(rows=200)
    context = child_of(task)
    whole = MemoryContext()
    whole.parent = context.parent
    expected = estimated(task, 8, whole)
    broken: Any = MemoryContext(interrupt_at=2)
    broken.parent = context.parent
    with pytest.raises(Interrupted):
        estimated(task, 8, broken)
    again = MemoryContext(broken.checkpoint)
    again.parent = context.parent
    assert estimated(task, 8, again) == expected


def test_a_parent_that_is_not_contained_fails_before_any_training() -> None:
    task = Digits(rows=100)
    context = child_of(task, 8)
    with pytest.raises(UnsupportedNetworkError, match="a morphism grows"):
        estimated(task, 4, context)
    assert not context.points
