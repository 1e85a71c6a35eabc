"""Tables in files as typed columns: CSV and Parquet with numbers, categories, dates and missing values. No torch.

What is ambiguous is an error that says how to settle it; nothing is guessed twice, so that a column is read in the
same way when a network is used as when it was trained (``kinds``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sartor.errors import DataError, InputError, MissingExtraError, near
from sartor.units import first_of

Kind = Literal["number", "category", "date"]

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "NaT", "?")
"""Texts that stand for a missing value."""
SUFFIXES = (".csv", ".tsv", ".parquet")
DAY_S = 86_400.0
_NUM_NAMED = 3
_NUM_LISTED = 12
"""Columns that a message lists."""
"""Rows named in an error."""
_FEW_TEXTS = 10
"""So many different texts among numbers may be read as categories when numbers are as few."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: In the header.
        kind: What its values are.
        values: Numbers, or dates as days since 1970 (UTC): float64 ``(n,)``, NaN where missing. Categories: int64
            ``(n,)``, positions in ``labels``, -1 where missing.
        labels: Of categories, sorted.
    """

    name: str
    kind: Kind
    values: np.ndarray
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> np.ndarray:
        """Where no value is, bool ``(n,)``."""
        return self.values < 0 if self.kind == "category" else np.isnan(self.values)


def read_columns(
    path: str | Path,
    *,
    kinds: Mapping[str, Kind] | None = None,
    only: Sequence[str] | None = None,
    missing: Sequence[str] = MISSING,
    extra: str = "tables",
) -> dict[str, Column]:
    """Returns the columns of a CSV, TSV or Parquet file by name, in its order.

    A CSV has a header, is UTF-8, and separates by comma, semicolon or tab. A column without a given kind is of
    numbers when every value is one, of dates when every value is an ISO 8601 date or time, else of categories; a
    column where some values are numbers and others are not is refused unless its kind is given or both are few.

    Args:
        path: The file.
        kinds: Column name -> kind, where it is known.
        only: Names of the columns to return; all when None.
        missing: Texts that stand for a missing value.
        extra: Dependency group named where Parquet cannot be read.

    Raises:
        DataError: no such file (with the near name), of another kind, empty, unreadable, rows of unequal length,
            column names twice, a value that is not of its column's kind.
        InputError: ``kinds`` or ``only`` name no column, or no kind.
        MissingExtraError: the file is Parquet, and pyarrow is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        what = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"{path} {what}: expected a {', '.join(SUFFIXES)} file{near(path.name, beside)}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: expected a {', '.join(SUFFIXES)} file, got {suffix or 'no suffix'}")
    raw = _read_parquet(path, extra) if suffix == ".parquet" else _read_csv(path)
    if not raw or not len(next(iter(raw.values()))):
        raise DataError(f"{path} holds no rows: expected a header and at least one row below it")
    given = dict(kinds or {})
    for name in (*given, *(only or ())):
        if name not in raw:
            raise InputError(f"{path} has no column {name!r}{_near(name, raw)}")
    for name, kind in given.items():
        if kind not in get_args(Kind):
            raise InputError(f"column {name!r} cannot be of {kind!r}{near(kind, get_args(Kind))}")
    wanted = raw if only is None else dict.fromkeys(only)
    return {name: _typed(path, name, raw[name], given.get(name), missing) for name in wanted}


def column_named(columns: Mapping[str, Column], name: str, what: str) -> Column:
    """Returns a column.

    Args:
        columns: Of a file.
        name: Of the column.
        what: What it is needed for, for the message.

    Raises:
        DataError: there is none; the message has the near name.
    """
    if name not in columns:
        raise DataError(f"there is no column {name!r} ({what}){_near(name, columns)}")
    return columns[name]


def _near(name: str, known: Iterable[str]) -> str:
    """Returns the near name, and the first of all."""
    names = list(known)
    said = near(name, names)
    return f"{said}{' The' if said else '; the'} columns are {first_of(names, _NUM_LISTED)}"


# --- files


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    """Returns text by column name."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            if not first.strip():
                raise DataError(f"{path} is empty: expected a header and at least one row below it")
            delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(reader)]
            rows = []
            for row in reader:
                if len(row) != len(names) and row:
                    raise DataError(f"{path}, line {reader.line_num}: {len(row)} values, but {len(names)} columns")
                if row:
                    rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    _check_names(path, names)
    return {name: np.array([row[i] for row in rows], object) for i, name in enumerate(names)}


def _check_names(path: Path, names: Sequence[str]) -> None:
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} has no name in the header")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: {len(twice)} column names are there twice, e.g. {twice[0]!r}: rename them")


def _read_parquet(path: Path, extra: str) -> dict[str, np.ndarray]:
    """Returns Python values, None where missing, by column name."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("reading Parquet files", "pyarrow", extra) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    _check_names(path, table.column_names)
    types = pyarrow.types
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        read = (
            types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)
            or types.is_string(kind) or types.is_large_string(kind) or types.is_date(kind)
            or types.is_timestamp(kind) or types.is_null(kind)
        )  # fmt: skip
        if not read:
            raise DataError(
                f"{path}: column {name!r} is of type {column.type}: expected numbers, text, true or false, dates"
            )
        if types.is_timestamp(kind) and kind.unit == "ns":
            column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
        values = np.empty(len(column), object)
        values[:] = column.to_pylist()
        found[name] = values
    return found


# --- types


def _typed(path: Path, name: str, raw: np.ndarray, kind: Kind | None, missing: Sequence[str]) -> Column:
    absent = set(missing)
    # Each different value is looked at once.
    texts: dict[str, int] = {}
    codes = np.empty(len(raw), np.int64)
    originals: list[Any] = []
    for i, value in enumerate(raw.tolist()):
        text = _text(value)
        if text is None or text in absent:
            codes[i] = -1
            continue
        if text not in texts:
            texts[text] = len(originals)
            originals.append(value)
        codes[i] = texts[text]
    different = list(texts)

    def spread(values: Sequence[float]) -> np.ndarray:
        return np.append(np.asarray(values, np.float64), np.nan)[codes]

    def rows(wrong: Sequence[int]) -> str:
        # The header is line 1 of a CSV.
        first = [int(np.flatnonzero(codes == code)[0]) + 1 for code in wrong[:_NUM_NAMED]]
        return ", ".join(f"{different[c]!r} in row {r}" for c, r in zip(wrong, first, strict=False))

    numbers = [_number(value, text) for value, text in zip(originals, different, strict=True)]
    no_number = [i for i, number in enumerate(numbers) if number is None]
    bools = bool(originals) and all(isinstance(value, bool) for value in originals)
    if kind == "number" or (kind is None and not no_number and not bools):
        if no_number:
            raise DataError(
                f"{path}: column {name!r} is of numbers, but holds {rows(no_number)}: correct them, leave them empty,"
                " or name how missing values are written"
            )
        values = spread([number for number in numbers if number is not None])
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise DataError(
                f"{path}: column {name!r} holds {len(infinite)} infinite numbers, the first in row {infinite[0] + 1}"
            )
        return Column(name, "number", values)
    if kind in (None, "date") and different:
        days = [_days(value, text) for value, text in zip(originals, different, strict=True)]
        no_date = [i for i, day in enumerate(days) if day is None]
        if not no_date:
            return Column(name, "date", spread([day for day in days if day is not None]))
        if kind == "date":
            raise DataError(f"{path}: column {name!r} is of dates (ISO 8601), but holds {rows(no_date)}")
    if kind == "date":
        return Column(name, "date", spread([]))
    num_numbers = len(different) - len(no_number)
    if kind is None and num_numbers and not bools and max(num_numbers, len(no_number)) > _FEW_TEXTS:
        raise DataError(
            f"{path}: column {name!r} mixes numbers with {rows(no_number)}: correct these, leave them empty, name how"
            " missing values are written, or say that the column is of categories"
        )
    order = sorted(range(len(different)), key=lambda i: _natural(different[i]))
    position = np.empty(len(order) + 1, np.int64)
    position[order] = np.arange(len(order))
    position[-1] = -1
    return Column(name, "category", position[codes], tuple(different[i] for i in order))


def _text(value: Any) -> str | None:
    """Returns a value as a CSV would write it, whole numbers without a point; None where it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _number(value: Any, text: str) -> float | None:
    if isinstance(value, (date, bool)):
        return None
    try:
        # Python takes 1_000 for a number, tables do not.
        return None if "_" in text else float(value if not isinstance(value, str) else text)
    except ValueError:
        return None


def _days(value: Any, text: str) -> float | None:
    if not isinstance(value, date):
        if not isinstance(value, str):
            return None
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    stamp = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return float(stamp.timestamp() / DAY_S)


def _natural(text: str) -> tuple[int, float, str]:
    """Returns a key that sorts numbers by size before texts by their letters."""
    number = _number(text, text)
    return (1, 0.0, text) if number is None else (0, number, text)
