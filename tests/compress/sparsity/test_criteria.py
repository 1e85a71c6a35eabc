from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sartor.compress.sparsity.lamp import lamp
from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import global_masks, pruned
from sartor.compress.sparsity.obd import obd
from sartor.compress.sparsity.obs import obs
from sartor.compress.sparsity.taylor import taylor
from sartor.errors import DataError, InputError
from tests.compress.made import accuracy, classifier, cross_entropy, rows, trained


def batches(num: int, size: int) -> list[dict[str, Any]]:
    return [rows(512).batch(size, 0, draw) for draw in range(num)]


def test_lamp_is_each_square_over_those_that_are_no_smaller() -> None:
    network = classifier()
    with torch.no_grad():
        network[2].weight.mul_(1e-3)  # scores do not change with a layer's scale
        network[4].weight[0] = 0.0
    for name, scores in lamp(network).items():
        squares = network.get_parameter(name).detach().double().square().flatten()
        wanted = torch.stack([each / squares[squares >= each].sum() for each in squares])
        torch.testing.assert_close(scores.flatten().double(), wanted, rtol=1e-5, atol=0)
    masks = global_masks(lamp(network), 0.97)
    assert all(bool(mask.any()) for mask in masks.values())
    assert not bool(global_masks(magnitude(network), 0.8)["2.weight"].any())


def test_taylor_is_the_square_of_gradient_times_weight() -> None:
    network = trained(classifier())
    given = batches(2, 32)
    scores = taylor(network, given, cross_entropy)
    wanted = torch.zeros_like(network[0].weight)
    for batch in given:
        network.zero_grad()
        cross_entropy(network, batch).backward()
        wanted += (network[0].weight.grad * network[0].weight).detach() ** 2 / 2
    torch.testing.assert_close(scores["0.weight"], wanted)


def test_looking_at_gradients_leaves_the_network_as_it_was() -> None:
    network = trained(classifier())
    network[0].weight.requires_grad_(False)
    network.train()
    taylor(network, batches(1, 32), cross_entropy)
    assert network.training and not network[0].weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_obd_finds_the_diagonal_of_the_hessian() -> None:
    network = trained(classifier(6)).double()
    batch = {"x": torch.as_tensor(rows().columns["x"]).double(), "y": rows().columns["y"]}
    scores = obd(network, [batch], cross_entropy, num_probes=3000)

    def at(weight: Tensor) -> Tensor:
        x = functional_call(network, {"4.weight": weight}, (batch["x"],))
        return nn.functional.cross_entropy(x, torch.as_tensor(batch["y"]))

    weight = network[4].weight.detach()
    hessian = torch.autograd.functional.hessian(at, weight).reshape(weight.numel(), -1)
    wanted = 0.5 * hessian.diagonal().clamp(min=0).reshape(weight.shape) * weight**2
    torch.testing.assert_close(scores["4.weight"], wanted, rtol=0.15, atol=float(0.02 * wanted.max()))


def test_obd_is_exact_where_weights_do_not_interact() -> None:
    network = nn.Linear(5, 1, bias=False)
    curvature = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    scores = obd(network, [0], lambda module, _: 0.5 * (curvature * module.weight**2).sum(), num_probes=1)
    torch.testing.assert_close(scores["weight"], 0.5 * curvature * network.weight.detach() ** 2)


def test_obs_moves_the_other_weights_to_the_least_of_the_quadratic_form() -> None:
    torch.manual_seed(0)
    network = nn.Linear(6, 1, bias=False).double()
    gradients = torch.randn(40, 6).double() @ torch.randn(6, 6).double()
    found = obs(
        network, list(gradients), lambda module, g: (module.weight[0] * g).sum(), 0.5, block=6, damping=1e-9
    )
    hessian = gradients.T @ gradients / 40
    weight = network.weight.detach()[0]
    inverse = torch.linalg.inv(hessian)
    gone = (weight**2 / (2 * inverse.diagonal())).argsort()[:3]
    assert set(gone.tolist()) == set((~found.masks["weight"][0]).nonzero()[:, 0].tolist())
    # Hassibi & Stork's multiplier form, for three weights at once.
    part = inverse[gone][:, gone]
    wanted = weight - inverse[:, gone] @ torch.linalg.solve(part, weight[gone])
    torch.testing.assert_close(found.module.weight.detach()[0], wanted, atol=1e-6, rtol=1e-5)


def test_obs_costs_less_than_removing_the_same_weights() -> None:
    network = trained(classifier())
    given = batches(200, 2)
    found = obs(network, given, cross_entropy, 0.6, block=32)
    moved = pruned(network, found.masks)
    held = rows(512, seed=1).columns
    assert cross_entropy(found.module, held) < cross_entropy(moved, held)
    assert all(bool((found.module.get_parameter(name)[~mask] == 0).all()) for name, mask in found.masks.items())


def test_scores_of_the_loss_do_not_depend_on_the_scale_of_inputs() -> None:
    network = trained(classifier())
    small = trained(classifier())
    with torch.no_grad():
        small[0].weight /= 100

    def scaled(module: nn.Module, batch: dict[str, Any]) -> Tensor:
        return cross_entropy(module, {**batch, "x": torch.as_tensor(batch["x"]) * 100})

    plain = global_masks(taylor(network, batches(4, 32), cross_entropy), 0.5)
    again = global_masks(taylor(small, batches(4, 32), scaled), 0.5)
    assert sum(int((plain[name] != again[name]).sum()) for name in plain) <= 4
    assert not bool(global_masks(magnitude(small), 0.5)["0.weight"].any())
    assert accuracy(pruned(network, global_masks(obd(network, batches(4, 32), cross_entropy), 0.5))) > 0.6


@pytest.mark.parametrize("method", [taylor, obd, lambda *a: obs(*a, 0.5)])
def test_bad_calibration_data_are_refused(method: Any) -> None:
    network = classifier()
    batch = batches(1, 32)[0]
    batch["x"][3, 2] = torch.nan
    with pytest.raises(DataError, match="calibration batch 1: 1 of 192 numbers are not finite"):
        method(network, [batches(1, 32)[0], batch], cross_entropy)
    with pytest.raises(InputError, match="at least one batch"):
        method(network, itertools.islice([], 0), cross_entropy)


def test_a_layer_that_the_loss_does_not_read_is_named() -> None:
    network = nn.ModuleDict({"used": nn.Linear(6, 3), "spare": nn.Linear(6, 3)})
    with pytest.raises(InputError, match=r"does not depend on spare\.weight: give its layer to skip"):
        taylor(network, batches(1, 8), lambda module, batch: cross_entropy(module["used"], batch))
