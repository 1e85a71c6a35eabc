"""Variation: mutation, crossover, neighbours, draws choice by choice, and the best under scores.

Small changes are made on the list of codes; where they break a keyed predicate, the network is asked for the legal
architecture that keeps most of what was wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError, near
from sartor.space._architecture import Architecture
from sartor.space._nodes import typed

if TYPE_CHECKING:
    from sartor.space._domains import Domain
    from sartor.space._space import Space

_TRIES = 100
_MAX_CHANGES = 3
"""Choices changed at once by a mutation, where fewer change nothing or break a predicate on whole architectures."""
_MAX_ORDERED = 4096
"""Values of a choice that are put in order of their size."""


def sample_choices(space: Space, rng: np.random.Generator) -> Architecture:
    """See `sartor.space.Space.sample_choices`."""
    compiled = space._compiled
    random = rng.random
    open_codes = space._rules.open_codes
    for _ in range(_TRIES):
        codes: list[int] = []
        for index, slot in enumerate(compiled.slots):
            codes.append(-1)
            if compiled.is_active(index, codes):
                left = open_codes.get(index)
                code = int(random() * (slot.num_values if left is None else len(left)))
                codes[index] = code if left is None else left[code]
        if space._rules.broken(codes) is None:
            made = _finish(space, codes, {}, rng)
            if made is not None:
                return made
    # Legal draws are rare: the same random preferences, but the nearest legal architecture.
    for _ in range(_TRIES):
        wishes = {index: rng.random(slot.num_values) for index, slot in enumerate(compiled.slots)}
        repaired = _nearest(space, wishes, {})
        if repaired is None:
            raise SpaceError("no architecture satisfies the constraints: " + space._constraint_names())
        made = _finish(space, repaired, {}, rng)
        if made is not None:
            return made
    return space.sample(rng)


def mutate(space: Space, architecture: Architecture, rng: np.random.Generator) -> Architecture:
    """See `sartor.space.Space.mutate`."""
    compiled = space._compiled
    codes, numbers = space._parse(architecture)
    fixed = space._rules.fixed
    slots = compiled.slots
    movable = [
        index
        for index in compiled.visible
        if codes[index] >= 0
        and (slots[index].num_values > 1 or (slots[index].kind == "number" and slots[index].key not in fixed))
    ]
    random = rng.random
    current, num_changes = codes, 0
    for _ in range(_TRIES if movable else 0):
        chosen = movable[int(random() * len(movable))]
        slot = slots[chosen]
        changed: list[int] | None
        if slot.kind == "number":
            moved = dict(numbers)
            moved[chosen] = slot.node.value(random())
            changed, made = None, _finish(space, codes, moved, rng)
        elif current[chosen] < 0:
            continue
        else:
            value = int(random() * (slot.num_values - 1))
            value += value >= current[chosen]
            changed = _with(space, current, chosen, value, rng)
            if changed is None:
                changed = _repaired(space, current, {chosen: value}, rng)
            made = _finish(space, changed, numbers, rng) if changed is not None else None
        if made is not None and made != architecture:
            return made
        # Of the same class, or rejected: a few changes together may lead on (an edge in and one out, an edge moved).
        num_changes += 1
        current = codes if changed is None or num_changes % _MAX_CHANGES == 0 else changed
    # A hundred random moves failed: look at all of them before giving up.
    for chosen in (movable[i] for i in rng.permutation(len(movable)).tolist()):
        if slots[chosen].kind == "number":
            continue
        for value in rng.permutation(slots[chosen].num_values).tolist():
            if value == codes[chosen]:
                continue
            for change in (_with(space, codes, chosen, value, rng), None):
                changed = change or _repaired(space, codes, {chosen: value}, rng)
                made = _finish(space, changed, numbers, rng) if changed is not None else None
                if made is not None and made != architecture:
                    return made
    for made in space.sample(rng, _TRIES):
        if made != architecture:
            return made
    raise SpaceError(f"nothing to mutate: no other architecture was found beside {architecture!r}")


def crossover(space: Space, one: Architecture, other: Architecture, rng: np.random.Generator) -> Architecture:
    """See `sartor.space.Space.crossover`."""
    compiled = space._compiled
    slots = compiled.slots
    first, first_numbers = space._parse(one)
    second, second_numbers = space._parse(other)
    random = rng.random
    for _ in range(_TRIES):
        codes: list[int] = []
        numbers: dict[int, float] = {}
        for index, (slot, mine, theirs) in enumerate(zip(slots, first, second, strict=True)):
            codes.append(-1)
            if slot.when is not None and not compiled.is_active(index, codes):
                continue
            if mine == theirs >= 0 and slot.kind != "number":
                codes[index] = mine
                continue
            take_first = theirs < 0 or (mine >= 0 and random() < 0.5)
            code = mine if take_first else theirs
            codes[index] = code if code >= 0 else int(random() * slot.num_values)
            if slot.kind == "number" and code >= 0:
                numbers[index] = first_numbers[index] if take_first else second_numbers[index]
        if space._rules.broken(codes) is not None:
            wishes = {}
            for index, slot in enumerate(slots):
                wish = 1e-3 * rng.random(slot.num_values)
                for parent in (first[index], second[index]):
                    if parent >= 0:
                        wish[parent] += 1.0
                if codes[index] >= 0:
                    wish[codes[index]] += 0.5
                wishes[index] = wish
            repaired = _nearest(space, wishes, {})
            if repaired is None:
                break
            codes = repaired
            numbers = {**second_numbers, **first_numbers, **numbers}
        made = _finish(space, codes, numbers, rng)
        if made is not None:
            return made
    return one if random() < 0.5 else other


def neighbours(space: Space, architecture: Architecture) -> Iterator[Architecture]:
    """See `sartor.space.Space.neighbours`."""
    compiled = space._compiled
    slots = compiled.slots
    codes, numbers = space._parse(architecture)
    start = space._coded(codes, numbers)
    seen: set[Architecture] = {start}
    for chosen in compiled.visible:
        for value in range(slots[chosen].num_values if codes[chosen] >= 0 else 0):
            if value == codes[chosen]:
                continue
            changed = list(codes)
            changed[chosen] = value
            for complete in _completions(space, codes, changed, compiled.dependents[chosen], 0):
                if not space._rules.allows(complete, [chosen, *compiled.dependents[chosen]]):
                    continue
                made = _finish(space, complete, numbers, None)
                if made is not None and made not in seen:
                    seen.add(made)
                    yield made


def _completions(
    space: Space, before: Sequence[int], codes: list[int], dependents: Sequence[int], position: int
) -> Iterator[list[int]]:
    """Yields ``codes`` with every assignment of the dependents that became active."""
    for at in range(position, len(dependents)):
        index = dependents[at]
        if not space._compiled.is_active(index, codes):
            codes[index] = -1
        elif before[index] >= 0:
            codes[index] = before[index]
        else:
            for value in range(space._compiled.slots[index].num_values):
                branch = list(codes)
                branch[index] = value
                yield from _completions(space, before, branch, dependents, at + 1)
            return
    yield codes


def argmax(space: Space, scores: Mapping[str, Any]) -> Architecture:
    """See `sartor.space.Space.argmax`."""
    compiled = space._compiled
    slots = compiled.slots
    by_slot: dict[int, npt.NDArray[np.float64]] = {}
    numbers: dict[int, float] = {}
    for key, given in scores.items():
        if key not in compiled.by_key:
            raise SpaceError(f"no choice has the key {key!r}{near(key, space.keys)}")
        for index in compiled.by_key[key]:
            slot = slots[index]
            if slot.kind == "number":
                numbers[index] = float(given)
            else:
                by_slot[index] = _scores(key, slot.domain, given, len(compiled.by_key[key]) > 1)
    if space._modulo is not None or space._rules.predicates:
        best = _best_listed(space, by_slot)
    else:
        network = space._rules.network
        unary = {
            index: np.concatenate([own, np.zeros(network.domains[index] - len(own))]) for index, own in by_slot.items()
        }
        found = network.best(unary)
        best = None if found is None else _active_codes(space, found[0])
    made = None if best is None else _finish(space, best, numbers, None)
    if made is None:
        raise SpaceError("no architecture satisfies the constraints: " + space._constraint_names())
    return made


def _scores(key: str, domain: Any, given: Any, several: bool) -> npt.NDArray[np.float64]:
    if isinstance(given, Mapping):
        known = {typed(label): float(score) for label, score in given.items()}
        unknown = [label for label in given if domain.code(label) is None]
        if unknown and not several:
            raise SpaceError(f"{key} has no value {unknown[0]!r}; its values are {list(domain)[:12]}")
        return np.array([known.get(typed(label), 0.0) for label in domain])
    own = np.asarray(given, np.float64)
    if own.shape != (len(domain),):
        raise SpaceError(f"{key} has {len(domain)} values, got scores of shape {own.shape}")
    return own


def _best_listed(space: Space, by_slot: Mapping[int, npt.NDArray[np.float64]]) -> list[int] | None:
    """Returns the best of a space that can only be listed."""
    from sartor.space._space import MAX_LISTED

    if space._num_discrete > MAX_LISTED and not space._lists_classes:
        raise SpaceError(
            f"argmax under {space._by_hand()} lists the space, up to {MAX_LISTED:,}; this one has "
            f"{space._num_discrete:,}. Name the keys that the predicate reads, where(function, 'key', ...)"
        )
    compiled = space._compiled
    best: list[int] | None = None
    best_score = -np.inf
    source = [space._classes.rows] if space._modulo is not None else space._raw_codes()
    for rows in source:
        total = np.zeros(len(rows))
        for index, own in by_slot.items():
            total += np.append(own, 0.0)[rows[:, compiled.column_of[index]]]
        for row in np.argsort(-total, kind="stable").tolist():
            if total[row] <= best_score:
                break
            made = space._wrap(rows[row : row + 1])[0]
            if space._rules.rejects(made) is None:
                best, best_score = compiled.full_codes(rows[row].tobytes()), float(total[row])
                break
    return best


def _with(
    space: Space, codes: Sequence[int], chosen: int, value: int, rng: np.random.Generator
) -> list[int] | None:
    """Returns ``codes`` with one changed and what depends on it drawn or dropped, or None when that is not legal."""
    compiled = space._compiled
    changed = list(codes)
    changed[chosen] = value
    touched = [chosen]
    for index in compiled.dependents[chosen]:
        if not compiled.is_active(index, changed):
            if changed[index] >= 0:
                changed[index] = -1
                touched.append(index)
        elif changed[index] < 0:
            changed[index] = int(rng.random() * compiled.slots[index].num_values)
            touched.append(index)
    return changed if space._rules.allows(changed, touched) else None


def _repaired(
    space: Space, codes: Sequence[int], forced: Mapping[int, int], rng: np.random.Generator
) -> list[int] | None:
    """Returns the legal codes with ``forced`` that agree with ``codes`` most, ties broken at random, or None."""
    sizes = [slot.num_values for slot in space._compiled.slots]
    ties = 1e-3 * rng.random(sum(sizes))
    if not space._rules.network.factors and min(codes) >= 0:
        # No choice depends on another.
        return [forced.get(index, code) for index, code in enumerate(codes)]
    wishes = dict(enumerate(np.split(ties, np.cumsum(sizes)[:-1])))
    for index, code in enumerate(codes):
        if code >= 0:
            wishes[index][code] += 1.0
    return _nearest(space, wishes, forced)


def _nearest(
    space: Space, wishes: Mapping[int, npt.NDArray[np.float64]], forced: Mapping[int, int]
) -> list[int] | None:
    network = space._rules.network
    unary = {}
    for index, wish in wishes.items():
        own = np.zeros(network.domains[index])
        own[: len(wish)] = wish
        if index in forced:
            own[:] = -np.inf
            own[forced[index]] = 0.0
        unary[index] = own
    found = network.best(unary)
    return None if found is None else _active_codes(space, found[0])


def _active_codes(space: Space, solution: Sequence[int]) -> list[int]:
    """Returns a solution of the network as codes of the slots, -1 where inactive."""
    return [
        -1 if code >= slot.num_values else code for slot, code in zip(space._compiled.slots, solution, strict=False)
    ]


def _finish(
    space: Space, codes: Sequence[int], numbers: Mapping[int, float], rng: np.random.Generator | None
) -> Architecture | None:
    """Returns the architecture of legal ``codes``, or None when a predicate rejects it.

    Numbers that became active are drawn, or take the middle without ``rng``; for classes it is the representative.
    """
    compiled = space._compiled
    kept: dict[int, float] = {}
    for column in compiled.book.floats:
        index = compiled.visible[column]
        if codes[index] >= 0:
            slot = compiled.slots[index]
            fixed = space._rules.fixed.get(slot.key)
            if fixed is not None:
                kept[index] = fixed
            elif index in numbers:
                kept[index] = numbers[index]
            else:
                kept[index] = slot.node.value(rng.random() if rng is not None else 0.5)
    return space._standing(codes, kept)

def by_size(domain: Domain | Sequence[Any]) -> npt.NDArray[np.float64]:
    """Returns a score for each value, in (0, 1], that grows with its size: of numbers, and of tuples by their length.

    Values of other kinds, booleans among them, have no order and score 0; so do more than 4096.
    """
    values = [domain[code] for code in range(len(domain))] if len(domain) <= _MAX_ORDERED else []
    sizes: list[Any] = [len(value) if isinstance(value, tuple) else value for value in values]
    if not sizes or any(isinstance(size, bool) or not isinstance(size, (int, float)) for size in sizes):
        return np.zeros(len(domain))
    order = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
    return (order + 1.0) / len(domain)
