from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.space import OneOf, Space
from sartor.supernets._sharpness import eigenvalue
from sartor.supernets.collapse import can_skip, dominant_eigenvalue, judge, skip_share, stopping_point
from sartor.supernets.collapse import cells as cells_of
from sartor.supernets.darts import Darts
from sartor.supernets.darts_es import DartsEs
from sartor.supernets.darts_plus import DartsPlus
from sartor.training import Step, fit
from tests.supernets.cells import INPUTS, RECIPE, cells, cross_entropy, data, search


def put(method: Any, **by_value: float) -> None:
    """Gives every choice the same logits, by the names of the values."""
    choices = method.module.choices.values()
    method.module.put_logits([torch.tensor([[by_value[value] for value in values]]) for values in choices])


def test_the_eigenvalue_is_that_of_the_dense_hessian():
    method = Darts(cells("skip_connect", "conv_1x1", "conv_3x3"), INPUTS)
    method.module.double()
    learner = search(method)
    step = Step(0, 10, 0, RECIPE.of_player("architecture"), player="architecture")
    batch = learner.batch(method.module, data(), step)
    batch["x"] = batch["x"].double()
    rows = list(method.module.rows)
    sizes = [row.numel() for row in rows]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = dict(zip(method.module.choices, flat.split(sizes), strict=True))
        method.module.bound = {key: logits.softmax(0) for key, logits in parts.items()}
        return cross_entropy(method.module, batch, step)

    flat = torch.cat([row.detach().reshape(-1) for row in rows])
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    method.module.bound = None
    assert len(values) <= 20 and values[0] < 0 < values[-1]
    assert math.isclose(eigenvalue(learner, method.module, batch, step), float(values[-1]), rel_tol=1e-6)
    assert method.module.bound is None


@pytest.mark.parametrize("diagonal", [(1.0, 3.0, -0.5), (1.0, -3.0, 0.5), (-1.0, -3.0, -2.0), (2.0, 2.0, 2.0)])
def test_the_largest_eigenvalue_of_a_quadratic_form_is_found(diagonal: tuple[float, ...]):
    x = [torch.zeros(2, requires_grad=True), torch.zeros(1, 1, requires_grad=True)]

    def loss() -> torch.Tensor:
        return (torch.tensor(diagonal) * torch.cat([each.reshape(-1) for each in x]).square()).sum() / 2

    assert math.isclose(dominant_eigenvalue(loss, x), max(diagonal), rel_tol=1e-5)


def test_a_few_products_find_the_largest_of_many_eigenvalues():
    scale = torch.cat([torch.linspace(-1.0, 0.5, 299), torch.tensor([2.0])])
    x = torch.zeros(300, requires_grad=True)
    assert math.isclose(dominant_eigenvalue(lambda: (scale * x.square()).sum() / 2, [x], steps=12), 2.0, rel_tol=0.01)


def test_a_linear_loss_has_no_curvature():
    x = torch.ones(3, requires_grad=True)
    assert dominant_eigenvalue(lambda: x.sum(), [x]) == 0.0


def test_skips_are_counted_among_the_operations_of_normal_cells():
    space = cells("skip_connect", "conv_1x1")
    derived = space.sample(np.random.default_rng(0))
    keys = [key for key in derived if isinstance(derived[key], str)]
    skips = sum(derived[key] == "skip_connect" for key in keys)
    assert len(keys) == 4 and cells_of(space, derived)["normal"].operations == 4
    assert skip_share(space, derived) == skips / 4


def test_more_than_half_skips_is_a_collapse_and_the_reason_is_said():
    assert not judge(0.5).is_collapsed
    verdict = judge(0.75, [1.0] * 5 + [4.0] * 5)
    assert verdict.is_collapsed
    assert verdict.why == (
        "skip connections are 75% of the normal cells, more than half; "
        "the eigenvalue grew past the limit of Zela et al. after evaluation 5"
    )
    assert "at most half" in judge(0.25).why


def test_the_search_goes_back_by_a_window_when_the_mean_eigenvalue_has_grown():
    # Means of two: 1, 1, 1, 1.25, 2.25, ...; the first ratio over two evaluations below .75 is 1 / 2.25.
    values = [1.0, 1.0, 1.0, 1.0, 1.5, 3.0]
    assert stopping_point(values[:5], window=2) is None
    assert stopping_point(values, window=2) == 3
    assert stopping_point([1.0] * 30, window=5) is None
    assert stopping_point([-2.0] * 5 + [-1.0] * 5, window=5) is None


def test_darts_es_puts_back_the_logits_of_the_evaluation_it_goes_back_to_and_keeps_them():
    method = DartsEs(cells(), INPUTS, evaluate_every=2, window=2)
    rows, past = RECIPE, []
    told = iter([1.0, 1.0, 1.0, 1.0, 1.5, 3.0, 9.0])
    real = method.told

    def scripted(eigenvalue: float) -> None:
        past.append(torch.cat([row.detach().clone() for row in method.module.rows], 1))
        real(next(told))

    method.told = scripted  # type: ignore[method-assign]
    fit(method, search(method), data(), method.recipe(rows), total=30, seed=0)
    assert method.stopped_at == 11 and len(past) == 6
    assert torch.equal(torch.cat([row.detach() for row in method.module.rows], 1), past[3])
    assert method.indicators() == {"skip_share": skip_share(method.space, method.derive()), "eigenvalue": 3.0,
                                   "is_stopped": 1.0}  # fmt: skip


def test_watching_the_eigenvalue_does_not_change_the_search():
    plain, watched = Darts(cells(), INPUTS), DartsEs(cells(), INPUTS, evaluate_every=3)
    for method in (plain, watched):
        fit(method, search(method), data(), method.recipe(RECIPE), total=12, seed=0)
    assert len(watched.eigenvalues) == 4 and all(math.isfinite(value) for value in watched.eigenvalues)
    assert len(set(watched.eigenvalues)) == 4
    for ours, theirs in zip(plain.module.rows, watched.module.rows, strict=True):
        assert torch.equal(ours, theirs)


def test_darts_plus_stops_at_the_second_skip_connection_of_a_normal_cell():
    method = DartsPlus(cells(), INPUTS, check_every=1, patience=1000, from_share=0.0)
    put(method, none=0.0, skip_connect=0.0, conv_1x1=1.0, conv_3x3=0.5, avg_pool_3x3=0.0)
    recipe = method.recipe(RECIPE)
    state = fit(method, search(method), data(), recipe, total=20, seed=0, until=3)
    assert method.stopped_at is None and method.indicators()["is_stopped"] == 0.0
    put(method, none=0.0, skip_connect=9.0, conv_1x1=1.0, conv_3x3=0.5, avg_pool_3x3=0.0)
    state.module.update(method.module.state_dict())
    fit(method, search(method), data(), recipe, total=20, seed=0, state=state, until=4)
    assert method.stopped_at == 3
    stopped = [row.detach().clone() for row in method.module.rows]
    weights = next(method.module.mixture.parameters()).detach().clone()
    fit(method, search(method), data(), recipe, total=20, seed=1, until=3)
    assert all(torch.equal(a, b) for a, b in zip(stopped, method.module.rows, strict=True))
    assert not torch.equal(weights, next(method.module.mixture.parameters()))


def test_darts_plus_stops_when_the_order_of_operations_with_weights_stays():
    method = DartsPlus(cells(), INPUTS, check_every=2, patience=3, skips=99, from_share=0.0)
    put(method, none=0.0, skip_connect=0.0, conv_1x1=30.0, conv_3x3=-30.0, avg_pool_3x3=0.0)
    fit(method, search(method), data(), method.recipe(RECIPE), total=40, seed=0)
    # The first look finds another order than chance had, or the same; three more or two more without a change.
    assert method.stopped_at in (5, 7)


def test_darts_plus_does_not_look_before_its_share_of_the_training():
    method = DartsPlus(cells(), INPUTS, check_every=1, from_share=0.5)
    put(method, none=0.0, skip_connect=9.0, conv_1x1=0.0, conv_3x3=0.0, avg_pool_3x3=0.0)
    fit(method, search(method), data(), method.recipe(RECIPE), total=20, seed=0)
    assert method.stopped_at == 10


def test_settings_that_make_no_sense_are_refused():
    for made in (
        lambda: DartsPlus(cells(), INPUTS, skips=0),
        lambda: DartsPlus(cells(), INPUTS, from_share=1.0),
        lambda: DartsEs(cells(), INPUTS, window=0),
        lambda: DartsEs(cells(), INPUTS, ratio=1.0),
    ):
        with pytest.raises(InputError, match="expected"):
            made()


def test_a_space_without_skips_cannot_collapse_by_them() -> None:
    assert can_skip(Space(OneOf("skip_connect", "conv"))) and not can_skip(Space(OneOf("identity", "conv")))
