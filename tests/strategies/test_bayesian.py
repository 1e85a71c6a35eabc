"""The processes equal the textbook's formula; the strategy learns limits and finds better than random search."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.space import OneOf, Space
from sartor.spaces.nasbench201 import nasbench201
from sartor.strategies._gaussian_process import GaussianProcess, _kernel, _squared, draw
from sartor.strategies.bayesian import Bayesian
from sartor.testing.strategies import FIDELITIES, Simulation, make_spaces, mean_advantage
from sartor.trials import Proposal, Trial


def test_the_posterior_equals_the_formula_with_an_explicit_inverse() -> None:
    rng = np.random.default_rng(0)
    inputs, new = rng.integers(0, 2, (20, 6)).astype(float), rng.integers(0, 2, (5, 6)).astype(float)
    targets = inputs @ rng.normal(size=6) + 0.1 * rng.normal(size=20) + 3.0
    process = GaussianProcess.fit(inputs, targets)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return process.signal * _kernel(a, b, _squared(a, b), process.centre, process.scale, process.length)

    inverse = np.linalg.inv(kernel(inputs, inputs) + (1 - process.signal) * np.eye(20))
    values = (targets - targets.mean()) / targets.std()
    mean, covariance = process.predict(new)
    assert mean == pytest.approx(targets.mean() + targets.std() * kernel(new, inputs) @ inverse @ values)
    expected = kernel(new, new) - kernel(new, inputs) @ inverse @ kernel(inputs, new)
    assert covariance == pytest.approx(targets.var() * expected, abs=1e-9)


def test_a_process_predicts_an_additive_function_from_few_values() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.integers(0, 2, (60, 12)).astype(float)
    targets = inputs @ rng.normal(size=12)
    mean, _ = GaussianProcess.fit(inputs[:40], targets[:40]).predict(inputs[40:])
    assert np.corrcoef(mean, targets[40:])[0, 1] > 0.95


def test_one_value_and_equal_values_can_be_fitted() -> None:
    for inputs in (np.ones((1, 3)), np.ones((4, 3))):
        mean, covariance = GaussianProcess.fit(inputs, np.full(len(inputs), 2.0)).predict(np.eye(3))
        assert mean == pytest.approx(2.0) and np.isfinite(covariance).all()


def test_samples_have_the_mean_and_the_covariance_asked_for() -> None:
    rng = np.random.default_rng(2)
    factor = rng.normal(size=(3, 3))
    samples = np.array([draw(np.arange(3.0), factor @ factor.T, rng) for _ in range(20_000)])
    assert samples.mean(0) == pytest.approx(np.arange(3.0), abs=0.06)
    assert np.cov(samples.T) == pytest.approx(factor @ factor.T, abs=0.15)


def test_it_learns_what_breaks_the_limits() -> None:
    simulation = Simulation(make_spaces()["plain"], failing=0.0)
    told = simulation.run(Bayesian(simulation.space, simulation.goals, FIDELITIES, seed=0), 60, slots=2).told
    late = [trial for trial in told if trial.number >= 20]
    assert sum(trial.state == "infeasible" for trial in late) / len(late) < 0.2  # a third of all break them


def test_it_finds_better_architectures_than_random_search() -> None:
    assert mean_advantage(Bayesian, make_spaces()["plain"], num_trials=50, num_seeds=4) > 0.01


def test_it_refuses_too_few_initial_architectures() -> None:
    simulation = Simulation(make_spaces()["plain"])
    with pytest.raises(InputError, match="num_initial"):
        Bayesian(simulation.space, simulation.goals, FIDELITIES, num_initial=1)


def test_it_recommends_no_architecture_of_poor_parts_for_one_lucky_training() -> None:
    space = nasbench201(3, 10)
    goals = Goals((Objective("accuracy"),))
    strategy = Bayesian(space, goals, FIDELITIES)
    drawn = list(dict.fromkeys(space.sample(np.random.default_rng(0), 60)))
    quality = np.array([sum(str(v).startswith("nor_conv") for v in a.values()) for a in drawn], float)
    told = quality.copy()
    lucky = int(quality.argmin())
    told[lucky] = quality.max() + 0.5
    strategy.tell(
        [Trial(i, Proposal(a, FIDELITIES[-1]), 0, "complete", {"accuracy": told[i]}) for i, a in enumerate(drawn)]
    )
    recommended = drawn.index(strategy.recommend())
    assert recommended != lucky and quality[recommended] >= quality.max() - 1


def test_it_does_not_recommend_by_parts_alone_where_architectures_differ_in_what_no_part_explains() -> None:
    space = Space({f"layer{i}": OneOf(0, 1, 2) for i in range(8)})
    short = []
    for seed in range(3):
        weights = np.random.default_rng(seed).normal(size=(8, 3))
        own, told = np.random.default_rng(seed), {}
        strategy = Bayesian(space, Goals((Objective("accuracy"),)), FIDELITIES, seed=seed)
        for number in range(50):
            proposal = strategy.ask(1)[0]
            choices = [proposal.architecture[f"layer{i}"] for i in range(8)]
            told[proposal.architecture] = weights[range(8), choices].sum() + own.normal()
            metrics = {"accuracy": told[proposal.architecture]}
            strategy.tell([Trial(number, proposal, 0, "complete", metrics)])
        short.append(max(told.values()) - told[strategy.recommend()])
    assert np.mean(short) < 0.2
