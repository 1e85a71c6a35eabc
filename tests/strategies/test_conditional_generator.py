"""The generator of architectures under conditions, alone and as a search."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.strategies.conditional_generator import ConditionalGenerator, Generator
from sartor.testing.strategies import Simulation, check_proposals, check_strategy, make_spaces
from sartor.trials import Fidelity, Figure, Trial

FULL = (Fidelity(9.0),)
OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
CELL = Space({f"e{i}": OneOf(*OPERATIONS) for i in range(6)})
"""NAS-Bench-201's cell; its multiply-adds are a published function of the convolutions."""
SMALL = partial(ConditionalGenerator, num_initial=8, hidden=8, num_steps=8, pool_size=48, num_candidates=16)


def macs(architecture: Architecture) -> float:
    operations = list(architecture.values())
    return 7.78304e6 + 35.38944e6 * operations.count("conv3") + 3.93216e6 * operations.count("conv1")


def accuracy(architecture: Architecture) -> float:
    """Rises with the convolutions: against the multiply-adds."""
    return macs(architecture) / 1e6 + 40.0 * (architecture["e3"] == "skip") - 30.0 * (architecture["e0"] == "none")


@pytest.fixture(scope="module")
def fitted() -> Generator:
    sampled = CELL.sample(np.random.default_rng(0), 600)
    generator = Generator(CELL, [Objective("accuracy"), Objective("macs", "min")], hidden=32)
    generator.fit(sampled, {"accuracy": [*map(accuracy, sampled)], "macs": [*map(macs, sampled)]}, num_steps=120)
    return generator


def test_what_is_generated_meets_its_condition_far_more_often_than_random_architectures(fitted: Generator) -> None:
    bound = 25e6
    random = np.mean([macs(one) <= bound for one in CELL.sample(np.random.default_rng(1), 2000)])
    made = fitted.generate(200, conditions={"macs": bound})
    assert random < 0.3
    assert np.mean([macs(one) <= bound for one in made]) > 0.85
    assert len(set(made)) > 40


def test_of_two_conditions_accuracy_is_relative_to_the_cost(fitted: Generator) -> None:
    bound = 55e6
    below = [accuracy(one) for one in CELL if macs(one) <= bound]
    made = fitted.generate(200, conditions={"macs": bound, "accuracy": 80.0})
    assert np.mean([macs(one) <= bound for one in made]) > 0.8
    assert np.median([accuracy(one) for one in made]) > np.quantile(below, 0.9)


def test_less_than_one_in_a_hundred_is_invalid_without_masks_under_constraints() -> None:
    space = make_spaces()["constrained"]
    sampled = space.sample(np.random.default_rng(0), 400)
    widths = [float(one["width"]) for one in sampled]
    generator = Generator(space, [Objective("accuracy")], hidden=32)
    generator.fit(sampled, {"accuracy": widths}, num_steps=1)
    before = generator.count_invalid(500)
    generator.fit(sampled, {"accuracy": widths}, num_steps=120)
    after = generator.count_invalid(500)
    assert before > 50 and after < 5
    assert generator.num_generated == 1000 and generator.num_invalid == before + after
    assert generator.invalid_share == (before + after) / 1000


def test_masks_keep_everything_in_the_space() -> None:
    space = make_spaces()["constrained"].where(lambda one: one["layers.0.kernel"] == 3, name="small first")
    generator = Generator(space, [Objective("accuracy")], hidden=8)
    sampled = space.sample(np.random.default_rng(0), 40)
    generator.fit(sampled, {"accuracy": np.arange(40.0)}, num_steps=1)
    made = generator.generate(100, {"accuracy": 1000.0})
    assert len(made) == 100 and all(one in space for one in made) and generator.num_rejected > 0


def test_a_generator_refuses_what_it_cannot_learn_or_was_not_asked_to() -> None:
    with pytest.raises(InputError, match="one or more different quantities"):
        Generator(CELL, [])
    generator = Generator(CELL, [Objective("accuracy"), Objective("macs", "min")], hidden=8)
    with pytest.raises(InputError, match="call fit"):
        generator.generate(3)
    sampled = CELL.sample(np.random.default_rng(0), 10)
    with pytest.raises(InputError, match="no values of 'macs'"):
        generator.fit(sampled, {"accuracy": np.zeros(10)})
    with pytest.raises(InputError, match="expected 10 finite values of macs"):
        generator.fit(sampled, {"accuracy": np.zeros(10), "macs": np.full(10, np.nan)})
    generator.fit(sampled, {"accuracy": np.zeros(10), "macs": np.ones(10)}, num_steps=1)
    with pytest.raises(InputError, match="did you mean 'macs'"):
        generator.generate(3, {"mac": 1.0})
    with pytest.raises(InputError, match="finite"):
        generator.generate(3, {"macs": np.inf})


# --- the strategy


def test_a_search_by_the_generator_conforms() -> None:
    check_strategy(SMALL, make_spaces()["shared"], num_trials=10, points=(9,), num_next=4)


@pytest.mark.parametrize("space", ["conditional", "numbers", "constrained", "collections"])
def test_a_search_by_the_generator_proposes_what_is_in_the_space(space: str) -> None:
    check_proposals(SMALL, make_spaces()[space], num_trials=10)


def _run(strategy: ConditionalGenerator, num: int, failing: bool = False) -> list[Architecture]:
    asked = []
    for number in range(num):
        (proposal,) = strategy.ask(1)
        asked.append(proposal.architecture)
        trial = Trial(number, proposal, 0, "failed" if failing else "complete")
        trial.costs["macs"] = Figure(macs(proposal.architecture))
        if not failing:
            trial.metrics["accuracy"] = accuracy(proposal.architecture)
        if strategy._goals.broken(trial.values):
            trial.state, trial.metrics = "infeasible", {}
        strategy.tell([trial])
    return asked


def test_a_search_asks_for_what_is_accurate_within_the_limits_and_counts_what_is_invalid() -> None:
    goals = Goals((Objective("accuracy"),), (Limit("macs", 55e6),))
    strategy = ConditionalGenerator(CELL, goals, FULL, hidden=16, num_steps=50, pool_size=160, num_initial=12)
    asked = _run(strategy, 32)
    within = sorted((accuracy(one) for one in CELL if macs(one) <= 55e6), reverse=True)
    assert np.mean([macs(one) <= 55e6 for one in asked[12:]]) > 0.8
    assert max(accuracy(one) for one in asked if macs(one) <= 55e6) >= within[len(within) // 50]
    assert strategy.num_generated > 0 and strategy.num_invalid == 0  # the cell's every sequence is valid


def test_when_all_trials_fail_random_architectures_go_on() -> None:
    strategy = SMALL(CELL, Goals((Objective("accuracy"), Objective("macs", "min"))), FULL)
    assert len(set(_run(strategy, 20, failing=True))) == 20


def test_a_fitted_generator_is_restored_without_fitting_again() -> None:
    simulation = Simulation(make_spaces()["shared"])
    one, other = (SMALL(simulation.space, simulation.goals, FULL, seed=seed) for seed in (0, 1))
    simulation.run(one, 20)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.generator.is_fitted
    assert other.generator.generate(20) == one.generator.generate(20)
    assert other.num_generated == one.num_generated > 0 and other.num_invalid == one.num_invalid
