from __future__ import annotations

from collections.abc import Callable

import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.registry import find
from sartor.space import OneOf, Space
from sartor.strategies.nash import Nash
from sartor.testing.strategies import check_strategy, make_spaces, mean_advantage
from sartor.trials import Fidelity, Proposal, Trial

GOALS = Goals((Objective("accuracy"),))
SPACE = Space(
    {"width": OneOf(8, 16, 24, 32), "depth": OneOf(1, 2, 3), "act": OneOf("relu", "gelu"), "gate": OneOf(False, True)}
)


def climbed(
    score: Callable[[Proposal], float | None], num: int, space: Space = SPACE, **options: int
) -> list[Trial]:
    """Returns trials told one after another; no score is a morphism that was refused."""
    strategy = Nash(space, GOALS, (Fidelity(1),), seed=4, **options)
    trials: list[Trial] = []
    while len(trials) < num and (asked := strategy.ask(1)):
        value = score(asked[0])
        trial = Trial(len(trials), asked[0], 0, "complete" if value is not None else "failed")
        if value is None:
            trial.failure = "UnsupportedNetworkError: not contained"
        else:
            trial.metrics["accuracy"] = value
        trials.append(trial)
        strategy.tell([trial])
    return trials


@pytest.mark.parametrize("name", ["conditional", "numbers", "constrained"])
def test_it_conforms(name: str) -> None:
    check_strategy(find("strategies", "nash").load(), make_spaces()[name], num_next=30)


def test_it_finds_better_architectures_than_random_search_where_larger_ones_are_hard_to_tell() -> None:
    assert mean_advantage(Nash, make_spaces()["plain"], num_seeds=4) > 0


def test_children_go_on_from_the_best_and_only_grow() -> None:
    trials = climbed(lambda proposal: proposal.architecture["width"] + proposal.architecture["depth"], 25)
    starts = [trial for trial in trials if trial.proposal.continues is None]
    assert starts[0].number == 0 and len(starts) < 6
    for trial in trials:
        if trial.proposal.continues is not None:
            parent = trials[trial.proposal.continues]
            assert parent.state == "complete"
            for key in ("width", "depth", "gate"):
                assert trial.architecture[key] >= parent.architecture[key]
    best = max(trials, key=lambda trial: trial.metrics["accuracy"])
    assert (best.architecture["width"], best.architecture["depth"]) == (32, 3)


def test_it_starts_small() -> None:
    first = climbed(lambda proposal: 0.0, 1)[0].architecture
    assert (first["width"], first["depth"], first["gate"]) == (8, 1, False)


def test_a_change_that_was_refused_is_not_tried_again() -> None:
    def score(proposal: Proposal) -> float | None:
        if proposal.continues is not None and proposal.architecture["act"] != "relu":
            return None
        return float(proposal.architecture["width"])

    trials = climbed(score, 30, num_morphisms=1)
    refused = [
        trial
        for trial in trials
        if trial.state == "failed" and trials[trial.proposal.continues or 0].architecture["act"] == "relu"
    ]
    assert len(refused) <= 1


def test_options_below_one_are_refused() -> None:
    for name in ("num_children", "num_morphisms", "patience"):
        with pytest.raises(InputError, match=f"{name} must be a whole number of at least 1"):
            climbed(lambda proposal: 0.0, 1, **{name: 0})
