"""One assignment of a space's choices, as a plain value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from sartor.errors import SpaceError
from sartor.space._domains import Domain
from sartor.space._nodes import Label, as_label, typed

_Default = TypeVar("_Default")
_MASK = (1 << 61) - 1


class Codebook:
    """How codes are read: a key and its values per column. Shared by the architectures of one compiled space.

    Attributes:
        keys: One per column.
        domains: One per column.
        floats: Columns of float ranges, whose numbers stand beside the codes.
    """

    __slots__ = ("_columns", "_hashes", "domains", "floats", "itemsize", "keys", "typecode")

    def __init__(self, keys: tuple[str, ...], domains: tuple[Domain, ...], floats: tuple[int, ...]) -> None:
        self.keys, self.domains, self.floats = keys, domains, floats
        largest = max((len(domain) for domain in domains), default=1)
        self.typecode = "b" if largest < 128 else "h" if largest < 32768 else "i"
        self.itemsize = {"b": 1, "h": 2, "i": 4}[self.typecode]
        self._columns = tuple(zip(keys, domains, strict=True))
        self._hashes: list[dict[int, int]] = [{} for _ in keys]

    def read(self, codes: bytes, numbers: tuple[float, ...]) -> dict[str, Label]:
        """Returns key -> value of the active choices, in the order of the space."""
        values: dict[str, Label] = {}
        for (key, domain), code in zip(self._columns, memoryview(codes).cast(self.typecode), strict=True):
            if code >= 0:
                values[key] = domain[code]
        if numbers:
            view = memoryview(codes).cast(self.typecode)
            active = (self.keys[column] for column in self.floats if view[column] >= 0)
            values.update(zip(active, numbers, strict=True))
        return values

    def hash(self, codes: bytes, numbers: tuple[float, ...]) -> int:
        """Returns the hash that an `Architecture` of the same values has, from per-column tables."""
        if numbers:
            return hash_items(self.read(codes, numbers).items())
        total = 0
        for column, (code, known) in enumerate(
            zip(memoryview(codes).cast(self.typecode), self._hashes, strict=True)
        ):
            if code >= 0:
                part = known.get(code)
                if part is None:
                    part = known[code] = hash((self.keys[column], self.domains[column][code]))
                total += part
        return total & _MASK


def hash_items(items: Iterable[tuple[str, Label]]) -> int:
    """Returns a hash of ``items`` that does not depend on their order (a sum, so that it is made of parts)."""
    return sum(hash(item) for item in items) & _MASK


class Architecture(Mapping[str, Label]):
    """One assignment of a space's choices: immutable, hashable, JSON both ways; it holds no reference to its space.

    Equality is of values and their types, whatever the order of the keys. Architectures that a space makes are decoded
    when first read.

    Args:
        values: Key -> value. Lists become tuples.

    Raises:
        SpaceError: A value that JSON cannot carry.

    Example:
        >>> Architecture({"width": 24, "kernel": 5}).to_json()
        '{"width":24,"kernel":5}'
    """

    __slots__ = ("_book", "_codes", "_hash", "_numbers", "_values")
    _book: Codebook | None
    _codes: bytes
    _numbers: tuple[float, ...]
    _values: dict[str, Label] | None
    _hash: int | None

    def __init__(self, values: Mapping[str, Any]) -> None:
        try:
            self._values = {str(key): as_label(value) for key, value in values.items()}
        except TypeError as error:
            raise SpaceError(f"an architecture holds plain values: {error}") from error
        self._book, self._codes, self._numbers, self._hash = None, b"", (), None

    def _dict(self) -> dict[str, Label]:
        if self._values is None:
            self._values = cast(Codebook, self._book).read(self._codes, self._numbers)
        return self._values

    def __getitem__(self, key: str) -> Label:
        return self._dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __len__(self) -> int:
        return len(self._dict())

    def __contains__(self, key: object) -> bool:
        return key in self._dict()

    def __hash__(self) -> int:
        if self._hash is None:
            if self._book is not None:
                self._hash = self._book.hash(self._codes, self._numbers)
            else:
                self._hash = hash_items(self._dict().items())
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Architecture):
            return NotImplemented
        if self._book is not None and self._book is other._book:
            return self._codes == other._codes and self._numbers == other._numbers
        mine, theirs = self._dict(), other._dict()
        return mine == theirs and all(typed(value) == typed(theirs[key]) for key, value in mine.items())

    def to_json(self) -> str:
        """Returns compact JSON with the keys in the order of the space."""
        return json.dumps(self._dict(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Returns the architecture that `to_json` wrote.

        Raises:
            SpaceError: Not the JSON of an object.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpaceError(f"an architecture's JSON is one object, got {text[:80]!r}: {error}") from error
        if not isinstance(values, dict):
            raise SpaceError(f"an architecture's JSON is one object, got {text[:80]!r}")
        return cls(values)

    def __reduce__(self) -> tuple[type[Architecture], tuple[dict[str, Label]]]:
        return Architecture, (self._dict(),)

    def __copy__(self) -> Architecture:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Architecture:
        return self

    def __repr__(self) -> str:
        return f"Architecture({self._dict()!r})"


_new = Architecture.__new__


def coded(book: Codebook, codes: bytes, numbers: tuple[float, ...] = ()) -> Architecture:
    """Returns the architecture of ``codes`` (one per column of ``book``, -1 where inactive), decoded when read."""
    made = _new(Architecture)
    made._book = book
    made._codes = codes
    made._numbers = numbers
    made._values = made._hash = None
    return made


def codes_of(architecture: Architecture, book: Codebook) -> tuple[bytes, tuple[float, ...]] | None:
    """Returns the codes under ``book`` without reading values, or None when another space made it."""
    if architecture._book is book:
        return architecture._codes, architecture._numbers
    return None
