"""Levels kept up to date equal levels sorted anew."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.front import domination_ranks
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture
from sartor.strategies._levels import Levels
from sartor.strategies._standing import Standing, constrained_ranks, standing
from sartor.trials import Fidelity, Figure, Proposal, Trial


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
def test_levels_equal_non_dominated_sorting_after_every_point(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    levels = Levels(num_objectives)
    points = rng.integers(0, 8, (60, num_objectives)).astype(float)
    for i, point in enumerate(points):
        levels.add(point.tolist())
        ranks = domination_ranks(points[: i + 1])
        assert levels.members == [np.flatnonzero(ranks == level).tolist() for level in range(ranks.max() + 1)]
    assert len(levels) == 60 and (levels.losses == points).all()


def _beats(one: Standing, other: Standing) -> bool:
    """Constraint domination as Deb et al. 2002 define it (definition 1)."""
    if one.feasible != other.feasible:
        return one.feasible
    if not one.feasible:
        return one.violation < other.violation
    no_worse = all(a <= b for a, b in zip(one.losses, other.losses, strict=True))
    return no_worse and one.losses != other.losses


def test_constrained_ranks_follow_constraint_domination() -> None:
    rng = np.random.default_rng(0)
    made = [
        Standing(Architecture({"i": i}), 9.0, 0.0, tuple(rng.integers(0, 5, 2).astype(float).tolist()))
        if rng.random() < 0.6
        else Standing(Architecture({"i": i}), 9.0, float(rng.integers(1, 5)), ())
        for i in range(40)
    ]
    ranks, left, level = np.zeros(40, int), set(range(40)), 0
    while left:
        front = {i for i in left if not any(_beats(made[j], made[i]) for j in left)}
        ranks[list(front)] = level
        left, level = left - front, level + 1
    assert constrained_ranks(made).tolist() == ranks.tolist()


def test_how_a_trial_stands() -> None:
    goals = Goals((Objective("accuracy"), Objective("latency_ms", "min")), (Limit("latency_ms", 1.0),))

    def make(state: str, latency: float, **metrics: float) -> Trial:
        trial = Trial(0, Proposal(Architecture({"a": 1}), Fidelity(3)), 0, state)  # type: ignore[arg-type]
        trial.costs["latency_ms"], trial.metrics = Figure(latency, "ms"), metrics
        return trial

    complete = standing(make("complete", 0.5, accuracy=0.9), goals)
    assert complete is not None and complete.feasible and complete.losses == (-0.9, 0.5) and complete.amount == 3
    infeasible = standing(make("infeasible", 1.5), goals)
    assert infeasible is not None and infeasible.violation == 0.5 and infeasible.losses == ()
    beyond = standing(make("complete", 2.0, accuracy=0.9), goals)
    assert beyond is not None and beyond.violation == 1.0
    unknown = standing(make("infeasible", 0.5), goals)
    assert unknown is not None and not unknown.feasible
    assert standing(make("failed", 0.5), goals) is None
    assert standing(make("complete", 0.5, accuracy=float("nan")), goals) is None
    assert complete.key < infeasible.key < beyond.key < unknown.key
