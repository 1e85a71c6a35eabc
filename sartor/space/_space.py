"""A search space: what a person wrote, compiled, and everything that can be asked of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError, near
from sartor.space import _text, _vary
from sartor.space._architecture import Architecture, coded, codes_of
from sartor.space._build import Builder
from sartor.space._compile import Compiled, Entries, Plan
from sartor.space._constraints import Constraint, Given, Keyed, Tables, Whole, bindings
from sartor.space._encoding import Encoder
from sartor.space._graph import Graph, GraphReader
from sartor.space._nodes import Label, as_label, name_of
from sartor.space._rules import Rules, check_given
from sartor.space._sampling import CodeRows, Sampler

if TYPE_CHECKING:
    from torch import nn

    from sartor.space._mixture import Around, Mixture
    from sartor.space._supernet import Supernet
    from sartor.space._windows import Window

MAX_LISTED = 2_000_000
"""Most architectures that are listed one by one where no formula gives an exact answer."""
_MAX_DRAWS = 2_000_000
_MANY = 64
"""From so many rows on, hashes are computed for all of them at once."""
_TYPES = {"b": np.int8, "h": np.int16, "i": np.int32}
_MAX_STANDS = 1 << 16
"""Answers of `Space._standing` that are kept; then it begins anew."""


class CountEstimate(float):
    """An estimated number of architectures.

    Attributes:
        error: One standard error, in architectures.
        acceptance: Share of draws that the predicates accepted.
    """

    error: float
    acceptance: float

    def __new__(cls, value: float, error: float, acceptance: float) -> CountEstimate:
        made = super().__new__(cls, value)
        made.error, made.acceptance = error, acceptance
        return made

    def __repr__(self) -> str:
        return f"CountEstimate({float(self):.6g} +- {self.error:.2g}, acceptance {self.acceptance:.3g})"


class _Modulo(NamedTuple):
    """Rows: codes of all representatives under the first ``num_constraints`` constraints, where they are known."""

    function: Callable[[Architecture], Any]
    name: str
    rows: CodeRows | None = None
    num_constraints: int = 0


class _Classes(NamedTuple):
    """One row of codes a class, and class -> codes."""

    rows: CodeRows
    by_class: dict[Any, bytes]


class Space:
    """A search space: an ordinary tree with choices wherever something is undecided.

    It is immutable: `where`, `given` and `modulo` return another. It pickles when the functions in it do.

    Args:
        tree: Usually a `functools.partial` whose arguments hold choices; a dict when there is more than a network
            (``network`` is built, other entries are read from the architecture by their keys).

    Raises:
        SpaceError: The tree is not well formed: an unknown argument, a hidden choice, one name for two choices.

    Attributes:
        tree: As given.
        acceptance: Share of draws that predicates on whole architectures accepted so far, or None before any draw or
            without such predicates.

    Example:
        >>> from functools import partial
        >>> space = Space(partial(dict, width=OneOf(16, 24), depth=OneOf(1, 2, 3)))
        >>> space.count()
        6
    """

    def __init__(self, tree: Any, graph: Callable[[Architecture], Graph] | None = None) -> None:
        self._set(tree, Compiled(tree), (), None, None, graph)

    def _set(
        self,
        tree: Any,
        compiled: Compiled,
        constraints: tuple[Constraint, ...],
        modulo: _Modulo | None,
        tables: Tables | None,
        graph: Callable[[Architecture], Graph] | None,
    ) -> None:
        self.tree = tree
        self._graph = graph
        self._compiled, self._constraints, self._modulo = compiled, constraints, modulo
        self._tables = tables or Tables(compiled)
        self._drawn = self._accepted = 0
        self._stands: dict[bytes, Architecture | None] = {}

    def _derived(self, constraints: tuple[Constraint, ...], modulo: _Modulo | None) -> Space:
        space = Space.__new__(Space)
        space._set(self.tree, self._compiled, constraints, modulo, self._tables, self._graph)
        return space

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.tree, self._constraints, self._modulo, self._graph)

    # ---- narrowing

    def where(self, function: Callable[..., Any], *keys: str, name: str | None = None) -> Space:
        """Returns the space of the architectures for which ``function`` is true.

        With keys, ``function`` gets one value per key and is applied wherever all of them are active; keys may be
        globs, and wildcards of one predicate stand for the same text (``"layers.*.dim", "layers.*.heads"``: of one
        layer). This is exact and fast: the predicate becomes a truth table. A table of more than a million entries is
        applied by rejection instead, with a warning.

        Without keys, ``function`` gets the `Architecture` and is applied by rejection; `acceptance` says how often.

        Args:
            function: Pure; called lazily, once per combination of values or per architecture.
            keys: Choices it reads.
            name: What errors and the fingerprint call it (its own name by default).

        Raises:
            SpaceError: An unknown key (with the near name).
        """
        named = name if name is not None else name_of(function)
        if not keys:
            return self._derived((*self._constraints, Whole(function, named)), self._modulo)
        constraint = Keyed(function, keys, named)
        for _ in bindings(constraint, list(self._compiled.by_key)):
            break
        space = self._derived((*self._constraints, constraint), self._modulo)
        size = space._rules.rejected_tables.get(constraint)
        if size is not None:
            warnings.warn(
                f"{named} would need a table of {size:,} entries over {len(keys)} keys: it is applied by rejection",
                stacklevel=2,
            )
        return space

    def given(self, values: Mapping[str, Any]) -> Space:
        """Returns the space of the architectures in which the choices have these values.

        A key must be active in them; for a glob, the choices that match must have the value where they are active.

        Raises:
            SpaceError: An unknown key, or a value that the choice does not have.
        """
        added: list[Constraint] = []
        for key, value in values.items():
            label = as_label(value)
            check_given(self._compiled, key, label)
            added.append(Given(key, label))
        return self._derived((*self._constraints, *added), self._modulo)

    def modulo(
        self, representative: Callable[[Architecture], Any], name: str | None = None, rows: CodeRows | None = None
    ) -> Space:
        """Returns the space with one architecture of each isomorphism class.

        Args:
            representative: Gives equal (hashable) values for isomorphic architectures, or the `Architecture` that
                stands for the class. Spaces of up to 2,000,000 architectures are listed once and the first of each
                class kept; larger ones need the second form, and are filtered by rejection.
            name: What errors and the fingerprint call it.
            rows: Codes (see `codes`) of all architectures that stand for a class, where a table lists them: a space
                of any size is then counted, listed and sampled from these. Needs the second form.

        Constraints hold first, those added later too: each class of the narrowed space is kept once.
        """
        if self.continuous:
            raise SpaceError(f"modulo needs a space without float ranges, this one has {', '.join(self.continuous)}")
        named = name or name_of(representative)
        return self._derived(self._constraints, _Modulo(representative, named, rows, len(self._constraints)))

    @property
    def _lists_classes(self) -> bool:
        """Whether there is a row for each class to count, list and sample from."""
        return self._modulo is not None and (self._modulo.rows is not None or self._num_discrete <= MAX_LISTED)

    # ---- what it is

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all choices, in order."""
        return tuple(self._compiled.by_key)

    @property
    def continuous(self) -> tuple[str, ...]:
        """Keys of the float ranges that are not given a number."""
        slots = self._compiled.slots
        found = (slots[index].key for index in self._compiled.visible if slots[index].kind == "number")
        return tuple(dict.fromkeys(key for key in found if key not in self._rules.fixed))

    def values(self, key: str) -> tuple[Label, ...]:
        """Returns the values that a choice can have (of a float range: its two ends).

        Raises:
            SpaceError: An unknown key.
        """
        if key not in self._compiled.by_key:
            raise SpaceError(f"no choice has the key {key!r}{near(key, self.keys)}")
        found: dict[Label, None] = {}
        for index in self._compiled.by_key[key]:
            slot = self._compiled.slots[index]
            found.update(dict.fromkeys((slot.node.low, slot.node.high) if slot.kind == "number" else slot.domain))
        return tuple(found)

    @property
    def acceptance(self) -> float | None:
        return self._accepted / self._drawn if self._drawn else None

    @cached_property
    def _rules(self) -> Rules:
        return Rules(self._compiled, self._constraints, self._tables)

    @cached_property
    def _sampler(self) -> Sampler:
        rules, compiled = self._rules, self._compiled
        if not rules.network.is_satisfiable:
            raise SpaceError("no architecture satisfies the constraints: " + self._constraint_names())
        sizes = [slot.num_values for slot in compiled.slots]
        sizes += rules.network.domains[len(sizes) :]
        return Sampler(rules.network, compiled.column_of, sizes, _TYPES[compiled.book.typecode])

    @cached_property
    def _num_discrete(self) -> int:
        """Number of solutions of the network: before rejection and classes, float ranges counting as one."""
        return self._rules.network.count()

    def _constraint_names(self) -> str:
        return ", ".join(constraint.name for constraint in self._constraints)

    def count(self) -> int:
        """Returns the number of architectures, exactly.

        Raises:
            SpaceError: Float ranges are sampled but not counted; or a predicate on whole architectures applies to more
                than 2,000,000, where `estimate_count` helps.
        """
        if self.continuous:
            raise SpaceError(
                f"float ranges are sampled but not counted, and this space has {', '.join(self.continuous)}; "
                "given({key: number}) leaves a space that can be counted"
            )
        if self._modulo is None and not self._rules.predicates:
            return self._num_discrete
        if self._lists_classes:
            return len(self._classes.rows)
        if self._num_discrete > MAX_LISTED:
            raise SpaceError(
                f"{self._num_discrete:,} architectures before {self._by_hand()}: too many to count one by one "
                f"(up to {MAX_LISTED:,}); use estimate_count(rng), or name the keys that the predicate reads"
            )
        return self._num_listed

    @cached_property
    def _num_listed(self) -> int:
        return sum(len(rows) for rows in self.iter_codes())

    def _by_hand(self) -> str:
        names = [name for name, _ in self._rules.predicates]
        return ", ".join(names + ([f"modulo {self._modulo.name}"] if self._modulo else []))

    def estimate_count(self, rng: np.random.Generator, num_draws: int = 10_000) -> CountEstimate:
        """Returns the number of architectures, estimated from the share of draws that the predicates accept.

        Args:
            rng: Source of randomness.
            num_draws: Draws from the space without those predicates.
        """
        if self.continuous or (self._modulo is None and not self._rules.predicates):
            return CountEstimate(float(self.count()), 0.0, 1.0)
        rows = self._sampler.draw(num_draws, rng)
        share = float(self._accepts(self._wrap(rows, self._draw_numbers(rows, rng))).mean())
        total = float(self._num_discrete)
        return CountEstimate(total * share, total * math.sqrt(share * (1 - share) / num_draws), share)

    # ---- membership

    def contains(self, architecture: object) -> bool:
        """Whether ``architecture`` (any mapping) is one of this space's."""
        if not isinstance(architecture, Mapping):
            return False
        try:
            self.architecture(architecture)
        except SpaceError:
            return False
        return True

    __contains__ = contains

    def architecture(self, values: Mapping[str, Any]) -> Architecture:
        """Returns ``values`` as an architecture of this space.

        Raises:
            SpaceError: A choice that is missing, unknown (with the near name) or not active; a value that is not one of
                the choice's; a constraint that does not hold, by name; not the representative of its class (`modulo`).
        """
        made = self._legal(values)
        if self._modulo is not None and self._represent(made) != made:
            raise SpaceError(f"{made.to_json()} is not the representative of its class under {self._modulo.name}")
        return made

    def representative(self, values: Mapping[str, Any]) -> Architecture:
        """Returns the architecture that stands for ``values``: these, or under `modulo` that of their class.

        Raises:
            SpaceError: As `architecture`, but for the class.
        """
        return self._represent(self._legal(values))

    def _legal(self, values: Mapping[str, Any]) -> Architecture:
        codes, numbers = self._parse(values)
        broken = self._rules.broken(codes)
        made = self._coded(codes, numbers)
        if broken is None:
            broken = self._rules.rejects(made)
        if broken is None:
            for key, fixed in self._rules.fixed.items():
                if key in made and made[key] != fixed:
                    broken = f"given {key} = {fixed!r}"
        if broken is not None:
            raise SpaceError(f"{made.to_json()} is not in the space: it breaks {broken}")
        return made

    def _parse(self, values: Mapping[str, Any]) -> tuple[list[int], dict[int, float]]:
        """Returns the codes of all slots and the numbers of float ranges; constraints are not looked at."""
        if isinstance(values, Architecture):
            known = codes_of(values, self._compiled.book)
            if known is not None:
                return self._compiled.full_codes(known), self._numbers_of(known)
        codes: list[int] = []
        numbers: dict[int, float] = {}
        used: set[str] = set()
        for index, slot in enumerate(self._compiled.slots):
            codes.append(-1)
            if not self._compiled.is_active(index, codes):
                continue
            if slot.kind == "use":
                codes[index] = 0
                continue
            if slot.key not in values:
                unknown = sorted(set(values) - set(self.keys))
                hint = f"; unknown: {', '.join(unknown)}" if unknown else ""
                raise SpaceError(f"{slot.key} is missing: {_text.values_in_words(slot.domain)}{hint}")
            try:
                value = as_label(values[slot.key])
            except TypeError as error:
                raise SpaceError(f"{slot.key}: {error}") from error
            code = slot.domain.code(value)
            if code is None:
                raise SpaceError(f"{slot.key} is {_text.values_in_words(slot.domain)}, not {value!r}")
            codes[index] = code
            used.add(slot.key)
            if slot.kind == "number":
                numbers[index] = float(value)  # type: ignore[arg-type]
        for key in values:
            if key not in used:
                if key in self._compiled.by_key:
                    slot = self._compiled.slots[self._compiled.by_key[key][0]]
                    when = _text.condition(slot, self._compiled)
                    raise SpaceError(f"{key} is not active here: it is when {when}")
                raise SpaceError(f"no choice has the key {key!r}{near(key, self.keys)}")
        return codes, numbers

    def _numbers_of(self, codes: bytes) -> dict[int, float]:
        book = self._compiled.book
        if not book.floats:
            return {}
        row = book.row(codes)
        active = [self._compiled.visible[column] for column in book.floats if row[column] >= 0]
        return dict(zip(active, book.numbers(codes), strict=True))

    def _coded(self, codes: Sequence[int], numbers: Mapping[int, float]) -> Architecture:
        return coded(self._compiled.book, [self._packed(codes, numbers)])[0]

    def _packed(self, codes: Sequence[int], numbers: Mapping[int, float]) -> bytes:
        compiled = self._compiled
        shown = codes if len(codes) == len(compiled.visible) else [codes[index] for index in compiled.visible]
        row = struct.pack(f"{len(shown)}{compiled.book.typecode}", *shown)
        if numbers:
            active = [numbers[index] for index in compiled.visible if index in numbers]
            row += struct.pack(f"{len(active)}d", *active)
        return row

    # ---- sampling

    @overload
    def sample(self, rng: np.random.Generator, n: None = None) -> Architecture: ...
    @overload
    def sample(self, rng: np.random.Generator, n: int) -> list[Architecture]: ...

    def sample(self, rng: np.random.Generator, n: int | None = None) -> Architecture | list[Architecture]:
        """Returns one architecture, or a list of ``n``, drawn independently and uniformly over architectures.

        Uniform over architectures is not uniform over each choice: an option with more below it is drawn more often
        (89% of Once-for-All's networks are of maximum depth). `sample_choices` is the other one.

        Raises:
            SpaceError: No architecture satisfies the constraints, or hardly any draw does.
        """
        if n is not None:
            return self._wrap(*self._draw(n, rng))
        if self._modulo is not None or self._rules.predicates or self._compiled.book.floats:
            return self._wrap(*self._draw(1, rng))[0]
        return coded(self._compiled.book, [self._sampler.draw_one(rng)])[0]

    def sample_codes(self, n: int, rng: np.random.Generator) -> CodeRows:
        """Returns ``n`` uniform draws as codes, ``[n, choices]``: position of the value, -1 where inactive.

        Columns are the choices in order (a key has several where several choices that exclude one another share it);
        numbers of float ranges are not part of the codes.
        """
        return self._draw(n, rng)[0]

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[CodeRows, list[bytes]]:
        """Returns ``n`` rows of codes, and the numbers that stand behind each."""
        if self._lists_classes:
            listed = self._classes.rows
            rows = listed[rng.integers(0, len(listed), n)]
            return rows, self._draw_numbers(rows, rng)
        if self._modulo is None and not self._rules.predicates:
            rows = self._sampler.draw(n, rng)
            return rows, self._draw_numbers(rows, rng)
        kept: list[CodeRows] = [np.empty((0, len(self._compiled.visible)), _TYPES[self._compiled.book.typecode])]
        kept_numbers: list[bytes] = []
        drawn = accepted = 0
        while accepted < n:
            wanted = (n - accepted) * 1.2 * (drawn + 1) / (accepted + 1)
            rows = self._sampler.draw(int(min(max(wanted, 16), 20_000)), rng)
            numbers = self._draw_numbers(rows, rng)
            mask = self._accepts(self._wrap(rows, numbers))
            drawn, accepted = drawn + len(rows), accepted + int(mask.sum())
            kept.append(rows[mask])
            kept_numbers += itertools.compress(numbers, mask.tolist())
            if drawn > _MAX_DRAWS and accepted < n:
                raise SpaceError(
                    f"{self._by_hand()} accepted {accepted} of {drawn:,} draws: too few to sample by rejection; "
                    "name the keys that the predicate reads, where(function, 'key', ...)"
                )
        return np.concatenate(kept)[:n], kept_numbers[:n]

    def _accepts(self, made: Sequence[Architecture]) -> npt.NDArray[np.bool_]:
        """Returns which of ``made`` the predicates on whole architectures accept, and keeps the tally."""
        mask = np.fromiter(map(self._is_accepted, made), bool, len(made))
        self._drawn += len(made)
        self._accepted += int(mask.sum())
        return mask

    def _is_accepted(self, architecture: Architecture) -> bool:
        if self._rules.rejects(architecture) is not None:
            return False
        return self._modulo is None or self._represent(architecture) == architecture

    def _draw_numbers(self, rows: CodeRows, rng: np.random.Generator) -> list[bytes]:
        """Returns the numbers that stand behind each row, drawn or given, as bytes; empty without float ranges."""
        columns = self._compiled.book.floats
        if not columns:
            return []
        drawn = np.empty((len(rows), len(columns)))
        active = rows[:, columns] >= 0
        for position, column in enumerate(columns):
            slot = self._compiled.slots[self._compiled.visible[column]]
            fixed = self._rules.fixed.get(slot.key)
            shares = rng.random(len(rows)).tolist()
            drawn[:, position] = [slot.node.value(share) for share in shares] if fixed is None else fixed
        return [own[is_active].tobytes() for own, is_active in zip(drawn, active, strict=True)]

    def _wrap(self, rows: CodeRows, numbers: Sequence[bytes] = ()) -> list[Architecture]:
        book = self._compiled.book
        if not self._compiled.visible:
            return coded(book, [b""] * len(rows))
        if rows.strides[1] != rows.itemsize:
            rows = np.ascontiguousarray(rows)
        texts: list[bytes] = rows.view(f"V{book.length}")[:, 0].tolist()
        if numbers:
            return coded(book, [text + number for text, number in zip(texts, numbers, strict=True)])
        if len(rows) < _MANY:
            return coded(book, texts)
        return coded(book, texts, book.hashes(rows))

    @overload
    def sample_choices(self, rng: np.random.Generator, n: None = None) -> Architecture: ...
    @overload
    def sample_choices(self, rng: np.random.Generator, n: int) -> list[Architecture]: ...

    def sample_choices(self, rng: np.random.Generator, n: int | None = None) -> Architecture | list[Architecture]:
        """Returns one architecture, or a list of ``n``, drawn uniformly over each active choice, from the root down.

        A choice is drawn from the values that `given` and predicates on it alone leave it; under other constraints each
        draw is repeated until it is legal. This is what supernet training and initial populations usually want.
        """
        if n is None:
            return _vary.sample_choices(self, rng)
        return [_vary.sample_choices(self, rng) for _ in range(n)]

    # ---- variation

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Returns a different architecture: one active choice has another value.

        Other choices keep their values where they stay active; those that become active are drawn, and under
        constraints as few others as possible are changed with it (for `modulo`: the representative of what results).
        Where one change alone changes no more than the representative, or a predicate on whole architectures rejects
        it, up to two more are made.

        Raises:
            SpaceError: The space has no other architecture.
        """
        return _vary.mutate(self, architecture, rng)

    def crossover(self, one: Architecture, other: Architecture, rng: np.random.Generator) -> Architecture:
        """Returns a legal architecture whose choices come from either parent, each at random where both have it.

        Where a mixture is not legal, as few choices as possible are from neither. Where predicates on whole
        architectures reject a hundred mixtures, it is one of the parents.
        """
        return _vary.crossover(self, one, other, rng)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yields all architectures at distance one: the choices active in both agree but for one.

        Choices that become active take all their values. Numbers of float ranges stay (new ones take the middle).
        """
        return _vary.neighbours(self, architecture)

    # ---- listing

    def iter_codes(self) -> Iterator[CodeRows]:
        """Yields all architectures as rows of codes (see `sample_codes`), many at a time, always in one order.

        Raises:
            SpaceError: The space has float ranges.
        """
        if self.continuous:
            raise SpaceError(f"float ranges cannot be listed: {', '.join(self.continuous)}; give them a number first")
        if self._lists_classes:
            yield self._classes.rows
            return
        for rows in self._raw_codes():
            if self._rules.predicates or self._modulo is not None:
                rows = rows[self._accepts(self._listed(rows))]
            if len(rows):
                yield rows

    def _raw_codes(self) -> Iterator[CodeRows]:
        compiled = self._compiled
        for solution in self._rules.network.solutions():
            size = len(next(iter(solution.values()))) if solution else 1
            rows = np.empty((size, len(compiled.visible)), _TYPES[compiled.book.typecode])
            for column, index in enumerate(compiled.visible):
                codes = solution[index]
                slot = compiled.slots[index]
                rows[:, column] = np.where(codes >= slot.num_values, -1, codes) if slot.when is not None else codes
            yield rows

    def __iter__(self) -> Iterator[Architecture]:
        for rows in self.iter_codes():
            yield from self._listed(rows)

    def _listed(self, rows: CodeRows) -> list[Architecture]:
        """Returns rows of a space without free float ranges as architectures."""
        return self._wrap(rows, self._draw_numbers(rows, np.random.default_rng(0)))

    @cached_property
    def _classes(self) -> _Classes:
        """One row of each isomorphism class: the first in lexicographic order, or the representative named."""
        assert self._modulo is not None
        by_class: dict[Any, bytes] = {}
        book = self._compiled.book
        if self._modulo.rows is not None:
            known = np.ascontiguousarray(self._modulo.rows, _TYPES[book.typecode])
            if len(self._constraints) > self._modulo.num_constraints:
                known = known[[self.contains(made) for made in self._wrap(known)]]
            return _Classes(known, by_class)
        chunks = [np.empty((0, len(book.keys)), _TYPES[book.typecode]), *self._raw_codes()]
        rows = np.concatenate(chunks)
        if book.keys:
            rows = rows[np.lexsort(rows.T[::-1])]
        for made in self._listed(rows):
            if self._rules.rejects(made) is not None:
                continue
            found = self._modulo.function(made)
            if isinstance(found, Mapping):
                stands = made if made == found else self._member(found)
                by_class[stands] = self._row(stands)
            else:
                by_class.setdefault(found, self._row(made))
        kept = np.frombuffer(b"".join(codes[: book.length] for codes in by_class.values()), _TYPES[book.typecode])
        return _Classes(kept.reshape(len(by_class), len(book.keys)), by_class)

    def _member(self, values: Mapping[str, Any]) -> Architecture:
        """Returns what a representative function returned as an architecture that satisfies the constraints."""
        assert self._modulo is not None
        codes, numbers = self._parse(values)
        row = self._packed(codes, numbers)
        known = self._stands.get(row)
        if known is not None and self._row(known) == row:
            return known
        made = coded(self._compiled.book, [row])[0]
        broken = self._rules.broken(codes) or self._rules.rejects(made)
        if broken is not None:
            raise SpaceError(f"{self._modulo.name} returned {made.to_json()}, which breaks {broken}")
        return made

    def _row(self, architecture: Mapping[str, Any]) -> bytes:
        known = codes_of(architecture, self._compiled.book) if isinstance(architecture, Architecture) else None
        if known is not None:
            return known
        own = codes_of(self._coded(*self._parse(architecture)), self._compiled.book)
        assert own is not None
        return own

    def _represent(self, architecture: Architecture) -> Architecture:
        """Returns the architecture that stands for the class of a legal one."""
        if self._modulo is None:
            return architecture
        found = self._modulo.function(architecture)
        if isinstance(found, Mapping):
            return architecture if architecture == found else self._member(found)
        if self._modulo.rows is not None or self._num_discrete > MAX_LISTED:
            raise SpaceError(
                f"modulo {self._modulo.name} must return the representative architecture in a space of "
                f"{self._num_discrete:,}; returning a class is enough up to {MAX_LISTED:,} that are not listed"
            )
        return coded(self._compiled.book, [self._classes.by_class[found]])[0]

    def _standing(self, codes: Sequence[int], numbers: Mapping[int, float]) -> Architecture | None:
        """Returns the architecture that stands for one that keeps the keyed rules, None where a predicate rejects it.

        Variation comes back to the same codes: what predicates and classes say of them is asked once.
        """
        row = self._packed(codes, numbers)
        if row in self._stands:
            return self._stands[row]
        made = coded(self._compiled.book, [row])[0]
        if self._modulo is None and not self._rules.predicates:
            return made
        if len(self._stands) >= _MAX_STANDS:
            self._stands.clear()
        stands = None if self._rules.rejects(made) is not None else self._represent(made)
        self._stands[row] = stands
        if stands is not None:
            self._stands[self._row(stands)] = stands
        return stands

    # ---- as codes

    def codes(self, architectures: Sequence[Mapping[str, Any]]) -> CodeRows:
        """Returns architectures as codes, ``[n, choices]`` as `sample_codes` gives them; constraints need not hold.

        Raises:
            SpaceError: Not of this space.
        """
        book = self._compiled.book
        rows = [self._row(each)[: book.length] for each in architectures]
        return np.frombuffer(b"".join(rows), _TYPES[book.typecode]).reshape(len(rows), len(book.keys))

    def of_codes(self, rows: CodeRows) -> list[Architecture]:
        """Returns the architectures of codes, decoded when read. They are trusted: nothing is checked.

        Raises:
            SpaceError: The space has float ranges, whose numbers are not part of the codes.
        """
        if self._compiled.book.floats:
            raise SpaceError(f"codes leave out the numbers of float ranges: {', '.join(self.continuous)}")
        return self._wrap(np.ascontiguousarray(rows, _TYPES[self._compiled.book.typecode]))

    # ---- as vectors

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self._compiled)

    @property
    def num_features(self) -> int:
        """Length of the vectors of `encode`."""
        return self._encoder.num_features

    @property
    def feature_names(self) -> list[str]:
        """What each feature of `encode` says."""
        return list(self._encoder.names)

    def encode(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float32]:
        """Returns vectors, float32 ``[n, num_features]`` in 0..1, that differ wherever architectures do.

        One-hot for options, membership for subsets, position by item for orders, a number from 0 to 1 for float
        ranges; a choice that may be inactive has one feature more that says so.
        """
        book = self._compiled.book
        rows, numbers = [], []
        for architecture in architectures:
            known = codes_of(architecture, book)
            if known is None:
                known = codes_of(self._coded(*self._parse(architecture)), book)
                assert known is not None
            rows.append(known[: book.length])
            numbers.append(book.numbers(known))
        codes = np.frombuffer(b"".join(rows), _TYPES[book.typecode]).reshape(len(rows), len(book.keys))
        return self._encoder.encode(codes, numbers)

    def decode(self, vectors: npt.NDArray[Any]) -> list[Architecture]:
        """Returns the architectures that ``vectors`` (``[n, num_features]``) encode; numbers to float32.

        Raises:
            SpaceError: A vector that encodes none of this space's.
        """
        return [self.architecture(self._encoder.values(vector)) for vector in np.asarray(vectors)]

    @property
    def is_wired(self) -> bool:
        """Whether the space says how its networks are wired: equal graphs are then equal networks."""
        return self._graph is not None

    def graph(self, architecture: Mapping[str, Any]) -> Graph:
        """Returns how the network of ``architecture`` is wired, as far as the space says (``Space(tree, graph=...)``).

        Raises:
            SpaceError: Not of this space.
        """
        if self._graph is not None:
            return self._graph(architecture if isinstance(architecture, Architecture) else Architecture(architecture))
        return GraphReader(self._compiled, *self._parse(architecture)).read(self._compiled.plan)

    # ---- best under scores

    def argmax(self, scores: Mapping[str, Any]) -> Architecture:
        """Returns the architecture with the largest sum of scores of its active choices, exactly, under constraints.

        Args:
            scores: Key -> one score per value in their order (an array or tensor on the CPU), or a mapping value ->
                score. Keys left out score 0; for a float range, give the number that is to be used (its middle
                otherwise).

        Raises:
            SpaceError: An unknown key, a wrong number of scores, or predicates on whole architectures over a space of
                more than 2,000,000.
        """
        return _vary.argmax(self, scores)

    # ---- building

    def build(self, architecture: Mapping[str, Any], part: str | None = None) -> Any:
        """Returns what the tree describes with the choices of ``architecture``.

        Partials whose required arguments are all there are called; those that lack some are handed over as factories;
        bare classes, functions and values are handed over as they are.

        Args:
            architecture: Of this space; constraints need not hold.
            part: Entry of a dict space (``network`` where there is one, otherwise the dict of all).

        Raises:
            SpaceError: Not of this space, or no such entry.
        """
        codes, numbers = self._parse(architecture)
        plan, place = self._part(part)
        built = Builder(self._compiled, codes, numbers).build(plan, place)
        return built

    def supernet(
        self,
        part: str | None = None,
        *,
        elastic: Sequence[str] = (),
        separate: Sequence[str] = (),
        windows: Mapping[type[nn.Module], Window] | None = None,
        examples: Sequence[Mapping[str, Any]] = (),
        seed: int = 0,
    ) -> Supernet:
        """Returns one store of weights for all architectures: see `sartor.space.Supernet`."""
        from sartor.space._supernet import Supernet

        return Supernet(self, part, elastic, separate, windows, examples, seed)

    def mixture(
        self,
        example_inputs: Sequence[Any],
        part: str | None = None,
        *,
        max_combinations: int = 128,
        seed: int = 0,
        around: Around | None = None,
    ) -> Mixture:
        """Returns the continuous relaxation, all alternatives at once: see `sartor.space.Mixture`."""
        from sartor.space._mixture import Mixture

        return Mixture(self, example_inputs, part, max_combinations, seed, around)

    def _part(self, part: str | None) -> tuple[Plan, str]:
        plan = self._compiled.plan
        entries = dict(plan.entries) if isinstance(plan, Entries) else {}
        if part is None:
            return (entries["network"], "network") if "network" in entries else (plan, "")
        if part not in entries:
            raise SpaceError(f"the space has no entry {part!r}{near(part, entries)}")
        return entries[part], part

    # ---- in words

    def describe(self) -> dict[str, Any]:
        """Returns the space as JSON: its tree, choices with conditions, constraints. Equal in every process."""
        slots = self._compiled.slots
        choices = [
            {
                "key": slots[index].key,
                "values": slots[index].domain.signature(),
                "when": _text.condition(slots[index], self._compiled),
            }
            for index in self._compiled.visible
        ]
        rules = [{"name": name, "is": rule} for name, rule in self._described_rules().items()]
        return {"tree": _text.describe(self.tree), "choices": choices, "constraints": rules}

    def _described_rules(self) -> dict[str, object]:
        """Returns name -> what of a constraint can be said: its truth tables, or that it has a name only."""
        found: dict[str, object] = {}
        for constraint in self._constraints:
            name = constraint.name
            said: object = "predicate on whole architectures"
            if isinstance(constraint, Given):
                said = [constraint.key, constraint.value]
            elif isinstance(constraint, Keyed):
                said = [list(constraint.patterns), "by rejection"]
                if constraint not in self._rules.rejected_tables:
                    digest = hashlib.sha256()
                    for scope, table in self._tables.of(constraint):
                        digest.update(repr((scope, table.shape)).encode())
                        digest.update(np.packbits(table).tobytes())
                    said = [list(constraint.patterns), digest.hexdigest()[:16]]
            while name in found:
                name += "'"
            found[name] = said
        if self._modulo is not None:
            found[f"modulo {self._modulo.name}"] = "one of each class"
        return found

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal for equal definitions, in every process.

        Covers choices, labels, fixed arguments, names of functions and the truth tables of keyed predicates; predicates
        on whole architectures, derived values and `modulo` enter with their names.
        """
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def diff(self, other: Space) -> list[str]:
        """Returns how ``other`` differs from this space, a sentence for each choice; empty when it does not."""
        if self.fingerprint == other.fingerprint:
            return []
        rules = self._described_rules(), other._described_rules()
        tree_differs = _text.describe(self.tree) != _text.describe(other.tree)
        return _text.differences(self._compiled, other._compiled, rules, tree_differs)

    def __str__(self) -> str:
        rules = []
        for constraint in self._constraints:
            match constraint:
                case Given():
                    rules.append(constraint.name)
                case Keyed():
                    how = ""
                    if constraint in self._rules.rejected_tables:
                        size = self._rules.rejected_tables[constraint]
                        why = "it reads a float range" if size is None else f"a table of {size:,} is too large"
                        how = f" (by rejection: {why})"
                    rules.append(f"where {constraint.name}: {', '.join(constraint.patterns)}{how}")
                case Whole():
                    share = f", accepts {self.acceptance:.3g}" if self.acceptance is not None else ""
                    rules.append(f"where {constraint.name}: whole architecture (by rejection{share})")
        if self._modulo is not None:
            rules.append(f"modulo {self._modulo.name}")
        return _text.tree(self.tree, rules)

    def __repr__(self) -> str:
        return f"Space({len(self._compiled.visible)} choices, fingerprint {self.fingerprint})"


def _restore(
    tree: Any,
    constraints: tuple[Constraint, ...],
    modulo: _Modulo | None,
    graph: Callable[[Architecture], Graph] | None,
) -> Space:
    space = Space.__new__(Space)
    space._set(tree, Compiled(tree), constraints, modulo, None, graph)
    return space
