from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sartor.data import Rows
from sartor.errors import InputError
from sartor.nets import ReluConvBn
from sartor.registry import find
from sartor.space import OneOf, Space
from sartor.spaces.darts import OPERATIONS, darts, to_genotype
from sartor.spaces.nasbench201 import nasbench201
from sartor.supernets import Differentiable
from sartor.supernets._halves import Halves
from sartor.training import Learner, Recipe, Step, TrainingState, fit
from tests.supernets.cells import CLASSES, INPUTS, RECIPE, cells, cross_entropy, data, equal, search

METHODS: dict[str, dict[str, Any]] = {
    "darts": {},
    "darts order 2": {"order": 2},
    "darts-plus": {"check_every": 2, "patience": 3},
    "darts-es": {"evaluate_every": 2, "window": 1, "ratio": 0.9},
    "fair-darts": {},
    "p-darts": {"drop": (2, 1)},
    "pc-darts": {"partial": 2},
    "proxylessnas": {},
    "fbnet": {},
}


def made(name: str, space: Space | None = None, seed: int = 0) -> Any:
    return find("supernets", name.split()[0]).load()(space or cells(), INPUTS, seed=seed, **METHODS[name])


def trained(method: Any, total: int = 24, **fitting: Any) -> TrainingState:
    return fit(method, search(method), data(), method.recipe(RECIPE), total=total, seed=1, **fitting)


def logits(method: Any) -> torch.Tensor:
    return torch.cat([row.detach().reshape(-1) for row in method.module.rows])


@pytest.mark.parametrize("name", METHODS)
def test_each_method_moves_its_logits_and_derives_an_architecture_of_the_space(name: str):
    space = cells()
    method = made(name, space)
    assert isinstance(method, Differentiable)
    before, losses = logits(method), []
    trained(method, 30, report=lambda step, **values: losses.append(values), report_every=1)
    assert (logits(method) - before).abs().max() > 0.01
    assert any({"loss.network", "loss.architecture"} <= values.keys() for values in losses)
    derived = method.derive()
    assert derived in space
    if name.split()[0] not in ("proxylessnas", "fbnet"):
        assert "none" not in derived.values()
    assert 0.0 <= method.indicators()["skip_share"] <= 1.0
    assert space.build(derived)(*INPUTS).shape == (2, CLASSES)
    assert method.module.eval()(*INPUTS).shape == (2, CLASSES)


@pytest.mark.parametrize("name", METHODS)
def test_a_training_resumed_from_what_was_saved_ends_equal(name: str):
    whole = trained(made(name), 12)
    saved: dict[str, Any] = trained(made(name), 12, until=5).to_dict()
    resumed = trained(made(name), 12, state=TrainingState.from_dict(saved))
    assert equal(whole.to_dict(), resumed.to_dict())


@pytest.mark.parametrize("name", METHODS)
def test_each_method_searches_nasbench201(name: str):
    space = nasbench201(1, CLASSES, width=4, cells_per_stage=1)
    method = made(name, space)
    trained(method, 3)
    assert method.derive() in space


@pytest.mark.parametrize("name", ["darts", "p-darts", "pc-darts"])
def test_methods_for_cells_search_the_space_of_darts(name: str):
    def space(num_cells: int) -> Space:
        return darts(1, CLASSES, width=4, num_cells=num_cells, nodes=2, operations=OPERATIONS[:5])

    deeper = {"deeper": [space(4), space(5)]} if name == "p-darts" else {}
    method = find("supernets", name).load()(space(3), INPUTS, **METHODS[name], **deeper)
    before = logits(method)
    trained(method, 6)
    assert not torch.equal(before, logits(method))
    genotype = to_genotype(method.derive())
    assert all(operation != "none" for nodes in genotype.values() for node in nodes for operation, _ in node)
    assert space(5).build(method.derive())(*INPUTS).shape == (2, CLASSES)


def test_equal_seeds_begin_with_equal_logits_and_weights_and_others_do_not():
    assert equal(dict(made("darts").module.state_dict()), dict(made("darts").module.state_dict()))
    assert not torch.equal(logits(made("darts", seed=0)), logits(made("darts", seed=1)))


def test_listing_the_methods_loads_no_torch():
    names = {name.split()[0].replace("-", "_") for name in METHODS}
    lines = [f"import sartor.supernets.{name}" for name in (*names, "collapse")]
    code = "\n".join([*lines, "import sys", "assert 'torch' not in sys.modules"])
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_and_logits_are_trained_on_different_rows_which_a_seed_draws():
    rows = Rows(number=np.arange(100))

    def first(seed: int) -> list[int]:
        return list(Halves(0.8).of(rows, seed)[0].columns["number"])

    weights, architecture = (set(part.columns["number"].tolist()) for part in Halves(0.8).of(rows, 3))
    assert len(weights) == 80 and weights | architecture == set(range(100)) and not weights & architecture
    assert first(3) == first(3) != first(4)


def test_each_player_is_given_batches_of_its_own_rows():
    seen: dict[str, set[int]] = {"network": set(), "architecture": set()}

    def watched(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        seen[step.player].update(batch["number"].tolist())
        return cross_entropy(network, batch, step)

    method, rows = made("darts"), data()
    fit(method, method.learner(Learner(watched)), Rows(**rows.columns, number=np.arange(len(rows))),
        method.recipe(RECIPE), total=6, seed=0)  # fmt: skip
    assert seen["network"] and seen["architecture"] and not seen["network"] & seen["architecture"]


def test_data_that_cannot_be_split_are_given_in_two_parts_or_refused():
    class Stream:
        def batch(self, size: int, seed: int, draw: int) -> dict[str, Any]:
            return data(size, draw).columns

    method = made("darts")
    with pytest.raises(InputError, match="needs sartor.data.Rows.*got Stream"):
        fit(method, search(method), Stream(), method.recipe(RECIPE), total=1, seed=0)
    parts = {"network": Stream(), "architecture": Stream()}
    fit(method, search(method), parts, method.recipe(RECIPE), total=1, seed=0)
    with pytest.raises(InputError, match="expected data of 'network' and 'architecture'"):
        fit(method, search(method), {"network": Stream()}, method.recipe(RECIPE), total=1, seed=0)
    with pytest.raises(InputError, match="at least 2 rows"):
        Halves().of(Rows(x=np.zeros(1)))
    with pytest.raises(InputError, match="between 0 and 1"):
        Halves(1.0)


def test_the_recipe_has_the_papers_optimiser_for_the_logits_unless_it_says_another():
    method = made("darts")
    own = method.recipe(Recipe()).of_player("architecture")
    assert (own.optimizer, own.learning_rate, own.beta1, own.weight_decay) == ("adam", 3e-4, 0.5, 1e-3)
    own = method.recipe(Recipe(players={"architecture": {"learning_rate": 0.1}})).of_player("architecture")
    assert (own.optimizer, own.learning_rate) == ("adam", 0.1)
    assert method.recipe(Recipe(learning_rate=0.7)).of_player("network").learning_rate == 0.7


def test_logits_are_decayed():
    method = made("darts")
    own = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.5, "learning_rate": 1.0}
    recipe = replace(RECIPE, players={"architecture": own})
    before = logits(method) + 1.0
    method.module.put_logits([row.detach() + 1.0 for row in method.module.rows])

    def nothing(network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return 0.0 * cross_entropy(network, batch, step)

    fit(method, method.learner(Learner(nothing)), data(), method.recipe(recipe), total=1, seed=0)
    assert torch.allclose(logits(method), 0.5 * before, atol=1e-5)


def test_logits_rest_while_the_weights_warm_up():
    method = made("fbnet")
    before = logits(method)
    trained(method, 18, until=2)
    assert torch.equal(logits(method), before)
    trained(method, 18, until=3)
    assert not torch.equal(logits(method), before)


def test_darts_keeps_the_two_inputs_whose_best_operations_are_likeliest_and_never_none():
    method = made("darts")
    rng = np.random.default_rng(5)
    for _ in range(20):
        method.module.put_logits([torch.tensor(rng.normal(size=row.shape)) for row in method.module.rows])
        derived = method.derive()
        probabilities = {key: weights.detach() for key, weights in method.probabilities().items()}
        for node, sources in ((0, 2), (1, 3)):
            best = {}
            for source in range(sources):
                key = f"normal.nodes.{node}.{source}"
                strengths = dict(zip(method.module.choices[key], probabilities[key].tolist(), strict=True))
                del strengths["none"]
                best[source] = max(strengths.items(), key=lambda item: item[1])
            kept = sorted(sorted(best, key=lambda source: -best[source][1])[:2])
            assert derived[f"normal.nodes.{node}"] == tuple(kept)
            assert all(derived[f"normal.nodes.{node}.{source}"] == best[source][0] for source in kept)


def test_a_space_without_choices_is_refused():
    with pytest.raises(InputError, match="expected a space with choices"):
        made("darts", Space(partial(nn.Flatten)))


def test_a_learner_that_has_the_player_already_is_refused():
    class Taken(Learner):
        def players(self, module: nn.Module) -> dict[str, list[nn.Parameter]]:
            return {"architecture": list(module.parameters())}

    method = made("darts")
    with pytest.raises(InputError, match="without a player 'architecture'"):
        fit(method, method.learner(Taken(cross_entropy)), data(), RECIPE, total=1, seed=0)


def test_other_players_and_memories_of_a_tasks_learner_are_trained_beside_the_logits():
    class Twofold(Learner):
        every = {"critic": 2}

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("seen", torch.zeros(()))

        def players(self, module: nn.Module) -> dict[str, list[nn.Parameter]]:
            return {"network": list(module.parameters()), "critic": [self.scale]}

        def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
            return cross_entropy(network, batch, step) * self.scale

        def after(self, network: nn.Module, step: Step) -> None:
            self.seen += 1

    method, inner = made("darts"), Twofold()
    points: list[set[str]] = []
    fit(method, method.learner(inner), data(), method.recipe(RECIPE), total=4, seed=0,
        report=lambda step, **values: points.append(set(values)))  # fmt: skip
    assert {"loss.network", "loss.critic", "loss.architecture"} <= points[0]
    assert float(inner.scale.detach()) != 1.0 and float(inner.seen) == 4.0


def test_alternatives_are_normalised_without_scale_and_pooling_too():
    method = made("darts")
    for mixed in method.module.mixed():
        by_label = dict(zip(mixed.labels, mixed.alternatives, strict=True))
        assert isinstance(by_label["avg_pool_3x3"][1], nn.BatchNorm2d)
        norms = [module for module in mixed.alternatives.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms and not any(p.requires_grad for norm in norms for p in norm.parameters())
    affine = made("proxylessnas")
    norms = [module for module in affine.module.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(p.requires_grad for norm in norms for p in norm.parameters())


def test_values_inside_a_factory_are_relaxed_like_modules():
    convolution: Any = partial(ReluConvBn, 1, 4, kernel=OneOf(1, 3))
    space = Space(partial(nn.Sequential, convolution, partial(nn.Flatten), partial(nn.Linear, 144, 3)))
    method = made("darts", space)
    trained(method, 3)
    assert set(method.derive()) == {"0.kernel"}
