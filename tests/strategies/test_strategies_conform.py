"""Every built-in strategy passes the public suite, and the suite finds what is wrong with broken ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from sartor.registry import find, specs
from sartor.strategies.asha import Asha
from sartor.strategies.bayesian import Bayesian
from sartor.strategies.local_search import LocalSearch
from sartor.strategies.nsga2 import NSGA2
from sartor.strategies.random_search import RandomSearch
from sartor.strategies.regularized_evolution import RegularizedEvolution
from sartor.testing.strategies import (
    FIDELITIES,
    Simulation,
    check_determinism,
    check_exhaustion,
    check_proposals,
    check_resume,
    check_strategy,
    make_spaces,
    mean_advantage,
)
from sartor.trials import Proposal, Trial

SAMPLERS = ("random", "local-search", "evolution", "nsga2")


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_built_in_strategy_conforms(name: str) -> None:
    kind = find("strategies", name).load()
    # All of them share how new architectures are found, so that one is enough for all spaces.
    for space in make_spaces() if name == "evolution" else ("conditional", "numbers"):
        check_strategy(kind, make_spaces()[space], num_next=30)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_successive_halving_conforms_around_any_of_them(sampler: str) -> None:
    check_strategy(partial(Asha, sampler=sampler), make_spaces()["conditional"])


@pytest.mark.parametrize("kind", [LocalSearch, RegularizedEvolution, NSGA2])
def test_a_strategy_that_learns_finds_better_architectures_than_random_search(kind: Callable[..., Any]) -> None:
    assert mean_advantage(kind, make_spaces()["plain"]) > 0


def test_bayesian_optimisation_conforms() -> None:
    make = partial(Bayesian, num_initial=6)
    check_strategy(make, make_spaces()["conditional"], num_trials=30, points=(0, 12, 25), num_next=12)


@pytest.mark.parametrize("space", ["numbers", "constrained", "collections"])
def test_bayesian_optimisation_proposes_what_is_in_the_space(space: str) -> None:
    check_proposals(partial(Bayesian, num_initial=6), make_spaces()[space], num_trials=20)


def test_successive_halving_around_bayesian_optimisation_resumes_to_the_identical_proposals() -> None:
    make = partial(Asha, sampler="bayesian", sampler_options={"num_initial": 6})
    check_resume(make, make_spaces()["conditional"], points=(30,), num_next=20)


def test_a_strategy_proposes_the_initial_architectures_first() -> None:
    space = make_spaces()["conditional"]
    goals = Simulation(space).goals
    initial = space.sample(np.random.default_rng(0), 3)
    for name in (*SAMPLERS, "bayesian", "asha"):
        strategy = find("strategies", name).load()(space, goals, FIDELITIES, initial=[*initial, initial[0]])
        assert [proposal.architecture for proposal in strategy.ask(3)] == initial, name



def test_strategies_are_listed_with_what_they_are_and_where_they_come_from() -> None:
    listed = specs("strategies")
    assert {*SAMPLERS, "bayesian", "asha"} <= set(listed)
    for spec in listed.values():
        assert spec.summary and spec.citation and spec.load()


class _Repeats(RandomSearch):
    def ask(self, n: int) -> list[Proposal]:
        asked = super().ask(n)
        self._first = getattr(self, "_first", asked[:1])
        return asked[:-1] + self._first if asked else []


class _Forgets(RandomSearch):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class _IsRandom(RandomSearch):
    def __init__(self, *args: Any, seed: int = 0, **own: Any) -> None:
        super().__init__(*args, seed=int(np.random.default_rng().integers(2**31)), **own)


class _GivesUp(RandomSearch):
    def ask(self, n: int) -> list[Proposal]:
        return super().ask(min(n, max(0, 5 - len(self._fresh))))


class _KeepsAnArray(RandomSearch):
    def tell(self, trials: Sequence[Trial]) -> None:
        self.told = [*getattr(self, "told", []), *(trial.number for trial in trials)]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"told": np.array(getattr(self, "told", []))}


def test_the_suite_finds_repeated_proposals() -> None:
    with pytest.raises(AssertionError, match="repeats proposal 0"):
        check_proposals(_Repeats, make_spaces()["plain"])


def test_the_suite_finds_a_state_that_is_not_restored() -> None:
    with pytest.raises(AssertionError, match="once restored"):
        check_resume(_Forgets, make_spaces()["plain"])


def test_the_suite_finds_a_state_that_is_not_json() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        check_resume(_KeepsAnArray, make_spaces()["plain"])


def test_the_suite_finds_a_seed_that_is_ignored() -> None:
    with pytest.raises(AssertionError, match="same seed"):
        check_determinism(_IsRandom, make_spaces()["plain"])


def test_the_suite_finds_a_strategy_that_leaves_architectures_out() -> None:
    with pytest.raises(AssertionError, match="proposed 5 of the 6"):
        check_exhaustion(_GivesUp)
