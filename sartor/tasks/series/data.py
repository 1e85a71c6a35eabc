"""From a source to the parts of series: read, gather, label, split, count what to know."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sartor.columns import MISSING, SUFFIXES, Column, Kind, column_named
from sartor.data import TEST, TRAIN, VALIDATION, draw_parts, named_parts
from sartor.errors import DataError, near
from sartor.targets import check_training_target, read_target
from sartor.tasks.series.options import Options
from sartor.tasks.series.preprocess import Series, gather, read_file
from sartor.tasks.series.ts import SPLIT
from sartor.tasks.series.ts import SUFFIX as TS
from sartor.units import listed

SIMULATED = "simulated"
NUM_SIMULATED, SIMULATED_SEED = 360, 0
SIMULATED_END, SIMULATED_ROWS = 4.0, 18.0
"""Of a simulated series: length, and rows on average."""
SIMULATED_OBSERVED, SIMULATED_NOISE = 0.6, 0.2
"""Share of a row's values that are observed, and deviation of what is added to them."""
FEWEST_SERIES = 10
MAX_ROWS = 2_000
"""Of a series: equations that are solved step by step take minutes a step beyond."""


@dataclass(frozen=True)
class Parts:
    """Series in parts.

    Attributes:
        series: All of them.
        y: Target: float64 ``(n,)`` numbers, or int64 positions in ``classes``.
        part: Of each series.
        ids: int64 ``(n,)``: equal for series that must be in one part.
        classes: Names; none for numbers.
        channels: Names.
        target: Name of the target.
        unit: Of the times, for axes.
        dates: Whether times are dates.
        fingerprint: Hash of all that.
        notes: Counted warnings.
    """

    series: Series
    y: np.ndarray
    part: np.ndarray
    ids: np.ndarray
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    target: str
    unit: str
    dates: bool
    fingerprint: str
    notes: tuple[str, ...]

    def rows_of(self, part: str) -> np.ndarray:
        """Returns the positions of the series of a part."""
        return np.flatnonzero(self.part == part)


def load(source: str | None, options: Options) -> Parts:
    """Returns the parts of a source; the same for the same source and options.

    Raises:
        DataError: the data cannot be used; the message says why and what to do.
    """
    columns, split_name = _read(source, options)
    path = SIMULATED if source in (None, SIMULATED) else Path(str(source)).name
    notes: list[str] = []
    special = [(options.id, "of series"), (options.time, "of times"), (options.label, "the label")]
    special += [(name, what) for name, what in ((options.group, "of groups"), (split_name, "of parts")) if name]
    named = {name: column_named(columns, name, what) for name, what in special}
    channels = _channels(columns, options, list(named), notes)
    series, own = gather(path, named[options.id], named[options.time], channels, notes)
    y, classes, known = read_target(
        _of_series(path, named[options.label], own, series), options.purpose, notes, "series"
    )
    seen = ~np.isnan(series.values).all((1, 2))
    if not seen.all():
        notes.append(f"{int((~seen & known).sum())} series have no value in any row and are left out")
    kept = np.flatnonzero(known & seen)
    if len(kept) < FEWEST_SERIES:
        raise DataError(
            f"{len(kept)} series with a label: expected at least {FEWEST_SERIES}, so that each part has some"
        )
    _check_lengths(path, series.take(kept), notes)
    group = None if options.group is None else _of_series(path, named[options.group], own, series)
    split = None if split_name is None else _of_series(path, named[split_name], own, series)
    series, y = series.take(kept), y[kept]
    part, ids = _parts(series, y, _taken(group, kept), _taken(split, kept), options, notes)
    train = part == TRAIN
    check_training_target(y[train], classes, notes, "series")
    told = _telling(series.values[train], [column.name for column in channels], notes)
    series = Series(series.names, series.time, series.values[..., told], series.num_rows)
    time = named[options.time]
    unit = "days" if time.kind == "date" else options.time
    names = tuple(channels[i].name for i in told)
    digest = hashlib.sha256(repr((classes, names, part.tolist(), options.label)).encode())
    for array in (series.time, series.values, y, ids):
        digest.update(np.ascontiguousarray(array).data.cast("B"))
    return Parts(
        series, y, part, ids, classes, names, options.label, unit, time.kind == "date", digest.hexdigest()[:16],
        tuple(notes),
    )  # fmt: skip


# --- sources


def _read(source: str | None, options: Options) -> tuple[dict[str, Column], str | None]:
    """Returns the columns of a source, and the name of that of parts, if there is one."""
    if source in (None, SIMULATED):
        return simulated(), options.split
    path = Path(str(source)).expanduser()
    if not path.exists() and path.suffix.lower() not in (*SUFFIXES, TS):
        raise DataError(
            f"no data at {source}: expected a {', '.join((*SUFFIXES, TS))} file, or the name"
            f" {SIMULATED}{near(str(source), [SIMULATED])}"
        )
    # Ids are names, whatever they look like.
    kinds: dict[str, Kind] = {options.id: "category"}
    kinds |= {name: "category" for name in (options.group, options.split) if name is not None}
    columns = read_file(path, kinds=kinds, only=None, missing=missing_of(options))
    given = SPLIT if path.suffix.lower() == TS and SPLIT in columns else None
    return columns, options.split or given


def missing_of(options: Options) -> tuple[str, ...]:
    """Returns the texts that stand for a missing value."""
    return (*MISSING, *listed(options.missing))


def simulated() -> dict[str, Column]:
    """Returns noisy oscillations of two channels that go around to the left, to the right, or up and down together,
    each channel observed at some of the times: how they go around is in the order of values alone."""
    rng = np.random.default_rng(SIMULATED_SEED)
    names = ("left", "right", "together")
    which, times, values = [], [], []
    label = rng.permutation(np.arange(NUM_SIMULATED) % len(names))
    for number in range(NUM_SIMULATED):
        # Gaps vary, yet few are next to nothing, as with people who are seen from time to time.
        time = rng.gamma(3.0, SIMULATED_END / SIMULATED_ROWS / 3.0, 2 * int(SIMULATED_ROWS)).cumsum()
        time = time[time < SIMULATED_END]
        rate, phase, decay = rng.uniform(2.5, 5.0), rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.4)
        turn = phase + rate * time
        ahead = (np.pi / 2, -np.pi / 2, 0.0)[label[number]]
        both = np.exp(-decay * time) * np.stack((np.cos(turn), np.cos(turn + ahead)))
        both = both.T + SIMULATED_NOISE * rng.standard_normal((len(time), 2))
        both[rng.random(both.shape) > SIMULATED_OBSERVED] = np.nan
        which.append(np.full(len(time), number))
        times.append(time)
        values.append(both)
    row, table = np.concatenate(which), np.concatenate(values)
    return {
        "id": Column("id", "category", row, tuple(str(i) for i in range(NUM_SIMULATED))),
        "time": Column("time", "number", np.concatenate(times)),
        "x": Column("x", "number", table[:, 0]),
        "y": Column("y", "number", table[:, 1]),
        "label": Column("label", "category", label[row].astype(np.int64), names),
    }


# --- from columns to series


def _channels(
    columns: Mapping[str, Column], options: Options, special: list[str], notes: list[str]
) -> list[Column]:
    """Returns the columns that are observed."""
    if options.channels:
        chosen = [column_named(columns, name, "a channel") for name in listed(options.channels)]
        both = [column.name for column in chosen if column.name in special]
        if both:
            raise DataError(f"column {both[0]!r} is named as a channel and for something else: expected one of them")
        return chosen
    others = [column for name, column in columns.items() if name not in special]
    found = [column for column in others if column.kind == "number"]
    left = [column.name for column in others if column.kind != "number"]
    if left:
        notes.append(f"{len(left)} columns are left out, as channels are numbers: {', '.join(left[:5])}")
    if not found:
        raise DataError("no column of numbers is left to be a channel: expected one beside id, time and label")
    return found


def _of_series(path: str, column: Column, own: np.ndarray, series: Series) -> Column:
    """Returns the one value that a column has for each series.

    Raises:
        DataError: a series has several.
    """
    num = len(series)
    values = column.values.astype(np.float64)
    there = ~column.missing
    low, high = np.full(num, np.inf), np.full(num, -np.inf)
    np.minimum.at(low, own[there], values[there])
    np.maximum.at(high, own[there], values[there])
    wrong = np.flatnonzero(low < high)
    if len(wrong):
        first = int(wrong[0])
        said = [column.labels[int(v)] if column.labels else f"{v:g}" for v in (low[first], high[first])]
        raise DataError(
            f"{path}: column {column.name!r} differs within {len(wrong)} series, e.g. {said[0]!r} and {said[1]!r} in"
            f" {series.names[first]!r}: expected one value for each"
        )
    if column.kind == "category":
        codes = np.where(np.isfinite(low), low, -1).astype(np.int64)
        return Column(column.name, column.kind, codes, column.labels)
    return Column(column.name, column.kind, np.where(np.isfinite(low), low, np.nan))


def _taken(column: Column | None, rows: np.ndarray) -> Column | None:
    return None if column is None else Column(column.name, column.kind, column.values[rows], column.labels)


def _check_lengths(path: str, series: Series, notes: list[str]) -> None:
    longest = int(series.num_rows.argmax())
    if series.num_rows[longest] > MAX_ROWS:
        raise DataError(
            f"{path}: series {series.names[longest]!r} has {series.num_rows[longest]} rows, more than {MAX_ROWS}: thin"
            " it, or cut it into several"
        )
    alone = int((series.num_rows == 1).sum())
    if alone == len(series):
        raise DataError(f"{path}: every series has one row: is {series.names[0]!r} an id, or a row's own number?")
    if alone:
        notes.append(f"{alone} series have a single row: they are predicted from where they start alone")


def _telling(values: np.ndarray, names: list[str], notes: list[str]) -> np.ndarray:
    """Returns the positions of the channels that are not the same in all rows of training.

    Raises:
        DataError: none is left.
    """
    flat = values.reshape(-1, values.shape[-1])
    seen = ~np.isnan(flat)
    low = np.where(seen, flat, np.inf).min(0)
    high = np.where(seen, flat, -np.inf).max(0)
    told = np.flatnonzero(low < high)
    constant = [names[i] for i in np.flatnonzero(low >= high)]
    if constant:
        notes.append(
            f"{len(constant)} channels are left out, as they are the same, or missing, in every training row:"
            f" {', '.join(constant[:5])}"
        )
    if not len(told):
        raise DataError("no channel is left: each is the same, or missing, in every training row")
    return told


def _parts(
    series: Series, y: np.ndarray, group: Column | None, split: Column | None, options: Options, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the part of each series, and the id that must not be in two."""
    num = len(series)
    copies = _copies(series)
    num_copies = num - len(np.unique(copies))
    if group is not None:
        if group.missing.any():
            raise DataError(f"{int(group.missing.sum())} series have no id in the column {group.name!r}: fill it")
        ids = group.values.astype(np.int64)
    else:
        ids = np.arange(num) if split is not None else copies
    part = np.full(num, TRAIN, object)
    given: set[str] = set()
    if split is not None:
        part = named_parts(split)
        given = set(part.tolist())
        if TRAIN not in given:
            raise DataError(f"the column {split.name!r} gives parts, but none for training: expected train")
    drawn = [(TEST, options.test)] if options.test > 0 and TEST not in given else []
    drawn += [(VALIDATION, options.validation)] if VALIDATION not in given else []
    draw_parts(part, ids, y, drawn, options.split_seed)
    if split is not None:
        shared = np.isin(copies, copies[part == TRAIN]) & (part != TRAIN)
        if shared.any():
            notes.append(f"{int(shared.sum())} series of validation or test are exact copies of training series")
    elif num_copies and group is None:
        notes.append(f"{num_copies} series are exact copies of others: copies stay in one part")
    return part, ids


def _copies(series: Series) -> np.ndarray:
    """Returns a number for each series, equal for those that say the same."""
    known: dict[bytes, int] = {}
    found = np.empty(len(series), np.int64)
    for i in range(len(series)):
        rows = int(series.num_rows[i])
        said = series.time[i, :rows].tobytes() + series.values[i, :rows].tobytes()
        found[i] = known.setdefault(said, len(known))
    return found
