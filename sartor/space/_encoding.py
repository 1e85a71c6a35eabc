"""Architectures as vectors of a fixed length, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError
from sartor.space._compile import Compiled
from sartor.space._domains import Combinations, Orders
from sartor.space._nodes import FloatRange, Label


@dataclass(frozen=True, eq=False)
class _Column:
    """Features ``start:stop`` of one choice; the last of them says inactive when it is conditional."""

    start: int
    width: int
    conditional: bool
    kind: Literal["one-hot", "members", "order", "number"]
    domain: Any
    key: str

    def features(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Returns the features of active ``codes`` other than a number's, ``[n, width]``."""
        if self.kind == "one-hot":
            own: npt.NDArray[np.float32] = np.eye(self.width, dtype=np.float32)[codes]
            return own
        values, inverse = np.unique(codes, return_inverse=True)
        table = np.zeros((len(values), self.width), np.float32)
        size = len(self.domain.items) if self.kind == "order" else 0
        for row, code in enumerate(values.tolist()):
            members = np.array(self.domain.members(code), np.intp)
            table[row, members if self.kind == "members" else np.arange(size) * size + members] = 1.0
        return table[inverse]


class Encoder:
    """One-hot vectors of options; membership of a subset; position by item of an order; numbers from 0 to 1.

    Choices that may be inactive have one feature more that says so, and are zero otherwise. Two architectures of one
    space have equal vectors only if they are equal (numbers: to float32).

    Attributes:
        num_features: Length of a vector.
    """

    def __init__(self, compiled: Compiled) -> None:
        self.book = compiled.book
        self.columns: list[_Column] = []
        start = 0
        for index in compiled.visible:
            slot = compiled.slots[index]
            conditional = slot.when is not None
            kind: Literal["one-hot", "members", "order", "number"] = "one-hot"
            width = slot.num_values
            if slot.kind == "number":
                kind = "number"
            elif isinstance(slot.domain, Combinations):
                kind, width = "members", len(slot.domain.names)
            elif isinstance(slot.domain, Orders):
                kind, width = "order", len(slot.domain.items) ** 2
            domain = slot.node if kind == "number" else slot.domain
            self.columns.append(_Column(start, width, conditional, kind, domain, slot.key))
            start += width + conditional
        self.num_features = start

    @property
    def names(self) -> Iterator[str]:
        """Name of each feature."""
        for column in self.columns:
            if column.kind == "one-hot":
                yield from (f"{column.key}={label}" for label in column.domain)
            elif column.kind == "members":
                yield from (f"{name} in {column.key}" for name in column.domain.names)
            elif column.kind == "order":
                size = len(column.domain.items)
                yield from (f"{column.key}[{i}]={item}" for i in range(size) for item in column.domain.items)
            else:
                yield column.key
            if column.conditional:
                yield f"{column.key} inactive"

    def encode(
        self, codes: npt.NDArray[Any], numbers: Sequence[tuple[float, ...]]
    ) -> npt.NDArray[np.float32]:
        """Returns ``[n, num_features]`` from rows of codes and the numbers beside them."""
        out = np.zeros((len(codes), self.num_features), np.float32)
        taken = np.zeros(len(codes), np.intp)
        for position, column in enumerate(self.columns):
            own = codes[:, position].astype(np.intp)
            active = np.flatnonzero(own >= 0)
            if column.conditional:
                out[own < 0, column.start + column.width] = 1.0
            if column.kind == "number":
                for row in active.tolist():
                    out[row, column.start] = column.domain.share(numbers[row][taken[row]])
                    taken[row] += 1
            elif len(active):
                out[active, column.start : column.start + column.width] = column.features(own[active])
        return out

    def values(self, vector: npt.NDArray[Any]) -> dict[str, Label]:
        """Returns key -> value of one vector.

        Raises:
            SpaceError: A vector of another length.
        """
        if vector.shape != (self.num_features,):
            raise SpaceError(f"a vector of this space has {self.num_features} features, got shape {vector.shape}")
        values: dict[str, Label] = {}
        for column in self.columns:
            own = vector[column.start : column.start + column.width]
            if column.conditional and vector[column.start + column.width] > 0.5:
                continue
            if column.kind == "number":
                node: FloatRange = column.domain
                values[column.key] = node.value(float(min(max(own[0], 0.0), 1.0)))
            elif column.kind == "one-hot":
                values[column.key] = column.domain[int(own.argmax())]
            elif column.kind == "members":
                values[column.key] = tuple(n for n, taken in zip(column.domain.names, own > 0.5, strict=True) if taken)
            else:
                size = len(column.domain.items)
                order = own.reshape(size, size).argmax(1)
                values[column.key] = tuple(column.domain.items[i] for i in order.tolist())
        return values
