"""Running statistics of normalisations, and the faults of shared weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor.estimators.inherited import Inherited
from sartor.space import OneOf, Repeat, Space
from sartor.supernets.fairnas import FairNas
from sartor.supernets.faults import conflict, drift, imbalance
from sartor.supernets.one_shot import OneShot
from sartor.supernets.statistics import recalibrate
from sartor.training import Recipe
from tests.estimators.digits import Digits


def test_recalibration_averages_batches_whatever_else_is_in_the_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(3), nn.Linear(3, 2))
    batches = [torch.randn(64, 3) + shift for shift in (0.0, 2.0, 7.0)]

    def forward(module: nn.Module) -> None:
        for batch in batches:
            module.eval()  # as a task's own code may do
            module(batch)

    recalibrate(network, forward)
    norm: Any = network[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert norm.momentum == 0.1 and network.training and norm.training and not norm._forward_pre_hooks


def test_statistics_of_a_window_become_its_own() -> None:
    space = Space(partial(nn.Sequential, partial(nn.Linear, 4, OneOf(2, 3)), partial(nn.ReLU)))
    tree = partial(nn.Sequential, partial(nn.BatchNorm1d, 4), *space.tree.args)
    supernet = Space(tree).supernet()
    stored = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    architecture = Space(tree).sample(np.random.default_rng(0))
    network = recalibrate(supernet.network(architecture), lambda module: module(5 + torch.randn(32, 4)))
    assert network[0].running_mean.mean() > 4  # type: ignore[index,union-attr,operator]
    assert all(torch.equal(buffer, stored[name]) for name, buffer in supernet.named_buffers())
    assert supernet.network(architecture)[0].running_mean.mean() < 1  # type: ignore[index,union-attr,operator]


def test_imbalance_is_found_by_choice_and_by_depth_and_mended() -> None:
    block = partial(nn.Linear, 4, 4, bias=OneOf(True, False))
    space = Space(partial(nn.Sequential, OneOf(a=partial(nn.ReLU), b=partial(nn.GELU), c=partial(nn.Tanh)),
                          Repeat(block, times=OneOf(1, 2, 3, 4))))  # fmt: skip
    keys = {key: space.values(key) for key in space.keys}
    random = imbalance(OneShot(space), keys, Recipe())
    assert 1.1 < random.choice < 2.5
    # Of depths 1 to 4 alike, the fourth repetition is in one of four architectures.
    assert 3.0 < random.depth < 5.5 and random.by_depth["1.3.bias"] < 0.35
    fair = imbalance(FairNas(space, paths=12), keys, Recipe())
    assert fair.by_choice["0"] == {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    assert imbalance(OneShot(space, sampling="architectures"), keys, Recipe()).depth < 0.6 * random.depth


def test_conflict_is_measured_where_architectures_share_weights() -> None:
    task = Digits()
    space = task.space()
    method = OneShot(space, seed=0)
    train = task.data().train
    one = space.sample_choices(np.random.default_rng(0))
    before = {name: tensor.clone() for name, tensor in method.module.state_dict().items()}
    same = conflict(method, task, train, [one, one])
    assert same.share == 0.0 and same.mean_cosine > 0.9  # equal up to dropout
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.module.state_dict().items())
    assert all(parameter.grad is None for parameter in method.module.parameters())


def test_drift_says_what_shared_statistics_cost() -> None:
    task = Digits()
    splits, space = task.data(), task.space()
    method = OneShot(space, seed=0)
    scorer = Inherited(task, method.weights, splits.train, splits.validation)
    drawn = space.sample_choices(np.random.default_rng(0), 2)
    untrained = drift(scorer, drawn)
    # Never updated statistics are mean 0 and variance 1, which the network's own are not.
    assert untrained.mean > 0.1
    assert set(scorer.score(drawn[0])) == {"accuracy"}
    child = scorer.child(drawn[0])
    x = splits.validation.columns["x"]
    assert torch.equal(child(x), scorer.network(drawn[0]).eval()(x))
