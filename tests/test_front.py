"""Sorting, distance and volume against brute force; what a front shows and picks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sartor.errors import BudgetError, InputError
from sartor.front import Front, crowding_distance, domination_ranks, hypervolume, non_dominated
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, State, Trial

GOALS = Goals((Objective("accuracy"), Objective("latency_ms", "min")), (Limit("latency_ms", 1.0),))


def make_trial(
    number: int,
    accuracy: float,
    latency: float,
    *,
    width: int | None = None,
    epochs: float = 9,
    state: State = "complete",
) -> Trial:
    architecture = Architecture({"width": number if width is None else width})
    trial = Trial(number, Proposal(architecture, Fidelity(epochs)), 0, state)
    if state == "complete":
        trial.metrics = {"accuracy": accuracy, "test.accuracy": 1 - accuracy}
    trial.costs = {"latency_ms": Figure(latency, "ms"), "params": Figure(1000.0 * number)}
    return trial


def brute_force_ranks(points: np.ndarray) -> list[int]:
    ranks, left, level = {}, set(range(len(points))), 0
    while left:
        front = {i for i in left if not any(all(points[j] <= points[i]) and any(points[j] < points[i]) for j in left)}
        ranks |= dict.fromkeys(front, level)
        left, level = left - front, level + 1
    return [ranks[i] for i in range(len(points))]


@pytest.mark.parametrize("num_objectives", [1, 2, 3, 4])
def test_ranks_equal_repeated_peeling_of_the_front(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    for _ in range(20):
        points = rng.integers(0, 6, (40, num_objectives)).astype(float)  # few values, so that there are many ties
        assert domination_ranks(points).tolist() == brute_force_ranks(points)


def test_of_equal_points_all_are_on_the_front() -> None:
    assert non_dominated([[0, 1], [0, 1], [1, 1]]).tolist() == [True, True, False]
    assert domination_ranks(np.zeros((0, 2))).tolist() == []
    assert domination_ranks(np.zeros((0, 3))).tolist() == []


def test_a_loss_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="point 1"):
        non_dominated([[0, 1], [np.nan, 1]])
    with pytest.raises(InputError, match="num_points"):
        non_dominated([0.0, 1.0])


def test_crowding_is_the_sum_of_the_relative_gaps_between_neighbours() -> None:
    points = [[0.0, 10.0], [1.0, 6.0], [3.0, 2.0], [4.0, 0.0]]
    expected = [np.inf, 3 / 4 + 8 / 10, 3 / 4 + 6 / 10, np.inf]
    assert crowding_distance(points).tolist() == pytest.approx(expected)
    assert crowding_distance([[1.0, 1.0]]).tolist() == [np.inf]
    assert crowding_distance(np.zeros((0, 2))).tolist() == []


def volume_by_inclusion_and_exclusion(points: np.ndarray, corner: np.ndarray) -> float:
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(points, size):
            total -= (-1) ** size * np.prod(np.maximum(corner - np.max(subset, axis=0), 0))
    return float(total)


@pytest.mark.parametrize("num_objectives", [1, 2, 3, 4, 5])
def test_hypervolume_equals_inclusion_and_exclusion(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    for continuous in (True, False):
        points = rng.random((9, num_objectives)) if continuous else rng.integers(0, 4, (9, num_objectives)) / 3
        corner = np.full(num_objectives, 0.9)
        assert hypervolume(points, corner) == pytest.approx(
            volume_by_inclusion_and_exclusion(points, corner), abs=1e-12
        )


def test_hypervolume_of_a_known_front_in_three_dimensions() -> None:
    # Points of the unit simplex's corners, doubled: each dominates a slab, together 1 - (1/2)^3 of the cube's rest.
    points = [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]
    assert hypervolume(points, [1.0, 1.0, 1.0]) == pytest.approx(3 * 0.25 - 3 * 0.125 + 0.125)
    assert hypervolume(points, [0.5, 0.5, 0.5]) == 0.0
    with pytest.raises(InputError, match="3 objectives"):
        hypervolume(points, [1.0, 1.0])


def test_a_front_holds_feasible_complete_non_dominated_trials_by_the_second_objective() -> None:
    front = Front(
        [
            make_trial(0, 0.8, 0.9),
            make_trial(1, 0.6, 0.2),
            make_trial(2, 0.5, 0.3),  # dominated
            make_trial(3, 0.99, 1.1),  # beyond the limit
            make_trial(4, 0.0, 0.1, state="infeasible"),
            make_trial(5, 0.0, 0.1, state="failed"),
            make_trial(6, 0.7, 0.5),
        ],
        GOALS,
    )
    assert [trial.number for trial in front] == [1, 6, 0]
    assert front[0].number == 1 and [trial.number for trial in front[1:]] == [6, 0] and len(front) == 3
    assert front.losses.tolist() == [[-0.6, 0.2], [-0.7, 0.5], [-0.8, 0.9]]
    assert front.hypervolume([0.5, 1.0]) == pytest.approx(0.1 * 0.8 + 0.1 * 0.5 + 0.1 * 0.1)
    assert front.hypervolume({"latency_ms": 1.0, "accuracy": 0.5}) == front.hypervolume([0.5, 1.0])
    with pytest.raises(ValueError, match="read-only"):
        front.losses[0, 0] = 0
    with pytest.raises(InputError, match="latency_ms"):
        front.hypervolume({"accuracy": 0.5})


def test_an_architecture_is_represented_by_its_highest_fidelity() -> None:
    short_and_lucky, long = make_trial(0, 0.9, 0.5, width=3, epochs=1), make_trial(1, 0.7, 0.5, width=3, epochs=9)
    assert list(Front([short_and_lucky, long], GOALS)) == [long]


def test_pick_is_the_best_within_further_limits_whether_or_not_these_are_objectives() -> None:
    front = Front([make_trial(1, 0.6, 0.5), make_trial(2, 0.8, 0.5), make_trial(3, 0.9, 0.6)], GOALS)
    assert front.pick().number == 3
    assert front.pick("latency<=0.55ms").number == 2
    assert front.pick("params<=1.5k").number == 1  # dominated, yet the only one so small
    assert front.pick(Limit("latency_ms", 0.55), by="latency_ms").number == 2
    assert front.pick(by="test.accuracy").number == 1
    assert front.pick(by="params").number == 1


def test_pick_says_the_closest_when_nothing_meets_the_limit() -> None:
    front = Front([make_trial(1, 0.6, 0.5), make_trial(2, 0.8, 0.7)], GOALS)
    with pytest.raises(BudgetError, match=r"none of 2 networks .*trial 1, has latency_ms 0.5 ms"):
        front.pick("latency<=100us")
    with pytest.raises(InputError, match="no 'energy_mj'"):
        front.pick("energy<=1mJ")
    with pytest.raises(InputError, match="'acuracy'; did you mean 'accuracy'"):
        front.pick(by="acuracy")
    with pytest.raises(BudgetError, match="none to pick"):
        Front([], GOALS).pick()


def test_a_front_prints_as_a_table_with_units() -> None:
    front = Front([make_trial(1, 0.6, 0.5), make_trial(20, 0.8, 0.72)], GOALS)
    lines = str(front).splitlines()
    assert lines[0].split() == ["trial", "fidelity", "accuracy", "latency", "params"]
    assert lines[2].split() == ["20", "9", "epochs", "0.8", "0.72", "ms", "20k"]
    assert repr(front) == "Front(2 of 2 trials: accuracy max, latency_ms min)"
    assert front.to_rows()[0] == {
        "trial": 1,
        "fidelity": "9 epochs",
        "accuracy": 0.6,
        "latency_ms": 0.5,
        "params": 1000.0,
        "architecture": {"width": 1},
    }
    assert "empty" in str(Front([], GOALS))


def test_a_front_of_one_objective_is_its_best() -> None:
    goals = Goals((Objective("accuracy"),))
    front = Front([make_trial(1, 0.6, 0.5), make_trial(2, 0.8, 0.5)], goals)
    assert [trial.number for trial in front] == [2]
    assert front.hypervolume([0.5]) == pytest.approx(0.3)


def test_trials_that_stand_for_a_front_are_the_best_and_those_that_cover_most() -> None:
    goals = Goals((Objective("accuracy"), Objective("latency_ms", "min")))
    # The cheapest is at chance, three are good at different prices, and one is dominated.
    found = [(0.1, 0.001), (0.6, 0.1), (0.8, 0.5), (0.9, 1.0), (0.91, 4.0), (0.3, 4.0)]
    front = Front([make_trial(i, *each) for i, each in enumerate(found)], goals)
    assert [t.number for t in front.covering(1)] == [4]
    assert [t.number for t in front.covering(2)] == [1, 4]
    assert [t.number for t in front.covering(4)] == [1, 2, 3, 4]
    assert front.covering(9) == list(front)
    with pytest.raises(InputError, match="at least 1"):
        front.covering(0)


def test_one_outlier_does_not_decide_what_stands_for_a_front() -> None:
    goals = Goals((Objective("loss", "min"), Objective("latency_ms", "min")))
    losses = [(1e9, 0.001), (1.0, 0.1), (0.5, 0.5), (0.4, 1.0), (0.39, 4.0)]
    trials = [make_trial(i, 0.5, latency) for i, (_, latency) in enumerate(losses)]
    for trial, (loss, _) in zip(trials, losses, strict=True):
        trial.metrics = {"loss": loss}
    assert [t.number for t in Front(trials, goals).covering(2)] == [2, 4]


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
def test_what_stands_for_a_front_covers_more_than_as_many_drawn(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    names = ("accuracy", "latency_ms", "params")[:num_objectives]
    goals = Goals(tuple(Objective(name, "max" if name == "accuracy" else "min") for name in names))
    trials = []
    for i in range(60):
        trials.append(make_trial(i, float(rng.random()), float(np.exp(rng.normal()))))
        trials[-1].costs["params"] = Figure(float(np.exp(rng.normal())))
    front = Front(trials, goals)
    chosen = front.covering(4)
    worst = {name: (min if name == "accuracy" else max)(t.values[name] for t in trials) for name in names}
    drawn = [
        Front([front[i] for i in rng.choice(len(front), min(4, len(front)), replace=False)], goals).hypervolume(worst)
        for _ in range(20)
    ]
    assert max(front, key=lambda t: t.values["accuracy"]) in chosen and len(chosen) == min(4, len(front))
    assert Front(chosen, goals).hypervolume(worst) >= np.mean(drawn)
