"""Series of points, kept in blobs of up to 1,000 with their extremes beside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

CHUNK = 1_000
"""Points a blob: 16 KB, large enough that a row costs little and small enough to rewrite while it fills."""

Key = tuple[str, int, str]
"""Run, trial, series."""


@dataclass
class _Tail:
    """The chunk of a series that is not full yet."""

    chunk: int = 0
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    changed: bool = False


def _encode(chunk: int, steps: Sequence[int], values: Sequence[float]) -> tuple[object, ...]:
    at = np.asarray(steps, dtype="<i8")
    value = np.asarray(values, dtype="<f8")
    finite = value[np.isfinite(value)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    return (chunk, len(at), low, high, int(at[-1]), float(value[-1]), at.tobytes(), value.tobytes())


class SeriesWriter:
    """Gathers points in memory and writes them as chunks."""

    def __init__(self) -> None:
        self._tails: dict[Key, _Tail] = {}
        self._full: list[tuple[object, ...]] = []
        self.num_waiting = 0

    def add(self, db: sqlite3.Connection, key: Key, steps: Iterable[int], values: Iterable[float]) -> None:
        """Appends points to a series; they are in the record after the next ``write``."""
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = self._reopen(db, key)
        before = len(tail.steps)
        tail.steps.extend(steps)
        tail.values.extend(values)
        if len(tail.steps) != len(tail.values):
            raise ValueError(f"series {key[2]}: {len(tail.steps)} steps but {len(tail.values)} values")
        tail.changed = True
        self.num_waiting += len(tail.steps) - before
        while len(tail.steps) >= CHUNK:
            self._full.append((*key, *_encode(tail.chunk, tail.steps[:CHUNK], tail.values[:CHUNK])))
            del tail.steps[:CHUNK], tail.values[:CHUNK]
            tail.chunk += 1

    @staticmethod
    def _reopen(db: sqlite3.Connection, key: Key) -> _Tail:
        row = db.execute(
            "select chunk, count, steps, vals from points where run=? and number=? and series=? "
            "order by chunk desc limit 1", key,
        ).fetchone()
        if row is None:
            return _Tail()
        if row[1] >= CHUNK:
            return _Tail(row[0] + 1)
        return _Tail(row[0], np.frombuffer(row[2], "<i8").tolist(), np.frombuffer(row[3], "<f8").tolist())

    def write(self, db: sqlite3.Connection) -> None:
        """Writes what waits, inside the caller's transaction; call ``written`` once that is committed."""
        rows = list(self._full)
        for key, tail in self._tails.items():
            if tail.changed and tail.steps:
                rows.append((*key, *_encode(tail.chunk, tail.steps, tail.values)))
        db.executemany("insert or replace into points values(?,?,?,?,?,?,?,?,?,?,?)", rows)

    def written(self) -> None:
        self._full.clear()
        for tail in self._tails.values():
            tail.changed = False
        self.num_waiting = 0

    def forget(self, run: str, number: int) -> None:
        """Drops what is held of a trial: it has ended, or starts again."""
        for key in [key for key in self._tails if key[0] == run and key[1] == number]:
            del self._tails[key]
        self._full = [row for row in self._full if (row[0], row[1]) != (run, number)]


def read(rows: Iterable[tuple[str, bytes, bytes]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Joins the chunks of series; ``rows`` are (series, steps, values) ordered by series and chunk.

    Returns:
        Series -> steps (int64) and values (float64), both of shape ``(num_points,)``.
    """
    parts: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for series, steps, values in rows:
        held = parts.setdefault(series, ([], []))
        held[0].append(steps)
        held[1].append(values)
    return {
        series: (np.frombuffer(b"".join(steps), "<i8").copy(), np.frombuffer(b"".join(values), "<f8").copy())
        for series, (steps, values) in parts.items()
    }
