"""What the best share, against counts made by hand."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest

from sartor.explain import shared_by_best
from sartor.explain._shared import best_of
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture, Graph, OneOf, Space
from sartor.trials import Fidelity, Figure, Proposal, State, Trial

GOALS = Goals((Objective("accuracy"),))
BOTH = Goals((Objective("accuracy"), Objective("latency_ms", "min")), (Limit("latency_ms", 5.0),))


def trial(
    n: int, a: Architecture, accuracy: float, latency: float = 1.0, amount: float = 1.0, state: State = "complete"
) -> Trial:
    costs = {"latency_ms": Figure(latency, "ms")}
    return Trial(n, Proposal(a, Fidelity(amount)), 0, state, metrics={"accuracy": accuracy}, costs=costs)


def four() -> Space:
    def wired(a: Architecture) -> Graph:
        return Graph.chain(str(value) for key, value in sorted(a.items()) if value != "skip")

    return Space({f"n{i}": OneOf("conv", "pool", "skip") for i in range(4)}, graph=wired)


def first(a: Architecture) -> Any:
    return a[min(a)]


def test_a_value_that_decides_is_found_with_its_exact_chance() -> None:
    space = four()
    rng = np.random.default_rng(0)
    everything = list(space)
    trials = [trial(i, a, float(first(a) == "conv") + 0.001 * rng.random()) for i, a in enumerate(everything)]
    found = shared_by_best(space, trials, GOALS)
    assert (found.num_best, found.num_evaluated) == (9, 81) and "9 of 81" in found.words
    row = next(row for row in found.rows if row.what == "n0 = conv")
    assert (row.best, row.evaluated) == (1.0, pytest.approx(27 / 81)) and row.space == pytest.approx(1 / 3, abs=0.04)
    assert row.chance == pytest.approx(comb(27, 9) / comb(81, 9) * found.num_tests)
    assert found.rows[0] == row and all(r.best > r.evaluated for r in found.rows)
    assert [r.chance for r in found.rows] == sorted(r.chance for r in found.rows)


def test_a_path_that_no_single_choice_tells_is_found() -> None:
    space = four()

    def good(a: Architecture) -> bool:
        return "conv pool" in " ".join(str(v) for _, v in sorted(a.items()) if v != "skip")

    trials = [trial(i, a, float(good(a)) + 1e-4 * (i * 37 % 81)) for i, a in enumerate(space)]
    found = shared_by_best(space, trials, GOALS)
    row = next(row for row in found.rows if row.what == "conv → pool")
    assert row.kind == "motif" and row.best == 1.0 and row.evaluated < 0.6


def test_random_scores_rarely_look_like_more_than_chance() -> None:
    space = four()
    smallest = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        found = shared_by_best(space, [trial(i, a, rng.random()) for i, a in enumerate(space)], GOALS)
        smallest.append(min(row.chance for row in found.rows))
    assert sum(chance < 0.05 for chance in smallest) <= 2 and np.median(smallest) > 0.2


def test_the_best_are_within_the_limits_and_of_the_highest_fidelity() -> None:
    space = four()
    everything = list(space)[:40]
    trials = [trial(i, a, i / 100, latency=9.0 if i >= 36 else 1 + i / 40) for i, a in enumerate(everything)]
    trials += [trial(40 + i, everything[i], 0.2, amount=9.0) for i in (5, 6)]
    trials.append(trial(50, list(space)[50], 1.0, state="infeasible"))
    best, evaluated = best_of(trials, BOTH)
    assert len(evaluated) == 40 and len(best) == 4
    assert best[:2] == [everything[5], everything[6]] and set(evaluated[-4:]) == set(everything[36:])


def test_several_objectives_take_the_front_first() -> None:
    space = four()
    everything = list(space)[:30]
    trials = [trial(i, a, 0.9 - (i >= 3), latency=1.0 + i % 3) for i, a in enumerate(everything)]
    trials[1] = trial(1, everything[1], 0.95, latency=2.0)
    trials[2] = trial(2, everything[2], 0.99, latency=3.0)
    assert set(best_of(trials, BOTH)[0]) == set(everything[:3])


def test_too_few_trials_and_none_that_is_complete_are_said() -> None:
    space = four()
    few = [trial(i, a, i) for i, a in enumerate(list(space)[:3])]
    assert shared_by_best(space, few, GOALS).words == (
        "3 complete architectures, 3 of them best: too few to compare the best with."
    )
    failed = [trial(i, a, i, state="failed") for i, a in enumerate(space)]
    found = shared_by_best(space, failed, GOALS)
    assert found.rows == () and found.words.startswith("0 complete architectures, 0 of them best")


def test_ties_everywhere_single_out_nothing_by_division() -> None:
    space = four()
    found = shared_by_best(space, [trial(i, a, 0.5) for i, a in enumerate(space)], GOALS)
    assert all(np.isfinite([r.best, r.evaluated, r.space, r.chance]).all() for r in found.rows)


def test_a_space_of_one_architecture_has_nothing_to_compare() -> None:
    space = Space({"n": OneOf("conv")})
    found = shared_by_best(space, [trial(0, next(iter(space)), 0.5)], GOALS)
    assert found.rows == () and "too few" in found.words
