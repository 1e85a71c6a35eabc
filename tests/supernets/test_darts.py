from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sartor.errors import InputError
from sartor.supernets._unrolled import unrolled_gradient
from sartor.supernets.darts import Darts
from sartor.training import Learner, Step, fit
from tests.supernets.cells import INPUTS, RECIPE, cells, cross_entropy, data, equal

XI = 0.05


def step_of(method: Darts, index: int = 3) -> Step:
    recipe = method.recipe(RECIPE).of_player("architecture")
    return Step(index, 20, 0, recipe, player="architecture")


def double(batch: Any) -> dict[str, Tensor]:
    return {"x": batch["x"].double(), "y": batch["y"]}


def exact(method: Darts, train: Any, validation: Any) -> list[Tensor]:
    """Returns the gradient of the loss after a virtual step, by differentiating through the step."""
    module = method.module
    owned = {name: p for name, p in module.named_parameters() if p.requires_grad and not name.startswith("rows")}
    rows = list(module.rows)

    def loss(parameters: dict[str, Tensor], batch: Any) -> Tensor:
        module.bound = method.probabilities()
        return nn.functional.cross_entropy(functional_call(module, parameters, (batch["x"],)), batch["y"])

    gradients = torch.autograd.grad(loss(owned, train), list(owned.values()), create_graph=True)
    stepped = {name: p - XI * g for (name, p), g in zip(owned.items(), gradients, strict=True)}
    return list(torch.autograd.grad(loss(stepped, validation), rows))


@pytest.mark.parametrize(("radius", "tolerance"), [(1e-5, 1e-6), (0.01, 0.05)])
def test_the_second_order_gradient_equals_differentiating_through_the_virtual_step(
    radius: float, tolerance: float, monkeypatch: pytest.MonkeyPatch
):
    # The paper's radius is large enough for some ReLUs to switch; a small one is exact.
    monkeypatch.setattr("sartor.supernets._unrolled.RADIUS", radius)
    method = Darts(cells("skip_connect", "conv_1x1", "conv_3x3"), INPUTS, order=2, xi=XI)
    method.module.double()
    learner = method.learner(Learner(cross_entropy))
    step = step_of(method)
    method.bind(step)
    batch = learner.batch(method.module, data(), step)
    batch = type(batch)(double(batch.validation), double(batch.train))
    before = {name: p.detach().clone() for name, p in method.module.named_parameters()}
    loss = learner.loss(method.module, batch, step)
    ours = torch.autograd.grad(loss, list(method.module.rows))
    assert equal(before, {name: p.detach() for name, p in method.module.named_parameters()})
    truth = torch.cat(exact(method, batch.train, batch.validation), 1)
    method.bind(step)
    first = torch.cat(
        torch.autograd.grad(cross_entropy(method.module, batch.validation, step), list(method.module.rows)), 1
    )
    error = (torch.cat(ours, 1) - truth).norm() / truth.norm()
    assert error < tolerance < 0.07 < (first - truth).norm() / truth.norm()


def test_the_second_order_gradient_of_a_bilinear_problem_is_known():
    # train = (w - a)^2 / 2 and validation = (w - 1)^2 / 2: w' = w - xi (w - a), so dL/da = xi (w' - 1).
    w, a = torch.tensor([3.0], dtype=torch.float64, requires_grad=True), torch.tensor([0.5], dtype=torch.float64)
    a.requires_grad_()
    value, (gradient,) = unrolled_gradient(
        lambda: ((w - a) ** 2).sum() / 2, lambda: ((w - 1) ** 2).sum() / 2, [w], [a], 0.1
    )
    after = 3.0 - 0.1 * 2.5
    assert math.isclose(float(value), (after - 1) ** 2 / 2)
    assert math.isclose(float(gradient), 0.1 * (after - 1), rel_tol=1e-6)
    assert float(w.detach()) == 3.0


def test_the_weights_are_put_back_when_the_virtual_step_fails():
    w, a = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def fails() -> Tensor:
        raise RuntimeError("no such loss")

    with pytest.raises(RuntimeError, match="no such loss"):
        unrolled_gradient(lambda: (w * a).square().sum(), fails, [w], [a], 0.1)
    assert torch.equal(w.detach(), torch.ones(2))


def test_the_virtual_step_uses_the_batch_with_which_the_weights_step_next():
    method = Darts(cells(), INPUTS, order=2)
    learner = method.learner(Learner(cross_entropy))
    recipe = method.recipe(RECIPE)
    turns = [
        learner.batch(method.module, data(), Step(i, 20, 0, recipe.of_player(name), player=name))
        for i, name in ((4, "architecture"), (5, "network"))
    ]
    assert torch.equal(turns[0].train["x"], turns[1]["x"])
    assert not torch.equal(turns[0].validation["x"], turns[1]["x"])


def test_first_and_second_order_train_the_logits_differently():
    ends = []
    for order in (1, 2):
        method = Darts(cells(), INPUTS, order=order)
        fit(method, method.learner(Learner(cross_entropy)), data(), method.recipe(RECIPE), total=3, seed=0)
        ends.append(torch.cat([row.detach() for row in method.module.rows], 1))
    assert not torch.equal(*ends)


def test_other_orders_are_refused():
    with pytest.raises(InputError, match="expected the order 1 or 2"):
        Darts(cells(), INPUTS, order=3)
