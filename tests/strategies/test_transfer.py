"""Earlier searches are begun with, learned from, and outweighed where they mislead."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.strategies.bayesian import Bayesian
from sartor.strategies.transfer import Source, Transfer, agreement, good_part
from sartor.testing.strategies import FIDELITIES, check_proposals, check_resume, make_spaces
from sartor.trials import Fidelity, Figure, Proposal, Trial

SPACE = Space({f"x{i}": OneOf(*range(5)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))
TARGET = np.array([1.0, 3.0, 0.0, 2.0, 1.0, 3.0])


def _score(architecture: Architecture, target: np.ndarray = TARGET) -> float:
    return -float(np.abs(np.array(list(architecture.values()), float) - target).sum())


def _source(name: str, target: np.ndarray, num: int = 60) -> Source:
    drawn = list(dict.fromkeys(SPACE.sample(np.random.default_rng(7), num)))
    return Source(name, tuple(map(dict, drawn)), tuple(-_score(a, target) for a in drawn))


def _queries_to(best: float, strategy: Transfer | Bayesian, most: int = 80) -> int:
    for number in range(most):
        proposal = strategy.ask(1)[0]
        value = _score(proposal.architecture)
        if value >= best:
            return number
        strategy.tell([Trial(number, proposal, 0, "complete", {"accuracy": value})])
    return most


@pytest.mark.parametrize("name", ["plain", "conditional"])
def test_it_conforms(name: str) -> None:
    space = make_spaces()[name]
    drawn = space.sample(np.random.default_rng(0), 12)
    source = Source("earlier", tuple(map(dict, drawn)), tuple(float(i) for i in range(12)))
    make = partial(Transfer, sources=[source], num_start=3, num_initial=6)
    check_proposals(make, space, num_trials=20)
    check_resume(make, space, points=(0, 12), num_next=8)


def test_a_related_search_saves_trainings_and_a_misleading_one_costs_few() -> None:
    rng = np.random.default_rng(0)
    near = _source("near", TARGET + rng.normal(0, 0.3, 6))
    far = _source("far", 4 - TARGET)
    alone, helped, hurt = [], [], []
    for seed in range(3):
        alone.append(_queries_to(-1.0, Bayesian(SPACE, ACCURACY, FIDELITIES, seed=seed)))
        helped.append(_queries_to(-1.0, Transfer(SPACE, ACCURACY, FIDELITIES, seed=seed, sources=[near])))
        hurt.append(_queries_to(-1.0, Transfer(SPACE, ACCURACY, FIDELITIES, seed=seed, sources=[far])))
    assert np.mean(helped) < 0.8 * np.mean(alone)
    assert np.mean(hurt) < np.mean(alone) + 15


def test_the_start_has_a_good_architecture_of_each_source() -> None:
    sources = [_source("one", TARGET), _source("other", 4 - TARGET)]
    begun = Transfer(SPACE, ACCURACY, FIDELITIES, sources=sources, num_start=4)
    asked = [proposal.architecture for proposal in begun.ask(4)]
    for target, source in ((TARGET, sources[0]), (4 - TARGET, sources[1])):
        scores = [_score(asked_one, target) for asked_one in asked]
        assert max(scores) >= -float(np.quantile(source.losses, 0.05))


def test_a_narrowed_space_has_what_the_best_of_a_source_have_and_what_is_initial() -> None:
    drawn = [SPACE.architecture({f"x{i}": (k if i == 0 else 2) for i in range(6)}) for k in range(5)]
    source = Source("earlier", tuple(map(dict, drawn)), (0.0, 1.0, 2.0, 3.0, 4.0))
    initial = SPACE.architecture({f"x{i}": 4 for i in range(6)})
    kept = good_part(SPACE, [source], 0.1, [initial])
    assert kept.count() == 5 * 2**5  # four best of x0 and the initial one's; 2 and 4 of the others
    begun = Transfer(SPACE, ACCURACY, FIDELITIES, sources=[source], share=0.1, initial=[initial])
    assert all(proposal.architecture in kept for proposal in begun.ask(12))
    outside = Proposal(SPACE.architecture({f"x{i}": 0 for i in range(6)}), FIDELITIES[-1])
    begun.tell([Trial(0, outside, 0, "complete", {"accuracy": 1.0})])


def test_a_source_of_trials_has_each_architecture_once_as_at_the_highest_fidelity() -> None:
    asked = SPACE.sample(np.random.default_rng(1), 3)
    trials = []
    for number, (architecture, amount, accuracy) in enumerate(
        [(asked[0], 1.0, 0.4), (asked[1], 1.0, 0.5), (asked[0], 3.0, 0.6), (asked[2], 1.0, float("nan"))]
    ):
        trials.append(Trial(number, Proposal(architecture, Fidelity(amount)), 0, "complete", {"accuracy": accuracy}))
    trials.append(Trial(4, Proposal(Architecture({"y": 1}), Fidelity(3.0)), 0, "complete", {"accuracy": 0.9}))
    source = Source.of_trials("earlier", trials, ACCURACY, SPACE)
    assert source.architectures == (dict(asked[0]), dict(asked[1]))
    assert source.losses == pytest.approx((-0.6, -0.7))
    assert Source.from_json(source.to_json()) == source


def test_afterwards_it_says_whether_a_source_helped_or_misled() -> None:
    trials = []
    for number, architecture in enumerate(SPACE.sample(np.random.default_rng(3), 30)):
        trial = Trial(number, Proposal(architecture, FIDELITIES[-1]), 0, "complete", {"accuracy": _score(architecture)})
        trial.costs["params"] = Figure(1.0)
        trials.append(trial)
    near, far = agreement([_source("near", TARGET), _source("far", 4 - TARGET)], trials, ACCURACY, SPACE)
    assert near.tau > 0.5 and near.words.endswith("it helped") and near.num_trained == 30
    assert far.tau < -0.1 and far.words.endswith("misled, search without it")
    (few,) = agreement([_source("near", TARGET)], trials[:2], ACCURACY, SPACE)
    assert "too few trainings" in few.words


def test_sources_that_cannot_be_used_are_refused() -> None:
    other = Source("other", ({"y": 1},) * 5, (1.0,) * 5)
    with pytest.raises(InputError, match=r"at least 4 trained architectures of this space.*\(other\) none has"):
        Transfer(SPACE, ACCURACY, FIDELITIES, sources=[other])
    with pytest.raises(InputError, match="none given"):
        Transfer(SPACE, ACCURACY, FIDELITIES)
    with pytest.raises(InputError, match="a loss for each of 2"):
        Source("bad", ({"y": 1},) * 2, (1.0,))
    with pytest.raises(InputError, match="share is a share"):
        Transfer(SPACE, ACCURACY, FIDELITIES, sources=[_source("near", TARGET)], share=0.0)
