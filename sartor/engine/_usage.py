"""What one trial used of this process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil


class Meter:
    """Measures from its making; sums with what an earlier attempt had used when it saved its checkpoint."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()
        self._earlier: dict[str, float] = {}
        _reset_peak()

    def add(self, earlier: dict[str, float]) -> None:
        """Counts an earlier attempt's use too."""
        self._earlier = dict(earlier)

    def read(self) -> dict[str, float]:
        """Returns ``cpu_s`` and ``wall_s`` so far and ``peak_rss_bytes``."""
        earlier = self._earlier
        return {
            "cpu_s": time.process_time() - self._cpu + earlier.get("cpu_s", 0.0),
            "wall_s": time.monotonic() - self._wall + earlier.get("wall_s", 0.0),
            "peak_rss_bytes": max(_peak_rss_bytes(), int(earlier.get("peak_rss_bytes", 0))),
        }


def _reset_peak() -> None:
    """Starts the peak anew where the system can (Linux), so that a trial is not charged for an earlier one's."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            # A sandbox may forbid it: the peak is then of the process, as on other systems.
            return


def _peak_rss_bytes() -> int:
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(psutil.Process().memory_info().rss)
