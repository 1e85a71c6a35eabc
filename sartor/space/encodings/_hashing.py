"""Counts of whatever is counted as vectors of a fixed width (Weinberger et al. 2009, arXiv:0902.2206)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item")


def digest(text: str) -> int:
    """Returns 64 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Columns(Generic[Item]):
    """Where what is counted goes: known items have a column of their own, others share some by their hash.

    Args:
        known: In the order of their columns.
        num_hashed: Columns for all others, each counted with the sign that its hash says, so that the inner product of
            two vectors is not biased by collisions; with 0 others are left out.

    Attributes:
        num_features: Length of a vector.
    """

    def __init__(self, known: Iterable[Item], num_hashed: int) -> None:
        self._at: dict[Item, tuple[int, int]] = {item: (i, 1) for i, item in enumerate(known)}
        self._num_known, self._num_hashed = len(self._at), num_hashed
        self.num_features = len(self._at) + num_hashed

    def _place(self, item: Item) -> tuple[int, int]:
        place = self._at.get(item)
        if place is None:
            bits = item if isinstance(item, int) else digest(repr(item))
            place = self._num_known + (bits >> 1) % self._num_hashed, 1 - 2 * (bits & 1)
        return place

    def vectors(self, counts: Sequence[Mapping[Item, int]]) -> npt.NDArray[np.float64]:
        """Returns ``[n, num_features]``."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[int] = []
        for row, each in enumerate(counts):
            for item, count in each.items():
                if self._num_hashed or item in self._at:
                    column, sign = self._place(item)
                    rows.append(row)
                    columns.append(column)
                    values.append(sign * count)
        made = np.zeros((len(counts), self.num_features))
        np.add.at(made, (rows, columns), values)
        return made
