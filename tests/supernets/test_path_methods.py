"""What ProxylessNAS and FBNet do otherwise than DARTS."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets import Chain, ClassifierHead, ReluConvBn
from sartor.space import OneOf, Space
from sartor.supernets._costs import CostTable
from sartor.supernets.fbnet import FbNet
from sartor.supernets.proxylessnas import ProxylessNas
from sartor.training import Step, fit
from tests.supernets.cells import CLASSES, INPUTS, RECIPE, data, search

KERNELS = ("k1", "k3", "k5")


def chain() -> Space:
    """Returns two blocks of three kernels each."""
    blocks = [OneOf(**{name: partial(ReluConvBn, kernel=int(name[1])) for name in KERNELS}) for _ in range(2)]
    return Space(partial(Chain, 1, blocks=[partial(ReluConvBn, out_channels=4), *blocks],
                         head=partial(ClassifierHead, classes=CLASSES)))  # fmt: skip


KEYS = tuple(chain().keys)
COSTS = {key: {"k1": 10.0, "k3": 30.0, "k5": 90.0} for key in KEYS}


def step(index: int = 0, total: int = 10, player: str = "architecture", seed: int = 0) -> Step:
    return Step(index, total, seed, RECIPE.of_player(player), player=player)


def calls(method: Any) -> list[str]:
    """Returns a list that grows by the label of each alternative that is computed."""
    made: list[str] = []
    for mixed in method.module.mixed():
        for label, alternative in zip(mixed.labels, mixed.alternatives, strict=True):
            alternative.register_forward_hook(lambda *_, label=label: made.append(label))
    return made


# --- costs


def test_expected_costs_are_sums_of_the_tables_under_the_weights():
    table = CostTable(COSTS, dict.fromkeys(KEYS, KERNELS), fixed=5.0)
    weights: dict[str, Any] = {KEYS[0]: torch.tensor([1.0, 0.0, 0.0]), KEYS[1]: torch.tensor([0.0, 0.5, 0.5])}
    assert float(table.expected(weights)) == 5.0 + 10.0 + 60.0
    assert table.least == 25.0


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ({"blocks.9": {}}, "costs name a choice 'blocks.9'"),
        ({KEYS[0]: {"k1": 1.0}}, "expected one for each of"),
        ({KEYS[0]: {"k1": 1.0, "k3": 1.0, "k5": -1.0}}, "finite and not negative"),
    ],
)
def test_costs_that_do_not_fit_are_refused(costs: Any, said: str):
    with pytest.raises(InputError, match=said):
        FbNet(chain(), INPUTS, costs=costs)


def test_costs_whose_logarithm_is_not_positive_are_refused():
    with pytest.raises(InputError, match="costs of more than 1 in all"):
        FbNet(chain(), INPUTS, costs={key: {"k1": 0.1, "k3": 0.3, "k5": 0.9} for key in KEYS})


# --- FBNet


def test_fbnet_prefers_what_is_cheap_under_a_strong_cost_and_does_not_see_it_at_power_zero():
    def derived(cheapest: str, beta: float) -> list[str]:
        costs = {key: {name: 10.0 if name == cheapest else 90.0 for name in KERNELS} for key in KEYS}
        method = FbNet(chain(), INPUTS, costs=costs, beta=beta)
        fit(method, search(method), data(), method.recipe(RECIPE), total=60, seed=0)
        return list(method.derive().values())

    assert [derived(name, 8.0) for name in KERNELS] == [[name, name] for name in KERNELS]
    assert derived("k1", 0.0) == derived("k5", 0.0)


def test_fbnets_loss_is_multiplied_by_a_power_of_the_costs_logarithm_under_the_steps_weights():
    method = FbNet(chain(), INPUTS, costs=COSTS, fixed_cost=7.0)
    method.module.bound = {key: torch.tensor([0.0, 1.0, 0.0]) for key in KEYS}
    loss = method.objective(torch.tensor(2.0), step())
    assert float(loss) == pytest.approx(2.0 * 0.2 * math.log(67.0) ** 0.6)


def test_fbnets_temperature_falls_exponentially_and_its_weights_become_choices():
    method = FbNet(chain(), INPUTS)
    first, middle, last = (method.temperature(step(index, 90)) for index in (0, 45, 90))
    assert (first, last) == pytest.approx((5.0, 0.087)) and middle == pytest.approx(math.sqrt(first * last))
    assert first * math.exp(-0.045 * 45) == pytest.approx(middle, rel=0.01)
    largest = []
    for index in (0, 89):
        drawn: list[Any] = [method.weights(step(index, 90, seed=seed))[KEYS[0]] for seed in range(50)]
        largest.append(np.mean([float(weights.detach().max()) for weights in drawn]))
    assert largest[0] < 0.6 and largest[1] > 0.9


def test_fbnets_noise_draws_each_alternative_by_its_probability():
    method = FbNet(chain(), INPUTS)
    method.module.put_logits([torch.tensor([[0.6, 0.3, 0.1]]).log()] * 2)
    drawn = [int(method.weights(step(seed=seed))[KEYS[0]].argmax()) for seed in range(1500)]
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    assert np.abs(shares - [0.6, 0.3, 0.1]).max() < 0.04


# --- ProxylessNAS


def test_proxylessnas_computes_one_alternative_for_the_weights_and_two_for_the_logits():
    method = ProxylessNas(chain(), INPUTS)
    made = calls(method)
    method.bind(step(player="network"))
    method.module(*INPUTS)
    assert len(made) == 2
    made.clear()
    method.bind(step(player="architecture"))
    method.module(*INPUTS)
    assert len(made) == 4 and made[0] != made[1] and made[2] != made[3]
    made.clear()
    fit(method, search(method), data(), method.recipe(RECIPE), total=10, seed=0)
    assert len(made) == 10 * (2 + 4)
    made.clear()
    method.module.eval()(*INPUTS)
    assert len(made) == 2


def test_paths_are_drawn_by_their_probabilities():
    method = ProxylessNas(chain(), INPUTS)
    method.module.put_logits([torch.tensor([[0.6, 0.3, 0.1]]).log()] * 2)
    drawn = [next(iter(method.weights(step(player="network", seed=seed))[KEYS[0]])) for seed in range(1500)]
    shares = [drawn.count(name) / len(drawn) for name in KERNELS]
    assert np.abs(np.array(shares) - [0.6, 0.3, 0.1]).max() < 0.04


def test_the_gradient_of_the_gates_passes_to_the_logits_by_the_papers_rule():
    method = ProxylessNas(chain(), INPUTS)
    method.module.put_logits([torch.tensor([[0.4, -0.2, 1.0]]), torch.tensor([[0.0, 0.3, 0.1]])])
    method.bind(step(seed=3))
    bound: Any = method.module.bound
    outputs: dict[str, Tensor] = {name: torch.tensor(float(i + 1)) for i, name in enumerate(KERNELS)}
    for key, row in zip(KEYS, method.module.rows, strict=True):
        (first, one), (second, other) = bound[key].items()
        assert sorted((float(one.detach()), float(other.detach()))) == pytest.approx([0.0, 1.0])
        (gradient,) = torch.autograd.grad(one * outputs[first] + other * outputs[second], row)
        pair = [KERNELS.index(first), KERNELS.index(second)]
        p = row.detach()[0, pair].softmax(0)
        g = torch.stack([outputs[first], outputs[second]])
        expected = torch.zeros(3)
        for i in range(2):  # equation 4: sum over j of dL/dg_j p_j (delta_ij - p_i)
            expected[pair[i]] = sum(g[j] * p[j] * (float(i == j) - p[i]) for j in range(2))
        assert torch.allclose(gradient[0], expected, atol=1e-6)


def test_alternatives_that_were_not_drawn_keep_their_probability():
    method = ProxylessNas(chain(), INPUTS)
    learner = search(method)
    for index in range(5):
        before = {key: own.detach().clone() for key, own in method.probabilities().items()}
        method.bind(step(index))
        drawn = {key: set(own) for key, own in method.module.bound.items()}
        with torch.no_grad():
            for key, row in zip(KEYS, method.module.rows, strict=True):
                for value in drawn[key]:
                    row[0, KERNELS.index(value)] += 0.3 * (1 + KERNELS.index(value))
            learner.after(method.module, step(index))
        for key, own in method.probabilities().items():
            (left,) = set(range(3)) - {KERNELS.index(value) for value in drawn[key]}
            after = own.detach()
            assert float(after[left]) == pytest.approx(float(before[key][left]), abs=1e-6)
            assert not torch.allclose(after, before[key], atol=1e-3)


def test_proxylessnas_prefers_what_is_cheap_under_a_strong_cost():
    method = ProxylessNas(chain(), INPUTS, costs=COSTS, cost_weight=1.0)
    before = method.indicators()["expected_cost"]
    fit(method, search(method), data(), method.recipe(RECIPE), total=60, seed=0)
    assert list(method.derive().values()) == ["k1", "k1"]
    assert method.indicators()["expected_cost"] < 0.7 * before


def test_its_loss_is_the_tasks_plus_the_weighted_expected_cost():
    method = ProxylessNas(chain(), INPUTS, costs=COSTS, cost_weight=0.5)
    method.module.put_logits([torch.zeros(1, 3)] * 2)
    loss = method.objective(torch.tensor(2.0), step()).detach()
    assert float(loss) == pytest.approx(2.0 + 0.5 * 2 * 130 / 3)


def test_a_choice_of_one_alternative_is_always_taken():
    space = Space(partial(nn.Sequential, OneOf(only=partial(nn.Flatten)), partial(nn.Linear, 36, OneOf(3))))
    method = ProxylessNas(space, INPUTS)
    before = [row.detach().clone() for row in method.module.rows]
    fit(method, search(method), data(), method.recipe(RECIPE), total=3, seed=0)
    assert all(torch.equal(old, row) for old, row in zip(before, method.module.rows, strict=True))
