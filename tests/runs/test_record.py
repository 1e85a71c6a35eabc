"""The record gives back what was put in, exactly, and answers quickly and helpfully."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.errors import InputError, RecordError
from sartor.runs import Record
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, Trial

CONFIG: dict[str, Any] = {
    "task": {"class": "m:T", "source": None, "options": {"size": 32}}, "seed": 0, "slots": 4,
    "objectives": [["accuracy", "max"], ["params", "min"]], "limits": [["params", 2e5]], "space": "abc",
    "space_text": "network\n  kernel: OneOf(3, 5)\n  width: OneOf(8, 16)\n", "budget": "10m", "workers": 2,
}


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record(tmp_path / "out") as opened:
        yield opened


def start(record: Record, **changed: Any) -> str:
    return record.create_run("search", "images", {**CONFIG, **changed}, seed=0, environment={"cpu": "some"}).id


def trial(number: int, **values: Any) -> Trial:
    architecture = Architecture({"width": 16, "kernel": 3 + number})
    return Trial(number, Proposal(architecture, Fidelity(1.5), None, 0), seed=number, **values)


def add_complete(record: Record, run: str, number: int, accuracy: float, params: float) -> None:
    added = trial(number)
    record.add_trial(run, added)
    added.state, added.metrics, added.costs = "complete", {"accuracy": accuracy}, {"params": Figure(params)}
    record.finish_trial(run, added)


def test_ids_are_short_and_counted_and_finalists_are_named_after_their_search(record: Record) -> None:
    assert [start(record), start(record)] == ["images-1", "images-2"]
    final = record.create_run("final", "images", CONFIG, seed=1, environment={}, parent="images-1")
    assert (final.id, final.kind, final.parent) == ("images-1-final", "final", "images-1")
    again = record.create_run("final", "images", CONFIG, seed=1, environment={}, parent="images-1")
    assert again.id == "images-1-final-2"
    assert [run.id for run in record.children("images-1")] == ["images-1-final", "images-1-final-2"]
    assert start(record) == "images-3"
    assert record.run("latest").id == "images-3"
    assert record.path("images-1-final").is_dir()
    assert record.create_run("search", "my task/../x", CONFIG, seed=0, environment={}).id == "my-task-..-x-1"


def test_an_unknown_run_is_refused_with_the_near_name(record: Record) -> None:
    with pytest.raises(RecordError, match="no runs yet"):
        record.run("latest")
    start(record)
    with pytest.raises(RecordError, match="no run 'image-1'.*did you mean 'images-1'"):
        record.run("image-1")
    with pytest.raises(RecordError, match="did you mean 'images-1'"):
        record.create_run("final", "images", CONFIG, seed=0, environment={}, parent="images-11")


def test_a_run_keeps_its_configuration_environment_and_result(record: Record) -> None:
    run = start(record, trials=(1, 2))
    record.set_result(run, {"chosen": 3, "why": "best"})
    record.add_elapsed(run, 1.5)
    record.add_elapsed(run, 2.0)
    record.set_state(run, "complete")
    record.log(run, "note", "an image was skipped")
    info = record.run(run)
    assert info.config["trials"] == [1, 2] and info.config["task"] == CONFIG["task"]
    assert info.environment == {"cpu": "some"}
    assert (info.state, info.elapsed_s, info.result) == ("complete", 3.5, {"chosen": 3, "why": "best"})
    assert info.updated >= info.created > 1.6e9
    [(_, kind, detail)] = record.log(run)
    assert (kind, detail) == ("note", "an image was skipped")


def test_a_configuration_that_is_not_json_is_refused_by_its_key(record: Record) -> None:
    with pytest.raises(InputError, match="'seed'"):
        start(record, seed=object())
    assert record.runs() == []


def test_resume_goes_on_with_another_budget_and_number_of_workers(record: Record) -> None:
    run = start(record)
    record.set_state(run, "interrupted")
    again = {**CONFIG, "budget": "20m", "workers": 8, "objectives": (("accuracy", "max"), ("params", "min"))}
    info = record.resume_run(run, again)
    assert info.id == run and info.state == "running" and info.config["budget"] == "10m"


def test_resume_names_every_key_that_changed_with_both_values(record: Record) -> None:
    run = start(record)
    changed = {**CONFIG, "seed": 1, "task": {"class": "m:T", "source": None, "options": {"size": 28}}, "new": True}
    del changed["limits"]
    with pytest.raises(RecordError) as caught:
        record.resume_run(run, changed)
    text = str(caught.value)
    assert "seed: 0 -> 1" in text and "task.options.size: 32 -> 28" in text
    assert "limits" in text and "new: nothing -> true" in text
    assert "slots" not in text and "task.class" not in text


def test_resume_in_another_space_names_the_choices_that_differ(record: Record) -> None:
    run = start(record)
    text = CONFIG["space_text"].replace("OneOf(3, 5)", "OneOf(3, 5, 7)")
    with pytest.raises(RecordError, match=r"\+ kernel: OneOf\(3, 5, 7\)") as caught:
        record.resume_run(run, {**CONFIG, "space": "xyz", "space_text": text})
    assert "- kernel: OneOf(3, 5)" in str(caught.value) and "width" not in str(caught.value)


def test_a_trial_comes_back_equal_with_integers_still_integers(record: Record) -> None:
    run = start(record)
    architecture = Architecture({"width": 16, "rate": 0.1, "ops": ["skip", "conv"]})
    added = Trial(0, Proposal(architecture, Fidelity(9, "steps"), None, 2), seed=2**32 - 1)
    record.add_trial(run, added)
    assert record.trials(run) == [added]
    added.state = "complete"
    added.metrics = {"zeta": 1 / 3, "accuracy": 0.1 + 0.2}
    added.costs = {
        "params": Figure(87_000),
        "latency_ms": Figure(0.147, "ms", 0.05, "measured", (0.15, 0.147), "busy"),
        "energy_mj": Figure(math.inf, "mJ", None, "estimated"),
    }
    added.usage = {"cpu_s": 1.25, "wall_s": 2.5, "peak_rss_bytes": 2**33}
    added.attempts = 1
    record.finish_trial(run, added, elapsed_s=0.5)
    [found] = record.trials(run)
    assert found == added
    assert list(found.metrics) == ["zeta", "accuracy"] and found.architecture.to_json() == architecture.to_json()
    assert type(found.costs["params"].value) is int and type(found.proposal.fidelity.amount) is int
    assert record.run(run).elapsed_s == 0.5


def test_a_cost_that_is_no_number_is_kept_as_such(record: Record) -> None:
    run = start(record)
    added = trial(0)
    record.add_trial(run, added)
    added.state, added.costs = "infeasible", {"latency_ms": Figure(math.nan, "ms", None, "measured")}
    record.finish_trial(run, added)
    assert math.isnan(record.trials(run)[0].costs["latency_ms"].value)


def test_metrics_can_be_added_to_a_trial_that_has_ended(record: Record) -> None:
    run = start(record)
    add_complete(record, run, 0, 0.9, 10)
    record.add_metrics(run, 0, {"test.accuracy": 0.8})
    record.add_metrics(run, 0, {"test.accuracy": 0.85})
    assert record.trials(run)[0].metrics == {"accuracy": 0.9, "test.accuracy": 0.85}


def test_the_best_within_limits_equal_a_search_by_hand(record: Record) -> None:
    run, other = start(record), start(record)
    rng = np.random.default_rng(0)
    for number in range(60):
        add_complete(record, run, number, float(rng.integers(20)) / 20, int(rng.integers(1_000)))
    add_complete(record, other, 0, 1.0, 1)
    failed = trial(60, metrics={"accuracy": 2.0}, state="failed")
    record.add_trial(run, failed)
    trials = [t for t in record.trials(run) if t.state == "complete"]
    inside = [t for t in trials if t.costs["params"].value <= 500]
    expected = sorted(inside, key=lambda t: (-t.metrics["accuracy"], t.number))[:10]
    assert record.best(run, "accuracy", "max", num=10, within={"params": 500}) == expected
    assert record.best(run, "params", "min", num=1)[0] == min(trials, key=lambda t: (t.values["params"], t.number))
    assert record.best(run, "unheard", "max") == []


def test_series_come_back_whole_whatever_their_length(record: Record, tmp_path: Path) -> None:
    run = start(record)
    record.add_trial(run, trial(0))
    rng = np.random.default_rng(0)
    losses = rng.normal(size=2_500)
    losses[7] = math.nan
    for first in range(0, 2_500, 170):
        record.add_points(run, 0, "loss.network", range(first, min(2_500, first + 170)), losses[first : first + 170])
        record.flush()
    record.add_points(run, 0, "learning_rate", [0, 2**40], [1.0, 0.5])
    assert record.num_waiting_points == 2
    record.close()
    with Record(tmp_path / "out") as again:
        again.add_points(run, 0, "loss.network", [2_500], [4.5])
        again.add_elapsed(run, 0.0)
        found = again.points(run, 0)
        assert list(found) == ["loss.network"]
        steps, values = found["loss.network"]
        assert steps.dtype == np.int64 and np.array_equal(steps, np.arange(2_501))
        assert np.array_equal(values, np.append(losses, 4.5), equal_nan=True)
        rows = again._store.db.execute("select count, low, high, last_step, last from points order by chunk").fetchall()
        assert [row[0] for row in rows] == [1_000, 1_000, 501]
        assert rows[0][1:] == (np.nanmin(losses[:1_000]), np.nanmax(losses[:1_000]), 999, losses[999])


def test_an_attempt_that_starts_anew_drops_the_points_of_the_one_before(record: Record) -> None:
    run = start(record)
    first, second = trial(0), trial(1)
    for added in (first, second):
        record.add_trial(run, added)
        record.add_points(run, added.number, "loss", range(1_500), np.zeros(1_500))
    record.flush()
    record.add_points(run, 0, "loss", [1_500], [1.0])
    first.attempts = 1
    record.start_attempt(run, first)
    record.add_points(run, 0, "loss", [0], [2.0])
    record.flush()
    assert record.points(run, 0)["loss"][1].tolist() == [2.0]
    assert len(record.points(run, 1)["loss"][0]) == 1_500
    assert record.trials(run)[0].attempts == 1


def test_files_are_kept_with_their_hash_and_relative_to_the_run(record: Record) -> None:
    run = start(record)
    path = record.path(run) / "3.onnx"
    path.write_bytes(b"first")
    record.add_file(run, 3, "onnx", path)
    path.write_bytes(b"second")
    record.add_file(run, 3, "onnx", "3.onnx")
    (record.path(run) / "report.html").write_text("hello")
    record.add_file(run, None, "report", record.path(run) / "report.html")
    report, onnx = record.files(run)
    assert (report.number, report.path) == (None, "report.html")
    assert (onnx.number, onnx.name, onnx.path, onnx.bytes) == (3, "onnx", "3.onnx", 6)
    assert onnx.sha256 == hashlib.sha256(b"second").hexdigest()
    assert record.files(run, 3) == [onnx]


def test_a_file_elsewhere_or_missing_is_refused(record: Record, tmp_path: Path) -> None:
    run = start(record)
    (tmp_path / "else").write_text("x")
    with pytest.raises(RecordError, match="expected a file in"):
        record.add_file(run, 0, "onnx", tmp_path / "else")
    with pytest.raises(RecordError, match="expected a file in|cannot be read"):
        record.add_file(run, 0, "onnx", record.path(run) / "none.onnx")


def test_the_first_word_of_a_device_on_an_architecture_stays(record: Record) -> None:
    architecture = Architecture({"width": 8})
    first = {"latency_ms": Figure(1.0, "ms", 0.1, "measured", (1.0, 1.1))}
    record.record_costs("task", architecture, "cpu", first)
    record.record_costs("task", architecture, "cpu", {"latency_ms": Figure(2.0, "ms", 0.1, "measured")})
    record.record_costs("task", architecture, "counts", {"params": Figure(100)})
    record.flush()
    known = record.known_costs("task", architecture)
    assert known == {"cpu": first, "counts": {"params": Figure(100)}}
    assert type(known["counts"]["params"].value) is int
    assert record.known_costs("other", architecture) == {}
    assert record.known_costs("task", Architecture({"width": 9})) == {}


def test_runs_are_compared_by_what_differs_and_by_their_best(record: Record) -> None:
    first, second, third = start(record), start(record, seed=1), start(record, seed=1, strategy="random")
    add_complete(record, first, 0, 0.9, 10)
    add_complete(record, first, 1, 0.8, 5)
    add_complete(record, second, 0, 0.7, 20)
    compared = record.compare([first, second, third])
    assert [run.id for run in compared.runs] == [first, second, third]
    assert compared.differences == {"seed": [0, 1, 1], "strategy": [None, None, "random"]}
    assert compared.best == {"accuracy": [0.9, 0.7, None], "params": [5, 20, None]}


def test_a_reader_reads_beside_the_writer_and_cannot_write(record: Record, tmp_path: Path) -> None:
    run = start(record)
    with Record(tmp_path / "out", read_only=True) as reader:
        assert reader.run(run).state == "running"
        add_complete(record, run, 0, 0.5, 3)
        assert len(reader.trials(run)) == 1
        with pytest.raises(RecordError, match="read only"):
            reader.set_state(run, "failed")


def test_a_run_whose_process_has_gone_is_interrupted(record: Record, tmp_path: Path) -> None:
    run = start(record)
    record.close()
    with Record(tmp_path / "out", read_only=True) as reader:
        assert reader.run(run).state == "interrupted"
    with Record(tmp_path / "out") as again:
        assert again.run(run).state == "interrupted"


def test_the_state_of_a_strategy_is_kept_with_the_proposal_it_made(record: Record) -> None:
    run = start(record)
    assert record.snapshot(run) is None
    state = {"strategy": {"rng": [1, 2**70], "x": 0.1}, "clock": {"free": [0.0]}}
    record.add_trial(run, trial(0), snapshot=state)
    record.add_trial(run, trial(1))
    assert record.snapshot(run) == (1, json.loads(json.dumps(state)))


def test_a_search_that_a_worker_would_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_WORKER", "1")
    with pytest.raises(InputError, match="__main__"):
        Record(tmp_path)
    assert not os.listdir(tmp_path)
