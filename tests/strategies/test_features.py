"""What a surrogate sees: same networks once, scores as quantiles, nothing kept beyond what was asked for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.spaces.nasbench201 import graph
from sartor.strategies._features import Features
from sartor.strategies.bayesian import Bayesian
from sartor.trials import Fidelity


def cells() -> Space:
    edges = [OneOf("none", "skip_connect", "nor_conv_3x3") for _ in range(6)]
    return Space({"cell": {"edges": edges}}, graph=graph)


def plain() -> Space:
    return Space(partial(dict, width=OneOf(*range(300)), depth=OneOf(*range(300))))


def num_convolutions(architectures: list[Architecture]) -> np.ndarray:
    return np.array([float(sum(value == "nor_conv_3x3" for value in a.values())) for a in architectures])


def test_a_small_space_is_listed_and_the_same_network_once() -> None:
    features = Features(cells())
    assert 0 < len(features.listed) < cells().count()
    assert [len(group) for group in features.groups] == [len(features.listed)] * 2
    dead = {f"cell.edges.{i}": "none" for i in range(6)}
    other = {**dead, "cell.edges.0": "nor_conv_3x3"}
    space = cells()
    assert features.key(space.architecture(dead)) == features.key(space.architecture(other))
    assert not Features(plain()).listed


def test_scores_are_quantiles_of_the_space() -> None:
    space = cells()
    features = Features(space, num_convolutions)
    scored = features.of(list(space.sample(np.random.default_rng(5), 400)))[-1]
    assert abs(float(scored.mean())) < 0.15
    assert 0.7 < float(scored.std()) < 1.1
    assert min(num_convolutions(list(features.promising))) > 2


def test_the_first_architectures_are_those_that_the_scores_call_good() -> None:
    space = cells()
    strategy = Bayesian(space, Goals((Objective("accuracy"),)), [Fidelity(1)], scores=num_convolutions)
    first = [proposal.architecture for proposal in strategy.ask(10)]
    any_ = list(space.sample(np.random.default_rng(0), 500))
    assert num_convolutions(first).mean() > num_convolutions(any_).mean() + 1


def test_scores_that_are_no_numbers_are_refused() -> None:
    space = cells()
    with pytest.raises(InputError, match="finite"):
        Features(space, lambda found: np.full(len(found), np.nan)).of(list(space.sample(np.random.default_rng(0), 3)))
    goals = Goals((Objective("accuracy"),))
    with pytest.raises(InputError, match="one of"):
        Bayesian(space, goals, [Fidelity(1)], scores=num_convolutions, features=Features(space))


def test_what_comes_back_is_described_as_before() -> None:
    space = cells()
    features, rng = Features(space, num_convolutions), np.random.default_rng(2)
    architectures = list(space.sample(rng, 30))
    for _ in range(5):
        for group, expected in zip(features.again(architectures), features.describe(architectures), strict=True):
            assert (group == expected).all()
        architectures = [*architectures[::-2], *space.sample(rng, 20)]
