"""Locked, damaged, foreign, full: one clear error, and what was saved before is whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sartor.errors import RecordError
from sartor.runs import Record
from sartor.space import Architecture
from sartor.trials import Fidelity, Proposal, Trial

HOLD = """
import sys, time
from sartor.runs import Record
record = Record(sys.argv[1])
record.create_run("search", "images", {}, seed=0, environment={})
print("open", flush=True)
time.sleep(60)
"""

FILL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from sartor.runs import Record
from sartor.errors import RecordError
record = Record(sys.argv[1])
run = record.create_run("search", "images", {}, seed=0, environment={}).id
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
saved = 0
try:
    for saved in range(10_000):
        record.log(run, "note", "x" * 2_000)
except RecordError as error:
    print(saved, error)
"""


def fill(out: Path) -> None:
    """A record with a run and enough trials to span many pages."""
    with Record(out) as record:
        run = record.create_run("search", "images", {}, seed=0, environment={}).id
        for number in range(400):
            architecture = Architecture({"width": number, "name": "x" * 100})
            record.add_trial(run, Trial(number, Proposal(architecture, Fidelity(1)), seed=0))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_refused_with_the_pid_of_the_first(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=rf"in use by another Sartor process \(pid {holder.pid}\)"):
        Record(tmp_path)
    with Record(tmp_path, read_only=True) as reader:
        assert reader.run("latest").state == "running"


def test_a_killed_writer_leaves_nothing_locked(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with Record(tmp_path, read_only=True) as reader:
        assert reader.run("latest").state == "interrupted"
    with Record(tmp_path) as record:
        assert record.run("images-1").state == "interrupted"


def test_two_records_of_one_folder_in_one_process_are_refused(tmp_path: Path) -> None:
    with Record(tmp_path), pytest.raises(RecordError, match="in use"):
        Record(tmp_path)
    Record(tmp_path).close()


def test_a_missing_record_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record in .*--out"):
        Record(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kept", [100, 5_000, 20_000, 60_000])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_truncated_record_is_said_to_be_damaged(tmp_path: Path, kept: int, read_only: bool) -> None:
    fill(tmp_path)
    path = tmp_path / "record.sqlite"
    assert path.stat().st_size > 65_000
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RecordError, match="damaged or truncated"), Record(tmp_path, read_only=read_only) as record:
        record.trials("images-1")
    assert path.stat().st_size == kept


def test_a_record_with_overwritten_pages_is_said_to_be_damaged(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "record.sqlite"
    content = bytearray(path.read_bytes())
    content[20_000:40_000] = b"\xff" * 20_000
    path.write_bytes(content)
    with pytest.raises(RecordError, match="damaged"):
        Record(tmp_path)


def test_an_empty_file_is_told_to_a_reader_and_begun_by_a_writer(tmp_path: Path) -> None:
    (tmp_path / "record.sqlite").touch()
    with pytest.raises(RecordError, match="is empty"):
        Record(tmp_path, read_only=True)
    with Record(tmp_path) as record:
        assert record.runs() == []


@pytest.mark.parametrize("read_only", [True, False])
def test_another_kind_of_file_is_left_alone(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "record.sqlite"
    path.write_text("my thesis, the only copy, " * 100)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="not a record of Sartor"):
        Record(tmp_path, read_only=read_only)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("create table people(name)")
    other.close()
    with pytest.raises(RecordError, match="not a record of Sartor"):
        Record(tmp_path, read_only=read_only)
    assert before and not (tmp_path / "record.sqlite-wal").exists()


def test_a_record_of_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    Record(tmp_path).close()
    other = sqlite3.connect(tmp_path / "record.sqlite")
    other.execute("pragma user_version=99")
    other.close()
    for read_only in (True, False):
        with pytest.raises(RecordError, match="newer Sartor.*version 99.*upgrade"):
            Record(tmp_path, read_only=read_only)


def test_a_full_disk_is_said_and_what_was_saved_before_is_whole(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    saved, _, message = process.stdout.partition(" ")
    assert "no space left" in message and "--resume" in message
    with Record(tmp_path) as record:
        assert len(record.log("images-1")) == int(saved) > 10
        assert record._store.db.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_transaction_that_meets_a_full_disk_is_taken_back_whole(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        run = record.create_run("search", "images", {}, seed=0, environment={}).id
        trial = Trial(0, Proposal(Architecture({"width": 1}), Fidelity(1)), seed=0)
        record.add_trial(run, trial)
        pages = record._store.db.execute("pragma page_count").fetchone()[0]
        record._store.db.execute(f"pragma max_page_count={pages + 2}")
        record.add_points(run, 0, "loss", range(20_000), [0.0] * 20_000)
        trial.state, trial.metrics = "complete", {"accuracy": 1.0}
        with pytest.raises(RecordError, match="no space left"):
            record.finish_trial(run, trial)
        assert record.trials(run)[0].state == "running" and record.points(run, 0) == {}
        record._store.db.execute("pragma max_page_count=1000000")
        record.finish_trial(run, trial)
        assert record.trials(run)[0].state == "complete"
        assert len(record.points(run, 0)["loss"][0]) == 20_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RecordError, match="permissions"):
        Record(tmp_path / "out")


def test_a_record_that_was_killed_before_it_had_tables_is_begun_anew(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "record.sqlite")
    db.execute("pragma journal_mode=wal")
    db.close()
    assert (tmp_path / "record.sqlite").stat().st_size > 0
    with pytest.raises(RecordError, match="ended before it began"):
        Record(tmp_path, read_only=True)
    with Record(tmp_path) as record:
        assert list(record.runs()) == []


def test_another_database_without_a_mark_is_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "record.sqlite")
    db.execute("create table mine(x)")
    db.commit()
    db.close()
    with pytest.raises(RecordError, match="is not a record of Sartor"):
        Record(tmp_path)
