"""Rows of a file to series, the same in training and behind an exported network. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.columns import Column, Kind, column_named, read_columns
from sartor.errors import DataError
from sartor.export.examples import Examples
from sartor.tasks.series.ts import SUFFIX, read_ts

FEWEST_ROWS = 2
"""Of an array: a path needs two ends."""


@dataclass(frozen=True)
class Series:
    """Series filled up to one length.

    Attributes:
        names: Of the series, in the order in which they come first in the file.
        time: Since each one's first row, float64 ``(n, rows)``; the last one repeated behind the end.
        values: float32 ``(n, rows, channels)``, NaN where missing.
        num_rows: int64 ``(n,)``.
    """

    names: tuple[str, ...]
    time: np.ndarray
    values: np.ndarray
    num_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: np.ndarray) -> Series:
        """Returns some of the series, no longer than the longest of them."""
        rows = max(FEWEST_ROWS, int(self.num_rows[index].max(initial=0)))
        names = tuple(self.names[i] for i in index.tolist())
        return Series(names, self.time[index, :rows], self.values[index, :rows], self.num_rows[index])


def gather(
    path: str, which: Column, time: Column, channels: Sequence[Column], notes: list[str]
) -> tuple[Series, np.ndarray]:
    """Returns series, each sorted by time, and of which one each row of the file is.

    Rows of a series at the same time are merged where they observe different channels or say the same.

    Args:
        path: For messages.
        which: Of which series a row is: categories.
        time: Numbers or dates.
        channels: Numbers.
        notes: Counted warnings are added here.

    Raises:
        DataError: a row without a series or a time; two rows at one time that contradict one another.
    """
    for column in (which, time):
        if column.missing.any():
            first = int(np.flatnonzero(column.missing)[0]) + 1
            raise DataError(
                f"{path}: column {column.name!r} misses {int(column.missing.sum())} values, the first in row {first}: a"
                " row without one cannot be used"
            )
    if time.kind == "category":
        raise DataError(f"{path}: column {time.name!r} holds no times: expected numbers or dates")
    for column in channels:
        if column.kind != "number":
            raise DataError(f"{path}: column {column.name!r} is of {column.kind} values: channels are numbers")
    _, first_row, own = np.unique(which.values, return_index=True, return_inverse=True)
    rank = np.empty(len(first_row), np.int64)
    rank[np.argsort(first_row, kind="stable")] = np.arange(len(first_row))
    own = rank[own]
    names = tuple(which.labels[int(i)] for i in which.values[np.sort(first_row)])
    moments = np.asarray(time.values, np.float64)
    table = np.stack([np.asarray(column.values, np.float64) for column in channels], 1)
    order = np.lexsort((moments, own))
    back = np.argsort(own, kind="stable")
    unsorted = int(((np.diff(moments[back]) < 0) & (np.diff(own[back]) == 0)).sum())
    if unsorted:
        notes.append(f"{unsorted} rows are earlier than the one of their series above them: each was sorted by time")
    series, moments, table = own[order], moments[order], table[order]
    series, moments, table = _merged(path, names, series, moments, table, notes)
    num_rows = np.bincount(series, minlength=len(names))
    length = max(FEWEST_ROWS, int(num_rows.max()))
    starts = np.cumsum(num_rows) - num_rows
    place = np.arange(len(series)) - starts[series]
    since = moments - moments[starts][series]
    filled = np.repeat(since[starts + num_rows - 1][:, None], length, 1)
    filled[series, place] = since
    values = np.full((len(names), length, len(channels)), np.nan, np.float32)
    values[series, place] = table
    return Series(names, filled, values, num_rows), own


def _merged(
    path: str, names: Sequence[str], series: np.ndarray, moments: np.ndarray, table: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes one row of those at one time."""
    new = np.append(True, (np.diff(moments) != 0) | (np.diff(series) != 0))
    if new.all():
        return series, moments, table
    row = np.cumsum(new) - 1
    low, high = (np.full((int(row[-1]) + 1, table.shape[1]), fill) for fill in (np.inf, -np.inf))
    np.fmin.at(low, row, table)
    np.fmax.at(high, row, table)
    wrong = np.flatnonzero((low < high).any(1))
    if len(wrong):
        at = np.flatnonzero(new)[wrong[0]]
        raise DataError(
            f"{path}: {len(wrong)} times are there twice in a series with different values, the first"
            f" {moments[at]:g} in {names[series[at]]!r}: delete one of them, or correct its time"
        )
    notes.append(f"{int((~new).sum())} rows are at the time of another of their series: they were merged")
    return series[new], moments[new], np.where(np.isinf(low), np.nan, low)


def read_file(
    path: Path, *, kinds: Mapping[str, Kind], only: Sequence[str] | None, missing: Sequence[str]
) -> dict[str, Column]:
    """Returns the columns of a table or of a ``.ts`` file."""
    if path.suffix.lower() != SUFFIX:
        return read_columns(path, kinds=kinds, only=only, missing=missing, extra="series")
    if not path.is_file():
        raise DataError(f"{path} is not there: expected a {SUFFIX} file")
    return read_ts(path)


def read(paths: Sequence[Path], description: Mapping[str, Any]) -> list[Examples]:
    """Returns each series of some files as the network takes it, for ``sartor.export.predict``.

    Args:
        paths: CSV, TSV, Parquet or ``.ts`` files with the columns of the training data, but for the label.
        description: Of the exported file.

    Raises:
        DataError: a file or a column is missing, or a series is longer than what the network takes.
    """
    form = description["input"]
    channels, most = form["channels"], int(form["rows"])
    kinds: dict[str, Kind] = {form["id"]: "category", form["time"]: "date" if form["dates"] else "number"}
    kinds |= dict.fromkeys(channels, "number")
    found = []
    for path in paths:
        columns = read_file(path, kinds=kinds, only=list(kinds), missing=form["missing"])
        which, time = column_named(columns, form["id"], "of series"), column_named(columns, form["time"], "of times")
        notes: list[str] = []
        own = [column_named(columns, name, "a channel of the network") for name in channels]
        series, _ = gather(str(path), which, time, own, notes)
        longest = int(series.num_rows.argmax())
        if series.num_rows[longest] > most:
            raise DataError(
                f"{path}: series {series.names[longest]!r} has {series.num_rows[longest]} rows, the network takes at"
                f" most {most}: thin it, or train on series as long"
            )
        room = most - series.time.shape[1]
        filled = np.pad(series.time, ((0, 0), (0, max(0, room))), mode="edge")[:, :most]
        values = np.pad(series.values, ((0, 0), (0, max(0, room)), (0, 0)), constant_values=np.nan)[:, :most]
        found.append(Examples(path, (filled.astype(np.float32), values), tuple(notes), rows=True))
    return found
