"""From the tree a person wrote to slots: one per choice, each with the condition under which it is active.

Beside the slots the tree is kept as a plan: the same tree with every choice tied to its slot. Whatever reads a tree
under an architecture (building, and weight sharing) walks the plan.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError
from sartor.space._architecture import Codebook
from sartor.space._calls import argument_names, check_call, signature_of
from sartor.space._domains import Combinations, Domain, Interval, Listed, Orders
from sartor.space._nodes import (
    CHOICES,
    NODES,
    Derived,
    Factory,
    FloatRange,
    OneOf,
    Permutation,
    Repeat,
    Shared,
    Subset,
    holds_choice,
)

Mask: TypeAlias = bytes
"""Which codes satisfy a literal: one byte per code, and a last 0, so that an inactive slot (-1) never does."""
Conjunction: TypeAlias = tuple[tuple[int, Mask], ...]
"""Slots that must all have one of the codes of their mask."""
_Literal: TypeAlias = tuple[str, Mask]
_When: TypeAlias = tuple[_Literal, ...]


@dataclass(frozen=True, eq=False)
class Slot:
    """One choice at one place of the tree.

    Attributes:
        id: Unique path, with the labels of the options it lies under.
        key: Its name in an architecture; two slots that are never active together may have one key.
        domain: Its values.
        when: Conjunctions of which one must hold for it to be active; None when it always is.
        kind: ``use`` slots are hidden: whether a shared choice is in use anywhere.
        node: What was written.
    """

    id: str
    key: str
    domain: Domain
    when: tuple[Conjunction, ...] | None
    kind: Literal["choice", "number", "use"]
    node: Any

    @cached_property
    def num_values(self) -> int:
        return len(self.domain)


# ---- the plan: the tree with its choices tied to slots


@dataclass(frozen=True, eq=False)
class Fixed:
    """A value handed over as it is."""

    value: Any


@dataclass(frozen=True, eq=False)
class Pick:
    """One of several options."""

    slot: int
    options: tuple[Plan, ...]
    node: OneOf


@dataclass(frozen=True, eq=False)
class PickSubset:
    """A combination of items."""

    slot: int
    items: tuple[Plan, ...]
    node: Subset


@dataclass(frozen=True, eq=False)
class PickOrder:
    """An order of plain values."""

    slot: int


@dataclass(frozen=True, eq=False)
class PickNumber:
    """A number of a float range."""

    slot: int


@dataclass(frozen=True, eq=False)
class Splice:
    """Repetitions; how many is ``times``."""

    times: Plan
    items: tuple[Plan, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """A partial with its arguments."""

    function: Callable[..., Any]
    arguments: tuple[tuple[str, Plan], ...]
    keywords: tuple[tuple[str, Plan], ...]
    recipe: bool

    @cached_property
    def signature(self) -> inspect.Signature | None:
        return signature_of(self.function)


@dataclass(frozen=True, eq=False)
class Items:
    """A list, tuple or named tuple."""

    type: type
    items: tuple[Plan, ...]


@dataclass(frozen=True, eq=False)
class Entries:
    """A dict."""

    entries: tuple[tuple[Any, Plan], ...]


@dataclass(frozen=True, eq=False)
class Compute:
    """A value computed from shared choices."""

    function: Callable[..., Any]
    arguments: tuple[Plan, ...]


Plan: TypeAlias = Fixed | Pick | PickSubset | PickOrder | PickNumber | Splice | Call | Items | Entries | Compute


class Compiled:
    """The slots and the plan of one tree; spaces that differ in constraints alone share it.

    Attributes:
        slots: In an order in which what a slot depends on comes before it.
        plan: The tree with slots.
        visible: Slots that appear in architectures, in order; the columns of codes.
        book: How codes are read.
        by_key: Key -> its slots.
        dependents: Slot -> slots whose activity may change with it, in order.
    """

    def __init__(self, tree: Any) -> None:
        visitor = _Visitor()
        draft = visitor.visit(tree, "", "", ())
        self.slots, renumber = _resolve(visitor)
        self.plan = _renumbered(draft, renumber, {})
        self.visible = [index for index, slot in enumerate(self.slots) if slot.kind != "use"]
        self.column_of = {slot: column for column, slot in enumerate(self.visible)}
        shown = [self.slots[index] for index in self.visible]
        self.book = Codebook(
            tuple(slot.key for slot in shown),
            tuple(slot.domain for slot in shown),
            tuple(column for column, slot in enumerate(shown) if slot.kind == "number"),
        )
        self.by_key: dict[str, list[int]] = {}
        for index in self.visible:
            self.by_key.setdefault(self.slots[index].key, []).append(index)
        _refuse_ambiguous_keys(self.slots, self.by_key)

    @cached_property
    def dependents(self) -> list[list[int]]:
        below: list[set[int]] = [set() for _ in self.slots]
        for index in reversed(range(len(self.slots))):
            for source in {source for when in self.slots[index].when or () for source, _ in when}:
                below[source] |= {index} | below[index]
        return [sorted(each) for each in below]

    def is_active(self, slot: int, codes: list[int]) -> bool:
        """Whether ``slot`` is active given the ``codes`` of all slots before it (-1 where inactive)."""
        when = self.slots[slot].when
        if when is None:
            return True
        for literals in when:
            for source, mask in literals:
                if not mask[codes[source]]:
                    break
            else:
                return True
        return False

    def full_codes(self, row: bytes) -> list[int]:
        """Returns the codes of all slots, hidden ones too, from the codes of the visible ones."""
        shown: list[int] = self.book.row(row).tolist()
        if len(shown) == len(self.slots):
            return shown
        codes = [-1] * len(self.slots)
        for index, code in zip(self.visible, shown, strict=True):
            codes[index] = code
        for index, slot in enumerate(self.slots):
            if slot.kind == "use" and self.is_active(index, codes):
                codes[index] = 0
        return codes


class _Visitor:
    """Walks a tree once; slots are referred to by id until their order is known."""

    def __init__(self) -> None:
        self.drafts: dict[str, tuple[str, Domain, _When, Literal["choice", "number", "use"], Any]] = {}
        self.order: dict[str, int] = {}
        self.uses: dict[str, list[_When]] = {}
        self.holds: dict[str, list[str]] = {}
        self._plans: dict[int, tuple[Shared, Plan]] = {}
        self._seen: list[list[str]] = []
        self._inside: list[str] = []

    def slot(self, id: str, key: str, domain: Domain, when: _When, kind: Literal["choice", "number"], node: Any) -> int:
        for seen in self._seen:
            seen.append(id)
        known = self.drafts.get(id)
        if known is None:
            self.drafts[id] = (key, domain, when, kind, node)
            self.order[id] = len(self.order)
        elif not self._inside or known[1].signature() != domain.signature():
            if self._inside:
                raise SpaceError(
                    f"Shared({self._inside[-1]!r}) has two definitions with different choices: "
                    f"{known[1].signature()} and {domain.signature()} at {key!r}"
                )
            raise SpaceError(f"two choices have the path {id!r}; give one of them a name: Shared('name', ...)")
        return self.order[id]

    def visit(self, value: Any, key: str, id: str, when: _When) -> Plan:
        if isinstance(value, Shared):
            return self._shared(value, when)
        if isinstance(value, CHOICES):
            key, id = key or "choice", id or "choice"
        if isinstance(value, OneOf):
            slot = self.slot(id, key, Listed(value.labels), when, "choice", value)
            return Pick(slot, tuple(self._options(value, key, id)), value)
        if isinstance(value, Subset):
            return self._subset(value, key, id, when)
        if isinstance(value, Permutation):
            return PickOrder(self.slot(id, key, Orders(value.items), when, "choice", value))
        if isinstance(value, FloatRange):
            interval = Interval(value.low, value.high, value.log)
            return PickNumber(self.slot(id, key, interval, when, "number", value))
        if isinstance(value, Repeat):
            return self._repeat(value, key, id, when)
        if isinstance(value, Derived):
            return Compute(value.function, tuple(self.visit(argument, key, id, when) for argument in value.arguments))
        if isinstance(value, Factory):
            return self._call(value.node, key, id, when, recipe=True)
        if isinstance(value, partial):
            return self._call(value, key, id, when, recipe=False)
        if isinstance(value, (list, tuple)):
            items = (self.visit(item, _join(key, i), _join(id, i), when) for i, item in enumerate(value))
            return Items(type(value), tuple(items))
        if isinstance(value, dict):
            entries = ((n, self.visit(item, _join(key, n), _join(id, n), when)) for n, item in value.items())
            return Entries(tuple(entries))
        _refuse_hidden_choice(value, key)
        return Fixed(value)

    def _shared(self, value: Shared, when: _When) -> Plan:
        use = "?" + value.name
        self.uses.setdefault(value.name, []).append(when)
        for seen in self._seen:
            seen.append(use)
        if value.name in self._inside:
            raise SpaceError(f"Shared({value.name!r}) holds itself")
        known = self._plans.get(id(value))
        if known is not None:
            for seen in self._seen:
                seen.extend(self.holds[value.name])
            return known[1]
        if use not in self.drafts:
            self.drafts[use] = (use, Listed(("used",)), (), "use", value)
            self.order[use] = len(self.order)
        self._seen.append([])
        self._inside.append(value.name)
        plan = self.visit(value.node, value.name, _shared_id(value), ((use, b"\1\0"),))
        self._inside.pop()
        held = self._seen.pop()
        if sorted(set(held)) != sorted(set(self.holds.setdefault(value.name, held))):
            different = sorted(set(held) ^ set(self.holds[value.name]))
            raise SpaceError(
                f"Shared({value.name!r}) has two definitions with different choices: {', '.join(different)} "
                "in one of them only; two places may differ in fixed arguments, not in choices"
            )
        self._plans[id(value)] = (value, plan)
        return plan

    def _options(self, value: OneOf, key: str, id: str) -> Iterator[Plan]:
        for position, (option, label) in enumerate(zip(value.options, value.labels, strict=True)):
            under = _join(key, label) if isinstance(option, (*CHOICES, Repeat)) else key
            yield self.visit(option, under, f"{id}[{label}]", ((id, _mask(len(value.labels), [position])),))

    def _subset(self, value: Subset, key: str, id: str, when: _When) -> Plan:
        domain = Combinations(value.names, value.sizes)
        slot = self.slot(id, key, domain, when, "choice", value)
        members = domain.membership() if any(map(holds_choice, value.items)) else None
        items = []
        for position, (name, item) in enumerate(zip(value.names, value.items, strict=True)):
            taken = when
            if members is not None:
                taken = ((id, members[:, position].astype(np.uint8).tobytes() + b"\0"),)
            items.append(self.visit(item, _join(key, name), _join(id, name), taken))
        return PickSubset(slot, tuple(items), value)

    def _repeat(self, value: Repeat, key: str, id: str, when: _When) -> Plan:
        if isinstance(value.times, int):
            if value.times < 0:
                raise SpaceError(f"times of a Repeat must be 0 or more, got {value.times}")
            items = (self.visit(value.node, _join(key, i), _join(id, i), when) for i in range(value.times))
            return Splice(Fixed(value.times), tuple(items))
        source, counts = _times(value.times)
        named = isinstance(source, Shared)
        times = self.visit(value.times, _join(key, "times"), _join(id, "times"), when)
        slot = _shared_id(source) if isinstance(source, Shared) else _join(id, "times")
        parts = []
        for i in range(max(counts)):
            enough = [code for code, count in enumerate(counts) if count > i]
            condition = when
            if len(enough) < len(counts):
                literal = (slot, _mask(len(counts), enough))
                condition = (*when, literal) if named else (literal,)
            parts.append(self.visit(value.node, _join(key, i), _join(id, i), condition))
        return Splice(times, tuple(parts))

    def _call(self, value: partial[Any], key: str, id: str, when: _When, *, recipe: bool) -> Plan:
        check_call(value)
        _refuse_hidden_choice(value.func, key)
        names = argument_names(value)
        positional = tuple(
            (name, self.visit(argument, _join(key, name), _join(id, name), when))
            for name, argument in zip(names, value.args, strict=True)
        )
        keywords = tuple(
            (name, self.visit(argument, _join(key, name), _join(id, name), when))
            for name, argument in value.keywords.items()
        )
        return Call(value.func, positional, keywords, recipe)


def _shared_id(shared: Shared) -> str:
    """Returns the path of a shared choice, which no path of arguments is equal to."""
    return "@" + shared.name


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _mask(size: int, codes: list[int]) -> Mask:
    mask = bytearray(size + 1)
    for code in codes:
        mask[code] = 1
    return bytes(mask)


def _times(times: OneOf | Shared | Derived) -> tuple[OneOf | Shared, list[int]]:
    """Returns the choice that decides a number of repetitions, and the number for each of its values."""
    if isinstance(times, Derived):
        named = [argument for argument in times.arguments if isinstance(argument, (Shared, Derived))]
        if len(named) != 1:
            raise SpaceError("times of a Repeat may be computed from one Shared choice, not from several")
        inner = named[0]
        source, below = _times(inner)
        counts = [
            times.function(*(count if argument is inner else argument for argument in times.arguments))
            for count in below
        ]
    else:
        source = times
        choice = times.node if isinstance(times, Shared) else times
        if not isinstance(choice, OneOf):
            raise SpaceError(f"times of a Repeat is a choice between numbers, got {choice!r}")
        counts = list(choice.options)
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
            raise SpaceError(f"times of a Repeat are whole numbers from 0, got {count!r}")
    return source, [int(count) for count in counts]


def _resolve(visitor: _Visitor) -> tuple[list[Slot], dict[int, int]]:
    """Orders the slots, and keeps hidden ones only where a shared choice has several conditional uses.

    Returns:
        The slots, and position of first visit -> position in the order.
    """
    inlined: dict[str, tuple[_When, ...] | None] = {}

    def simplify(literals: _When, stack: tuple[str, ...]) -> _When:
        kept: dict[_Literal, None] = {}
        for literal in literals:
            replaced = uses_of(literal[0], stack) if literal[0].startswith("?") else None
            if replaced is not None and len(replaced) == 1:
                kept.update(dict.fromkeys(replaced[0]))
            else:
                kept[literal] = None
        return tuple(kept)

    def uses_of(use: str, stack: tuple[str, ...]) -> tuple[_When, ...]:
        known = inlined.get(use)
        if known is not None:
            return known
        if use in stack:
            raise SpaceError(f"Shared({use[1:]!r}) is needed to decide whether it is needed: the space is circular")
        found = list(dict.fromkeys(simplify(when, (*stack, use)) for when in visitor.uses[use[1:]]))
        result: tuple[_When, ...] = ((),) if () in found else tuple(_without_implied(found, visitor))
        inlined[use] = result
        return result

    whens: dict[str, tuple[_When, ...]] = {}
    for id, (_, _, when, kind, _) in visitor.drafts.items():
        alternatives = uses_of(id, ()) if kind == "use" else (simplify(when, ()),)
        if kind != "use" or len(alternatives) > 1:
            whens[id] = alternatives

    ordered: dict[str, int] = {}

    def place(id: str, stack: tuple[str, ...]) -> None:
        if id in ordered:
            return
        if id in stack:
            raise SpaceError(f"the conditions of {' and '.join(stack)} need one another: the space is circular")
        for literals in whens[id]:
            for source, _ in literals:
                place(source, (*stack, id))
        ordered[id] = len(ordered)

    for id in whens:
        place(id, ())
    slots = []
    for id in ordered:
        key, domain, _, kind, node = visitor.drafts[id]
        conditions: tuple[Conjunction, ...] | None = None
        if () not in whens[id]:
            conditions = tuple(tuple((ordered[source], mask) for source, mask in literals) for literals in whens[id])
        slots.append(Slot(id, key, domain, conditions, kind, node))
    return slots, {visitor.order[id]: position for id, position in ordered.items()}


def _without_implied(uses: list[_When], visitor: _Visitor) -> list[_When]:
    """Returns ``uses`` without those that lie inside another: a number of repetitions read in what it repeats."""

    def needed(literals: _When) -> set[_Literal]:
        found: set[_Literal] = set()
        pending = list(literals)
        while pending:
            literal = pending.pop()
            if literal not in found:
                found.add(literal)
                pending.extend(visitor.drafts[literal[0]][2])
        return found

    all_needed = [needed(literals) for literals in uses]
    kept = []
    for i, own in enumerate(all_needed):
        inside = (
            set(other) <= own and (j < i or not set(uses[i]) <= all_needed[j])
            for j, other in enumerate(uses)
            if j != i
        )
        if not any(inside):
            kept.append(uses[i])
    return kept


def _renumbered(plan: Plan, new: dict[int, int], memo: dict[int, Plan]) -> Plan:
    """Returns ``plan`` with slot numbers replaced; parts that were one object stay one."""
    known = memo.get(id(plan))
    if known is not None:
        return known

    def again(part: Plan) -> Plan:
        return _renumbered(part, new, memo)

    def named(parts: tuple[tuple[Any, Plan], ...]) -> tuple[tuple[Any, Plan], ...]:
        return tuple((name, again(part)) for name, part in parts)

    made: Plan
    match plan:
        case Fixed():
            made = plan
        case Pick(slot, options, node):
            made = Pick(new[slot], tuple(map(again, options)), node)
        case PickSubset(slot, items, node):
            made = PickSubset(new[slot], tuple(map(again, items)), node)
        case PickOrder(slot):
            made = PickOrder(new[slot])
        case PickNumber(slot):
            made = PickNumber(new[slot])
        case Splice(times, items):
            made = Splice(again(times), tuple(map(again, items)))
        case Call(function, arguments, keywords, recipe):
            made = Call(function, named(arguments), named(keywords), recipe)
        case Items(kind, items):
            made = Items(kind, tuple(map(again, items)))
        case Entries(entries):
            made = Entries(named(entries))
        case Compute(function, arguments):
            made = Compute(function, tuple(map(again, arguments)))
    memo[id(plan)] = made
    return made


def _refuse_ambiguous_keys(slots: list[Slot], by_key: Mapping[str, list[int]]) -> None:
    """Two slots may have one key only when they lie under different options of one choice."""

    def required(slot: int) -> dict[int, npt.NDArray[np.bool_]]:
        found: dict[int, npt.NDArray[np.bool_]] = {}
        pending = [slot]
        while pending:
            when = slots[pending.pop()].when
            if when is None or len(when) != 1:
                continue
            for source, mask in when[0]:
                allowed = np.frombuffer(mask, np.uint8).astype(bool)
                found[source] = found[source] & allowed if source in found else allowed
                pending.append(source)
        return found

    for key, same in by_key.items():
        needs = [required(slot) for slot in same] if len(same) > 1 else []
        for later in range(1, len(needs)):
            for earlier in range(later):
                one, other = needs[earlier], needs[later]
                if not any(not (one[source] & other[source]).any() for source in one.keys() & other.keys()):
                    raise SpaceError(
                        f"two choices that may both be active have the key {key!r} ({slots[same[earlier]].id} and "
                        f"{slots[same[later]].id}); rename an argument, or name one: Shared('name', ...)"
                    )


def _refuse_hidden_choice(value: object, key: str) -> None:
    """Refuses a choice inside an object, where neither sampling nor building would see it."""
    where = f" at {key!r}" if key else ""

    def refuse(name: str, node: object) -> NoReturn:
        kind = type(value).__name__
        advice = f"write partial({kind}, {name}={node!r}) instead of the instance"
        if inspect.isfunction(value):
            advice = "pass it as an argument: partial(function, argument=choice)"
        elif isinstance(value, (set, frozenset)):
            advice = "use a list, tuple or dict"
        raise SpaceError(f"a choice is hidden inside a {kind}{where}, where build would not see it: {advice}")

    for name, held in _parts(value):
        if isinstance(held, NODES) or (isinstance(held, (partial, list, tuple, dict)) and holds_choice(held)):
            refuse(name, held)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if value is None or isinstance(value, (bool, int, float, str, bytes, type)):
        return
    if inspect.isfunction(value):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        for position, default in enumerate(value.__defaults__ or ()):
            yield f"default {position}", default
    elif isinstance(value, (set, frozenset)):
        yield from (("item", item) for item in value)
    elif dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        yield from ((str(name), item) for name, item in value.items())
    else:
        yield from vars(value).items() if hasattr(value, "__dict__") else ()
