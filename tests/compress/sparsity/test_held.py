from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sartor.compress.sparsity.gradual import Gradual, cubic
from sartor.compress.sparsity.held import Held
from sartor.compress.sparsity.iterative import Round, prune_iteratively, sparsities
from sartor.compress.sparsity.l1 import L1, below
from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import global_masks, local_masks, sparsity_of
from sartor.errors import InputError
from sartor.training import Recipe, Single, TrainingState, fit
from tests.compress.made import RECIPE, accuracy, classifier, learner, rows, trained

SGD = Recipe(optimizer="sgd", momentum=0.9, learning_rate=0.05, batch_size=32, ema_decay=0.9, clip_norm=0.5)


def zeros(module: nn.Module, names: Any) -> float:
    values = torch.cat([module.get_parameter(name).detach().flatten() for name in names])
    return float((values == 0).float().mean())


@pytest.mark.parametrize("recipe", [RECIPE, SGD])
def test_zeros_survive_training_averaging_and_momentum(recipe: Recipe) -> None:
    network = trained(classifier())
    masks = global_masks(magnitude(network), 0.8)
    state = fit(Single(network), Held(learner(), masks), rows(), recipe, total=40, seed=1)
    averaged = state.averaged or {}
    for name, mask in masks.items():
        assert bool((network.get_parameter(name)[~mask] == 0).all())
        assert bool((network.get_parameter(name)[mask] != 0).all())
        assert name not in averaged or bool((averaged[name][~mask] == 0).all())
    assert all(parameter.grad is None and not parameter._backward_hooks for parameter in network.parameters())


def test_what_is_held_does_not_count_for_clipping() -> None:
    """Training under masks is training of the smaller network: here of one without its last hidden units."""
    wide, narrow = classifier(8), classifier(8)
    narrow[2], narrow[4] = nn.Linear(8, 5), nn.Linear(5, 3)
    masks = {name: torch.ones_like(value, dtype=torch.bool) for name, value in magnitude(wide).items()}
    masks["2.weight"][5:], masks["4.weight"][:, 5:] = False, False
    with torch.no_grad():
        wide[2].bias[5:] = 0
        for own, theirs in ((narrow[2], wide[2]), (narrow[4], wide[4])):
            own.weight.copy_(theirs.weight[: own.out_features, : own.in_features])
            own.bias.copy_(theirs.bias[: own.out_features])
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, clip_norm=0.1, batch_size=32)
    fit(Single(wide), Held(learner(), masks), rows(), recipe, total=20, seed=0)
    fit(Single(narrow), learner(), rows(), recipe, total=20, seed=0)
    torch.testing.assert_close(wide[2].weight[:5], narrow[2].weight)


def test_a_killed_training_under_masks_goes_on_bit_equal() -> None:
    first, second = classifier(), classifier()
    masks = local_masks(magnitude(first), 0.5)
    fit(Single(first), Held(learner(), masks), rows(), RECIPE, total=30, seed=0)
    state = fit(Single(second), Held(learner(), masks), rows(), RECIPE, total=30, seed=0, until=11)
    state = TrainingState.from_dict(copy.deepcopy(state.to_dict()))
    fresh = classifier(seed=5)
    fit(Single(fresh), Held(learner(), masks), rows(), RECIPE, total=30, seed=0, state=state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), fresh.parameters(), strict=True))


def test_masks_that_do_not_fit_are_refused() -> None:
    masks = local_masks(magnitude(classifier(32)), 0.5)
    with pytest.raises(InputError, match="the mask has shape"):
        fit(Single(classifier()), Held(learner(), masks), rows(), RECIPE, total=3, seed=0)


def test_the_cubic_schedule_is_that_of_the_paper() -> None:
    assert cubic(0.0, 0.1, 0.9) == pytest.approx(0.1)
    assert cubic(0.5, 0.0, 0.8) == pytest.approx(0.8 - 0.8 / 8)
    assert cubic(1.0, 0.1, 0.9) == cubic(7.0, 0.1, 0.9) == pytest.approx(0.9)


@pytest.mark.parametrize(("scope", "criterion"), [("global", "magnitude"), ("local", "magnitude"), ("global", "lamp")])
def test_gradual_pruning_ends_at_its_sparsity_and_resumes_bit_equal(scope: Any, criterion: Any) -> None:
    def around(network: nn.Module) -> Gradual:
        return Gradual(
            learner(), network, sparsity=0.9, begin=0.1, end=0.8, interval=7, scope=scope, criterion=criterion
        )

    network, again = classifier(), classifier()
    fit(Single(network), around(network), rows(), RECIPE, total=100, seed=0)
    names = list(magnitude(network))
    assert zeros(network, names) == pytest.approx(0.9, abs=2e-3)
    state = fit(Single(again), around(again), rows(), RECIPE, total=100, seed=0, until=47)
    assert 0.5 < zeros(again, names) < 0.9
    fit(Single(again), around(again), rows(), RECIPE, total=100, seed=0, state=state)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_the_penalty_makes_weights_small_enough_to_remove() -> None:
    plain, drawn = classifier(), classifier()
    fit(Single(plain), learner(), rows(), RECIPE, total=150, seed=0)
    fit(Single(drawn), L1(learner(), 2e-3), rows(), RECIPE, total=150, seed=0)
    assert sparsity_of(below(drawn, 0.02)) > 0.4 > 0.2 > sparsity_of(below(plain, 0.02))
    assert accuracy(drawn) > 0.7
    with pytest.raises(InputError, match="strength"):
        L1(learner(), -1.0)
    with pytest.raises(InputError, match="threshold"):
        below(plain, float("nan"))


def test_each_round_removes_the_same_share_of_what_is_left() -> None:
    targets = sparsities(0.9, 4)
    left = [1.0, *(1 - target for target in targets)]
    assert targets[-1] == pytest.approx(0.9)
    ratios = [b / a for a, b in zip(left, left[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * 4)
    with pytest.raises(InputError, match="final sparsity"):
        sparsities(1.0, 3)


@pytest.mark.parametrize("rewinding", [False, True])
def test_iterative_pruning_keeps_accuracy_and_goes_on_after_a_kill(rewinding: bool) -> None:
    dense = classifier()
    rewind = fit(Single(dense), learner(), rows(), RECIPE, total=120, seed=0, until=6)
    fit(Single(dense), learner(), rows(), RECIPE, total=120, seed=0, state=rewind)
    given: dict[str, Any] = {
        "targets": sparsities(0.8, 3), "total": 120, "seed": 3, "rewind": rewind if rewinding else None
    }  # fmt: skip
    seen: list[float] = []
    network = copy.deepcopy(dense)
    last = prune_iteratively(
        network, learner(), rows(), RECIPE, **given, finished=lambda done: seen.append(done.sparsity)
    )
    assert seen == pytest.approx(list(given["targets"]), abs=1e-3)
    assert zeros(network, last.masks) == pytest.approx(0.8, abs=1e-3)
    assert accuracy(network) > accuracy(dense) - 0.06

    class Killed(Exception):
        pass

    kept: list[dict[str, Any]] = []

    def keep(where: Round) -> None:
        kept.append(where.to_dict())
        if where.number == 1 and 50 < where.training.step < 120:
            raise Killed

    again = copy.deepcopy(dense)
    with pytest.raises(Killed):
        prune_iteratively(again, learner(), rows(), RECIPE, **given, checkpoint=keep, checkpoint_s=0)
    fresh = classifier(seed=9)
    prune_iteratively(fresh, learner(), rows(), RECIPE, **given, start=Round.from_dict(kept[-1]))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), fresh.parameters(), strict=True))


def test_rewound_weights_are_those_of_the_early_step() -> None:
    network = classifier()
    rewind = fit(Single(network), learner(), rows(), RECIPE, total=50, seed=0, until=50)
    trained_on = {name: value.clone() for name, value in rewind.module.items()}
    last = prune_iteratively(
        network, learner(), rows(), RECIPE, targets=[0.5], total=50, seed=0, rewind=rewind
    )  # rewound to the last step: nothing is left to train
    for name, mask in last.masks.items():
        assert torch.equal(network.get_parameter(name), trained_on[name] * mask)


@pytest.mark.parametrize("targets", [[], [0.5, 0.4], [0.5, 1.0]])
def test_targets_that_do_not_ascend_are_refused(targets: list[float]) -> None:
    with pytest.raises(InputError, match="ascending"):
        prune_iteratively(classifier(), learner(), rows(), RECIPE, targets=targets, total=3, seed=0)
