import os
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock, Timeout

from sartor import _quiet
from sartor._quiet import give_way, measuring
from sartor.errors import SartorError


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_quiet, "_folder", lambda: tmp_path / "lock")


def test_nobody_waits_when_nobody_measures():
    assert give_way() == 0.0


def test_one_measures_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(_quiet, "_LOCK_TIMEOUT_S", 0.05)
    with measuring():
        other = FileLock(tmp_path / "lock" / "lock")
        with pytest.raises(Timeout):
            other.acquire(timeout=0)
    other.acquire(timeout=0)
    with pytest.raises(SartorError, match="another process has been measuring"), measuring():
        pass
    other.release()


def test_the_one_who_measures_does_not_wait_for_itself():
    with measuring():
        assert give_way(longest_s=60) < 30


def test_others_hold_still_until_the_measurement_ends(tmp_path):
    ready = tmp_path / "waited"
    code = (
        "from pathlib import Path\n"
        "from sartor import _quiet\n"
        f"_quiet._folder = lambda: Path({str(tmp_path / 'lock')!r})\n"
        "waited = _quiet.give_way()\n"
        f"Path({str(ready)!r}).write_text(str(waited))\n"
    )
    with measuring():
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert not ready.exists()
            time.sleep(0.05)
    assert process.wait(60) == 0
    assert ready.exists()


def test_a_measurement_that_was_killed_holds_nobody_up(tmp_path):
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from sartor import _quiet\n"
        f"_quiet._folder = lambda: Path({str(tmp_path / 'lock')!r})\n"
        "with _quiet.measuring():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert (tmp_path / "lock" / "measuring").exists()
    assert give_way(longest_s=60) < 30
    with measuring():
        assert (tmp_path / "lock" / "measuring").read_text() == str(os.getpid())
    assert not (tmp_path / "lock" / "measuring").exists()


def test_a_flag_whose_process_number_is_used_again_is_swept_away(tmp_path, monkeypatch):
    monkeypatch.setattr(_quiet, "_SUSPECT_S", 0.05)
    with measuring():
        pass
    flag = tmp_path / "lock" / "measuring"
    flag.write_text(str(os.getppid()))
    assert give_way(longest_s=60) < 30
    assert not flag.exists()


def test_waiting_has_an_end(tmp_path, monkeypatch):
    with measuring():
        (tmp_path / "lock" / "measuring").write_text(str(os.getppid()))
        assert 0.1 <= give_way(longest_s=0.1) < 30


def test_a_lock_in_the_hands_of_another_user_is_refused(monkeypatch):
    with measuring():
        pass
    monkeypatch.setattr(os, "getuid", lambda: 123456)
    with pytest.raises(SartorError, match="belongs to somebody else"), measuring():
        pass
