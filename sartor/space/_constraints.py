"""Predicates over architectures: on named keys as exact truth tables, on whole architectures by rejection."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError, near
from sartor.space._compile import Compiled, Conjunction
from sartor.space._network import Factor
from sartor.space._nodes import Label

MAX_TABLE = 1_000_000
"""Most combinations a keyed predicate is evaluated on; above, it is applied by rejection."""
_MAX_ACTIVITY_TABLE = 4096


@dataclass(frozen=True)
class Keyed:
    """``function(*values)`` must be true wherever all its keys are active.

    Attributes:
        function: Called with one value per key.
        patterns: Keys or globs, as given.
        name: How it is named in errors, prints and the fingerprint.
    """

    function: Callable[..., Any]
    patterns: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Whole:
    """``function(architecture)`` must be true."""

    function: Callable[..., Any]
    name: str


@dataclass(frozen=True)
class Given:
    """``key`` (or every active key that matches it, for a glob) must have ``value``."""

    key: str
    value: Label

    @property
    def name(self) -> str:
        return f"given {self.key} = {self.value!r}"


Constraint = Keyed | Whole | Given


def matches(pattern: str, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the keys that ``pattern`` names, each with the texts its wildcards stand for.

    Raises:
        SpaceError: None does.
    """
    if pattern in keys:
        return {pattern: ()}
    if not any(character in pattern for character in "*?["):
        raise SpaceError(f"no choice has the key {pattern!r}{near(pattern, keys)}")
    expression = _expression(pattern)
    found = {key: match.groups() for key in keys if (match := expression.fullmatch(key))}
    if not found:
        raise SpaceError(f"no choice has a key like {pattern!r}{near(pattern, keys)}")
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    """Returns a glob as a regular expression that captures what each wildcard stands for."""
    wild = {"*": "(.*)", "?": "(.)"}
    pieces = []
    for piece in re.split(r"(\*|\?|\[!?[^\]]+\])", pattern):
        if piece.startswith("[") and piece.endswith("]"):
            pieces.append(f"({piece.replace('[!', '[^', 1)})")
        else:
            pieces.append(wild.get(piece, re.escape(piece)))
    return re.compile("".join(pieces), re.DOTALL)


def bindings(constraint: Keyed, keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields the tuples of keys a keyed predicate is about.

    Patterns with wildcards go together where their wildcards stand for the same texts (``layers.*.dim`` with
    ``layers.*.heads``: of one layer); patterns with different numbers of wildcards are combined freely.

    Raises:
        SpaceError: A pattern matches nothing, or patterns with as many wildcards have no texts in common.
    """
    found = [matches(pattern, keys) for pattern in constraint.patterns]
    groups: dict[int, list[int]] = {}
    for position, each in enumerate(found):
        groups.setdefault(len(next(iter(each.values()))), []).append(position)
    alternatives: list[list[dict[int, str]]] = []
    for wildcards, positions in groups.items():
        if wildcards == 0:
            alternatives.append([{position: next(iter(found[position])) for position in positions}])
            continue
        by_text: list[dict[tuple[str, ...], str]] = [{text: key for key, text in found[p].items()} for p in positions]
        common = [text for text in by_text[0] if all(text in other for other in by_text)]
        if not common:
            patterns = " and ".join(repr(constraint.patterns[position]) for position in positions)
            raise SpaceError(f"{constraint.name}: the wildcards of {patterns} stand for the same text nowhere")
        alternatives.append(
            [{p: texts[text] for p, texts in zip(positions, by_text, strict=True)} for text in common]
        )
    for parts in itertools.product(*alternatives):
        joined: dict[int, str] = {}
        for part in parts:
            joined.update(part)
        yield tuple(joined[position] for position in range(len(found)))


class Tables:
    """Truth tables of keyed predicates, each evaluated once per combination of value lists.

    Raises:
        SpaceError: From `of`, when a table would be larger than `MAX_TABLE`.
    """

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self._known: dict[tuple[int, str], tuple[object, npt.NDArray[np.bool_]]] = {}
        """Tables by the identity of their predicates, which are kept: another one may else get the same."""

    def size(self, constraint: Keyed) -> int | None:
        """Returns the size of the largest table that ``constraint`` needs, or None when it reads a float range."""
        slots, by_key = self.compiled.slots, self.compiled.by_key
        places = list(bindings(constraint, list(by_key)))
        if any(slots[slot].kind == "number" for keys in places for key in keys for slot in by_key[key]):
            return None
        return max(math.prod(max(slots[slot].num_values for slot in by_key[key]) for key in keys) for keys in places)

    def of(self, constraint: Keyed) -> Iterator[tuple[tuple[int, ...], npt.NDArray[np.bool_]]]:
        """Yields slots and the truth table over their values for each place the predicate is about."""
        slots = self.compiled.slots
        for keys in bindings(constraint, list(self.compiled.by_key)):
            for scope in itertools.product(*(self.compiled.by_key[key] for key in keys)):
                domains = [slots[slot].domain for slot in scope]
                signature = (id(constraint.function), repr([domain.signature() for domain in domains]))
                if signature not in self._known:
                    self._known[signature] = constraint.function, _evaluate(constraint, domains)
                yield scope, self._known[signature][1]


def _evaluate(constraint: Keyed, domains: Sequence[Any]) -> npt.NDArray[np.bool_]:
    shape = tuple(len(domain) for domain in domains)
    function = constraint.function

    def truth(values: tuple[Label, ...]) -> bool:
        try:
            return bool(function(*values))
        except Exception as error:
            error.add_note(f"while asking {constraint.name} about {values!r}")
            raise

    rows = itertools.product(*domains) if len(domains) != 1 else ((value,) for value in domains[0])
    return np.fromiter(map(truth, rows), bool, math.prod(shape)).reshape(shape)


class Variables:
    """Variables and factors of a compiled tree: its slots, and helpers that stand for "one of these holds"."""

    def __init__(self, compiled: Compiled) -> None:
        self.slots = compiled.slots
        self.domains = [slot.num_values + (slot.when is not None) for slot in compiled.slots]
        self.factors: list[Factor] = []
        self._simple: dict[tuple[bytes, int, int], npt.NDArray[np.bool_]] = {}
        for index, slot in enumerate(compiled.slots):
            if slot.when is not None:
                self._activity(index, slot.when, slot.num_values)

    def _literal(self, slot: int, mask: bytes) -> npt.NDArray[np.bool_]:
        return np.frombuffer(mask, np.uint8)[: self.domains[slot]].astype(bool)

    def _holds(self, when: Sequence[Conjunction], scope: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Returns over ``scope`` where one of ``when`` holds."""
        axes = {slot: axis for axis, slot in enumerate(scope)}
        shape = [self.domains[slot] for slot in scope]
        result = np.zeros(shape, bool)
        for literals in when:
            holds = np.ones(shape, bool)
            for slot, mask in literals:
                view = [1] * len(scope)
                view[axes[slot]] = self.domains[slot]
                holds &= self._literal(slot, mask).reshape(view)
            result |= holds
        return result

    def any_of(self, when: Sequence[Conjunction]) -> tuple[tuple[int, ...], npt.NDArray[np.bool_]]:
        """Returns a scope and where in it one of ``when`` holds; many are joined by helpers of two codes each.

        A helper is determined by the others, so the number of solutions stays.
        """
        scope = tuple(sorted({slot for literals in when for slot, _ in literals}))
        if len(when) == 1 or math.prod(self.domains[slot] for slot in scope) <= _MAX_ACTIVITY_TABLE:
            return scope, self._holds(when, scope)
        previous: int | None = None
        for literals in when:
            own = tuple(sorted({slot for slot, _ in literals}))
            holds = self._holds([literals], own)
            if previous is not None:
                holds = np.stack([holds, np.ones_like(holds)], -1)
                own = (*own, previous)
            helper = len(self.domains)
            self.domains.append(2)
            self.factors.append(Factor((*own, helper), np.stack([~holds, holds], -1)))
            previous = helper
        assert previous is not None
        return (previous,), np.array([False, True])

    def _activity(self, index: int, when: Sequence[Conjunction], num_values: int) -> None:
        same = None
        if len(when) == 1 and len(when[0]) == 1:  # nearly always: under an option of one choice
            source, mask = when[0][0]
            same = (mask, self.domains[source], num_values)
            known = self._simple.get(same)
            if known is not None:
                self.factors.append(Factor((source, index), known))
                return
        scope, active = self.any_of(when)
        table = np.empty((*active.shape, num_values + 1), bool)
        table[..., :num_values] = active[..., None]
        table[..., num_values] = ~active
        self.factors.append(Factor((*scope, index), table))
        if same is not None:
            self._simple[same] = table

    def add_table(self, scope: tuple[int, ...], table: npt.NDArray[np.bool_]) -> None:
        """Adds a truth table over values; inactive slots satisfy it."""
        pad = [(0, self.domains[slot] - size) for slot, size in zip(scope, table.shape, strict=True)]
        self.factors.append(Factor(scope, np.pad(table, pad, constant_values=True)))

    def add_given(self, slots: Sequence[int], constraint: Given, required: bool) -> None:
        """Adds that one of ``slots`` is active with the value (``required``), or has it where active."""
        conditions: list[Conjunction] = []
        for slot in slots:
            code = self.slots[slot].domain.code(constraint.value)
            allowed = np.zeros(self.domains[slot], bool)
            if code is not None:
                allowed[code] = True
                conditions.append(((slot, allowed.astype(np.uint8).tobytes() + b"\0"),))
            if not required:
                allowed[self.slots[slot].num_values :] = True
                self.factors.append(Factor((slot,), allowed))
        if required:
            scope, holds = self.any_of(conditions)
            self.factors.append(Factor(scope, holds))


def fixed_numbers(constraints: Sequence[Constraint], compiled: Compiled) -> Mapping[str, float]:
    """Returns the numbers that `Given` fixes for float ranges, by key."""
    fixed: dict[str, float] = {}
    for constraint in constraints:
        if isinstance(constraint, Given):
            for key in compiled.by_key:
                if key == constraint.key or fnmatch.fnmatchcase(key, constraint.key):
                    for slot in compiled.by_key[key]:
                        if compiled.slots[slot].kind == "number" and isinstance(constraint.value, (int, float)):
                            fixed[key] = float(constraint.value)
    return fixed
