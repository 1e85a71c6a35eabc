"""Trials are evaluated, told in a fixed order and recorded; what goes wrong in one stays in it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sartor.engine import (
    BrokenTaskError,
    Costs,
    Engine,
    Failed,
    Finished,
    Lost,
    Problem,
    Progress,
    Started,
    WorkerError,
    open_task,
)
from sartor.errors import InputError, RecordError
from sartor.goals import Limit
from sartor.runs import Record
from sartor.space import Architecture
from sartor.strategies.listed import Listed
from sartor.task import Task
from sartor.trials import Fidelity, Proposal, Trial
from tests.engine.drive import FIDELITIES, problem, search, strategy, table
from tests.engine.light import Climb, Light

LIGHT = "tests.engine.light"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record(tmp_path / "out") as opened:
        yield opened


def numbers(*values: int) -> Architecture:
    """An architecture by its five numbers."""
    return Architecture(dict(zip("abcde", values, strict=True)))


def proposals(*sums: int, fidelity: Fidelity = FIDELITIES[0]) -> list[Proposal]:
    """Architectures by the sums that ``Walk`` takes its accidents by."""
    return [Proposal(numbers(*[total // 5 + (i < total % 5) for i in range(5)]), fidelity) for total in sums]


def run(
    record: Record, asked: Sequence[Proposal], *, workers: int = 0, on_event: Any = None, **options: Any
) -> list[Trial]:
    info = record.create_run("search", "light", {}, seed=0, environment={})
    return Engine(record, problem(**options), workers=workers).run(info, Listed(list(asked)), on_event=on_event)


# --- the same result


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    out = tmp_path_factory.mktemp("reference")
    search(out, workers=0, trials=40)
    with Record(out, read_only=True) as record:
        return table(record, "light-1")


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_find_what_one_process_finds(reference: list[Any], tmp_path: Path, workers: int) -> None:
    search(tmp_path, workers=workers, trials=40, sleep_s=0.001)
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference


def test_the_reference_promotes_and_meets_its_limits(reference: list[Any]) -> None:
    assert {row[3] for row in reference} == {"complete", "infeasible"}
    assert {row[1].fidelity for row in reference} == set(FIDELITIES)
    assert any(row[1].continues is not None for row in reference)
    # A promotion's own series goes on where the trial that it continues ended.
    promoted = next(row for row in reference if row[1].continues is not None)
    assert promoted[7]["loss.walk"][0][0] == 13


def test_a_search_in_parts_equals_one_in_one_go(reference: list[Any], tmp_path: Path) -> None:
    for trials in (1, 2, 17, 18, 40):
        found = search(tmp_path, workers=0, trials=trials)
        assert len(found) == trials
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference


def test_a_search_stopped_by_deadlines_equals_one_in_one_go(reference: list[Any], tmp_path: Path) -> None:
    states = set()
    for _ in range(3):
        states |= {trial.state for trial in search(tmp_path, workers=0, trials=40, seconds=0.3, sleep_s=0.002)}
    assert "running" in states
    search(tmp_path, workers=0, trials=40)
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference


def test_running_trials_are_left_to_be_resumed_at_the_deadline(tmp_path: Path) -> None:
    found = search(tmp_path, workers=1, trials=40, seconds=2.0, sleep_s=0.02)
    states = [trial.state for trial in found]
    assert "running" in states and len(found) < 40
    with Record(tmp_path, read_only=True) as record:
        assert [trial.state for trial in record.trials("light-1")] == states
        assert 1.5 < record.run("light-1").elapsed_s < 30


def test_a_strategy_that_does_not_repeat_is_refused_on_resume(tmp_path: Path, record: Record) -> None:
    info = record.create_run("search", "light", {}, seed=0, environment={})
    engine = Engine(record, problem())
    engine.workers = 0
    engine.run(info, strategy(), max_trials=5)
    other = Climb(Light().space(), FIDELITIES, seed=4)
    with pytest.raises(RecordError, match="cannot be resumed.*trial 0 was"):
        engine.run(info, other, max_trials=6)


def test_many_trials_are_resumed_from_a_saved_state_and_not_from_the_start(record: Record) -> None:
    class Counted(Climb):
        asks = 0

        def ask(self, n: int) -> list[Any]:
            self.asks += 1
            return super().ask(n)

    info = record.create_run("search", "light", {}, seed=0, environment={})
    free = Problem(Light().reference(), estimator=f"{LIGHT}:Free", fidelities=FIDELITIES[:1])
    engine = Engine(record, free, workers=0)
    engine.run(info, Counted(Light().space(), FIDELITIES[:1]), max_trials=300)
    again = Counted(Light().space(), FIDELITIES[:1])
    assert len(engine.run(info, again, max_trials=301)) == 301
    assert again.asks <= 300 // 8 + 2


# --- events and what is recorded


def test_events_say_what_happens_in_its_order(record: Record) -> None:
    events: list[Any] = []
    [first, second] = run(record, proposals(20, 30), on_event=events.append)
    kinds = [type(event) for event in events if event.trial is first]
    assert kinds[:2] == [Started, Costs] and kinds[-1] is Finished and Progress in kinds
    assert [type(event) for event in events if event.trial is second] == [Started, Costs, Finished]
    assert (first.state, second.state) == ("complete", "infeasible")
    assert second.failure is not None and "params 3k is beyond 2.8k" in second.failure
    assert second.costs["params"].value == 3_000 and second.metrics == {}
    assert record.trials("light-1") == [first, second]


def test_what_a_trial_used_is_recorded(record: Record) -> None:
    [trial] = run(record, proposals(20), workers=1, sleep_s=0.005)
    assert 0.03 < trial.usage["wall_s"] < 30
    assert 0 < trial.usage["cpu_s"] < trial.usage["wall_s"] + 1
    assert 10 * 2**20 < trial.usage["peak_rss_bytes"] < 2**33


def test_what_a_trial_prints_is_in_its_log_and_silence_leaves_none(record: Record) -> None:
    run(record, proposals(20, 30), workers=1)
    folder = record.path("light-1")
    assert (folder / "0.log").read_text() == "walking 20\n"
    assert not (folder / "1.log").exists() and not list(folder.glob("*.tmp"))


def test_a_measured_cost_is_recorded_once_and_reused_at_other_fidelities_and_on_resume(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    measured = Problem(
        Light().reference(), devices=((f"{LIGHT}:Stopwatch", {"calls": str(calls)}),), estimator=f"{LIGHT}:Walk",
        fidelities=FIDELITIES, limits=(Limit("latency_ms", 2.0),),
    )
    asked = [Proposal(p.architecture, f) for f in FIDELITIES for p in proposals(20, 21, 22)]
    for count in (2, 7, 9):
        with Record(tmp_path / "out") as record:
            info = record.runs()[0] if record.runs() else record.create_run("s", "light", {}, seed=0, environment={})
            engine = Engine(record, measured, workers=2 if count == 7 else 0)
            trials = engine.run(info, Listed(asked), max_trials=count)
            assert record.trials(info.id) == trials
    assert len(calls.read_text().splitlines()) == 3
    figures = {(trial.architecture, trial.costs["latency_ms"]) for trial in trials}
    assert len(figures) == 3
    figure = trials[0].costs["latency_ms"]
    assert (figure.kind, figure.error, figure.note, len(figure.raw)) == ("measured", 0.05, "machine was idle", 3)


def test_the_same_proposal_twice_is_evaluated_once(record: Record, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    twice = [*proposals(20, 21), *proposals(20, 30, 30), Proposal(*_first(proposals(20)), continues=2)]
    found = run(record, twice, calls=str(calls), workers=2)
    assert len(calls.read_text().splitlines()) == 3
    assert found[2].metrics == found[0].metrics and found[2].costs == found[0].costs
    assert (found[3].state, found[4].state, found[4].failure) == ("infeasible", "infeasible", found[3].failure)
    assert found[5].state == "complete"
    assert record.trials("light-1") == found


def _first(found: list[Proposal]) -> tuple[Architecture, Fidelity]:
    return found[0].architecture, FIDELITIES[1]


def test_a_replicate_is_evaluated_with_a_seed_of_its_own(record: Record) -> None:
    [one] = proposals(20)
    first, second = run(record, [one, Proposal(one.architecture, one.fidelity, replicate=1)])
    assert first.seed != second.seed and first.metrics != second.metrics


# --- what goes wrong in one trial


@pytest.mark.parametrize(
    ("accident", "failure"),
    [
        ("memory", "MemoryError: out of memory on cpu"),
        ("diverged", "DivergedError: loss is nan at step 3"),
        ("value", "ValueError: shapes do not fit"),
        ("exit", "SystemExit: bye"),
    ],
)
def test_an_error_fails_its_trial_alone_with_its_traceback_in_the_log(
    record: Record, accident: str, failure: str
) -> None:
    events: list[Any] = []
    found = run(record, proposals(20, 21, 22), accidents={"21": accident}, on_event=events.append)
    assert [trial.state for trial in found] == ["complete", "failed", "complete"]
    assert found[1].failure is not None and found[1].failure.startswith(failure)
    assert found[1].costs["params"].value == 2_100
    log = (record.path("light-1") / "1.log").read_text()
    assert "Traceback" in log and "_accident" in log and failure.split(":")[0] in log
    assert [event.trial.number for event in events if isinstance(event, Failed)] == [1]
    assert record.trials("light-1") == found


def test_a_worker_outlives_the_error_of_its_trial(record: Record) -> None:
    found = run(record, proposals(20, 21, 22), accidents={"20": "memory", "22": "exit"}, workers=1)
    assert [trial.state for trial in found] == ["failed", "complete", "failed"]
    assert record.log("light-1") == []


def test_a_metric_that_is_no_number_fails_its_trial(record: Record) -> None:
    info = record.create_run("search", "light", {}, seed=0, environment={})
    nan = Problem(Light().reference(), estimator=f"{LIGHT}:NanWalk", fidelities=FIDELITIES)
    [trial] = Engine(record, nan, workers=0).run(info, Listed(proposals(20)))
    assert (trial.state, trial.failure) == ("failed", "DivergedError: metric 'score' is nan")


def test_a_point_that_is_no_number_is_kept(record: Record) -> None:
    [trial] = run(record, proposals(20), accidents={"20": "nan"})
    assert trial.state == "complete"
    values = record.points("light-1", 0)["loss"][1]
    assert values.shape == (1,) and values[0] != values[0]


def test_a_crash_is_tried_once_more_and_then_fails_its_trial_alone(record: Record) -> None:
    events: list[Any] = []
    found = run(record, proposals(20, 21, 22), accidents={"21": "segfault"}, workers=1, on_event=events.append)
    assert [trial.state for trial in found] == ["complete", "failed", "complete"]
    assert found[1].failure == "its worker crashed by signal 11, a segmentation fault (2 times)"
    assert [(event.trial.number, event.again) for event in events if isinstance(event, Lost)] == [(1, True), (1, False)]
    assert "Segmentation fault" in (record.path("light-1") / "1.log").read_text()
    assert [kind for _, kind, _ in record.log("light-1")] == ["lost", "lost"]


def test_a_dead_worker_is_noticed_though_a_child_of_its_task_lives_on(record: Record) -> None:
    began = time.monotonic()
    found = run(record, proposals(20, 21), accidents={"20": "fork"}, workers=1)
    assert [trial.state for trial in found] == ["failed", "complete"]
    assert found[0].failure is not None and "killed by signal 9" in found[0].failure
    assert time.monotonic() - began < 60


def test_a_lost_trial_goes_on_from_its_checkpoint(record: Record) -> None:
    found = run(record, proposals(20, 21), accidents={"20": "abort once"}, workers=1)
    assert [(trial.state, trial.attempts) for trial in found] == [("complete", 1), ("complete", 0)]
    assert record.points("light-1", 0)["loss.walk"][0].tolist() == list(range(1, 13))


# --- what stops everything


def test_a_task_that_fails_every_trial_stops_the_search_and_resuming_starts_it_over(tmp_path: Path) -> None:
    with pytest.raises(BrokenTaskError, match="first 3 trials all failed.*shapes do not fit"):
        search(tmp_path, workers=0, trials=30, accidents={"all": "value"})
    with Record(tmp_path, read_only=True) as record:
        assert record.run("light-1").state == "failed"
        assert [trial.state for trial in record.trials("light-1")][:3] == ["failed"] * 3
        assert len(record.trials("light-1")) <= 7
    found = search(tmp_path, workers=0, trials=10)
    assert [trial.number for trial in found] == list(range(10))
    assert "complete" in {trial.state for trial in found} and "failed" not in {trial.state for trial in found}


def test_different_errors_or_one_success_do_not_stop_a_search(record: Record) -> None:
    mixed = {"20": "memory", "21": "value", "22": "memory", "23": "memory", "24": "memory"}
    found = run(record, proposals(20, 21, 22, 23, 24), accidents=mixed)
    assert [trial.state for trial in found] == ["failed"] * 5
    later = {"21": "memory", "22": "memory", "23": "memory", "24": "memory"}
    assert run(record, proposals(20, 21, 22, 23, 24), accidents=later)[0].state == "complete"


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_cannot_be_read_stop_the_search_with_their_error(record: Record, workers: int) -> None:
    info = record.create_run("search", "light", {}, seed=0, environment={})
    broken = Problem(Light(broken=True).reference(), estimator=f"{LIGHT}:Walk", fidelities=FIDELITIES)
    expected: tuple[type[Exception], ...] = (WorkerError, FileNotFoundError)
    with pytest.raises(expected, match="no such folder: photos"):
        Engine(record, broken, workers=workers).run(info, Listed(proposals(20)))
    assert record.run(info.id).state == "failed"


def test_an_input_error_of_a_worker_is_one_here(record: Record) -> None:
    info = record.create_run("search", "light", {}, seed=0, environment={})
    lacking = Problem(
        Light().reference(), estimator="sartor.registry:resolve", fidelities=FIDELITIES,
    )
    with pytest.raises(WorkerError, match="cannot set up the search: TypeError"):
        Engine(record, lacking, workers=1).run(info, Listed(proposals(20)))
    trained = Problem({**Light().reference(), "class": "nofile.py:Light"}, estimator=f"{LIGHT}:Walk")
    with pytest.raises(InputError, match=r"expected a Python script with Light, found none at nofile\.py"):
        Engine(record, trained, workers=1).run(info, Listed(proposals(20)))


def test_a_broken_installation_stops_the_search_with_what_the_worker_said(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'libfoo.so.1: cannot open shared object file' >&2\nexit 127\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(WorkerError, match="(?s)exited with code 127 before it was ready.*libfoo.so.1"):
        run(record, proposals(20), workers=2)


def test_workers_that_are_killed_before_they_are_ready_are_replaced_a_few_times(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(WorkerError, match="6 workers in a row died"):
        run(record, proposals(20), workers=2)


def test_a_class_that_workers_cannot_reach_is_refused_with_what_to_do(record: Record) -> None:
    class Mine(Light):
        pass

    info = record.create_run("search", "light", {}, seed=0, environment={})
    inside = Problem(Mine().reference(), estimator=f"{LIGHT}:Walk", fidelities=FIDELITIES)
    with pytest.raises(InputError, match="Mine is defined inside a function.*workers=0"):
        Engine(record, inside, workers=1).run(info, Listed(proposals(20)))
    notebook = Problem({**Light().reference(), "class": "__main__:Mine"}, estimator=f"{LIGHT}:Walk")
    main = sys.modules["__main__"]
    kept = main.__dict__.pop("__file__", None), main.__dict__.pop("__spec__", None)
    try:
        with pytest.raises(InputError, match="Mine is defined in a notebook or on standard input.*workers=0"):
            Engine(record, notebook, workers=1).run(info, Listed(proposals(20)))
    finally:
        main.__dict__.update({"__file__": kept[0], "__spec__": kept[1]})


def test_a_proposal_that_continues_nothing_is_refused(record: Record) -> None:
    [one] = proposals(20)
    with pytest.raises(InputError, match="trial 0 cannot continue trial 5"):
        run(record, [Proposal(one.architecture, one.fidelity, continues=5)])


def test_options_that_are_not_json_are_refused(record: Record) -> None:
    with pytest.raises(InputError, match="must be JSON"):
        run(record, proposals(20), workers=1, calls=object())


def test_numbers_out_of_range_are_refused(record: Record) -> None:
    for wrong in ({"workers": -1}, {"slots": 0}):
        with pytest.raises(InputError, match="expected"):
            Engine(record, problem(), **wrong)


def test_a_full_disk_stops_the_search_and_resuming_goes_on(
    reference: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from sartor.engine import _checkpoint

    saves = 0
    real = _checkpoint._replace

    def full(path: Path, content: bytes, *, durable: bool) -> None:
        nonlocal saves
        saves += 1
        if saves > 25:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content, durable=durable)

    with monkeypatch.context() as patched:
        patched.setattr(_checkpoint, "_replace", full)
        with pytest.raises(RecordError, match="no space left to save trial.*--resume"):
            search(tmp_path, workers=0, trials=40)
    with Record(tmp_path, read_only=True) as record:
        assert record.run("light-1").state == "interrupted"
    search(tmp_path, workers=0, trials=40)
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference


def test_a_damaged_checkpoint_costs_time_only(reference: list[Any], tmp_path: Path) -> None:
    search(tmp_path, workers=0, trials=20)
    for path in (tmp_path / "light-1").glob("*.checkpoint.pt"):
        path.write_bytes(path.read_bytes()[:20])
    search(tmp_path, workers=0, trials=40)
    with Record(tmp_path, read_only=True) as record:
        found = table(record, "light-1")
    assert [row[:7] for row in found] == [row[:7] for row in reference]
    assert any("starts from scratch" in path.read_text() for path in (tmp_path / "light-1").glob("*.log"))


# --- where classes come from

SCRIPT = """
import json, sys
from pathlib import Path
from sartor.engine import Engine, Problem
from sartor.runs import Record
from sartor.strategies.listed import Listed
from sartor.trials import Fidelity, Proposal
from tests.engine.light import Light, Free

class Mine(Light):
    pass

def go():
    task = Mine()
    with Record(sys.argv[1]) as record:
        run = record.create_run("search", "mine", {{}}, seed=0, environment={{}})
        problem = Problem(task.reference(), estimator="tests.engine.light:Free")
        [trial] = Engine(record, problem, workers=1).run(run, Listed([Proposal(task.baseline(), Fidelity(1))]))
        print(trial.state, task.reference()["class"])

{guard}
"""


def script(tmp_path: Path, guard: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "my_script.py"
    path.write_text(textwrap.dedent(SCRIPT).format(guard=guard))
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, str(path), str(tmp_path / "out")], capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    )


def test_a_task_of_a_script_is_reached_by_the_script_file(tmp_path: Path) -> None:
    done = script(tmp_path, 'if __name__ == "__main__":\n    go()')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["complete", f"{tmp_path / 'my_script.py'}:Mine"]
    task = open_task({"class": f"{tmp_path / 'my_script.py'}:Mine", "source": None, "options": {}})
    assert isinstance(task, Task) and task.baseline()["a"] == 5


def test_a_task_of_the_working_directory_is_found_by_the_installed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "task_found_here.py").write_text("from tests.engine.light import Light as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert isinstance(open_task({"class": "task_found_here:Mine", "source": None, "options": {}}), Task)
    with pytest.raises(InputError, match="the task task_gone:Mine: No module named 'task_gone'; expected it where"):
        open_task({"class": "task_gone:Mine", "source": None, "options": {}})


def test_a_script_that_starts_its_search_unguarded_is_told_so(tmp_path: Path) -> None:
    done = script(tmp_path, "go()")
    assert done.returncode == 1
    assert 'put the call under if __name__ == "__main__":' in done.stderr


def test_an_engine_needs_no_torch() -> None:
    code = "import sys, sartor.engine, sartor.runs, tests.engine.light; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60).returncode == 0


def test_a_problem_survives_json() -> None:
    one = problem(sleep_s=0.5)
    again = Problem.from_json(one.to_json())
    assert again.to_json() == one.to_json()
    assert (again.fidelities, again.limits, dict(again.task)) == (one.fidelities, one.limits, dict(one.task))


class Waiting:
    """Asks its second half only when it was told the first."""

    def __init__(self) -> None:
        self.asked, self.told = 0, 0

    def ask(self, n: int) -> list[Proposal]:
        if self.asked == 3 and self.told < 3 or self.asked == 6:
            return []
        self.asked += 1
        return [proposals(20, 21, 22, 23, 24, 19)[self.asked - 1]]

    def tell(self, trials: Sequence[Trial]) -> None:
        self.told += len(trials)

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_strategy_may_wait_for_results_before_it_asks_more(record: Record, workers: int) -> None:
    info = record.create_run("search", "light", {}, seed=0, environment={})
    waiting = Waiting()
    began = time.monotonic()
    found = Engine(record, problem(), workers=workers).run(info, waiting)
    assert len(found) == 6 and waiting.told == 6 and time.monotonic() - began < 60
