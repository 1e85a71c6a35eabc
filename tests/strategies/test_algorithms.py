"""What makes each strategy the algorithm that it says it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sartor.errors import InputError, RecordError
from sartor.front import domination_ranks
from sartor.goals import Goals, Limit, Objective
from sartor.space import Architecture, OneOf, Space
from sartor.strategies import _rungs
from sartor.strategies.asha import Asha
from sartor.strategies.listed import Listed
from sartor.strategies.local_search import LocalSearch
from sartor.strategies.nsga2 import NSGA2
from sartor.strategies.random_search import RandomSearch
from sartor.strategies.regularized_evolution import RegularizedEvolution
from sartor.trials import Fidelity, Figure, Proposal, State, Trial

FULL = (Fidelity(9.0),)
RUNGS = (Fidelity(1.0), Fidelity(3.0), Fidelity(9.0))
SPACE = Space({f"x{i}": OneOf(*range(5)) for i in range(6)})
ACCURACY = Goals((Objective("accuracy"),))
BOTH = Goals((Objective("accuracy"), Objective("latency_ms", "min")), (Limit("latency_ms", 1.0),))


def finish(
    number: int, proposal: Proposal, accuracy: float, latency: float = 0.5, state: State = "complete"
) -> Trial:
    trial = Trial(number, proposal, 0, state, costs={"latency_ms": Figure(latency, "ms")})
    if state == "complete":
        trial.metrics["accuracy"] = accuracy
    return trial


def total(architecture: Architecture) -> float:
    return float(sum(int(str(value)) for value in architecture.values()))


def distance(one: Architecture, other: Architecture) -> int:
    return sum(one[key] != other[key] for key in one)


# --- random


def test_random_search_is_uniform_over_architectures_or_over_choices() -> None:
    space = Space(OneOf(small={"a": 1}, large={"a": OneOf(*range(9))}))
    counts = {}
    for over in ("architectures", "choices"):
        searches = [RandomSearch(space, ACCURACY, FULL, seed=seed, over=over) for seed in range(300)]  # type: ignore[arg-type]
        counts[over] = sum(search.ask(1)[0].architecture["choice"] == "small" for search in searches)
    assert 15 <= counts["architectures"] <= 50  # 1 in 10
    assert 120 <= counts["choices"] <= 180  # 1 in 2
    with pytest.raises(InputError, match="'choice'; did you mean 'choices'"):
        RandomSearch(space, ACCURACY, FULL, over="choice")  # type: ignore[arg-type]


# --- local search


def test_local_search_climbs_to_the_optimum_of_a_separable_score_by_single_changes() -> None:
    strategy = LocalSearch(SPACE, ACCURACY, FULL, seed=0, num_initial=3)
    proposed: list[Architecture] = []
    while True:
        (proposal,) = strategy.ask(1)
        architecture, best = proposal.architecture, max(proposed, key=total, default=proposal.architecture)
        if len(proposed) >= 3 and distance(architecture, best) > 1:
            break
        strategy.tell([finish(len(proposed), proposal, total(architecture))])
        proposed.append(architecture)
    assert total(best) == 24
    assert set(SPACE.neighbours(best)) <= set(proposed)  # it began anew only once no neighbour was left
    assert len(proposed) < 150


def test_local_search_starts_another_climb_while_results_of_the_last_are_awaited() -> None:
    space = Space({"a": OneOf(1, 2, 3), "b": OneOf(1, 2, 3)})
    strategy = LocalSearch(space, ACCURACY, FULL, seed=0, num_initial=1)
    (start,) = strategy.ask(1)
    strategy.tell([finish(0, start, 1.0)])
    asked = strategy.ask(20)  # four neighbours, then starts, and no more than there are
    assert len({proposal.architecture for proposal in asked}) == 8
    assert [distance(proposal.architecture, start.architecture) for proposal in asked[:4]] == [1] * 4


# --- evolution


def test_evolution_mutates_the_winner_of_a_tournament() -> None:
    strategy = RegularizedEvolution(SPACE, ACCURACY, FULL, population_size=10, sample_size=10, num_initial=10)
    proposals = strategy.ask(10)
    scores = np.random.default_rng(0).permutation(10).tolist()
    strategy.tell([finish(i, proposal, scores[i]) for i, proposal in enumerate(proposals)])
    best = proposals[scores.index(9)].architecture
    for child in strategy.ask(12):
        assert distance(child.architecture, best) == 1  # the tournament is the whole population


def test_in_evolution_the_oldest_dies_not_the_worst() -> None:
    strategy = RegularizedEvolution(SPACE, ACCURACY, FULL, population_size=2, sample_size=2, num_initial=1)
    first, second, third = strategy.ask(3)
    strategy.tell([finish(0, first, 0.9)])
    strategy.tell([finish(1, second, 0.1), finish(2, third, 0.2)])
    for child in strategy.ask(5):
        assert distance(child.architecture, third.architecture) == 1


def test_in_evolution_an_infeasible_child_takes_no_feasible_ones_place() -> None:
    strategy = RegularizedEvolution(
        SPACE, BOTH, FULL, population_size=2, sample_size=2, num_initial=4, objectives="primary"
    )
    a, b, c, d = strategy.ask(4)
    strategy.tell([finish(0, a, 0, 3.0, "infeasible"), finish(1, b, 0, 1.1, "infeasible")])
    assert all(distance(child.architecture, b.architecture) == 1 for child in strategy.ask(5))  # least excess first
    strategy.tell([finish(2, c, 0.1), finish(3, d, 0, 1.01, "infeasible")])
    assert all(distance(child.architecture, c.architecture) == 1 for child in strategy.ask(5))


def test_evolution_over_all_objectives_has_children_of_the_cheap_and_of_the_accurate() -> None:
    ends = SPACE.architecture({f"x{i}": 0 for i in range(6)}), SPACE.architecture({f"x{i}": 4 for i in range(6)})
    for objectives, expected in (("all", 2), ("primary", 1)):
        strategy = RegularizedEvolution(
            SPACE, BOTH, FULL, initial=ends, population_size=2, sample_size=2, num_initial=1, objectives=objectives  # type: ignore[arg-type]
        )
        cheap, accurate = strategy.ask(2)
        strategy.tell([finish(0, cheap, 0.5, 0.1), finish(1, accurate, 0.9, 0.9)])
        parents = {min(ends, key=lambda end: distance(child.architecture, end)) for child in strategy.ask(20)}  # noqa: B023
        assert len(parents) == expected


def test_evolution_refuses_sizes_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="sample_size 30 needs a population at least as large"):
        RegularizedEvolution(SPACE, ACCURACY, FULL, sample_size=30, population_size=10)
    with pytest.raises(InputError, match="population_size must be a whole number of at least 2, got 1"):
        RegularizedEvolution(SPACE, ACCURACY, FULL, population_size=1)
    with pytest.raises(InputError, match="did you mean 'primary'"):
        RegularizedEvolution(SPACE, ACCURACY, FULL, objectives="primry")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ascending"):
        RegularizedEvolution(SPACE, ACCURACY, tuple(reversed(RUNGS)))
    with pytest.raises(InputError, match="at least one fidelity"):
        RegularizedEvolution(SPACE, ACCURACY, ())


# --- NSGA-II


def test_nsga2_keeps_the_best_ranks_and_puts_feasible_ones_first() -> None:
    strategy = NSGA2(SPACE, BOTH, FULL, population_size=8)
    rng = np.random.default_rng(0)
    proposals = strategy.ask(16)
    values = rng.random((16, 2))
    values[::4, 1] += 1.0
    states: list[State] = ["infeasible" if i % 4 == 0 else "complete" for i in range(16)]
    strategy.tell([finish(i, proposal, *values[i], states[i]) for i, proposal in enumerate(proposals)])
    state = strategy.state_dict()
    kept = {text for text, *_ in state["parents"]}
    feasible = [i for i in range(16) if states[i] == "complete"]
    ranks = domination_ranks(values[feasible] * [-1, 1])
    surely = [feasible[j] for j in range(12) if (ranks <= ranks[j]).sum() <= 8]
    assert {proposals[i].architecture.to_json() for i in surely} <= kept
    assert not {proposals[i].architecture.to_json() for i in range(0, 16, 4)} & kept


def test_nsga2_refuses_a_probability_that_is_none() -> None:
    with pytest.raises(InputError, match="probability"):
        NSGA2(SPACE, BOTH, FULL, crossover=1.5)


# --- successive halving


def _told(strategy: Asha, num: int, score: dict[Architecture, float], goals_latency: float = 0.5) -> list[Proposal]:
    proposals: list[Proposal] = []
    for number in range(num):
        (proposal,) = strategy.ask(1)
        proposals.append(proposal)
        accuracy = score.setdefault(proposal.architecture, total(proposal.architecture))
        strategy.tell([finish(number, proposal, accuracy, goals_latency)])
    return proposals


def test_one_third_of_each_rung_is_promoted_and_these_are_its_best() -> None:
    proposals = _told(Asha(SPACE, ACCURACY, RUNGS, sampler="random"), 130, {})
    by_rung = [[p for p in proposals if p.fidelity == rung] for rung in RUNGS]
    for below, above in zip(by_rung, by_rung[1:], strict=False):
        # What was in the top when it was promoted may have left it since: a few more than a third.
        assert len(below) // 3 <= len(above) <= len(below) // 3 + 4
    for below, above in zip(by_rung, by_rung[1:], strict=False):
        scores = sorted((total(p.architecture) for p in below), reverse=True)
        assert np.mean([total(p.architecture) for p in above]) > np.mean(scores[: len(below) // 2])
    for proposal in by_rung[1] + by_rung[2]:
        assert proposal.continues is not None and proposals[proposal.continues].architecture == proposal.architecture


def test_of_two_objectives_the_best_of_each_is_promoted_first() -> None:
    strategy = Asha(SPACE, BOTH, RUNGS[:2], sampler="random")
    asked = strategy.ask(9)
    accuracies, latencies = [9, 1, 5, 5, 4, 3, 2, 1, 1], [0.9, 0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95]
    strategy.tell([finish(i, p, accuracies[i], latencies[i]) for i, p in enumerate(asked)])
    assert [p.continues for p in strategy.ask(3)] == [0, 1, 2]  # the front: best first, then the farthest from it
    assert strategy.ask(1)[0].continues is None


def test_every_other_promotion_is_by_the_primary_objective_alone() -> None:
    strategy = Asha(SPACE, BOTH, RUNGS[:2], sampler="random")
    asked = strategy.ask(12)
    # Ever cheaper and worse: all are of the front, and the spread takes its two ends first.
    for i, proposal in enumerate(asked):
        strategy.tell([finish(i, proposal, 1 - 0.05 * i, 0.9 - 0.05 * i)])
    assert [p.continues for p in strategy.ask(4)] == [0, 11, 1, 5]


def test_infeasible_and_failed_trials_are_neither_promoted_nor_counted() -> None:
    strategy = Asha(SPACE, BOTH, RUNGS, sampler="random")
    asked = strategy.ask(8)
    states: list[State] = ["infeasible", "failed"] * 3 + ["complete"] * 2
    strategy.tell([finish(i, p, 0.5, 0.5, s) for i, (p, s) in enumerate(zip(asked, states, strict=True))])
    assert strategy.ask(1)[0].continues is None  # two in the rung
    strategy.tell([finish(8, strategy.ask(1)[0], 0.1)])
    assert strategy.ask(1)[0].continues in (6, 7)


def test_asking_again_sorts_nothing_until_results_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_points: list[int] = []
    original = _rungs.spread

    def counted(losses: np.ndarray) -> list[int]:
        sorted_points.append(len(losses))
        return original(losses)

    monkeypatch.setattr(_rungs, "spread", counted)
    strategy = Asha(SPACE, BOTH, RUNGS, sampler="random")
    rng = np.random.default_rng(0)
    for number, proposal in enumerate(strategy.ask(300)):
        strategy.tell([finish(number, proposal, rng.random(), rng.random())])
    strategy.ask(101)  # all promotions, then one more
    sorted_points.clear()
    strategy.ask(500)
    assert sum(sorted_points) == 0


def test_asha_refuses_options_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="eta must be a whole number of at least 2"):
        Asha(SPACE, BOTH, RUNGS, eta=1)
    with pytest.raises(InputError, match="not 'asha'"):
        Asha(SPACE, BOTH, RUNGS, sampler="asha")
    with pytest.raises(InputError, match="did you mean 'evolution'"):
        Asha(SPACE, BOTH, RUNGS, sampler="evolutoin")


# --- listed


def test_listed_proposes_what_it_was_given_and_goes_on_where_it_was() -> None:
    given = [Proposal(SPACE.sample(np.random.default_rng(0)), FULL[0], replicate=i) for i in range(3)]
    strategy = Listed(given)
    assert strategy.ask(2) == given[:2]
    restored = Listed(given)
    restored.load_state_dict(strategy.state_dict())
    assert restored.ask(2) == given[2:] and restored.ask(1) == []
    with pytest.raises(RecordError, match="3 proposals"):
        Listed(given[:2]).load_state_dict(strategy.state_dict())


# --- a published table


NASBENCH = Path(__file__).parents[3] / "shared" / "data" / "nas"


def _mean_of_best(kind: type, table: dict[tuple[int, ...], tuple[float, float]], seeds: Sequence[int]) -> float:
    space = Space({f"e{i}": OneOf(*range(5)) for i in range(6)})
    best = []
    for seed in seeds:
        strategy, found = kind(space, ACCURACY, (Fidelity(12.0),), seed=seed), []
        for number in range(200):
            (proposal,) = strategy.ask(1)
            validation, test = table[tuple(proposal.architecture[f"e{i}"] for i in range(6))]
            strategy.tell([finish(number, proposal, validation)])
            found.append((validation, test))
        best.append(max(found)[1])
    return float(np.mean(best))


@pytest.mark.skipif(not NASBENCH.exists(), reason="the NAS-Bench-201 table of ../shared is not here")
def test_on_nasbench201_evolution_and_local_search_beat_random_search_over_20_seeds() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["e0", "e1", "e2", "e3", "e4", "e5", "c100_val12", "c100_test200"]
    rows = zip(*(parquet.read_table(NASBENCH / "nasbench201.parquet")[c].to_pylist() for c in columns), strict=True)
    table = {row[:6]: row[6:] for row in rows}
    means = {kind: _mean_of_best(kind, table, range(20)) for kind in (RandomSearch, LocalSearch, RegularizedEvolution)}
    assert means[RegularizedEvolution] > means[RandomSearch]
    assert means[LocalSearch] > means[RandomSearch]
