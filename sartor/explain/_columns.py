"""Choices as columns with a few levels each, in the form that trees split on."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.space import Architecture, Space
from sartor.space._nodes import typed

NUM_CLASSES = 16
"""Of a float range, equally likely each: effects are read from a picture, and no search has trials for more."""
MAX_TUPLES = 12
"""Up to this many different tuples of a choice are levels of their own; beyond, each of their items is a column."""

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Column:
    """One thing that differs between architectures.

    Attributes:
        name: Key of the choice, with the item where a subset or order is read item by item.
        labels: What each level is called.
        levels: Level of each architecture, -1 where the choice is inactive.
        features: Value of each feature at each level, the last for inactive, ``[num_features, num_levels + 1]``.
            Numbers are one feature, in order, so that a split is a threshold; others have one a level. Inactive looks
            like a number in the middle, or like none of the levels: that a choice is active at all is then put down to
            the choice that makes it so.
    """

    name: str
    labels: tuple[str, ...]
    levels: Ints
    features: Floats = field(repr=False)

    @property
    def num_levels(self) -> int:
        return len(self.labels)


def columns_of(space: Space, architectures: Sequence[Architecture]) -> list[Column]:
    """Returns the columns with at least two levels among the architectures."""
    found: list[Column] = []
    continuous = set(space.continuous)
    plain: list[Mapping[str, Any]] = [dict(a) for a in architectures]
    for key in space.keys:
        values = [a.get(key, _INACTIVE) for a in plain]
        active = [v for v in values if v is not _INACTIVE]
        if key in continuous:
            found.append(_classes(key, values, active))
        elif active and all(isinstance(v, tuple) for v in active) and len({typed(v) for v in active}) > MAX_TUPLES:
            found += _items(key, values, active)
        else:
            found.append(_listed(key, values, active))
    return [column for column in found if column.num_levels > 1]


_INACTIVE = object()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ordered(name: str, labels: Sequence[str], levels: Ints) -> Column:
    """Returns a column whose levels ascend."""
    num = len(labels)
    return Column(name, tuple(labels), levels, np.append(np.arange(num), (num - 1) // 2).astype(np.float64)[None])


def _listed(key: str, values: Sequence[Any], active: Sequence[Any]) -> Column:
    distinct = list({typed(v): v for v in active}.values())
    numbers = all(_is_number(v) for v in distinct)
    distinct.sort(key=(lambda v: (v, "")) if numbers else (lambda v: (0, f"{type(v).__name__} {v}")))
    code = {typed(v): i for i, v in enumerate(distinct)}
    levels = np.array([-1 if v is _INACTIVE else code[typed(v)] for v in values], np.intp)
    labels = [_text(v) for v in distinct]
    if numbers:
        return ordered(key, labels, levels)
    return Column(key, tuple(labels), levels, np.eye(len(labels), len(labels) + 1))


def _classes(key: str, values: Sequence[Any], active: Sequence[float]) -> Column:
    """Returns a float range in classes that are equally frequent among the architectures."""
    ends = np.quantile(active, np.linspace(0, 1, NUM_CLASSES + 1)[1:-1]) if active else np.zeros(0)
    edges = np.unique(ends).tolist()
    levels = np.array([-1 if v is _INACTIVE else bisect.bisect_left(edges, v) for v in values], np.intp)
    bounds = [min(active, default=0.0), *edges, max(active, default=0.0)]
    labels = [f"{low:.3g} to {high:.3g}" for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
    return ordered(key, labels, levels)


def _items(key: str, values: Sequence[Any], active: Sequence[tuple[Any, ...]]) -> list[Column]:
    """Returns whether each item is in, or where each item stands when all tuples have the same ones."""
    items = sorted({typed(item): item for value in active for item in value}.values(), key=str)
    same = all(sorted(map(str, value)) == list(map(str, items)) for value in active)
    columns = []
    for item in items:
        if same:
            places = np.array([-1 if v is _INACTIVE else v.index(item) for v in values], np.intp)
            columns.append(ordered(f"{key}: place of {item}", [str(i + 1) for i in range(len(items))], places))
        else:
            inside = np.array([-1 if v is _INACTIVE else int(item in v) for v in values], np.intp)
            columns.append(ordered(f"{key}: {item}", ["out", "in"], inside))
    return columns
