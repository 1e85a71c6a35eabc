"""From a source to the parts of event sequences: read, order, cut into windows, split, count what to know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sartor.columns import Column, column_named, read_columns
from sartor.data import TRAIN, share_out
from sartor.errors import DataError, near
from sartor.tasks.events.options import Options
from sartor.tasks.events.windows import Sequences, padded

if TYPE_CHECKING:
    from sartor.tasks.events.hawkes import Hawkes

SIMULATED = "simulated"
NUM_SIMULATED, SIMULATED_END, SIMULATED_SEED = 600, 20.0, 0
TRUE_MU = (0.2, 0.1, 0.15)
TRUE_ALPHA = ((0.5, 0.3, 0.0), (0.0, 0.6, 0.3), (0.2, 0.0, 0.4))
TRUE_BETA = ((1.5, 1.0, 1.0), (1.0, 2.0, 1.2), (0.8, 1.0, 1.5))
"""Of the simulated sequences: three types that excite themselves and one another, 0.65 children an event."""
FEWEST_SEQUENCES = 10
MAX_TYPES = 200
MAX_LENGTH = 2_000
"""Events of a sequence with its history: longer ones are refused, as they take minutes a step; ``window`` cuts them."""


@dataclass(frozen=True)
class Parts:
    """Sequences in parts.

    Attributes:
        sequences: All of them.
        part: Of each sequence.
        ids: int64, of each sequence.
        types: Names of the types.
        unit: Of the times, for axes.
        fingerprint: Hash of all that.
        notes: Counted warnings.
    """

    sequences: Sequences
    part: np.ndarray
    ids: np.ndarray
    types: tuple[str, ...]
    unit: str
    fingerprint: str
    notes: tuple[str, ...]

    def rows_of(self, part: str) -> np.ndarray:
        """Returns the positions of the sequences of a part."""
        return np.flatnonzero(self.part == part)


def load(source: str | None, options: Options) -> Parts:
    """Returns the parts of a source; the same for the same source and options.

    Raises:
        DataError: the data cannot be used; the message says why and what to do.
    """
    notes: list[str] = []
    types: tuple[str, ...] = ("a", "b", "c")
    unit = "time"
    if source in (None, SIMULATED):
        sequences = simulated()
    else:
        assert source is not None
        sequences, types, unit = _read(source, options, notes)
    num_scored = sequences.scored.sum(1)
    if len(sequences) < FEWEST_SEQUENCES:
        raise DataError(
            f"{len(sequences)} sequences: expected at least {FEWEST_SEQUENCES}, so that each part has some"
            + ("" if options.window else "; a single long one is cut by window")
        )
    silent = int((num_scored == 0).sum())
    if silent:
        notes.append(f"{silent} of {len(sequences)} sequences have no event in their window: the silence counts")
    seed = options.split_seed if options.window is None else None
    part = share_out(len(sequences), options.validation, options.test, seed)
    in_train = sequences.take(np.flatnonzero(part == TRAIN))
    seen = np.bincount(in_train.type[in_train.scored], minlength=len(types))
    unseen = [name for name, count in zip(types, seen, strict=True) if not count]
    if unseen:
        raise DataError(
            f"{len(unseen)} types come in no training sequence, e.g. {unseen[0]!r}: merge rare types, or choose another"
            " split_seed"
        )
    digest = hashlib.sha256()
    for array in (sequences.time, sequences.type, sequences.present, sequences.origin, sequences.end):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr((types, part.tolist())).encode())
    return Parts(sequences, part, np.arange(len(sequences)), types, unit, digest.hexdigest()[:16], tuple(notes))


def simulated() -> Sequences:
    """Returns sequences of a known exponential Hawkes process (``true_process``)."""
    return true_process().simulate(NUM_SIMULATED, SIMULATED_END, np.random.default_rng(SIMULATED_SEED))


def true_process() -> Hawkes:
    """Returns the process that the simulated sequences are drawn from."""
    from sartor.tasks.events.hawkes import Hawkes

    return Hawkes(np.array(TRUE_MU), np.array(TRUE_ALPHA), np.array(TRUE_BETA))


# --- files


def _read(source: str, options: Options, notes: list[str]) -> tuple[Sequences, tuple[str, ...], str]:
    names = [options.time, options.type, options.sequence, options.begin, options.end]
    columns = read_columns(source, extra="events")
    for name, what in zip(names, ("time", "type", "sequence", "begin", "end"), strict=True):
        if name is not None:
            column_named(columns, name, f"the option {what}")
    path, time = Path(source).name, columns[options.time]
    if time.kind == "category":
        raise DataError(f"{path}: column {options.time!r} holds no times: expected numbers or dates")
    _refuse_missing(path, time)
    unit = "days" if time.kind == "date" else options.time
    kind, types = _types(path, columns, options)
    num_rows = len(time)
    labels: tuple[str, ...] = ("",)
    if options.sequence is None:
        which = np.zeros(num_rows, np.int64)
    else:
        which, labels = _codes(path, columns[options.sequence])
    moments = np.asarray(time.values, np.float64)
    order = np.lexsort((moments, which))
    unsorted = int((np.diff(moments)[np.diff(which) == 0] < 0).sum())
    if unsorted:
        notes.append(f"{unsorted} events come before the one above them in the file: each sequence was sorted by time")
    which, moments, kind = which[order], moments[order], kind[order]
    together = (np.diff(moments) == 0) & (np.diff(which) == 0)
    twice = together & (np.diff(kind) == 0)
    if twice.any():
        keep = np.append(True, ~twice)
        notes.append(
            f"{int(twice.sum())} events are there twice (same sequence, time and type): the copies were left out"
        )
        which, moments, kind = which[keep], moments[keep], kind[keep]
        together = (np.diff(moments) == 0) & (np.diff(which) == 0)
    if together.any():
        notes.append(
            f"{int(together.sum())} events are at the time of another: they are taken in the order of their types"
        )
    if options.window is not None:
        return _windows(path, moments, kind, options, notes), types, unit
    begin, end = (_bound(path, columns, name, which, order, len(labels)) for name in (options.begin, options.end))
    return _sequences(path, which, moments, kind, begin, end, labels, notes), types, unit


def _refuse_missing(path: str, column: Column) -> None:
    if column.missing.any():
        first = int(np.flatnonzero(column.missing)[0]) + 1
        raise DataError(
            f"{path}: column {column.name!r} misses {int(column.missing.sum())} values, the first in row {first}: an"
            " event without one cannot be used"
        )


def _codes(path: str, column: Column) -> tuple[np.ndarray, tuple[str, ...]]:
    _refuse_missing(path, column)
    if column.kind == "category":
        return np.asarray(column.values, np.int64), column.labels
    values, codes = np.unique(column.values, return_inverse=True)
    return codes.astype(np.int64), tuple(f"{value:g}" for value in values)


def _types(path: str, columns: dict[str, Column], options: Options) -> tuple[np.ndarray, tuple[str, ...]]:
    if options.type is None:
        others = [name for name in columns if name == "type"]
        if others:
            raise DataError(f"{path} has a column 'type': name it by type=type, or rename it")
        return np.zeros(len(columns[options.time]), np.int64), ("event",)
    kind, types = _codes(path, columns[options.type])
    if len(types) > MAX_TYPES:
        raise DataError(
            f"{path}: column {options.type!r} has {len(types)} different values, more than {MAX_TYPES}: is it the right"
            f" one?{near('type', columns)}"
        )
    return kind, types


def _bound(
    path: str, columns: dict[str, Column], name: str | None, which: np.ndarray, order: np.ndarray, num: int
) -> np.ndarray | None:
    """Returns the value of a column for each sequence."""
    if name is None:
        return None
    column = columns[name]
    if column.kind == "category":
        raise DataError(f"{path}: column {name!r} holds no times: expected numbers or dates")
    _refuse_missing(path, column)
    values = np.asarray(column.values, np.float64)[order][: len(which)]
    low, high = np.full(num, np.inf), np.full(num, -np.inf)
    np.minimum.at(low, which, values)
    np.maximum.at(high, which, values)
    if (low != high).any():
        raise DataError(f"{path}: column {name!r} differs within a sequence: expected one value for each")
    return low


def _sequences(
    path: str, which: np.ndarray, moments: np.ndarray, kind: np.ndarray, begin: np.ndarray | None,
    end: np.ndarray | None, labels: tuple[str, ...], notes: list[str],
) -> Sequences:  # fmt: skip
    times, types, ends = [], [], []
    alone = empty = 0
    bounds = np.searchsorted(which, np.arange(len(labels) + 1))
    for number, label in enumerate(labels):
        own = slice(bounds[number], bounds[number + 1])
        moment = moments[own]
        first = moment[0] if begin is None else begin[number]
        last = moment[-1] if end is None else end[number]
        if moment[0] < first or moment[-1] > last:
            raise DataError(
                f"{path}: sequence {label!r} has events outside of the time that it was watched, {first:g} to {last:g}"
            )
        if not last > first:
            if len(moment) > 1 or begin is not None or end is not None:
                empty += 1
            else:
                alone += 1
            continue
        times.append(moment - first)
        types.append(kind[own])
        ends.append(last - first)
    if alone:
        notes.append(f"{alone} sequences have a single event and no begin or end: they say nothing, and were left out")
    if empty:
        notes.append(f"{empty} sequences were watched for no time: they were left out")
    if begin is None:
        notes.append("a sequence begins with its first event, which is given and not scored, as there is no begin")
    if end is None:
        notes.append("a sequence ends with its last event, as there is no end: rates come out a little too high")
    _refuse_long(max(map(len, times), default=0))
    return padded(times, types, np.zeros(len(times)), np.array(ends))


def _windows(path: str, moments: np.ndarray, kind: np.ndarray, options: Options, notes: list[str]) -> Sequences:
    assert options.window is not None
    span = moments[-1] - moments[0]
    num = int(span // options.window)
    if num < FEWEST_SEQUENCES:
        raise DataError(
            f"{path}: {span:g} of time make {num} windows of {options.window:g}: expected at least {FEWEST_SEQUENCES};"
            " choose a shorter window"
        )
    left = int((moments > moments[0] + num * options.window).sum())
    if left:
        notes.append(f"{left} events after the last whole window were left out")
    times, types, origins = [], [], []
    for number in range(num):
        first = moments[0] + number * options.window
        start, stop = np.searchsorted(moments, [first, first + options.window], side="right")
        known = max(0, start - options.context)
        own = moments[known:stop] - first
        times.append(own)
        types.append(kind[known:stop])
        origins.append(min(0.0, own[0]) if len(own) else 0.0)
    _refuse_long(max(map(len, times)))
    return padded(times, types, np.array(origins), np.full(num, options.window))


def _refuse_long(length: int) -> None:
    if length > MAX_LENGTH:
        raise DataError(
            f"a sequence has {length} events, more than {MAX_LENGTH}: cut it by window (without sequence), or by hand"
        )
