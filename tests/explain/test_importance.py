"""Functional ANOVA on functions whose shares of variance are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest

from sartor.explain import Importance, importance
from sartor.goals import Objective
from sartor.space import Architecture, FloatRange, OneOf, Permutation, Repeat, Space, Subset
from sartor.trials import Fidelity, Figure, Proposal, Trial

ACCURACY = Objective("accuracy")
LEVELS = {"a": -1.0, "b": 0.0, "c": 1.0}


def five() -> Space:
    return Space({f"x{i}": OneOf("a", "b", "c") for i in range(5)})


def trials_of(
    architectures: Sequence[Architecture], function: Callable[[Architecture], float], fidelity: float = 1.0
) -> list[Trial]:
    return [
        Trial(i, Proposal(a, Fidelity(fidelity)), 0, "complete", metrics={"accuracy": function(a)})
        for i, a in enumerate(architectures)
    ]


def drawn(space: Space, num: int, seed: int = 0) -> list[Architecture]:
    return list(dict.fromkeys(space.sample(np.random.default_rng(seed), num)))


def shares(found: Importance) -> dict[str, float]:
    return {c.name: c.share for c in found.choices}


def block(kernel: int) -> int:
    return kernel


def test_main_effects_of_a_sum_have_their_known_shares_and_irrelevant_choices_none() -> None:
    found = importance(five(), trials_of(drawn(five(), 150), lambda a: 2 * LEVELS[a["x0"]] + LEVELS[a["x1"]]), ACCURACY)
    by_name = shares(found)
    assert by_name["x0"] == pytest.approx(0.8, abs=0.04) and by_name["x1"] == pytest.approx(0.2, abs=0.04)
    assert max(by_name[f"x{i}"] for i in (2, 3, 4)) < 0.005
    assert [c.name for c in found.choices[:2]] == ["x0", "x1"]
    assert max(p.share for p in found.interactions) < 0.005
    effects = {e.value: e.mean for e in found.choices[0].effects}
    assert effects["c"] - effects["a"] == pytest.approx(4.0, abs=0.2)
    assert found.r2 is not None and found.r2 > 0.98 and "explains" in found.words


def test_an_exclusive_or_is_all_interaction() -> None:
    space = Space({f"x{i}": OneOf("a", "b") for i in range(6)})
    found = importance(space, trials_of(list(space), lambda a: float(a["x0"] != a["x1"])), ACCURACY)
    assert found.interactions[0].names == ("x0", "x1")
    assert found.interactions[0].share == pytest.approx(1.0, abs=0.05)
    assert max(shares(found).values()) < 0.02 and found.interactions[1].share < 0.02


def test_noise_is_given_to_no_choice_and_widens_the_intervals() -> None:
    rng = np.random.default_rng(3)
    found = importance(
        five(),
        trials_of(drawn(five(), 90), lambda a: 2 * LEVELS[a["x0"]] + LEVELS[a["x1"]] + 0.5 * rng.normal()),
        ACCURACY,
    )
    by_name = {c.name: c for c in found.choices}
    assert by_name["x0"].low <= 0.8 <= by_name["x0"].high + 0.05
    assert max(by_name[f"x{i}"].share for i in (2, 3, 4)) < 0.03
    assert by_name["x0"].high - by_name["x0"].low > 0.01


def test_pure_noise_is_said_to_be_worth_nothing() -> None:
    rng = np.random.default_rng(5)
    found = importance(five(), trials_of(drawn(five(), 60), lambda a: float(rng.normal())), ACCURACY)
    assert found.r2 is not None and found.r2 < 0.05 and "the shares mean little" in found.words


def test_a_conditional_choice_counts_where_it_is_active() -> None:
    others = {f"y{i}": OneOf("a", "b") for i in range(5)}
    wide = Space({"op": OneOf(partial(block, kernel=OneOf(3, 5)), skip=0), **others})
    kernel, op = next(key for key in wide.keys if key.endswith("kernel")), "op"

    def function(a: Architecture) -> float:
        return 0.0 if kernel not in a else 10.0 + (5.0 if a[kernel] == 5 else -5.0)

    samples = wide.sample(np.random.default_rng(0), 20_000)
    total = np.var([function(a) for a in samples])
    active = np.mean([kernel in a for a in samples])
    found = importance(wide, trials_of(list(wide), function), ACCURACY)
    by_name = {c.name: c for c in found.choices}
    assert by_name[kernel].active == pytest.approx(active, abs=0.03)
    assert by_name[kernel].share == pytest.approx(25 * active / total, rel=0.1)
    assert by_name[op].share == pytest.approx(100 * active * (1 - active) / total, rel=0.1)
    effects = {e.value: e.mean for e in by_name[kernel].effects}
    assert effects == pytest.approx({"3": 5.0, "5": 15.0}, abs=0.5)


def test_repeats_subsets_orders_and_numbers_are_all_read() -> None:
    space = Space(
        {
            "blocks": Repeat(partial(block, kernel=OneOf(3, 5, 7)), times=OneOf(1, 2, 3)),
            "taken": Subset({c: c for c in "pqrstu"}, size=[1, 2, 3]),
            "order": Permutation("w", "x", "y", "z"),
            "rate": FloatRange(1e-4, 1e-1, log=True),
        }
    )
    rate = next(key for key in space.keys if key.startswith("rate"))
    taken = next(key for key in space.keys if key.startswith("taken"))
    trials = trials_of(drawn(space, 250), lambda a: float(np.log10(a[rate])) + 2.0 * ("r" in a[taken]))
    by_name = shares(importance(space, trials, ACCURACY))
    assert sum(by_name[k] for k in (rate, f"{taken}: r")) > 0.9
    assert sum(share for name, share in by_name.items() if name not in (rate, f"{taken}: r")) < 0.08


def test_the_length_of_trainings_is_no_choice_and_does_not_hide_them() -> None:
    architectures = drawn(five(), 120)
    short = trials_of(architectures[:80], lambda a: LEVELS[a["x2"]], 1.0)
    long = trials_of(architectures[60:], lambda a: LEVELS[a["x2"]] + 10.0, 9.0)
    found = importance(five(), [*short, *long], ACCURACY)
    assert found.fidelities == ("1 epochs", "9 epochs") and found.num_trials > found.num_architectures
    assert shares(found)["x2"] > 0.95 and "fidelity" not in shares(found)


def test_costs_count_once_an_architecture_and_those_of_infeasible_trials_too() -> None:
    architectures = drawn(five(), 60)
    trials = [
        Trial(
            i,
            Proposal(a, Fidelity(1.0 + i % 2)),
            0,
            "infeasible" if i % 3 else "complete",
            costs={"latency_ms": Figure(3.0 + LEVELS[a["x4"]], "ms", 0.05, "measured")},
        )
        for i, a in enumerate([*architectures, *architectures])
    ]
    found = importance(five(), trials, Objective("latency_ms", "min"))
    assert found.num_trials == len(architectures) and found.fidelities == ()
    assert found.choices[0].name == "x4" and found.choices[0].share > 0.95


def test_the_same_seed_gives_the_same_in_any_run_and_serialises() -> None:
    trials = trials_of(drawn(five(), 40), lambda a: LEVELS[a["x0"]] * LEVELS[a["x1"]])
    first, second = importance(five(), trials, ACCURACY, seed=4), importance(five(), trials, ACCURACY, seed=4)
    assert first == second and json.loads(json.dumps(asdict(first)))["objective"] == "accuracy"
    assert importance(five(), trials, ACCURACY, seed=5) != first


def test_what_cannot_be_explained_is_said() -> None:
    space = five()
    assert "No trial has 'accuracy'." in importance(space, [], ACCURACY).words
    failed = [Trial(i, Proposal(a, Fidelity(1)), 0, "failed", failure="no") for i, a in enumerate(drawn(space, 20))]
    assert importance(space, failed, ACCURACY).words.endswith("all 20 failed.")
    three = importance(space, trials_of(drawn(space, 3), lambda a: LEVELS[a["x0"]]), ACCURACY)
    assert three.choices == () and "too few" in three.words and three.num_architectures == 3
    ties = importance(space, trials_of(drawn(space, 40), lambda a: 0.5), ACCURACY)
    assert ties.choices == () and "no choice mattered" in ties.words
    wrong = importance(space, trials_of(drawn(space, 40), lambda a: float("nan")), ACCURACY)
    assert wrong.choices == () and "No trial" in wrong.words


def test_one_odd_trial_among_ties_divides_by_nothing() -> None:
    space = five()
    architectures = drawn(space, 40)
    found = importance(space, trials_of(architectures, lambda a: float(a == architectures[7])), ACCURACY)
    assert all(np.isfinite([c.share, c.low, c.high]).all() for c in found.choices)


def test_means_over_boxes_are_those_of_a_whole_listing() -> None:
    from sklearn.tree import DecisionTreeRegressor

    from sartor.explain._boxes import Boxes
    from sartor.explain._columns import columns_of

    space = Space({"kind": OneOf("a", "b", "c"), "size": OneOf(1, 2, 4, 8), "flag": OneOf(True, False)})
    everything = list(space)
    columns = columns_of(space, everything)
    levels = np.stack([c.levels for c in columns], 1)
    features = np.concatenate([c.features[:, own].T for c, own in zip(columns, levels.T, strict=True)], 1)
    rng = np.random.default_rng(0)
    trees = [DecisionTreeRegressor(random_state=i).fit(features, rng.normal(size=len(features))) for i in range(4)]
    boxes = Boxes(columns, [trees[:2], trees[2:]], levels, {})
    for group, pair in enumerate((trees[:2], trees[2:])):
        predicted = np.mean([tree.predict(features) for tree in pair], 0)
        for k, column in enumerate(columns):
            for level in range(column.num_levels):
                assert boxes.means(k)[group, level] == pytest.approx(predicted[levels[:, k] == level].mean())
        table = boxes.means(0, 1)[group]
        assert table[2, 3] == pytest.approx(predicted[(levels[:, 0] == 2) & (levels[:, 1] == 3)].mean())
