"""What runs on trainings runs on look-ups: a search by the engine on a table made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from sartor.contracts import Candidate, Device, Estimator, NullContext
from sartor.engine import Engine, Problem
from sartor.errors import InputError
from sartor.estimators.tables.lookup import Lookup, TableDevice, TableTask
from sartor.goals import Goals, Limit, Objective
from sartor.runs import Record
from sartor.spaces.nasbench_macro import from_digits
from sartor.strategies.regularized_evolution import RegularizedEvolution
from sartor.trials import Fidelity, Figure
from tests.estimators.tables.made import macro_columns, write

pytest.importorskip("pyarrow")
FULL = Fidelity(50, "epochs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("tables")
    columns = macro_columns()
    columns["acc_run0"] = [value + 100 for value in columns["acc_run0"]]
    write(made, "nasbench_macro.parquet", columns)
    return str(made)


def _candidate(task: TableTask, text: str) -> Candidate:
    return Candidate(task, task.space(), from_digits(text))


def test_a_look_up_gives_what_the_protocol_observes(folder: str) -> None:
    for protocol, value in (("clean", 3.0), ("noisy", 103.0)):
        task = TableTask(folder, table="nasbench_macro", protocol=protocol)
        lookup = Lookup(task, task.space(), None, (FULL,))
        assert isinstance(lookup, Estimator) and task.primary == "accuracy"
        candidate = _candidate(task, "11100000")
        assert lookup.estimate(candidate, fidelity=FULL, seed=0, context=NullContext()) == {"accuracy": value}
    with pytest.raises(InputError, match="has 50 epochs, not 3 epochs"):
        lookup.estimate(candidate, fidelity=Fidelity(3, "epochs"), seed=0, context=NullContext())
    with pytest.raises(InputError, match="nasbench_macro/cifar10 has 50 epochs, not 3 epochs"):
        Lookup(task, task.space(), None, (Fidelity(3, "epochs"),))


def test_a_device_gives_the_costs_of_the_table(folder: str) -> None:
    device = TableDevice(folder, "nasbench_macro")
    assert isinstance(device, Device) and device.figures == ("params", "macs")
    task = TableTask(folder, table="nasbench_macro")
    assert device.cost(_candidate(task, "11100000")) == {"params": Figure(1003.0), "macs": Figure(1003.0)}
    with pytest.raises(InputError, match="no device 'pixel3'"):
        TableDevice(folder, "nasbench_macro", device="pixel3")


def test_a_task_of_a_table_says_what_it_lacks(folder: str) -> None:
    with pytest.raises(InputError, match="--table DIR"):
        TableTask(table="nasbench_macro")
    with pytest.raises(InputError, match="unknown table 'nasbench'"):
        TableTask(folder, table="nasbench")
    with pytest.raises(InputError, match="no protocol 'noizy'; did you mean 'noisy'"):
        TableTask(folder, table="nasbench_macro", protocol="noizy")
    task = TableTask(folder, table="nasbench_macro")
    assert task.table.observed()[task.table.index(task.baseline())] == 8.0


def test_the_engine_searches_a_table_within_limits(folder: str, tmp_path: Path) -> None:
    task = TableTask(folder, table="nasbench_macro")
    limit = Limit("params", 1_010.0)
    problem = Problem(
        task.reference(),
        devices=(("sartor.estimators.tables.lookup:TableDevice", {"folder": folder, "table": "nasbench_macro"}),),
        estimator="sartor.estimators.tables.lookup:Lookup",
        fidelities=(FULL,),
        limits=(limit,),
    )
    goals = Goals((Objective(task.primary),), (limit,))
    strategy = RegularizedEvolution(task.space(), goals, (FULL,), seed=0)
    with Record(tmp_path) as record:
        run = record.create_run("search", "table", {}, seed=0, environment={})
        trials = Engine(record, problem, workers=0).run(run, strategy, max_trials=60)
    assert {trial.state for trial in trials} == {"complete", "infeasible"}
    for trial in trials:
        value = sum({"identity": 0, "mb3_k3": 1, "mb6_k5": 2}[each] for each in trial.architecture.values())
        assert (trial.state == "infeasible") == (value > 10)
        assert trial.state == "infeasible" or trial.metrics == {"accuracy": value}
