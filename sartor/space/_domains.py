"""The values of a choice, by position: tuples, combinations and orders. The last two are ranked, never listed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError
from sartor.space._nodes import Label, typed

MAX_VALUES = 2_000_000
"""More values than this in one choice would make every table over it too large."""


class Domain(Protocol):
    """The values of one choice in a fixed order."""

    def __len__(self) -> int: ...
    def __getitem__(self, code: int) -> Label: ...
    def __iter__(self) -> Iterator[Label]: ...
    def code(self, value: Label) -> int | None:
        """Returns the position of ``value``, or None when it is not one of the values."""
        ...

    def signature(self) -> object:
        """Returns what decides the values and their order; equal for equal domains, JSON-able."""
        ...


class Listed:
    """Values in a tuple."""

    __slots__ = ("_codes", "labels")

    def __init__(self, labels: tuple[Label, ...]) -> None:
        self.labels = labels
        self._codes = {typed(label): code for code, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, code: int) -> Label:
        return self.labels[code]

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def code(self, value: Label) -> int | None:
        return self._codes.get(typed(value))

    def signature(self) -> object:
        return ["one of", list(self.labels)]


class Combinations:
    """Combinations of names, smaller sizes first, each size in the order of `itertools.combinations`."""

    __slots__ = ("_offsets", "_positions", "_size", "names", "sizes")

    def __init__(self, names: tuple[Label, ...], sizes: tuple[int, ...]) -> None:
        self.names, self.sizes = names, sizes
        self._positions = {typed(name): position for position, name in enumerate(names)}
        counts = [math.comb(len(names), size) for size in sizes]
        self._offsets = list(itertools.accumulate(counts, initial=0))
        self._size = self._offsets[-1]
        if self._size > MAX_VALUES:
            raise SpaceError(
                f"a Subset with {self._size:,} combinations is more than one choice can hold ({MAX_VALUES:,}); "
                "split it, or write a OneOf(True, False) per item"
            )

    def __len__(self) -> int:
        return self._size

    def members(self, code: int) -> tuple[int, ...]:
        """Returns the positions of the items in combination ``code``, ascending."""
        block = next(index for index in range(len(self.sizes)) if code < self._offsets[index + 1])
        rank, left, start, chosen = code - self._offsets[block], self.sizes[block], 0, []
        while left:
            below = math.comb(len(self.names) - start - 1, left - 1)
            if rank < below:
                chosen.append(start)
                left -= 1
            else:
                rank -= below
            start += 1
        return tuple(chosen)

    def __getitem__(self, code: int) -> Label:
        return tuple(self.names[position] for position in self.members(code))

    def __iter__(self) -> Iterator[Label]:
        for size in self.sizes:
            yield from itertools.combinations(self.names, size)

    def code(self, value: Label) -> int | None:
        if not isinstance(value, tuple):
            return None
        chosen = sorted({self._positions.get(typed(name), -1) for name in value})
        if len(chosen) != len(value) or len(chosen) not in self.sizes or (chosen and chosen[0] < 0):
            return None
        rank, start, left = self._offsets[self.sizes.index(len(chosen))], 0, len(chosen)
        for position in chosen:
            rank += sum(math.comb(len(self.names) - skipped - 1, left - 1) for skipped in range(start, position))
            start, left = position + 1, left - 1
        return rank

    def membership(self) -> npt.NDArray[np.bool_]:
        """Returns which items each combination holds, ``[values, items]``."""
        table = np.zeros((self._size, len(self.names)), bool)
        for size, offset in zip(self.sizes, self._offsets, strict=False):
            count = math.comb(len(self.names), size)
            flat = itertools.chain.from_iterable(itertools.combinations(range(len(self.names)), size))
            columns = np.fromiter(flat, np.intp, count * size).reshape(count, size)
            table[np.arange(offset, offset + count)[:, None], columns] = True
        return table

    def signature(self) -> object:
        return ["subset of", list(self.names), list(self.sizes)]


class Orders:
    """Orders of items, in the order of `itertools.permutations`."""

    __slots__ = ("_positions", "items")

    def __init__(self, items: tuple[Label, ...]) -> None:
        self.items = items
        self._positions = {typed(item): position for position, item in enumerate(items)}
        if math.factorial(len(items)) > MAX_VALUES:
            raise SpaceError(
                f"a Permutation of {len(items)} items has {math.factorial(len(items)):,} orders, more than one choice "
                f"can hold ({MAX_VALUES:,}); order fewer items"
            )

    def __len__(self) -> int:
        return math.factorial(len(self.items))

    def members(self, code: int) -> tuple[int, ...]:
        """Returns the positions of the items in order ``code``."""
        left, order = list(range(len(self.items))), []
        for remaining in range(len(self.items) - 1, -1, -1):
            index, code = divmod(code, math.factorial(remaining))
            order.append(left.pop(index))
        return tuple(order)

    def __getitem__(self, code: int) -> Label:
        return tuple(self.items[position] for position in self.members(code))

    def __iter__(self) -> Iterator[Label]:
        return cast("Iterator[Label]", itertools.permutations(self.items))

    def code(self, value: Label) -> int | None:
        if not isinstance(value, tuple) or len(value) != len(self.items):
            return None
        left, code = list(range(len(self.items))), 0
        for remaining, item in zip(range(len(self.items) - 1, -1, -1), value, strict=True):
            position = self._positions.get(typed(item))
            if position is None or position not in left:
                return None
            index = left.index(position)
            code += index * math.factorial(remaining)
            left.pop(index)
        return code

    def signature(self) -> object:
        return ["order of", list(self.items)]


class Interval:
    """The single value of a float range: present. The number itself is kept beside the codes."""

    __slots__ = ("high", "log", "low")

    def __init__(self, low: float, high: float, log: bool) -> None:
        self.low, self.high, self.log = low, high, log

    def __len__(self) -> int:
        return 1

    def __getitem__(self, code: int) -> Label:
        return None

    def __iter__(self) -> Iterator[Label]:
        yield None

    def code(self, value: Label) -> int | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return 0 if self.low <= value <= self.high else None

    def signature(self) -> object:
        return ["between", self.low, self.high, self.log]
