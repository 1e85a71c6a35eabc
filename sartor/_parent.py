"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_WATCH_S = 0.25


def die_with(parent: int) -> None:
    """Makes the system kill this process when its parent dies; a thread watches too, where it cannot (not Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    # The parent may have died before the request was made.
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, daemon=True, name="watch the parent").start()
