"""One measurement on a machine at a time, and a way for busy processes to hold still during it. No torch."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from sartor.errors import SartorError

_LOCK_TIMEOUT_S = 600.0
_POLL_S = 0.002
_SUSPECT_S = 5.0
_FLAG, _LOCK = "measuring", "lock"


def _folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"sartor-{user}"


def _private(folder: Path) -> Path:
    """Makes the folder, and checks that nobody else did: others may write beside it and could lead us astray."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
        raise SartorError(f"{folder} belongs to somebody else, so measurements cannot be locked there: remove it")
    return folder


@contextmanager
def measuring() -> Iterator[None]:
    """Holds the user's exclusive lock on the machine; released by the system when the holder dies.

    Raises:
        SartorError: another process kept it for ten minutes, or the lock's folder is somebody else's.
    """
    folder = _private(_folder())
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout:
        raise SartorError(
            f"another process has been measuring for {_LOCK_TIMEOUT_S / 60:.0f} minutes (lock {lock.lock_file}): end it"
        ) from None
    flag = folder / _FLAG
    try:
        flag.write_text(str(os.getpid()))
        yield
    finally:
        flag.unlink(missing_ok=True)
        lock.release()


def give_way(longest_s: float = 60.0) -> float:
    """Waits while another process measures, so as not to disturb it; returns the seconds waited.

    Meant for every step of a training loop: 2 microseconds when nobody measures.
    """
    flag = _folder() / _FLAG
    if not flag.exists():
        return 0.0
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < longest_s:
        try:
            holder = int(flag.read_text() or "0")
        except FileNotFoundError:
            break
        if holder == os.getpid() or (holder and not psutil.pid_exists(holder)) or _abandoned(flag, waited):
            break
        time.sleep(_POLL_S)
    return time.monotonic() - begin


def _abandoned(flag: Path, waited_s: float) -> bool:
    """Whether nobody holds the lock that belongs to the flag: its process is gone and another has its number."""
    if waited_s < _SUSPECT_S:
        return False
    try:
        with FileLock(flag.with_name(_LOCK), timeout=0):
            flag.unlink(missing_ok=True)
    except Timeout:
        return False
    return True
