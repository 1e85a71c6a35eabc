"""From a source to the parts of a table: read, choose features, split, count what a person should know."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.columns import MISSING, SUFFIXES, Column, Kind, column_named, read_columns
from sartor.data import TEST, TRAIN, VALIDATION, draw_parts, named_parts, spread
from sartor.errors import DataError, InputError, MissingExtraError, near
from sartor.targets import as_category, check_training_target, read_target
from sartor.tasks.tables.options import Options
from sartor.tasks.tables.preprocess import OTHER, WEEKDAYS, Feature, Form, Part, date_part
from sartor.units import listed

NAMED = ("breast-cancer", "diabetes", "wine")
DEFAULT = "breast-cancer"
FOLDS = 8
"""Members of an ensemble leave out different ones of so many equal shares of the training rows."""
PARTITIONS = 4
"""Ways in which training rows are shared out: more members than folds begin again with another."""
FEWEST_ROWS = 20
IDENTIFYING = 0.5
"""Different texts over rows from which a column of text is taken to identify rows."""
FEW_TEXTS = 50
COUNTING = 0.5
"""Share of rows whose number is one more than that of the row before from which a column is taken to count rows."""


@dataclass(frozen=True)
class Prepared:
    """A table in parts.

    Attributes:
        x: Input of the network, float32 ``(n, features)``, NaN where missing.
        y: Target: float64 ``(n,)`` numbers, or int64 positions in ``classes``.
        parts: Part of each row.
        ids: int64 ``(n,)``: equal for rows that must be in one part.
        folds: Fold of each training row in each partition, int64 ``(n, PARTITIONS)``; rows of one id are in one.
        rows: Number of each row in the file, from 1.
        form: How columns become ``x``.
        classes: Names; none for numbers.
        target: Name of the target.
        fingerprint: Hash of all that.
        notes: Counted warnings.
    """

    x: np.ndarray
    y: np.ndarray
    parts: np.ndarray
    ids: np.ndarray
    folds: np.ndarray
    rows: np.ndarray
    form: Form
    classes: tuple[str, ...]
    target: str
    fingerprint: str
    notes: tuple[str, ...]

    def rows_of(self, part: str) -> np.ndarray:
        """Returns the positions of the rows of a part."""
        return np.flatnonzero(self.parts == part)


def load(source: str | None, options: Options) -> Prepared:
    """Returns the parts of a source; the same for the same source and options.

    Raises:
        DataError: see the page of the task.
    """
    columns, target = read(source, options)
    return prepare(columns, target, options)


def read(source: str | None, options: Options) -> tuple[dict[str, Column], str]:
    """Returns the columns of a file or of a named data set, and the name of the target.

    Raises:
        DataError: no such file or name, no such target.
    """
    categories = listed(options.categories)
    if source is None or source in NAMED:
        columns, own = _bundled(source or DEFAULT)
        target = options.target or own
        for name in categories:
            old = column_named(columns, name, "of categories")
            columns[name] = as_category(old)
    else:
        path = Path(source).expanduser()
        if not path.exists() and path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"no data at {source}: expected a {', '.join(SUFFIXES)} file, or a name{near(source, NAMED)}"
            )
        missing = (*MISSING, *listed(options.missing))
        kinds: dict[str, Kind] = dict.fromkeys(categories, "category")
        if options.target is None:
            names = list(read_columns(path, kinds=kinds, missing=missing))
            raise InputError(f"expected --target, the column of {path} to predict; it has {', '.join(names)}")
        # Ids and parts are names, whatever they look like; rows are told apart by them alone.
        kinds |= {name: "category" for name in (options.group, options.split) if name is not None}
        columns, target = read_columns(path, kinds=kinds, missing=missing), options.target
    column_named(columns, target, "the target")
    return columns, target


def _bundled(name: str) -> tuple[dict[str, Column], str]:
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sklearn":
            raise
        raise MissingExtraError(f"the data set {name}", "scikit-learn", "tables") from error
    loaders: Mapping[str, Any] = {
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "wine": datasets.load_wine,
    }
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = loaders[name](**options)
    columns = {
        each: Column(each, "number", np.asarray(bunch.data[:, i], np.float64))
        for i, each in enumerate(map(str, bunch.feature_names))
    }
    if name == "diabetes":
        target = Column("progression", "number", np.asarray(bunch.target, np.float64))
    else:
        labels = tuple(map(str, bunch.target_names))
        what = "diagnosis" if name == "breast-cancer" else "cultivar"
        target = Column(what, "category", bunch.target.astype(np.int64), labels)
    return {**columns, target.name: target}, target.name


# --- from columns to parts


def prepare(columns: Mapping[str, Column], target: str, options: Options) -> Prepared:
    """Returns a table in parts.

    Raises:
        DataError: the target has one value, too many missing or rare ones; no feature tells anything; too few rows;
            a part is missing or unknown; ids are in two given parts.
    """
    notes: list[str] = []
    columns = dict(columns)
    left_out = [column_named(columns, name, "to ignore").name for name in listed(options.ignore)]
    group = None if options.group is None else column_named(columns, options.group, "of groups")
    split = None if options.split is None else column_named(columns, options.split, "of parts")
    y, classes, known = read_target(column_named(columns, target, "the target"), options.purpose, notes)
    if not known.all():
        columns = {name: Column(c.name, c.kind, c.values[known], c.labels) for name, c in columns.items()}
        group = group and columns[group.name]
        split = split and columns[split.name]
        y = y[known]
    num = len(y)
    if num < FEWEST_ROWS:
        raise DataError(f"expected at least {FEWEST_ROWS} rows with a target, got {num}")
    special = {target, *left_out, *(c.name for c in (group, split) if c is not None)}
    candidates = {name: c for name, c in columns.items() if name not in special}
    candidates = _telling(candidates, notes)
    parts, ids = _parts(candidates, y, group, split, options, notes)
    train = parts == TRAIN
    form = Form(tuple(_features(candidates, train, options.levels, notes)), (*MISSING, *listed(options.missing)))
    if not form.features:
        raise DataError("no feature is left: every other column is constant, identifies rows, or is ignored")
    x, unknown = form.encode(candidates)
    notes += unknown
    check_training_target(y[train], classes, notes)
    digest = hashlib.sha256(repr((form, classes, target)).encode())
    for array in (x, y, parts.astype("U10"), ids):
        digest.update(np.ascontiguousarray(array).data.cast("B"))
    rows = np.flatnonzero(known) + 1
    folds = _folds(ids, y, train, options.split_seed)
    return Prepared(x, y, parts, ids, folds, rows, form, classes, target, digest.hexdigest()[:16], tuple(notes))


def _telling(columns: dict[str, Column], notes: list[str]) -> dict[str, Column]:
    """Returns the columns without those that say nothing, or that say which row it is."""
    kept, constant, identifying = {}, [], []
    for name, column in columns.items():
        present = column.values[~column.missing]
        num = len(np.unique(present))
        # A row may have been left out between two.
        counts = column.kind == "number" and len(present) == len(column) == num and num > 2 and bool(
            (np.diff(column.values) > 0).all() and (np.diff(column.values) == 1).mean() > COUNTING
        )
        if num < 2 and (num == 0 or not column.missing.any()):
            constant.append(name)
        elif counts or (column.kind == "category" and num > FEW_TEXTS and num > IDENTIFYING * len(present)):
            identifying.append(name)
        else:
            kept[name] = column
    for names, what in (
        (constant, "the same in every row"),
        (identifying, "different in nearly every row (an id or free text)"),
    ):
        if names:
            more = " ..." if len(names) > 5 else ""
            notes.append(f"{len(names)} columns are left out, as they are {what}: {', '.join(names[:5])}{more}")
    return kept


def _features(columns: Mapping[str, Column], train: np.ndarray, levels: int, notes: list[str]) -> list[Feature]:
    """Returns the features, as the training part has them."""
    found = []
    for column in columns.values():
        values = column.values[train]
        if column.kind == "number":
            found.append(Feature(column.name))
        elif column.kind == "category":
            found.append(_categories(column, values, levels, notes))
        else:
            found.append(Feature(column.name, kind="date"))
            days = values[~np.isnan(values)]
            for part in ("month", "weekday", "hour"):
                own: Part = part
                if len(np.unique(date_part(days, own))) > 1:
                    found.append(Feature(column.name, own, "date", WEEKDAYS if own == "weekday" else ()))
    varied = []
    for feature in found:
        column = columns[feature.column]
        values = column.values[train]
        absent = values < 0 if column.kind == "category" else np.isnan(values)
        if len(np.unique(values[~absent])) + bool(absent.any()) > 1:
            varied.append(feature)
        else:
            notes.append(f"column {column.name!r} is left out: it is the same in every row of the training part")
    return varied


def _categories(column: Column, values: np.ndarray, levels: int, notes: list[str]) -> Feature:
    counts = np.bincount(values[values >= 0], minlength=len(column.labels))
    present = np.flatnonzero(counts)
    if len(present) <= levels:
        return Feature(column.name, kind="category", levels=tuple(column.labels[i] for i in present))
    kept = np.sort(present[np.argsort(-counts[present], kind="stable")[: levels - 1]])
    rest = len(present) - len(kept)
    notes.append(
        f"column {column.name!r} has {len(present)} categories: the {rest} rarest"
        f" ({int(counts[present].sum() - counts[kept].sum())} rows) are taken as one; --levels tells more apart"
    )
    return Feature(column.name, kind="category", levels=(*(column.labels[i] for i in kept), OTHER))


# --- parts


def _parts(
    columns: Mapping[str, Column],
    y: np.ndarray,
    group: Column | None,
    split: Column | None,
    options: Options,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the part of each row and its id; rows of one id are in one part where parts are drawn."""
    num = len(y)
    copies = _copies(columns, y)
    if group is not None:
        absent = int(group.missing.sum())
        if absent:
            raise DataError(f"{absent} rows have no id in the column {group.name!r}: fill or delete them")
        ids = group.values.astype(np.int64)
    elif split is not None:
        ids = np.arange(num)
    else:
        ids = copies
    parts = np.full(num, TRAIN, object)
    given: set[str] = set()
    if split is not None:
        parts = named_parts(split)
        given = set(parts.tolist())
        if TRAIN not in given:
            raise DataError(f"the column {split.name!r} gives parts, but none for training: expected train")
    drawn = [(TEST, options.test)] if options.test > 0 and TEST not in given else []
    drawn += [(VALIDATION, options.validation)] if options.validation and VALIDATION not in given else []
    draw_parts(parts, ids, y, drawn, options.split_seed)
    if group is None and split is None and len(np.unique(copies)) < num:
        notes.append(f"{num - len(np.unique(copies))} rows are exact copies of others: copies stay in one part")
    elif split is not None:
        shared = np.isin(copies, copies[parts == TRAIN]) & (parts != TRAIN)
        if shared.any():
            notes.append(f"{int(shared.sum())} rows of validation or test are exact copies of training rows")
    return parts, ids


def _copies(columns: Mapping[str, Column], y: np.ndarray) -> np.ndarray:
    """Returns a number for each row, equal for exact copies, int64 ``(n,)``."""
    table = np.stack([*(np.nan_to_num(c.values.astype(np.float64), nan=-np.pi) for c in columns.values()), y], 1)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _folds(ids: np.ndarray, y: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    """Returns the fold of each training row in each partition, int64 ``(n, PARTITIONS)``; 0 for other rows."""
    folds = np.zeros((len(y), PARTITIONS), np.int64)
    _, first, group = np.unique(ids[train], return_index=True, return_inverse=True)
    rng = np.random.default_rng([seed, 0xF01D])
    for partition in range(PARTITIONS):
        order, place = spread(np.arange(len(first)), y[train][first], rng)
        own = np.empty(len(first), np.int64)
        own[order] = place * FOLDS
        folds[train, partition] = own[group]
    return folds
