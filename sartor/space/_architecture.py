"""One assignment of a space's choices, as a plain value."""

from __future__ import annotations

import collections
import gc
import itertools
import json
import operator
import struct
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError
from sartor.space._domains import Domain
from sartor.space._nodes import Label, as_label, typed

_WORD = (1 << 64) - 1
_MASK = (1 << 60) - 1
_SMALL_DOMAIN = 1 << 12
_MANY = 1000
_ABSENT = object()


class Codebook:
    """How codes are read: a key and its values per column. Shared by the architectures of one compiled space.

    An architecture's codes are bytes: one integer per column (-1 where inactive), then a double for each active float
    range, in order.

    Attributes:
        keys: One per column.
        domains: One per column.
        floats: Columns of float ranges, whose numbers stand behind the codes.
        typecode: Of the integers, as in `struct`.
        length: Bytes of the integers.
    """

    __slots__ = ("_labels", "_parts", "domains", "floats", "itemsize", "keys", "length", "typecode")

    def __init__(self, keys: tuple[str, ...], domains: tuple[Domain, ...], floats: tuple[int, ...]) -> None:
        self.keys, self.domains, self.floats = keys, domains, floats
        largest = max((len(domain) for domain in domains), default=1)
        self.typecode: Literal["b", "h", "i"] = "b" if largest < 128 else "h" if largest < 32768 else "i"
        self.itemsize = {"b": 1, "h": 2, "i": 4}[self.typecode]
        self.length = len(keys) * self.itemsize
        self._labels = tuple(_Labels(domain) if len(domain) < _SMALL_DOMAIN else _Ranked(domain) for domain in domains)
        self._parts = tuple(_Parts(key, domain) for key, domain in zip(keys, domains, strict=True))

    def row(self, codes: bytes) -> memoryview:
        """Returns the integers."""
        return memoryview(codes)[: self.length].cast(self.typecode)

    def numbers(self, codes: bytes) -> tuple[float, ...]:
        """Returns the numbers of the active float ranges."""
        return struct.unpack(f"{(len(codes) - self.length) // 8}d", codes[self.length :])

    def read(self, codes: bytes) -> dict[str, Label]:
        """Returns key -> value of the active choices, in the order of the space."""
        row = self.row(codes)
        labels = map(operator.getitem, self._labels, row)
        values = {key: label for key, label in zip(self.keys, labels, strict=True) if label is not _ABSENT}
        if self.floats:
            active = (self.keys[column] for column in self.floats if row[column] >= 0)
            values.update(zip(active, self.numbers(codes), strict=True))
        return values

    def hash(self, codes: bytes) -> int:
        """Returns the hash that an `Architecture` of the same values has, from what is known per column and code."""
        if self.floats:
            return hash_items(self.read(codes).items())
        row = codes if self.typecode == "b" else memoryview(codes).cast(self.typecode)
        return sum(map(operator.getitem, self._parts, row)) & _MASK

    def hashes(self, rows: npt.NDArray[Any]) -> list[int]:
        """Returns `hash` of each row of codes (of a space without float ranges), many at once."""
        totals = np.zeros(len(rows), np.uint64)
        for column, parts in enumerate(self._parts):
            if len(parts.domain) < _SMALL_DOMAIN:
                totals += parts.table[rows[:, column]]
            else:
                codes, index = np.unique(rows[:, column], return_inverse=True)
                totals += np.array([parts[code] for code in codes.tolist()], np.uint64)[index]
        hashes: list[int] = (totals & np.uint64(_MASK)).tolist()
        return hashes


class _Labels(tuple[Any, ...]):
    """The values of a column by code; the last, which -1 finds, says that there is none."""

    __slots__ = ()

    def __new__(cls, domain: Domain) -> _Labels:
        return super().__new__(cls, (*domain, _ABSENT))


class _Ranked:
    """The same for a column of too many values to list."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    def __getitem__(self, code: int) -> object:
        return self.domain[code] if code >= 0 else _ABSENT


class _Parts(dict[int, int]):
    """What each code of a column adds to a hash, computed when first asked for."""

    def __init__(self, key: str, domain: Domain) -> None:
        super().__init__({-1: 0})
        if len(domain) < 128:
            self[255] = 0  # -1 as an unsigned byte
        self.key, self.domain = key, domain

    @cached_property
    def table(self) -> npt.NDArray[np.uint64]:
        """What each code adds; the last is for -1."""
        return np.array([*map(self.__getitem__, range(len(self.domain))), 0], np.uint64)

    def __missing__(self, code: int) -> int:
        part = self[code] = _hash_item(self.key, self.domain[code])
        return part


def _hash_item(key: str, value: Label) -> int:
    """Returns a well mixed hash (the finaliser of SplitMix64): sums of hashes of small tuples collide."""
    part = hash((value, key)) & _WORD
    part = ((part ^ (part >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    part = ((part ^ (part >> 27)) * 0x94D049BB133111EB) & _WORD
    return part ^ (part >> 31)


def hash_items(items: Iterable[tuple[str, Label]]) -> int:
    """Returns a hash of ``items`` that does not depend on their order: a sum, so that it can be made of parts."""
    return sum(_hash_item(key, value) for key, value in items) & _MASK


class Architecture(Mapping[str, Any]):
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

    __slots__ = ("_book", "_codes", "_hash", "_values")
    _book: Codebook | None
    _codes: bytes
    _values: dict[str, Label]
    _hash: int | None

    def __init__(self, values: Mapping[str, Any]) -> None:
        try:
            self._values = {str(key): as_label(value) for key, value in values.items()}
        except TypeError as error:
            raise SpaceError(f"an architecture holds plain values: {error}") from error
        self._book, self._codes, self._hash = None, b"", None

    def _dict(self) -> dict[str, Label]:
        try:
            return self._values
        except AttributeError:  # made from codes, and not read yet
            self._values = cast(Codebook, self._book).read(self._codes)
            return self._values

    def __getitem__(self, key: str) -> Any:
        try:
            return self._values[key]
        except AttributeError:  # not read yet
            return self._dict()[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self._dict().get(key, default)

    def keys(self) -> KeysView[str]:
        return self._dict().keys()

    def values(self) -> ValuesView[Any]:
        return self._dict().values()

    def items(self) -> ItemsView[str, Any]:
        return self._dict().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __len__(self) -> int:
        return len(self._dict())

    def __contains__(self, key: object) -> bool:
        return key in self._dict()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash_items(self._values.items()) if self._book is None else self._book.hash(self._codes)
        return self._hash

    def __eq__(self, other: object) -> bool:
        theirs: Mapping[Any, Any]
        if isinstance(other, Architecture):
            if self._book is not None and self._book is other._book:
                return self._codes == other._codes
            theirs = other._dict()
        elif isinstance(other, dict):
            theirs = other
        else:
            return NotImplemented
        mine = self._dict()
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


_set_book: Any = Architecture._book.__set__  # type: ignore[union-attr]
_set_codes: Any = Architecture._codes.__set__  # type: ignore[attr-defined]
_set_hash: Any = Architecture._hash.__set__  # type: ignore[union-attr]


def coded(
    book: Codebook, codes: Sequence[bytes], hashes: Iterable[int | None] = itertools.repeat(None)
) -> list[Architecture]:
    """Returns the architectures of ``codes``, decoded when read, with their hashes where these are known.

    The loops run in `map`: a sample of a million must not pay for a million calls of a constructor.
    """
    # Nothing made here can be garbage yet: collecting while it is made would visit all of it again and again.
    collecting = len(codes) > _MANY and gc.isenabled()
    if collecting:
        gc.disable()
    try:
        made = list(map(Architecture.__new__, itertools.repeat(Architecture, len(codes))))
        collections.deque(map(_set_book, made, itertools.repeat(book)), maxlen=0)
        collections.deque(map(_set_codes, made, codes), maxlen=0)
        collections.deque(map(_set_hash, made, hashes), maxlen=0)
    finally:
        if collecting:
            gc.enable()
    return made


def codes_of(architecture: Architecture, book: Codebook) -> bytes | None:
    """Returns the codes under ``book`` without reading values, or None when another space made it."""
    return architecture._codes if architecture._book is book else None
