"""Real processes, really killed: nothing finished is lost, nobody is left behind, and the result is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from sartor.engine import Lost, Progress
from sartor.runs import Record
from tests.engine.drive import search, table

ROOT = Path(__file__).parents[2]
TRIALS = 40
SLEEP_S = 0.006


def start(out: Path, **options: Any) -> subprocess.Popen[str]:
    arguments = json.dumps({"out": str(out), "trials": TRIALS, "sleep_s": SLEEP_S, **options})
    return subprocess.Popen(
        [sys.executable, "-m", "tests.engine.drive", arguments], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )


def workers_of(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "sartor.engine.worker" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and _is_worker(process) for process in processes)


def checkpoints(out: Path) -> bool:
    return any((out / "light-1").glob("*.checkpoint.pt"))


def saved_since(out: Path, began: float) -> bool:
    """Whether a worker has saved anything since: it may vanish under our eyes when its trial ends."""
    for path in (out / "light-1").glob("*.checkpoint.pt"):
        try:
            if path.stat().st_mtime > began:
                return True
        except FileNotFoundError:
            return True
    return False


def has_tables(path: Path) -> bool:
    """Whether a search was killed later than in the moment between making its record and filling it."""
    if not path.exists() or not path.stat().st_size:
        return False
    db = sqlite3.connect(path)
    try:
        return bool(db.execute("select count(*) from sqlite_master").fetchone()[0])
    finally:
        db.close()


def check_integrity(out: Path) -> None:
    db = sqlite3.connect(out / "record.sqlite")
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()
    assert not list((out / "light-1").glob("*.tmp"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    out = tmp_path_factory.mktemp("reference")
    search(out, workers=0, trials=TRIALS)
    with Record(out, read_only=True) as record:
        return table(record, "light-1")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_killed_at_ten_random_moments_ends_as_if_nothing_had_been(
    reference: list[Any], tmp_path: Path, workers: int
) -> None:
    rng = random.Random(workers)
    orphans: list[psutil.Process] = []
    finished = 0
    for kill in range(10):
        began = time.time()
        process = start(tmp_path, workers=workers, sleep_s=0.007 * workers)
        # Three while it starts, the others while it evaluates.
        if kill % 3 == 0 and kill < 9:
            time.sleep(0.2 + 0.6 * rng.random())
        else:
            wait_for(partial(saved_since, tmp_path, began))
            time.sleep(0.3 * rng.random())
        assert process.poll() is None
        orphans += workers_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        assert process.stdout.read() == ""
        process.stdout.close()
        wait_for(partial(all_gone, orphans), 5)
        if has_tables(tmp_path / "record.sqlite"):
            with Record(tmp_path, read_only=True) as record:
                for run in record.runs():
                    ended = [trial for trial in record.trials(run.id) if trial.state != "running"]
                    assert len(ended) >= finished
                    finished = len(ended)
    assert 0 < finished < TRIALS
    last = start(tmp_path, workers=workers)
    said, _ = last.communicate(timeout=120)
    assert (last.returncode, said) == (0, "")
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference
        assert record.run("light-1").state == "complete"
        assert all(trial.attempts == 0 for trial in record.trials("light-1"))
    check_integrity(tmp_path)


def test_workers_killed_at_random_moments_change_nothing(reference: list[Any], tmp_path: Path) -> None:
    rng = random.Random(0)
    events: list[Any] = []
    ended = threading.Event()

    def kill() -> None:
        seen = 0
        while not ended.wait(0.3 * rng.random()):
            # Something has gone on since the last kill, so that a slow machine is not mistaken for a broken one.
            if sum(isinstance(event, Progress) for event in events[seen:]) >= 2:
                found = workers_of(os.getpid())
                seen = len(events)
                if found and sum(isinstance(event, Lost) for event in events) < 5:
                    os.kill(rng.choice(found).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        search(tmp_path, workers=2, trials=TRIALS, sleep_s=SLEEP_S, retries=20, on_event=events.append)
    finally:
        ended.set()
        killer.join()
    assert sum(isinstance(event, Lost) for event in events) >= 3
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference
        assert sum(trial.attempts for trial in record.trials("light-1")) >= 3
    assert workers_of(os.getpid()) == []
    check_integrity(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_search_that_is_asked_to_end_finishes_its_record_and_can_go_on(
    reference: list[Any], tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, workers=2)
    wait_for(lambda: checkpoints(tmp_path))
    left = workers_of(process.pid)
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "light-1 was interrupted after" in said and "all are recorded" in said
    assert all_gone(left)
    with Record(tmp_path, read_only=True) as record:
        assert record.run("light-1").state == "interrupted"
        assert record.run("light-1").elapsed_s > 0
        assert any(trial.state == "running" for trial in record.trials("light-1"))
    check_integrity(tmp_path)
    search(tmp_path, workers=0, trials=TRIALS)
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference


def test_ctrl_c_breaks_off_a_trial_in_this_process(reference: list[Any], tmp_path: Path) -> None:
    process = start(tmp_path, workers=0, sleep_s=0.05)
    wait_for(lambda: checkpoints(tmp_path))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    with Record(tmp_path, read_only=True) as record:
        assert record.run("light-1").state == "interrupted"
    search(tmp_path, workers=0, trials=TRIALS)
    with Record(tmp_path, read_only=True) as record:
        assert table(record, "light-1") == reference


def test_a_search_of_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, workers=1)
    try:
        wait_for(lambda: checkpoints(tmp_path))
        other = start(tmp_path, workers=1)
        said, _ = other.communicate(timeout=30)
        assert other.returncode == 2
        assert f"in use by another Sartor process (pid {process.pid})" in said
    finally:
        process.kill()
        process.communicate()


def test_a_changed_configuration_is_refused_by_name(tmp_path: Path) -> None:
    from sartor.errors import RecordError

    search(tmp_path, workers=0, trials=2)
    with Record(tmp_path) as record, pytest.raises(RecordError, match="slots: 4 -> 8"):
        record.resume_run("light-1", {**record.run("light-1").config, "slots": 8})
