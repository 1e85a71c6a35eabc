"""Conformance suite for ways of sharing weights: what every `sartor.supernets.Method` promises.

    from sartor.testing.supernets import check_method

    def test_my_method():
        check_method(MyMethod, my_space(), (torch.zeros(2, 3, 8, 8),), loss, rows)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor.space import Space
from sartor.supernets import Differentiable, Method, Sampled
from sartor.training import Learner, Recipe, Step, TrainingState, fit

_RECIPE = Recipe(optimizer="sgd", learning_rate=0.02, batch_size=8, warmup=0.0)


def check_method(
    make: Callable[..., Method],
    space: Space,
    inputs: Sequence[Any],
    loss: Callable[[nn.Module, Any, Step], torch.Tensor],
    rows: Any,
    *,
    steps: int = 12,
) -> None:
    """Checks a method on a small space.

    It is made alike from one seed; training changes it, is the same again from the same seed, and goes on from a saved
    state as if it had not stopped. A sampled method gives networks whose output is that of the child, to the last bit;
    a differentiable one derives an architecture of the space and says its share of skips.

    Args:
        make: Called as ``make(space, inputs, seed=...)``.
        space: With at least two architectures.
        inputs: Of its networks; also run through them.
        loss: Of a network on a batch of ``rows``.
        rows: `sartor.data.Rows`.
        steps: Of the training.

    Raises:
        AssertionError: Saying which promise does not hold.
    """
    first, second = make(space, inputs, seed=1), make(space, inputs, seed=1)
    assert isinstance(first, Method), f"{type(first).__name__} lacks a part of sartor.supernets.Method"
    initial = {name: tensor.clone() for name, tensor in first.module.state_dict().items()}
    assert _equal(initial, second.module.state_dict()), "two of one seed begin with different weights"

    def train(method: Method, until: int, state: TrainingState | None = None) -> TrainingState:
        learner = method.learner(Learner(loss))
        return fit(method, learner, rows, method.recipe(_RECIPE), total=steps, until=until, seed=5, state=state)

    whole = train(first, steps)
    assert not _equal(initial, whole.module), "training changed nothing"
    assert _equal(whole.module, train(second, steps).module), "the same seed gave other weights"
    half = TrainingState.from_dict(train(make(space, inputs, seed=1), steps // 2).to_dict())
    resumed = train(make(space, inputs, seed=1), steps, half)
    assert _equal(whole.module, resumed.module), "going on from a saved state gave other weights than not stopping"
    assert _equal(whole.learner, resumed.learner), "going on from a saved state gave another learner than not stopping"
    if isinstance(first, Differentiable):
        assert first.derive() in space, "what was derived is not of the space"
        share = first.indicators().get("skip_share")
        assert share is not None and 0 <= share <= 1, f"expected a skip_share from 0 to 1, got {share}"
        return
    assert isinstance(first, Sampled), f"{type(first).__name__} is neither Sampled nor Differentiable"
    first.module.eval()
    with torch.no_grad():
        for architecture in space.sample_choices(np.random.default_rng(0), 4):
            network, child = first.weights.network(architecture), first.weights.child(architecture)
            assert torch.equal(network(*inputs), child(*inputs)), f"child and network differ for {dict(architecture)}"


def _equal(one: Any, other: Any) -> bool:
    if one.keys() != other.keys():
        return False
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )
