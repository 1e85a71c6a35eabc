"""Predictor-guided strategies: what each is, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.registry import find
from sartor.space import Architecture, OneOf, Space
from sartor.strategies import _acquisition
from sartor.strategies._guided import Guided, mutated
from sartor.strategies.pnas import _Levels
from sartor.testing.strategies import (
    FIDELITIES,
    Simulation,
    check_exhaustion,
    check_proposals,
    check_resume,
    make_spaces,
    mean_advantage,
)
from sartor.trials import Trial

NAMES = ("bananas", "nas-bowl", "npenas", "pnas")
FEW = {
    "bananas": {"num_initial": 6, "num_candidates": 60},
    "nas-bowl": {"num_initial": 6, "num_candidates": 60},
    "npenas": {"num_initial": 6, "num_children": 4},
    "pnas": {"beam": 6, "num_candidates": 60},
}
ACCURACY = Goals((Objective("accuracy"),))


def made(name: str) -> Any:
    return partial(find("strategies", name).load(), **FEW[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_guided_strategy_conforms(name: str) -> None:
    check_proposals(made(name), make_spaces()["conditional"], num_trials=18)
    check_resume(made(name), make_spaces()["conditional"], points=(0, 12), num_next=8)
    check_exhaustion(made(name))


@pytest.mark.parametrize("space", ["numbers", "constrained", "collections"])
def test_every_kind_of_space_is_searched(space: str) -> None:
    for name in ("bananas", "nas-bowl", "pnas"):
        check_proposals(made(name), make_spaces()[space], num_trials=12)


@pytest.mark.parametrize("name", ["bananas", "nas-bowl", "pnas"])
def test_it_finds_better_architectures_than_random_search(name: str) -> None:
    assert mean_advantage(find("strategies", name).load(), make_spaces()["plain"], num_trials=60, num_seeds=2) > 0


class _Exact:
    """Predicts a function of architectures, and remembers what it was fitted to."""

    def fit(self, architectures: Sequence[Architecture], values: np.ndarray) -> None:
        self.values = values

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        means = np.array([-_total(architecture) for architecture in architectures], float)
        return means, np.full(len(means), 0.1)


def _total(architecture: Architecture) -> int:
    return sum(int(str(value)) for value in architecture.values())


def _guided(space: Space, goals: Goals, predictor: Any, **options: Any) -> Guided:
    own: dict[str, Any] = {"num_initial": 4, "batch_size": 3, "acquisition": _acquisition.mean}
    own |= {"candidates": mutated(space, 2, 40), "predictor": lambda seed: predictor, **options}
    return Guided(space, goals, FIDELITIES, seed=0, stream=1, initial=(), **own)


def test_a_batch_is_what_the_predictor_ranks_first_among_neighbours_of_the_best() -> None:
    space = Space({f"x{i}": OneOf(*range(5)) for i in range(6)})
    strategy = _guided(space, ACCURACY, _Exact())
    trials = [Trial(i, p, 0, "complete", {"accuracy": _total(p.architecture)}) for i, p in enumerate(strategy.ask(4))]
    strategy.tell(trials)
    best = sorted((t.architecture for t in trials), key=_total)[-2:]
    batch = [proposal.architecture for proposal in strategy.ask(3)]
    assert len(set(batch)) == 3
    for architecture in batch:
        assert min(sum(architecture[key] != parent[key] for key in parent) for parent in best) == 1
        assert _total(architecture) > min(map(_total, best))


def test_it_recommends_by_its_predictor_rather_than_by_the_luckiest_result() -> None:
    space = Space({f"x{i}": OneOf(*range(5)) for i in range(6)})
    strategy = _guided(space, ACCURACY, _Exact())
    asked = [proposal.architecture for proposal in strategy.ask(4)]
    proposals = _guided(space, ACCURACY, _Exact()).ask(4)
    strategy.tell([Trial(i, p, 0, "complete", {"accuracy": -float(i)}) for i, p in enumerate(proposals)])
    assert strategy.recommend() == max(asked, key=_total)
    with pytest.raises(InputError, match="nothing can be recommended"):
        _guided(space, ACCURACY, _Exact()).recommend()


def test_several_objectives_are_learned_as_a_scalarisation_and_every_other_batch_the_primary_one() -> None:
    simulation = Simulation(make_spaces()["plain"], limited=False, failing=0.0)
    predictor = _Exact()
    strategy = _guided(simulation.space, simulation.goals, predictor, batch_size=1)
    trials = [simulation.finish(i, proposal) for i, proposal in enumerate(strategy.ask(6))]
    strategy.tell(trials)
    accuracies = np.array([trial.metrics["accuracy"] for trial in trials])
    orders = []
    for _ in range(3):
        strategy.ask(1)
        orders.append(np.argsort(predictor.values, kind="stable").tolist())
    assert orders[0] == np.argsort(-accuracies, kind="stable").tolist()
    assert len(set(map(tuple, orders))) > 1


def test_limits_hold_for_most_of_what_is_asked_once_costs_are_known() -> None:
    simulation = Simulation(make_spaces()["plain"], failing=0.0)
    told = simulation.run(made("nas-bowl")(simulation.space, simulation.goals, FIDELITIES, seed=0), 50, slots=2).told
    late = [trial for trial in told if trial.number >= 20]
    assert sum(trial.state == "infeasible" for trial in late) / len(late) < 0.25  # a third of all break them


def test_progressive_search_goes_from_simple_to_complex() -> None:
    space = Space({f"x{i}": OneOf(*range(5)) for i in range(10)})
    levels = _Levels(space, 5)
    assert levels.complexity(levels.simplest) == 0 and (levels.num, levels.step) == (5, 2)
    strategy = find("strategies", "pnas").load()(space, ACCURACY, FIDELITIES, beam=5)
    asked: list[Architecture] = []
    for number in range(25):
        proposal = strategy.ask(1)[0]
        asked.append(proposal.architecture)
        strategy.tell([Trial(number, proposal, 0, "complete", {"accuracy": _total(proposal.architecture)})])
    complexities = [levels.complexity(architecture) for architecture in asked]
    assert complexities[0] == 0 and complexities[1:5] == [2] * 4
    means = [np.mean(complexities[i : i + 5]) for i in range(0, 25, 5)]
    assert means == sorted(means) and max(complexities) == 10


def test_the_simplest_architecture_is_what_the_constraints_allow() -> None:
    space = Space({f"x{i}": OneOf(*range(3)) for i in range(4)}).where(lambda x: x > 0, "x2")
    simplest = dict(_Levels(space, 5).simplest)
    assert simplest.pop("x2") in (1, 2) and set(simplest.values()) == {0}


def test_options_that_make_no_sense_are_refused() -> None:
    space = make_spaces()["plain"]
    for name, options in (
        ("bananas", {"num_parents": 0}),
        ("nas-bowl", {"num_candidates": 1}),
        ("npenas", {"tournament": 0}),
        ("pnas", {"beam": 1}),
        ("bananas", {"num_initial": 1}),
        ("npenas", {"batch_size": 0}),
    ):
        with pytest.raises(InputError, match=next(iter(options))):
            find("strategies", name).load()(space, ACCURACY, FIDELITIES, **options)
