"""Networks measured for ``devices.py``, kept in a file as they come; measuring goes on where it was."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from sartor._calibrate import Drawn, SpaceTable, draw
from sartor.devices._profile import Timed, profile
from sartor.devices.cpu import CpuLatency
from sartor.devices.kernels import kernels_of
from sartor.devices.predictor import Measured

SEED_HELD_OUT, SEED_CALIBRATION = 1, 2
NUM_HELD_OUT, NUM_CALIBRATION, NUM_FEW = 150, 100, 20


class Networks:
    """The networks of the benchmark: 150 held out, 100 to calibrate on, of which the first 20 are the few."""

    def __init__(self, cache: Path, num_held_out: int = NUM_HELD_OUT, num_calibration: int = NUM_CALIBRATION) -> None:
        self._cache, self._spaces, self._shapes = cache, SpaceTable(), dict[Any, Any]()
        self.held_out = draw(num_held_out, SEED_HELD_OUT, self._spaces)
        self.calibration = draw(num_calibration, SEED_CALIBRATION, self._spaces)
        self.few = self.calibration[:NUM_FEW]
        self._found: dict[str, list[dict[str, Any]]] = {}
        for line in cache.read_text().splitlines() if cache.exists() else []:
            entry = json.loads(line)
            self._found.setdefault(entry["key"], []).append(entry)

    def measure(self, seconds: float) -> None:
        """Measures what is missing, the twenty first, for so long; then what was measured fewest times again."""
        device, begin = CpuLatency(max_attempts=2), time.monotonic()
        order = [
            *((each, SEED_CALIBRATION) for each in self.few),
            *((each, SEED_HELD_OUT) for each in self.held_out),
            *((each, SEED_CALIBRATION) for each in self.calibration if each not in self.few),
        ]
        order.sort(key=lambda pair: len(self._found.get(_key(*pair), ())))
        for each, seed in order:
            if time.monotonic() - begin > seconds:
                return
            module, inputs = each.build(self._spaces)
            figure = device.measure(module, inputs)["latency_ms"]
            timed = profile(module, inputs) if seed == SEED_CALIBRATION else ()
            entry = {
                "key": _key(each, seed), "ms": figure.value, "busy": bool(figure.note),
                "profile": [operator.to_json() for operator in timed],
            }
            self._found.setdefault(entry["key"], []).append(entry)
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            with self._cache.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def measured(self, networks: list[Drawn], seed: int) -> tuple[list[Measured], int]:
        """Returns those that were measured, each by its fastest session, and how many were never quiet."""
        found, busy = [], 0
        for each in networks:
            entries = self._found.get(_key(each, seed), [])
            if entries:
                # Others only ever slow a session.
                best = min(entries, key=lambda entry: entry["ms"])
                busy += all(entry["busy"] for entry in entries)
                kernels = kernels_of(*each.build(self._spaces), self._shapes)
                timed = tuple(Timed.from_json(value) for value in best["profile"])
                found.append(Measured(each.name, kernels, best["ms"], timed))
        return found, busy


def _key(each: Drawn, seed: int) -> str:
    return f"{seed} {each.name}"
