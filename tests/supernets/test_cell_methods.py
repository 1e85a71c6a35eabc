"""What Fair DARTS, PC-DARTS and P-DARTS do otherwise than DARTS."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sartor.errors import InputError
from sartor.space import OneOf, Space
from sartor.supernets._partial import PartialChannels
from sartor.supernets.collapse import skip_share
from sartor.supernets.fair_darts import FairDarts
from sartor.supernets.p_darts import PDarts
from sartor.supernets.pc_darts import PcDarts
from sartor.training import Step, fit
from tests.supernets.cells import INPUTS, RECIPE, cells, data, search


def put(method: Any, **by_value: float) -> None:
    """Gives every choice the same logits, by the names of the values."""
    choices = method.module.choices.values()
    method.module.put_logits([torch.tensor([[by_value[value] for value in values]]) for values in choices])


def step(index: int, total: int, player: str = "architecture") -> Step:
    return Step(index, total, 0, RECIPE.of_player(player), player=player)


# --- Fair DARTS


def test_fair_darts_weights_alternatives_apart_and_drives_them_from_a_half():
    method = FairDarts(cells("skip_connect", "conv_1x1"), INPUTS)
    put(method, skip_connect=0.0, conv_1x1=float(np.log(3.0)))  # sigmoids 1/2 and 3/4
    for weights in method.probabilities().values():
        assert torch.allclose(weights, torch.tensor([0.5, 0.75]))
    assert torch.isclose(method.zero_one_loss(), torch.tensor(-0.03125))  # -(0 + 1/16) / 2
    assert torch.isclose(method.objective(torch.tensor(1.0), step(0, 1)), torch.tensor(1.0 - 0.3125))


def test_fair_darts_ends_with_sigmoids_nearer_to_zero_or_one_under_a_stronger_zero_one_loss():
    means = []
    for zero_one in (0.0, 10.0):
        method = FairDarts(cells(), INPUTS, zero_one=zero_one)
        fit(method, search(method), data(), method.recipe(RECIPE), total=40, seed=0)
        sigmoids = torch.cat([row.detach().sigmoid() for row in method.module.rows], 1)
        means.append(float((sigmoids - 0.5).abs().mean()))
    assert means[1] > means[0] + 0.05


def test_fair_darts_scores_an_operation_by_how_far_it_is_above_the_threshold():
    method = FairDarts(cells("none", "skip_connect", "conv_1x1"), INPUTS, threshold=0.85)
    put(method, none=9.0, skip_connect=2.0, conv_1x1=-2.0)
    sigmoid = float(torch.tensor(2.0).sigmoid())
    for own in method.scores().values():
        wanted = {"none": -1.0, "skip_connect": sigmoid - 0.85, "conv_1x1": 0.15 - sigmoid}
        assert own == pytest.approx(wanted, abs=1e-6)


# --- PC-DARTS


def test_partial_channels_pass_the_first_through_the_operation_and_shuffle_all():
    x = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 4, 4)
    out = PartialChannels(nn.Hardtanh(-0.5, 0.5), 8, 4)(x)
    # Parts (0, 1), (2, 3), (4, 5), (6, 7); the first is clipped; places alternate between the parts.
    assert out[0, :, 0, 0].tolist() == [0.0, 2.0, 4.0, 6.0, 0.5, 3.0, 5.0, 7.0]
    halving = PartialChannels(nn.AvgPool2d(2), 8, 2)(torch.rand(2, 8, 5, 5)[..., :4, :4])
    assert halving.shape == (2, 8, 2, 2)


def test_channels_that_go_around_a_halving_operation_are_pooled():
    x = torch.rand(2, 4, 6, 6)
    out = PartialChannels(nn.AvgPool2d(2), 4, 2)(x)
    assert torch.equal(out[:, 1], F.max_pool2d(x, 2)[:, 2])
    assert torch.equal(out[:, 0], F.avg_pool2d(x, 2)[:, 0])


def test_pc_darts_builds_operations_for_a_part_of_the_channels():
    method = PcDarts(cells(), INPUTS, partial=4)
    convolutions = [
        module for mixed in method.module.mixed() for module in mixed.modules() if isinstance(module, nn.Conv2d)
    ]
    assert convolutions and {module.in_channels for module in convolutions} == {2}
    assert method.module(*INPUTS).shape == (2, 3)


def test_pc_darts_keeps_inputs_by_the_product_of_the_edges_and_the_operations_probabilities():
    method = PcDarts(cells("none", "skip_connect", "conv_1x1"), INPUTS, partial=2)
    rng = np.random.default_rng(0)
    for _ in range(10):
        method.module.put_logits([torch.tensor(rng.normal(size=row.shape)) for row in method.module.rows])
        logits = {key: own.detach().softmax(0) for key, own in method.module.logits.items()}
        shares = logits["normal.nodes.1"]
        strengths = [float(shares[i] * logits[f"normal.nodes.1.{i}"][1:].max()) for i in range(3)]
        kept = tuple(sorted(np.argsort(strengths)[-2:].tolist()))
        assert method.derive()["normal.nodes.1"] == kept


def test_pc_darts_trains_the_shares_of_edges_and_scales_them():
    method = PcDarts(cells(), INPUTS, partial=2, warmup=0.0)
    assert set(method.module.subsets) == {"normal.nodes.0", "normal.nodes.1"}
    rows = dict(zip(method.module.logits, method.module.rows, strict=True))
    before = rows["normal.nodes.1"].detach().clone()
    fit(method, search(method), data(), method.recipe(RECIPE), total=5, seed=0)
    assert not torch.equal(before, rows["normal.nodes.1"].detach())
    method.module.eval()
    shares = {key: torch.zeros(len(items)) for key, items in method.module.subsets.items()}
    method.module.bound = {**method.probabilities(), **shares}
    one, other = method.module(torch.rand(1, 1, 6, 6)), method.module(torch.rand(1, 1, 6, 6))
    assert torch.equal(one, other)


def test_pc_darts_rests_its_logits_for_the_papers_share_of_the_training():
    method = PcDarts(cells(), INPUTS, partial=2)
    assert [method.plays(index, 50) for index in (0, 14, 15, 49)] == [False, False, True, True]


def test_channels_that_cannot_be_divided_and_spaces_without_are_refused():
    with pytest.raises(InputError, match="partial=3 divides, got 8"):
        PcDarts(cells(), INPUTS, partial=3)
    flat = OneOf(a=partial(nn.Flatten), b=partial(nn.Flatten))
    plain = Space(partial(nn.Sequential, flat, partial(nn.Linear, 36, 3)))
    with pytest.raises(InputError, match="operations that wait for in_channels"):
        PcDarts(plain, INPUTS)


# --- P-DARTS


def test_p_darts_drops_the_smallest_logits_after_a_stage_and_computes_them_no_more():
    method = PDarts(cells(), INPUTS, drop=(2, 1), dropout=(0.0, 0.0, 0.0))
    put(method, none=2.0, skip_connect=1.0, conv_1x1=3.0, conv_3x3=-1.0, avg_pool_3x3=0.0)
    method.after(step(9, 30))
    assert set(method.kept.values()) == {("none", "skip_connect", "conv_1x1")}
    assert max(float(row.detach().abs().max()) for row in method.module.rows) < 0.01  # logits begin anew
    assert len({tuple(row.detach()[0].tolist()) for row in method.module.rows}) == len(method.module.rows)
    calls: list[str] = []
    for mixed in method.module.mixed():
        for label, alternative in zip(mixed.labels, mixed.alternatives, strict=True):
            alternative.register_forward_hook(lambda *_, label=label: calls.append(label))
    method.bind(step(10, 30))
    method.module(*INPUTS)
    assert set(calls) == {"none", "skip_connect", "conv_1x1"}
    weights = method.probabilities()["normal.nodes.0.0"]
    assert float(sum(weight.detach() for weight in weights.values())) == pytest.approx(1.0)
    put(method, none=2.0, skip_connect=1.0, conv_1x1=3.0, conv_3x3=99.0, avg_pool_3x3=99.0)
    method.after(step(19, 30))
    assert set(method.kept.values()) == {("none", "conv_1x1")}
    method.after(step(29, 30))
    assert set(method.kept.values()) == {("none", "conv_1x1")}


def test_p_darts_never_drops_the_last_two():
    method = PDarts(cells("skip_connect", "conv_1x1", "conv_3x3"), INPUTS)
    method.after(step(9, 30))
    method.after(step(19, 30))
    assert {len(values) for values in method.kept.values()} == {2}


def test_p_darts_drops_skips_out_less_and_less_within_each_stage():
    method = PDarts(cells(), INPUTS, dropout=(0.0, 0.4, 0.8))
    rates = []
    for index in (0, 10, 15, 20, 29):
        method.bind(step(index, 30))
        (rate,) = {dropout.p for dropout in method.module.modules() if isinstance(dropout, nn.Dropout)}
        rates.append(rate)
    assert rates == pytest.approx([0.0, 0.4, 0.2, 0.8, 0.08])


def test_p_darts_trains_only_weights_at_the_beginning_of_each_stage():
    method = PDarts(cells(), INPUTS, warmup=0.4)
    playing = [method.plays(index, 30) for index in range(30)]
    assert playing == ([False] * 4 + [True] * 6) * 3


def test_p_darts_derives_at_most_two_skip_connections():
    method = PDarts(cells("skip_connect", "conv_1x1", nodes=3), INPUTS)
    put(method, skip_connect=5.0, conv_1x1=-5.0)
    derived = method.derive()
    assert skip_share(method.space, derived) == pytest.approx(2 / 6)
    # The strongest stay.
    strongest = ["normal.nodes.1.0", "normal.nodes.2.3"]
    for key, row in zip(method.module.choices, method.module.rows, strict=True):
        if key in strongest:
            row.data[0, 0] = 6.0
    derived = method.derive()
    assert [key for key, value in derived.items() if value == "skip_connect"] == strongest
    free = PDarts(cells("skip_connect", "conv_1x1", nodes=3), INPUTS, skips=6)
    put(free, skip_connect=5.0, conv_1x1=-5.0)
    assert skip_share(free.space, free.derive()) == 1.0


def test_p_darts_goes_on_in_deeper_networks_with_the_same_logits():
    deeper = [cells(num_cells=2), cells(num_cells=3)]
    method = PDarts(cells(), INPUTS, deeper=deeper, dropout=(0.0, 0.0, 0.0))
    sizes = []
    for index in (0, 10, 20):
        method.bind(step(index, 30))
        sizes.append(len(method.module.mixture.network.cells))
    assert sizes == [1, 2, 3]
    before = [next(mixture.parameters()).detach().clone() for mixture in method.module.mixtures]
    fit(method, search(method), data(), method.recipe(RECIPE), total=12, seed=0, until=8)
    moved = [
        not torch.equal(old, next(mixture.parameters()))
        for old, mixture in zip(before, method.module.mixtures, strict=True)
    ]
    assert moved == [True, True, False]
    assert method.derive() in deeper[1]


def test_stages_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="2 drops make 3 stages"):
        PDarts(cells(), INPUTS, deeper=[cells()])
    with pytest.raises(InputError, match="rates in"):
        PDarts(cells(), INPUTS, dropout=(0.0, 0.5, 1.0))
    with pytest.raises(InputError, match="expected the choices of the first space in space 2"):
        PDarts(cells(), INPUTS, deeper=[cells(nodes=1), cells()])
