"""BOHB: Hyperband that learns what to begin with."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.space import OneOf, Space
from sartor.strategies.bohb import Bohb
from sartor.strategies.hyperband import Hyperband
from sartor.testing.strategies import (
    FIDELITIES,
    Simulation,
    check_proposals,
    check_strategy,
    make_spaces,
    mean_advantage,
)
from sartor.trials import Proposal, Trial

MAKE = partial(Bohb, num_results=6)
SPACE = Space({f"choice{i}": OneOf(*range(4)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))


def test_it_conforms() -> None:
    check_strategy(MAKE, make_spaces()["conditional"], num_trials=40, points=(0, 25), num_next=15)


def test_it_proposes_what_is_in_the_space() -> None:
    for name in "numbers", "constrained", "collections":
        check_proposals(MAKE, make_spaces()[name], num_trials=25)


def test_it_finds_better_architectures_than_random_search_that_trains_all_of_its_to_the_end() -> None:
    assert mean_advantage(Bohb, make_spaces()["plain"], num_seeds=4) > 0


def test_it_begins_better_architectures_than_hyperband_around_random_search() -> None:
    means = []
    for kind in Bohb, Hyperband:
        found = []
        for seed in range(4):
            simulation = Simulation(make_spaces()["plain"], seed=seed)
            run = simulation.run(kind(simulation.space, simulation.goals, FIDELITIES, seed=seed), 120, seed=seed)
            late = [p for p in run.proposals[60:] if p.continues is None]
            found.append(np.mean([simulation.score(p.architecture) for p in late]))
        means.append(np.mean(found))
    assert means[0] > means[1] + 0.01


def test_a_share_of_what_it_begins_is_random() -> None:
    def spread(random_share: float) -> float:
        strategy = Bohb(SPACE, ACCURACY, FIDELITIES[:1], random_share=random_share)
        scores = []
        for number in range(100):
            (proposal,) = strategy.ask(1)
            scores.append(float(sum(proposal.architecture.values())))
            strategy.tell([Trial(number, proposal, 0, "complete", {"accuracy": scores[-1]})])
        return float(np.mean(scores[50:]))

    guided, mixed, random = spread(0.0), spread(0.5), spread(1.0)
    assert guided > mixed + 1 > random + 2
    assert random == pytest.approx(9.0, abs=1.0)


def test_the_initial_architectures_come_first() -> None:
    initial = SPACE.sample(np.random.default_rng(0), 3)
    asked = Bohb(SPACE, ACCURACY, FIDELITIES, initial=initial).ask(3)
    assert asked == [Proposal(architecture, FIDELITIES[0]) for architecture in initial]


def test_an_option_out_of_its_range_is_said() -> None:
    for options in {"num_results": 1}, {"random_share": 2.0}, {"eta": 1}:
        with pytest.raises(InputError, match=next(iter(options))):
            Bohb(SPACE, ACCURACY, FIDELITIES, **options)  # type: ignore[arg-type]
