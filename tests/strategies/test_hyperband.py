"""Hyperband: brackets get their shares, promote on their own, and spend a budget better than full trainings do."""

from __future__ import annotations

from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sartor._search import _Job
from sartor.errors import InputError
from sartor.front import Front
from sartor.goals import Goals, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.strategies.hyperband import Hyperband
from sartor.strategies.random_search import RandomSearch
from sartor.testing.strategies import FIDELITIES, Simulation, check_exhaustion, check_strategy, make_spaces
from sartor.trials import Proposal, Trial

SPACE = Space({f"choice{i}": OneOf(*range(4)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))


def _told(strategy: Hyperband, num: int) -> list[Proposal]:
    proposals = []
    for number in range(num):
        (proposal,) = strategy.ask(1)
        score = float(sum(proposal.architecture.values()))
        strategy.tell([Trial(number, proposal, seed=0, state="complete", metrics={"accuracy": score})])
        proposals.append(proposal)
    return proposals


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_it_conforms_around_a_sampler(sampler: str) -> None:
    check_strategy(
        partial(Hyperband, sampler=sampler), make_spaces()["conditional"], num_trials=60, points=(0, 25), num_next=20
    )


def test_it_conforms_on_numbers() -> None:
    check_strategy(Hyperband, make_spaces()["numbers"], num_trials=60, points=(20,), num_next=20)


def test_brackets_begin_as_many_architectures_as_their_shares_say() -> None:
    proposals = _told(Hyperband(SPACE, ACCURACY, FIDELITIES), 300)
    begun = Counter(proposal.fidelity for proposal in proposals if proposal.continues is None)
    shares = np.array([begun[fidelity] for fidelity in FIDELITIES]) / sum(begun.values())
    assert shares == pytest.approx(np.array([9, 5, 3]) / 17, abs=0.02)


def test_a_third_of_a_rung_is_promoted_and_it_is_the_best_third() -> None:
    proposals = _told(Hyperband(SPACE, ACCURACY, FIDELITIES[:2]), 200)
    first = [p for p in proposals if p.fidelity == FIDELITIES[0]]
    promoted = [p for p in proposals if p.continues is not None]
    assert len(promoted) == pytest.approx(len(first) / 3, abs=1)
    of_rung = np.mean([sum(p.architecture.values()) for p in first])
    assert np.mean([sum(p.architecture.values()) for p in promoted]) > of_rung + 2
    assert all(proposals[p.continues or 0].architecture == p.architecture for p in promoted)


def test_what_is_promoted_is_in_the_top_third_of_its_own_bracket() -> None:
    proposals = _told(Hyperband(SPACE, ACCURACY, FIDELITIES), 200)
    began = {p.architecture: p.fidelity for p in proposals if p.continues is None}
    kinds = Counter()  # type: ignore[var-annotated]
    for number, proposal in enumerate(proposals):
        if proposal.continues is None:
            continue
        below = proposals[proposal.continues].fidelity
        bracket = began[proposal.architecture]
        rung = [p for p in proposals[:number] if p.fidelity == below and began[p.architecture] == bracket]
        score = sum(proposal.architecture.values())
        assert sum(sum(p.architecture.values()) > score for p in rung) < len(rung) // 3
        kinds[bracket, proposal.fidelity] += 1
    low, middle, high = FIDELITIES
    assert set(kinds) == {(low, middle), (low, high), (middle, high)}


def test_it_finds_better_architectures_than_random_search_for_the_same_training() -> None:
    advantages = []
    for seed in range(6):
        simulation = Simulation(make_spaces()["plain"], seed=seed)
        run = simulation.run(Hyperband(simulation.space, simulation.goals, FIDELITIES, seed=seed), 200, seed=seed)
        spent = 0.0
        for trial in run.told:
            before = trial.proposal.continues
            if trial.state != "infeasible":
                already = 0.0 if before is None else run.proposals[before].fidelity.amount
                spent += trial.proposal.fidelity.amount - already
        random = RandomSearch(simulation.space, simulation.goals, FIDELITIES, seed=seed)
        full = simulation.run(random, len(run.told), seed=seed).told
        amounts = [0.0 if trial.state == "infeasible" else FIDELITIES[-1].amount for trial in full]
        kept = full[: int(np.searchsorted(np.cumsum(amounts), spent, side="right"))]
        assert 0 < len(kept) < len(full)
        fronts = [Front(told, simulation.goals) for told in (run.told, kept)]
        best = [max(simulation.score(trial.architecture) for trial in front) for front in fronts]
        advantages.append(best[0] - best[1])
    assert np.mean(advantages) > 0


def test_the_initial_architectures_come_first_at_the_lowest_fidelity() -> None:
    initial = SPACE.sample(np.random.default_rng(0), 5)
    proposals = Hyperband(SPACE, ACCURACY, FIDELITIES, initial=initial).ask(5)
    assert proposals == [Proposal(architecture, FIDELITIES[0]) for architecture in initial]


def test_what_others_proposed_is_promoted_too_and_not_proposed_again() -> None:
    strategy = Hyperband(SPACE, ACCURACY, FIDELITIES[:2])
    best = Architecture({f"choice{i}": 3 for i in range(6)})
    strategy.tell([Trial(0, Proposal(best, FIDELITIES[0]), 0, "complete", {"accuracy": 99.0})])
    proposals = []
    for number in range(1, 60):
        (proposal,) = strategy.ask(1)
        strategy.tell([Trial(number, proposal, 0, "complete", {"accuracy": 0.0})])
        proposals.append(proposal)
    assert [p for p in proposals if p.architecture == best] == [Proposal(best, FIDELITIES[1], continues=0)]


def test_with_one_fidelity_it_proposes_all_of_a_tiny_space() -> None:
    check_exhaustion(Hyperband, fidelities=FIDELITIES[:1])


def test_a_sampler_that_promotes_itself_is_refused() -> None:
    for sampler in "asha", "hyperband", "bohb":
        with pytest.raises(InputError, match="needs a strategy that proposes"):
            Hyperband(SPACE, ACCURACY, FIDELITIES, sampler=sampler)
    with pytest.raises(InputError, match="eta"):
        Hyperband(SPACE, ACCURACY, FIDELITIES, eta=1)


@pytest.mark.parametrize("strategy", ["asha", "hyperband", "bohb", "random"])
def test_a_search_gives_a_strategy_that_promotes_all_rungs_and_puts_halving_around_the_others(strategy: str) -> None:
    job = SimpleNamespace(
        goals=ACCURACY, strategy=strategy, strategy_options={}, halving=True, weights=None, alone=None
    )
    made = _Job.make(cast("Any", job), SPACE, FIDELITIES, 0, ())
    assert type(made).__name__ == {"random": "Asha"}.get(strategy, strategy.capitalize())
    assert {proposal.fidelity for proposal in _told(made, 60)} == set(FIDELITIES)
