"""A part of a space: choices that keep some of their values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sartor.space import Space


def narrowed(space: Space, kept: Mapping[str, Collection[Any]]) -> Space:
    """Returns the part of the space of which each of these choices has one of these values, where it is active."""
    for key, values in kept.items():
        space = space.where(is_among(values), key, name=f"{key} is one of {', '.join(map(str, values))}")
    return space


def is_among(values: Collection[Any]) -> Callable[[Any], bool]:
    """Returns what says whether a label is one of the values; JSON has lists where labels are tuples."""
    return lambda label: label in values or (isinstance(label, tuple) and list(label) in list(values))
