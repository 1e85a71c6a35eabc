"""One writer for a folder of results; it frees itself when its process dies, however it dies."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


class WriterLock:
    """An exclusive advisory lock of the operating system on a file.

    Held by the process, not by the file's existence: a kill leaves nothing to clean up.
    """

    WAIT_S = 1.0
    """A reader that probes holds the lock for an instant, and a killed process's lock takes one to go."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path, thread_local=False)

    def acquire(self) -> bool:
        """Returns whether the lock is now held."""
        try:
            self._lock.acquire(timeout=self.WAIT_S, poll_interval=0.02)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()

    @staticmethod
    def is_held(path: Path) -> bool:
        """Returns whether some process holds the lock of ``path``; False where it cannot be probed."""
        if not path.exists():
            return False
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False
