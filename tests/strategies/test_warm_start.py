"""The warm start: what training-free scores call good is proposed first, within the limits, and differs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sartor.contracts import Strategy
from sartor.errors import InputError
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.strategies.random_search import RandomSearch
from sartor.strategies.warm_start import warm_start
from sartor.testing.strategies import FIDELITIES, Simulation, check_strategy, make_spaces, mean_advantage
from sartor.trials import derive_seed

SPACE = Space({f"choice{i}": OneOf(*range(4)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))
Array = npt.NDArray[np.float64]


def _sums(architectures: Sequence[Architecture]) -> Array:
    return np.array([float(sum(a.values())) for a in architectures])


def _sizes(architectures: Sequence[Architecture]) -> Array:
    return np.array([float(len(a)) for a in architectures])


@pytest.mark.parametrize(
    ("strategy", "space"), [("evolution", "conditional"), ("asha", "collections"), ("random", "numbers")]
)
def test_it_conforms_whatever_it_begins(strategy: str, space: str) -> None:
    make = partial(warm_start, scores=_sizes, strategy=strategy, num_start=4, num_candidates=60)
    check_strategy(make, make_spaces()[space], num_trials=40, points=(0, 3, 25), num_next=15)


def test_noisy_scores_find_better_architectures_than_random_search() -> None:
    space = make_spaces()["plain"]

    def make(space: Space, goals: Goals, fidelities: Any, *, seed: int) -> Strategy:
        simulation = Simulation(space, seed=seed)

        def scores(architectures: Sequence[Architecture]) -> Array:
            luck = [derive_seed(seed, a.to_json()) / 2**32 for a in architectures]
            return np.array([simulation.score(a) for a in architectures]) + 0.3 * np.array(luck)

        return warm_start(
            space, goals, fidelities, seed=seed, scores=scores, strategy="random", num_start=20, num_candidates=500
        )

    assert mean_advantage(make, space, num_trials=40, num_seeds=6) > 0


def test_the_best_of_a_small_space_comes_first_and_the_next_are_good_and_differ() -> None:
    begun = warm_start(SPACE, ACCURACY, FIDELITIES, scores=_sums, num_start=8, num_candidates=5000)
    asked = [proposal.architecture for proposal in begun.ask(8)]
    assert asked[0] == Architecture({f"choice{i}": 3 for i in range(6)})
    every = list(SPACE)
    assert _sums(asked).min() >= np.quantile(_sums(every), 0.9)
    best = [every[i] for i in np.argsort(-_sums(every), kind="stable")[:8]]

    def apart(architectures: Sequence[Architecture]) -> float:
        vectors = SPACE.encode(architectures)
        return float(np.linalg.norm(vectors[:, None] - vectors, axis=-1).mean())

    assert apart(asked) > apart(best)


def test_candidates_beyond_a_limit_that_is_known_beforehand_are_left_out() -> None:
    goals = Goals((Objective("accuracy"),), (Limit("params", 10.0),))
    begun = warm_start(
        SPACE, goals, FIDELITIES, scores=_sums, costs=lambda found: {"params": _sums(found)}, num_start=8
    )
    assert set(_sums([proposal.architecture for proposal in begun.ask(8)])) <= {9.0, 10.0}


def test_where_all_are_beyond_a_limit_those_nearest_to_it_come_first() -> None:
    goals = Goals((Objective("accuracy"),), (Limit("params", 0.5),))
    tiny = Space({"a": OneOf(*range(1, 9))})
    begun = warm_start(tiny, goals, FIDELITIES, scores=_sums, costs=lambda found: {"params": _sums(found)}, num_start=1)
    assert begun.ask(1)[0].architecture["a"] == 1


def test_given_architectures_come_before_the_candidates() -> None:
    initial = SPACE.sample(np.random.default_rng(3), 2)
    begun = warm_start(SPACE, ACCURACY, FIDELITIES, initial=initial, scores=_sums, num_start=1, num_candidates=5000)
    asked = [proposal.architecture for proposal in begun.ask(3)]
    assert asked[:2] == initial and asked[2] == Architecture({f"choice{i}": 3 for i in range(6)})


def test_the_strategy_is_the_one_that_was_named() -> None:
    begun = warm_start(
        SPACE, ACCURACY, FIDELITIES, scores=_sums, strategy="random", strategy_options={"over": "choices"}
    )
    assert isinstance(begun, RandomSearch)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(InputError, match="needs scores"):
        warm_start(SPACE, ACCURACY, FIDELITIES)
    with pytest.raises(InputError, match="1 not finite"):
        warm_start(SPACE, ACCURACY, FIDELITIES, scores=lambda found: np.append(_sums(found)[1:], np.nan))
    with pytest.raises(InputError, match="finite scores"):
        warm_start(SPACE, ACCURACY, FIDELITIES, scores=lambda found: _sums(found)[1:])
    with pytest.raises(InputError, match="figures of 'params'"):
        warm_start(SPACE, ACCURACY, FIDELITIES, scores=_sums, costs=lambda found: {"params": np.zeros(3)})
    with pytest.raises(InputError, match="another strategy"):
        warm_start(SPACE, ACCURACY, FIDELITIES, scores=_sums, strategy="warm-start")
    with pytest.raises(InputError, match="evolution"):
        warm_start(SPACE, ACCURACY, FIDELITIES, scores=_sums, strategy="evolutoin")


def test_where_few_candidates_meet_the_limits_no_other_is_taken_before_them() -> None:
    goals = Goals((Objective("accuracy"),), (Limit("params", 2.0),))
    every = list(SPACE)
    within = [a for a in every if sum(a.values()) <= 2]
    begun = warm_start(
        SPACE,
        goals,
        FIDELITIES,
        scores=_sums,
        costs=lambda found: {"params": _sums(found)},
        num_start=20,
        num_candidates=5000,
    )
    asked = [proposal.architecture for proposal in begun.ask(20)]
    assert len(within) == 28 and _sums(asked).max() <= 2
