"""A person's likes, dislikes and narrowings change what is asked next, whatever the strategy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sartor.contracts import Strategy
from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.registry import find
from sartor.space import Architecture, OneOf, Space, Subset
from sartor.strategies._steered import Act, Steered, check_acts
from sartor.testing.strategies import FIDELITIES, Simulation, check_proposals, check_resume, make_spaces
from sartor.trials import Fidelity, Proposal, Trial

SPACE = Space({f"x{i}": OneOf(*range(4)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))


def steered(
    space: Space,
    goals: Goals,
    fidelities: Sequence[Fidelity],
    *,
    seed: int = 0,
    name: str = "evolution",
    acts: Sequence[tuple[int, Act]] = (),
    initial: Sequence[Architecture] = (),
) -> Steered:
    def make(kept: Space, seed: int, initial: Sequence[Architecture]) -> Strategy:
        made: Strategy = find("strategies", name).load()(kept, goals, fidelities, seed=seed, initial=initial)
        return made

    def heard(num_asked: int) -> list[Act]:
        return [act for at, act in acts if at <= num_asked]

    return Steered(space, goals, make, seed=seed, initial=initial, heard=heard)


def run(strategy: Steered, num: int, accuracy: Any = lambda a: 0.5) -> list[Proposal]:
    proposals = []
    for _ in range(num):
        proposals += (new := strategy.ask(1))
        number = len(strategy._told)
        for proposal in new:
            value = accuracy(proposal.architecture)
            strategy.tell([Trial(number, proposal, 0, "complete", {"accuracy": value})])
    return proposals


@pytest.mark.parametrize("name", ["random", "evolution", "asha", "tpe"])
def test_without_a_word_it_asks_what_the_strategy_asks(name: str) -> None:
    plain = find("strategies", name).load()(SPACE, ACCURACY, FIDELITIES, seed=3)
    strategy = steered(SPACE, ACCURACY, FIDELITIES, seed=3, name=name)
    for number in range(30):
        (one,), (other,) = plain.ask(1), strategy.ask(1)
        assert one == other
        trial = Trial(number, one, 0, "complete", {"accuracy": float(number % 7)})
        plain.tell([trial])
        strategy.tell([trial])


@pytest.mark.parametrize("name", ["random", "local-search", "evolution", "nsga2", "asha", "tpe", "bayesian"])
def test_after_narrowing_only_the_rest_of_the_space_is_asked_and_nothing_twice(name: str) -> None:
    strategy = steered(SPACE, ACCURACY, FIDELITIES, name=name, acts=[(12, Act("narrow", {"x0": [1, 2], "x1": [3]}))])
    proposals = run(strategy, 30, lambda a: a["x2"] / 3)
    assert len({(p.architecture, p.fidelity) for p in proposals}) == 30
    for proposal in proposals[12:]:
        assert proposal.architecture["x0"] in (1, 2) and proposal.architecture["x1"] == 3
    assert any(proposal.architecture["x1"] != 3 for proposal in proposals[:12])


def near(architecture: Architecture, other: Architecture) -> float:
    return float(np.mean([architecture[key] == other[key] for key in other]))


@pytest.mark.parametrize("name", ["evolution", "nsga2", "bayesian"])
def test_what_is_liked_is_looked_for_and_what_is_disliked_avoided(name: str) -> None:
    liked = SPACE.architecture({f"x{i}": 3 for i in range(6)})
    rng = np.random.default_rng(0)

    def noise(architecture: Architecture) -> float:
        return float(rng.normal())

    found = {}
    for kind in ("like", "dislike"):
        strategy = steered(SPACE, ACCURACY, FIDELITIES, name=name, acts=[(10, Act(kind, dict(liked)))])
        run(strategy, 40, noise)
        found[kind] = np.mean([near(p.architecture, liked) for p in run(strategy, 40, noise)])
    assert found["like"] > found["dislike"] + 0.05


def test_taking_it_back_opens_the_space_again() -> None:
    acts = [(5, Act("narrow", {"x0": [0]})), (10, Act("clear", {}))]
    proposals = run(steered(SPACE, ACCURACY, FIDELITIES, acts=acts), 40)
    assert {p.architecture["x0"] for p in proposals[5:10]} == {0}
    assert {p.architecture["x0"] for p in proposals[10:]} == {0, 1, 2, 3}


@pytest.mark.parametrize("acts", [[], [(6, ("narrow", 1)), (14, ("like", 2))]])
def test_it_conforms_steered_or_not(acts: list[tuple[int, tuple[str, int]]]) -> None:
    space = make_spaces()["conditional"]
    values: dict[str, dict[str, Any]] = {
        "narrow": {"batch": [32]},
        "like": dict(space.sample(np.random.default_rng(0))),
    }
    said = [(at, Act.from_json({"kind": kind, "value": values[kind]})) for at, (kind, _) in acts]

    def make(space: Space, goals: Goals, fidelities: Sequence[Fidelity], *, seed: int = 0) -> Steered:
        return steered(space, goals, fidelities, seed=seed, name="asha", acts=said)

    check_proposals(make, space, num_trials=40)
    check_resume(make, space, points=(0, 6, 10, 25), num_next=20)


def test_a_state_keeps_metrics_that_are_not_finite() -> None:
    strategy = steered(SPACE, ACCURACY, FIDELITIES)
    strategy.tell([Trial(0, strategy.ask(1)[0], 0, "complete", {"accuracy": float("nan")})])
    state = json.loads(json.dumps(strategy.state_dict(), allow_nan=False))
    restored = steered(SPACE, ACCURACY, FIDELITIES)
    restored.load_state_dict(state)
    assert np.isnan(restored._told[0].metrics["accuracy"])


def test_labels_that_json_has_as_lists_can_be_kept() -> None:
    space = Space({"inputs": Subset({i: i for i in range(4)}, size=2), "x": OneOf(1, 2, 3)})
    act = Act.from_json(json.loads(json.dumps(Act("narrow", {"inputs": [(0, 1), (2, 3)]}).to_json())))
    check_acts(space, [act])
    strategy = steered(space, ACCURACY, FIDELITIES, acts=[(0, act)])
    assert {p.architecture["inputs"] for p in strategy.ask(6)} == {(0, 1), (2, 3)}


def test_what_cannot_be_done_is_said() -> None:
    simulation = Simulation(make_spaces()["numbers"])
    with pytest.raises(InputError, match="did you mean 'x1'"):
        check_acts(SPACE, [Act("narrow", {"x11": [1]})])
    with pytest.raises(InputError, match="x1 has the values 0, 1, 2, 3, not 7"):
        check_acts(SPACE, [Act("narrow", {"x1": [7]})])
    with pytest.raises(InputError, match="no choice has the key 'rate'"):
        check_acts(simulation.space, [Act("narrow", {"rate": [0.1]})])
    with pytest.raises(InputError, match="can be liked"):
        check_acts(SPACE, [Act("like", {"x1": 1})])
    with pytest.raises(InputError, match="no act is called 'lick'; did you mean 'like'"):
        Act("lick", {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nothing is left"):
        check_acts(SPACE, [Act("narrow", {"x1": [0, 2]}), Act("narrow", {"x1": [1]})])
    check_acts(SPACE, [Act("narrow", {"x1": [0, 2]}), Act("clear", {}), Act("narrow", {"x1": [1]})])
