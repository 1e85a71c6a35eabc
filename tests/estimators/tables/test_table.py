"""A table answers by architecture, and refuses what is not one."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.estimators.tables._table import Cost, Protocol, Table, cleaned, only
from sartor.goals import Objective
from sartor.space import Architecture, OneOf, Space
from sartor.trials import Figure
from tests.estimators.tables.made import FULL, SHORT, small


def test_rows_and_architectures_lead_to_each_other() -> None:
    table = small()
    assert len(table) == len(table.architectures) == 27
    assert list(table.architectures) == table.architectures[:] == sorted(table.architectures, key=table.index)
    assert table.indices(table.architectures[5:9]).tolist() == [5, 6, 7, 8]
    assert table.architectures[-1] == {"a": 2, "b": 2, "c": 2}
    with pytest.raises(IndexError):
        table.architectures[27]


def test_an_architecture_is_found_by_its_values_whoever_made_it() -> None:
    table = small()
    assert table.index({"c": 1, "b": 0, "a": 2}) == table.index(Architecture({"a": 2, "b": 0, "c": 1})) == 19


@pytest.mark.parametrize("values", [{"a": 3, "b": 0, "c": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 0, "c": 0, "d": 0}])
def test_what_is_not_of_the_space_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match="small/made"):
        small().index(values)


def test_what_the_table_lacks_is_refused() -> None:
    whole = small()
    table = small(
        codes=whole.codes[:20],
        columns={name: values[:20] for name, values in whole.columns.items()},
        costs={},
        devices={},
    )
    assert table.index(whole.architectures[19]) == 19
    with pytest.raises(InputError, match=r"small/made has no architecture .*'a': 2"):
        table.index(whole.architectures[20])


def test_regret_is_the_distance_to_the_best_of_the_judged_column() -> None:
    table = small()
    assert table.best() == table.best("noisy") == 6.0
    assert table.regret({"a": 0, "b": 1, "c": 2}, "noisy") == 3.0
    assert table.regret({"a": 2, "b": 2, "c": 2}) == 0.0 == table.regrets().min()
    least = small(direction="min")
    assert least.best() == 0.0 and least.regret({"a": 1, "b": 0, "c": 0}) == 1.0
    assert least.objective == Objective("accuracy", "min")


def test_what_is_observed_depends_on_fidelity_and_protocol() -> None:
    table = small()
    row = table.index({"a": 0, "b": 1, "c": 2})
    assert [table.observed(SHORT)[row], table.observed(FULL)[row], table.observed()[row]] == [1.5, 3.0, 3.0]
    assert [table.observed(SHORT, "noisy")[row], table.observed(FULL, "noisy")[row]] == [1.5, 9.0]


def test_unknown_names_are_refused_with_what_is_near() -> None:
    table = small()
    with pytest.raises(InputError, match="did you mean 'mean'"):
        table.column("meam")
    with pytest.raises(InputError, match="1 epochs, 10 epochs, not 5 epochs"):
        table.observed(type(FULL)(5, "epochs"))
    with pytest.raises(InputError, match="no column of single trainings"):
        small(protocols={"clean": Protocol("mean", "mean")}).protocol("noisy")
    with pytest.raises(InputError, match="no cost 'macs'; it has latency_ms, params"):
        table.cost("macs")
    with pytest.raises(InputError, match="latency_ms needs a device; known: phone"):
        table.cost("latency_ms")
    with pytest.raises(InputError, match="not known of device 'fone'; known: phone"):
        table.cost("latency_ms", "fone")


def test_costs_are_figures_with_what_is_known_of_their_error() -> None:
    table = small()
    assert table.figures(0) == {"params": Figure(100.0)}
    assert table.figures(9, "phone")["latency_ms"] == Figure(2.0, "ms", 0.05, "measured", note="batch 1")
    assert table.cost("params", "phone") is table.costs["params"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": {"mean": np.full(27, np.nan)}}, "column 'mean' is nan in row 0"),
        ({"columns": {"mean": np.r_[np.zeros(26), np.inf]}}, "column 'mean' is inf in row 26"),
        ({"columns": {"mean": np.zeros(26)}}, r"column 'mean' has shape \(26,\), expected \(27,\)"),
        ({"columns": {"mean": np.zeros(27)}}, "no column 'run'"),
        ({"scores": {"zen": np.r_[-np.inf, np.zeros(26)]}}, "score 'zen' is -inf in row 0"),
        ({"costs": {"params": Cost(np.full(27, np.nan))}}, "cost 'params' is nan"),
        ({"costs": {"parms": Cost(np.ones(27))}}, "'parms' is no cost figure; did you mean 'params'"),
        ({"devices": {"tpu": {"latency_ms": Cost(np.ones(3))}}}, "cost 'latency_ms' of device 'tpu' has shape"),
        ({"protocols": {}}, "no protocol 'clean'"),
        ({"fidelities": {FULL: "val"}}, "no column 'val'"),
        ({"codes": np.zeros((27, 3), np.int8)}, "rows 0 and 1 are one architecture"),
        ({"codes": np.zeros((0, 3), np.int8)}, "has no rows"),
    ],
)
def test_a_table_that_is_not_one_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**changes)


def test_isomorphic_architectures_find_the_row_that_is_kept() -> None:
    space = Space({"x": OneOf(0, 1, 2), "y": OneOf(0, 1, 2)})
    codes = np.array([[1, 0], [2, 2], [2, 1]], np.int8)

    def key(architecture: dict[str, int]) -> str:
        return str(sorted(architecture.values()))

    table = Table(
        name="pairs",
        space=space,
        codes=codes,
        columns={"value": np.array([1.0, 2.0, 3.0])},
        protocols={"clean": Protocol("value", "value")},
        fidelities={FULL: "value"},
        keys=np.array([key(each) for each in space.of_codes(codes)]),
        key=key,
    )
    assert table.index({"x": 0, "y": 1}) == table.index({"x": 1, "y": 0}) == 0
    assert table.index({"x": 1, "y": 2}) == 2
    with pytest.raises(InputError, match="has no architecture"):
        table.index({"x": 0, "y": 0})
    with pytest.raises(InputError, match="are one architecture"):
        Table(
            name="twice",
            space=space,
            codes=np.array([[1, 2], [2, 1]], np.int8),
            columns={"value": np.zeros(2)},
            protocols={"clean": Protocol("value", "value")},
            fidelities={FULL: "value"},
            keys=np.array(["1 2", "1 2"]),
            key=key,
        )


def test_a_table_of_part_of_a_space_has_a_space_of_that_part() -> None:
    plain = Space({f"x{i}": OneOf(*range(9)) for i in range(12)})
    rng = np.random.default_rng(0)
    codes = np.unique(plain.sample_codes(200, rng), axis=0)
    space = only(plain, codes)
    listed = set(plain.of_codes(codes))
    assert space.count() == len(codes) and set(space) == listed
    assert set(space.sample(rng, 50)) <= listed
    made = space.sample(rng)
    assert space.mutate(made, rng) in listed - {made}
    assert space.crossover(made, space.sample(rng), rng) in listed
    assert not space.contains({f"x{i}": 0 for i in range(12)}) or {f"x{i}": 0 for i in range(12)} in listed


def test_scores_that_could_not_be_computed_become_the_smallest() -> None:
    assert cleaned(np.array([1.0, -np.inf, np.nan, -1e8, 3.0])).tolist() == [1.0, 1.0, 1.0, 1.0, 3.0]
    with pytest.raises(InputError, match="none of the scores"):
        cleaned(np.array([np.nan, -1e8]))
