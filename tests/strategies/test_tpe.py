"""The tree-structured Parzen estimator: densities that add up, and proposals that follow what was told."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Limit, Objective
from sartor.space import FloatRange, OneOf, Permutation, Space, Subset
from sartor.space._choices import Choices
from sartor.strategies._parzen import Parzen
from sartor.strategies.tpe import Tpe
from sartor.testing.strategies import (
    FIDELITIES,
    check_proposals,
    check_strategy,
    make_spaces,
    mean_advantage,
)
from sartor.trials import Figure, Proposal, Trial

MAKE = partial(Tpe, num_initial=6)
SPACE = Space({"a": OneOf(*range(6)), "b": OneOf(*range(6)), "rate": FloatRange(0.0, 1.0)})
ACCURACY = Goals((Objective("accuracy"),))


def _told(strategy: Tpe, num: int, score, cost=lambda architecture: 0.0) -> list[Proposal]:  # type: ignore[no-untyped-def]
    proposals = []
    for number in range(num):
        (proposal,) = strategy.ask(1)
        trial = Trial(number, proposal, seed=0, state="complete", metrics={"accuracy": score(proposal.architecture)})
        trial.costs["latency_ms"] = Figure(cost(proposal.architecture), "ms")
        if strategy._goals.broken(trial.values):
            trial.state, trial.metrics = "infeasible", {}
        strategy.tell([trial])
        proposals.append(proposal)
    return proposals


def test_it_conforms() -> None:
    check_strategy(MAKE, make_spaces()["conditional"], num_trials=40, points=(0, 12, 25), num_next=15)


@pytest.mark.parametrize("space", ["shared", "constrained", "numbers", "collections"])
def test_it_proposes_what_is_in_the_space(space: str) -> None:
    check_proposals(MAKE, make_spaces()[space], num_trials=30)


def test_it_finds_better_architectures_than_random_search() -> None:
    assert mean_advantage(Tpe, make_spaces()["plain"], num_trials=80, num_seeds=6) > 0


def test_its_densities_of_categories_subsets_and_orders_add_up_to_one() -> None:
    members = Subset({i: i for i in range(4)}, size=range(1, 4))
    space = Space({"size": OneOf(1, 2), "in": members, "order": Permutation(*"abc")})
    choices, rng = Choices(space), np.random.default_rng(0)
    density = Parzen(choices, choices.values(space.sample(rng, 7)), 1.0)
    every = list(space)
    chances = np.exp(density.log(choices.values(every)))
    assert chances.sum() == pytest.approx(1.0)
    drawn = [choices.make(row, rng) for row in density.draw(4000, rng).tolist()]
    counts = np.array([drawn.count(architecture) for architecture in every])
    expected = 4000 * chances
    assert np.mean((counts - expected) ** 2 / expected) == pytest.approx(1.0, abs=0.35)


def test_its_densities_of_numbers_add_up_to_one() -> None:
    space = Space({"rate": FloatRange(1e-4, 1.0, log=True)})
    choices = Choices(space)
    density = Parzen(choices, np.array([[0.0], [0.2], [0.25], [1.0]]), 1.0)
    at = (np.arange(10_000) + 0.5) / 10_000
    assert np.exp(density.log(at[:, None])).mean() == pytest.approx(1.0, abs=1e-3)
    drawn = density.draw(4000, np.random.default_rng(0))
    assert np.histogram(drawn, 5, (0, 1))[0] / 4000 == pytest.approx(
        np.exp(density.log(at[:, None])).reshape(5, -1).mean(1) / 5, abs=0.03
    )


def test_increasing_numbers_that_are_near_good_ones_are_likelier() -> None:
    choices = Choices(Space({"width": OneOf(*range(8, 136, 8))}))
    logs = Parzen(choices, np.array([[3.0], [4.0], [4.0]]), 1.0).log(np.arange(16.0)[:, None])
    assert logs[5] > logs[8] > logs[15]


def test_a_choice_counts_only_where_it_is_active() -> None:
    space = Space({"layer": OneOf(conv={"kernel": OneOf(3, 5, 7)}, skip=None)})
    choices = Choices(space)
    skip, *convs = sorted(space, key=lambda architecture: architecture["layer"] == "conv")
    density = Parzen(choices, choices.values([skip] * 3), 1.0)
    logs = density.log(choices.values([skip, *convs]))
    assert np.exp(logs).sum() == pytest.approx(1.0)
    assert np.exp(logs[0]) == pytest.approx(4 / 5)


def test_what_is_made_of_separate_decisions_is_what_they_were_read_from() -> None:
    rng = np.random.default_rng(0)
    for space in make_spaces().values():
        choices = Choices(space)
        for architecture in space.sample(rng, 20):
            made = choices.make(np.nan_to_num(choices.values([architecture])[0]).tolist(), rng)
            assert made is not None and space.encode([made]) == pytest.approx(space.encode([architecture]))


def test_it_moves_to_where_the_score_is_high() -> None:
    def score(architecture) -> float:  # type: ignore[no-untyped-def]
        return -abs(architecture["a"] - 4) - abs(architecture["b"] - 1) - 6 * abs(architecture["rate"] - 0.3)

    proposals = _told(Tpe(SPACE, ACCURACY, FIDELITIES), 60, score)
    scores = np.array([score(proposal.architecture) for proposal in proposals])
    assert scores[40:].mean() > scores[:10].mean() + 2
    assert all(proposal.fidelity == FIDELITIES[-1] for proposal in proposals)


def test_it_learns_to_stay_within_the_limits() -> None:
    goals = Goals((Objective("accuracy"),), (Limit("latency_ms", 5.5),))
    proposals = _told(
        Tpe(SPACE, goals, FIDELITIES), 60, lambda a: a["a"] + a["b"] + a["rate"], lambda a: 1.0 + a["a"] + a["b"]
    )
    within = [1.0 + p.architecture["a"] + p.architecture["b"] <= 5.5 for p in proposals]
    assert np.mean(within[30:]) > 0.8
    assert max(p.architecture["a"] + p.architecture["b"] for p, ok in zip(proposals, within, strict=True) if ok) == 4


def test_it_models_the_highest_fidelity_with_enough_results() -> None:
    strategy = Tpe(SPACE, ACCURACY, FIDELITIES, num_initial=6)
    rng = np.random.default_rng(0)
    for number, architecture in enumerate(SPACE.sample(rng, 40)):
        # The lowest fidelity speaks for a = 0, the highest for a = 5.
        low = number < 30
        value = float(-architecture["a"] if low else architecture["a"])
        proposal = Proposal(architecture, FIDELITIES[0 if low else 2])
        strategy.tell([Trial(number, proposal, 0, "complete", {"accuracy": value})])
    asked = [proposal.architecture["a"] for proposal in strategy.ask(10)]
    assert np.mean(asked) > 3


def test_an_option_out_of_its_range_is_said() -> None:
    for options in {"good_share": 1.0}, {"prior": 0.0}, {"random_share": 1.5}, {"num_initial": 1}:
        with pytest.raises(InputError, match=next(iter(options))):
            Tpe(SPACE, ACCURACY, FIDELITIES, **options)  # type: ignore[arg-type]
