"""Scores of some architectures tell of the others; they come back from the record as they were."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.space import Architecture
from sartor.spaces.nasbench201 import nasbench201
from sartor.strategies._narrow import narrowed
from sartor.strategies._scored import PredictedScores, Scored
from sartor.strategies.bayesian import Bayesian
from sartor.strategies.transfer import agreement_of_scores
from sartor.trials import Fidelity, Proposal, Trial

SPACE = nasbench201(3, 10)
GOALS = Goals((Objective("accuracy"),))
DRAWN = list(dict.fromkeys(SPACE.sample(np.random.default_rng(0), 260)))


def _worth(architecture: Architecture) -> float:
    """Is known of no dead cell."""
    if not SPACE.graph(architecture).live().edges:
        return -np.inf
    return sum({"nor_conv_3x3": 2.0, "nor_conv_1x1": 1.0}.get(str(value), 0.0) for value in architecture.values())


def _scored(architectures: list[Architecture]) -> Scored:
    worth = tuple(_worth(each) for each in architectures)
    return Scored(tuple(map(dict, architectures)), {"worth": worth, "half": tuple(each / 2 for each in worth)})


def test_scores_of_architectures_that_were_not_scored_are_predicted() -> None:
    scores = PredictedScores(SPACE, Scored.from_json(_scored(DRAWN[:150]).to_json()))
    others = [each for each in DRAWN[150:] if _worth(each) > -np.inf]
    assert scores.says and spearmanr(scores(others)[:, 0], [_worth(each) for each in others]).statistic > 0.8
    both = [others[0], DRAWN[3], others[1]]
    assert scores(both)[1] == pytest.approx(scores(DRAWN[:4])[3])
    assert scores(both)[[0, 2]] == pytest.approx(scores(others[:2]))


def test_dead_networks_are_the_worst_and_keep_so_in_the_record() -> None:
    dead = SPACE.architecture(dict.fromkeys(DRAWN[0], "none"))
    kept = Scored.from_json(_scored([*DRAWN[:20], dead]).to_json())
    assert kept.columns["worth"][-1] == -np.inf
    scores = PredictedScores(SPACE, kept)
    assert scores([dead])[0, 0] == scores([*DRAWN[:20], dead])[:, 0].min()


def test_in_a_part_of_the_space_only_what_is_there_counts() -> None:
    part = narrowed(SPACE, {key: ["nor_conv_3x3"] for key in DRAWN[0]})
    assert not PredictedScores(part, _scored(DRAWN)).says
    strategy = Bayesian(part, GOALS, [Fidelity(1)], scored=_scored(DRAWN))
    assert part.contains(strategy.ask(1)[0].architecture)


def test_a_search_begins_with_and_goes_on_by_what_was_scored() -> None:
    strategy = Bayesian(SPACE, GOALS, [Fidelity(1)], scored=_scored(DRAWN[:150]))
    trials = []
    for number in range(14):
        proposal = strategy.ask(1)[0]
        trials.append(Trial(number, proposal, 0, "complete", {"accuracy": _worth(proposal.architecture)}))
        strategy.tell(trials[-1:])
    assert np.mean([trial.values["accuracy"] for trial in trials]) > np.quantile([_worth(a) for a in DRAWN], 0.9)
    assert max(trial.values["accuracy"] for trial in trials[10:]) >= max(_worth(each) for each in DRAWN)


def test_it_is_said_how_well_scores_ranked_the_trainings() -> None:
    trials = [
        Trial(i, Proposal(each, Fidelity(1)), 0, "complete", {"accuracy": _worth(each)})
        for i, each in enumerate(DRAWN[150:190])
        if _worth(each) > -np.inf
    ]
    (said,) = agreement_of_scores(_scored(DRAWN[:150]), trials, GOALS, SPACE)
    assert said.tau > 0.7 and said.words.startswith("half of the networks before training: tau 0.")
    assert agreement_of_scores(_scored(DRAWN[:50]), trials, GOALS, SPACE) == []


def test_scores_that_are_no_numbers_are_refused() -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="1 scores by worth"):
            Scored((dict(DRAWN[0]),), {"worth": (bad,)})
    with pytest.raises(InputError, match="one of"):
        Bayesian(SPACE, GOALS, [Fidelity(1)], scored=_scored(DRAWN[:20]), scores=lambda found: np.zeros(len(found)))
