"""A simulated search ends, counts what it spent and says why it stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from sartor.errors import BudgetError, InputError
from sartor.estimators.tables._table import Protocol, Table
from sartor.estimators.tables.simulate import MAX_REFUSED, checkpoints, simulate
from sartor.goals import Limit
from sartor.space import Architecture, OneOf, Space
from sartor.strategies.asha import Asha
from sartor.strategies.random_search import RandomSearch
from sartor.strategies.regularized_evolution import RegularizedEvolution
from sartor.trials import Fidelity, Proposal, Trial
from tests.estimators.tables.made import FULL, SHORT, small


def test_checkpoints_end_with_the_budget() -> None:
    assert [checkpoints(n) for n in (1, 10, 30, 100, 160)] == [
        (1,), (10,), (10, 25, 30), (10, 25, 50, 100), (10, 25, 50, 100, 150, 160)
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_search_and_another_one_another() -> None:
    def searched(seed: int) -> list[Architecture]:
        return [trial.architecture for trial in simulate(small(), RegularizedEvolution, 20, seed).trials]

    assert searched(1) == searched(1) != searched(2)


def test_regret_never_rises_and_ends_at_none_when_all_is_seen() -> None:
    found = simulate(small(), RandomSearch, 27, 0)
    assert found.queries.tolist() == list(range(1, 28))
    assert (np.diff(found.regret) <= 0).all() and found.regret[-1] == 0.0 and found.stopped == ""
    assert found.regret_at(27) == 0.0 and math.isnan(found.regret_at(0))
    first = next(i for i, trial in enumerate(found.trials) if trial.metrics["accuracy"] == 6.0)
    assert found.queries_to() == first + 1
    assert found.recommended == {10: found.regret_at(10), 25: found.regret_at(25), 27: 0.0}


def test_noise_misleads_the_best_observed_but_is_judged_by_the_mean() -> None:
    found = simulate(small(), RandomSearch, 27, 0, "noisy")
    assert max(trial.metrics["accuracy"] for trial in found.trials) == 9.0
    assert found.regret[-1] == 3.0


class Knowing(RandomSearch):
    """Recommends what it knows to be best."""

    def recommend(self) -> Architecture:
        return Architecture({"a": 2, "b": 2, "c": 2})


def test_a_strategy_may_recommend_by_its_model() -> None:
    found = simulate(small(), Knowing, 27, 0, "noisy")
    assert found.recommended == {10: 0.0, 25: 0.0, 27: 0.0} and found.regret[-1] == 3.0
    beyond = simulate(small(), Knowing, 10, 0, limits=[Limit("params", 103.0)])
    assert beyond.recommended == {10: math.inf}


def test_an_exhausted_space_ends_the_search() -> None:
    found = simulate(small(), RandomSearch, 100, 0)
    assert len(found.trials) == 27 and found.stopped == "nothing was left to propose after 27 trainings"
    assert found.recommended == {10: found.regret_at(10), 25: found.regret_at(25), 50: 0.0, 100: 0.0}


def _constant(num: int) -> Table:
    values = np.full(num, 0.5)
    return Table(
        name="constant",
        space=Space({"a": OneOf(*range(num))}),
        codes=np.arange(num, dtype=np.int8)[:, None],
        columns={"value": values},
        protocols={"clean": Protocol("value", "value")},
        fidelities={FULL: "value"},
    )


@pytest.mark.parametrize("num", [1, 50])
@pytest.mark.parametrize("make", [RandomSearch, RegularizedEvolution])
def test_ties_everywhere_and_a_space_of_one_are_no_trouble(make: Any, num: int) -> None:
    found = simulate(_constant(num), make, 60, 0)
    assert len(found.trials) == num and (found.regret == 0).all() and found.stopped


def test_all_trainings_failing_is_said() -> None:
    with pytest.raises(BudgetError, match="all 20 trainings on table small/made failed"):
        simulate(small(), RandomSearch, 20, 0, failing=1.0)


def test_failed_trainings_count_and_are_told() -> None:
    found = simulate(small(), RandomSearch, 27, 3, failing=0.4)
    states = [trial.state for trial in found.trials]
    assert {"failed", "complete"} == set(states) and len(states) == 27
    assert [trial.metrics for trial in found.trials if trial.state == "failed"][0] == {}


def test_a_limit_that_excludes_all_is_refused_at_once() -> None:
    with pytest.raises(BudgetError, match=r"none of the 27 architectures .* params <= 50: the least params is 100"):
        simulate(small(), RandomSearch, 10, 0, limits=[Limit("params", 50.0)])
    both = [Limit("params", 101.0), Limit("latency_ms", 0.5)]
    with pytest.raises(BudgetError, match="among those that meet the others is 1"):
        simulate(small(), RandomSearch, 10, 0, limits=both, device="phone")


def test_what_breaks_a_limit_is_told_costs_nothing_and_never_counts() -> None:
    limits = [Limit("latency_ms", 1.0), Limit("params", 103.0)]
    found = simulate(small(), RandomSearch, 9, 0, limits=limits, device="phone")
    infeasible = [trial for trial in found.trials if trial.state == "infeasible"]
    assert infeasible and all(trial.metrics == {} for trial in infeasible)
    assert "latency_ms <= 1" in (infeasible[0].failure or "") or "params <= 103" in (infeasible[0].failure or "")
    # Of the nine with a = 0, two have more than three in sum; the best of the rest is the reference.
    assert found.queries[-1] == 8 and found.regret[-1] == 0.0
    assert found.stopped == "nothing was left to propose after 8 trainings"


class Stubborn:
    """Proposes one architecture for ever."""

    def __init__(self, space: Space, goals: Any, fidelities: Sequence[Fidelity], *, seed: int) -> None:
        self.fidelity = fidelities[-1]

    def ask(self, n: int) -> list[Proposal]:
        return [Proposal(Architecture({"a": 2, "b": 2, "c": 2}), self.fidelity)] * n

    def tell(self, trials: Sequence[Trial]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def test_a_strategy_that_never_meets_the_limits_is_given_up() -> None:
    with pytest.raises(BudgetError, match=f"last {MAX_REFUSED:,} proposals broke a limit"):
        simulate(small(), Stubborn, 10, 0, limits=[Limit("params", 100.0)])


class Astray(Stubborn):
    """Proposes what no table has."""

    def ask(self, n: int) -> list[Proposal]:
        return [Proposal(Architecture({"a": 7}), self.fidelity)]


def test_an_architecture_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="not of the space of table small/made"):
        simulate(small(), Astray, 10, 0)


def test_shorter_trainings_count_as_their_share() -> None:
    found = simulate(small(), partial(Asha, sampler="random"), 5, 0, fidelities=(SHORT, FULL))
    amounts = [trial.proposal.fidelity.amount for trial in found.trials]
    assert set(amounts) == {1, 10} and np.allclose(found.queries, np.cumsum(amounts) / 10)
    best = max(t.metrics["accuracy"] for t in found.trials if t.proposal.fidelity == FULL)
    assert found.regret[-1] == 6.0 - best


def test_a_batch_is_asked_before_it_is_told() -> None:
    asked: list[int] = []

    class Counting(RandomSearch):
        def ask(self, n: int) -> list[Proposal]:
            asked.append(n)
            return super().ask(n)

    simulate(small(), Counting, 10, 0, batch_size=4)
    assert asked == [4, 4, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queries": 0}, "queries must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"failing": 1.5}, "share from 0 to 1"),
        ({"protocol": "loud"}, "no protocol 'loud'"),
        ({"fidelities": (SHORT,)}, "the last fidelity of table small/made is 10 epochs"),
        ({"limits": [Limit("macs", 1.0)]}, "no cost 'macs'"),
        ({"limits": [Limit("latency_ms", 1.0)]}, "needs a device"),
        ({"device": "tpu"}, "device 'tpu'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        simulate(**({"table": small(), "make": RandomSearch, "queries": 5, "seed": 0} | options))
