"""A table's columns to the network's input: the same in training and behind an exported network. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.columns import DAY_S, Column, Kind, column_named, read_columns
from sartor.export.examples import Examples

Part = Literal["value", "month", "weekday", "hour"]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
OTHER = "(other)"
"""The level of categories that are too rare to have one of their own."""


@dataclass(frozen=True)
class Feature:
    """One feature of the network: a column, or a part of a date.

    Attributes:
        column: Name of the column.
        part: What of it; only dates have others than ``value``.
        kind: Of the column.
        levels: Of categories, in the order of their codes.
    """

    column: str
    part: Part = "value"
    kind: Kind = "number"
    levels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.column if self.part == "value" else f"{self.column}: {self.part}"

    @property
    def is_category(self) -> bool:
        return bool(self.levels)


@dataclass(frozen=True)
class Form:
    """What every table is brought to: one number a feature, NaN where it is missing or a category is unknown."""

    features: tuple[Feature, ...]
    missing: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Returns JSON that ``from_description`` reads, with what the numbers are."""
        return {
            "features": [{**dataclasses.asdict(f), "levels": list(f.levels)} for f in self.features],
            "missing": list(self.missing),
            "dates": "days since 1970-01-01 UTC",
            "categories": "position in levels",
            "absent": "NaN",
            "dtype": "float32",
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Form:
        features = tuple(Feature(**{**each, "levels": tuple(each["levels"])}) for each in described["features"])
        return cls(features, tuple(described["missing"]))

    @property
    def kinds(self) -> dict[str, Kind]:
        """Column name -> kind, for reading other tables alike."""
        return {feature.column: feature.kind for feature in self.features}

    def encode(self, columns: Mapping[str, Column]) -> tuple[np.ndarray, list[str]]:
        """Returns the network's input, float32 ``(n, features)``, and notes on categories that are not known.

        Raises:
            DataError: a column is not there.
        """
        notes: list[str] = []
        found = []
        for feature in self.features:
            column = column_named(columns, feature.column, "a feature of the network")
            values, unknown = _values(feature, column)
            if unknown:
                count = int(np.isin(column.values, [column.labels.index(label) for label in unknown]).sum())
                named = ", ".join(map(repr, unknown[:3]))
                notes.append(
                    f"column {column.name!r}: {count} values are of {len(unknown)} categories that training has not"
                    f" ({named}{' ...' if len(unknown) > 3 else ''}); they are taken for missing"
                )
            found.append(values)
        return np.stack(found, 1).astype(np.float32), notes


def _values(feature: Feature, column: Column) -> tuple[np.ndarray, list[str]]:
    """Returns float64 ``(n,)``, and the labels that the feature has no level for."""
    if feature.part != "value":
        return date_part(column.values, feature.part), []
    if column.kind != "category":
        return column.values, []
    code = {level: float(i) for i, level in enumerate(feature.levels)}
    rest = code.get(OTHER, np.nan)
    table = [code.get(label, rest) for label in column.labels]
    unknown = [label for label, value in zip(column.labels, table, strict=True) if np.isnan(value)]
    return np.array([*table, np.nan])[column.values], unknown


def date_part(days: np.ndarray, part: Part) -> np.ndarray:
    """Returns a part of dates: the month 1..12, the weekday from Monday 0 to 6, or the hour 0..24; NaN stays.

    Args:
        days: Since 1970 (UTC), float64 ``(n,)``.
        part: Which.
    """
    known = ~np.isnan(days)
    whole = np.floor(np.where(known, days, 0.0))
    if part == "hour":
        found = (np.where(known, days, 0.0) - whole) * (DAY_S / 3600)
    elif part == "weekday":
        found = (whole + 3) % 7  # 1 January 1970 was a Thursday
    else:
        months = whole.astype(np.int64).astype("datetime64[D]").astype("datetime64[M]")
        found = months.astype(np.int64) % 12 + 1
    return np.where(known, found, np.nan)


def read(paths: Sequence[Path], description: Mapping[str, Any]) -> list[Examples]:
    """Returns each row of tables as the network takes it, for ``sartor.export.predict``.

    Args:
        paths: CSV, TSV or Parquet files with the columns of the features.
        description: Of the exported file.

    Raises:
        DataError: a file or a column is missing, or a value is not of its column's kind.
    """
    form = Form.from_description(description["input"])
    found = []
    for path in paths:
        columns = read_columns(path, kinds=form.kinds, only=list(form.kinds), missing=form.missing)
        inputs, notes = form.encode(columns)
        found.append(Examples(path, (inputs,), tuple(notes), rows=True))
    return found
