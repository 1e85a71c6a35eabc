"""The constraints of one space, made ready: a network, truth tables by slot, and predicates for rejection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError
from sartor.space._architecture import Architecture
from sartor.space._compile import Compiled
from sartor.space._constraints import (
    MAX_TABLE,
    Constraint,
    Given,
    Keyed,
    Tables,
    Variables,
    Whole,
    bindings,
    fixed_numbers,
    matches,
)
from sartor.space._network import Network, TooCoupledError


@dataclass(frozen=True, eq=False)
class _Check:
    """A table over the codes of some slots; the last code of each axis is inactive."""

    name: str
    scope: tuple[int, ...]
    table: npt.NDArray[np.bool_]


class Rules:
    """Constraints compiled for one tree.

    Attributes:
        predicates: Name and function of what is applied by rejection.
        rejected_tables: Keyed predicates among them, whose tables would be too large, with the size; None where they
            read a float range and have no table.
        fixed: Key of a float range -> the number it is given.
    """

    def __init__(self, compiled: Compiled, constraints: Sequence[Constraint], tables: Tables) -> None:
        self.compiled, self.constraints, self.tables = compiled, constraints, tables
        self.fixed: Mapping[str, float] = fixed_numbers(constraints, compiled)
        self.predicates: list[tuple[str, Callable[[Architecture], bool]]] = []
        self.rejected_tables: dict[Keyed, int | None] = {}
        self._keyed: list[Keyed] = []
        for constraint in constraints:
            match constraint:
                case Whole(function, name):
                    self.predicates.append((name, _noted(function, name)))
                case Keyed():
                    size = tables.size(constraint)
                    if size is None or size > MAX_TABLE:
                        self.rejected_tables[constraint] = size
                        self.predicates.append((constraint.name, self._by_rejection(constraint)))
                    else:
                        self._keyed.append(constraint)

    def _by_rejection(self, constraint: Keyed) -> Callable[[Architecture], bool]:
        places = list(bindings(constraint, list(self.compiled.by_key)))

        def holds(architecture: Architecture) -> bool:
            return all(
                constraint.function(*(architecture[key] for key in keys))
                for keys in places
                if all(key in architecture for key in keys)
            )

        return _noted(holds, constraint.name)

    @cached_property
    def _variables(self) -> tuple[Variables, list[_Check]]:
        variables = Variables(self.compiled)
        checks: list[_Check] = []
        for keyed in self._keyed:
            for scope, table in self.tables.of(keyed):
                variables.add_table(scope, table)
                checks.append(_Check(keyed.name, scope, variables.factors[-1].table))
        for constraint in self.constraints:
            if isinstance(constraint, Given):
                found = matches(constraint.key, list(self.compiled.by_key))
                for key in found:
                    slots = self.compiled.by_key[key]
                    variables.add_given(slots, constraint, required=key == constraint.key)
        return variables, checks

    @cached_property
    def network(self) -> Network:
        """The network of the tree, keyed predicates and given values.

        Building it evaluates the keyed predicates.

        Raises:
            SpaceError: The predicates couple too many choices for exact answers.
        """
        variables, _ = self._variables
        try:
            return Network(variables.domains, variables.factors)
        except TooCoupledError as error:
            slots = self.compiled.slots
            keys = [slots[variable].key for variable in error.variables if variable < len(slots)]
            some = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
            raise SpaceError(
                f"the constraints couple {some} so that an exact answer "
                f"needs a table of {error.size:.3g} entries; give one of them as a predicate on whole architectures, "
                "where(function) without keys"
            ) from error

    @cached_property
    def open_codes(self) -> Mapping[int, tuple[int, ...]]:
        """Slot -> the codes that given values, and predicates that read this choice alone, leave it when active.

        Slots that have all of theirs, or none, are left out.
        """
        allowed: dict[int, npt.NDArray[np.bool_]] = {}
        slots = self.compiled.slots
        for check in self._variables[1]:
            if len(check.scope) == 1:
                (slot,) = check.scope
                own = check.table[: slots[slot].num_values]
                allowed[slot] = allowed.get(slot, np.ones(len(own), np.bool_)) & own
        for constraint in self.constraints:
            if isinstance(constraint, Given):
                for key in matches(constraint.key, list(self.compiled.by_key)):
                    for slot in self.compiled.by_key[key]:
                        if slots[slot].kind == "number":
                            continue
                        own = np.arange(slots[slot].num_values) == slots[slot].domain.code(constraint.value)
                        allowed[slot] = allowed.get(slot, np.ones(len(own), np.bool_)) & own
        return {
            slot: tuple(np.flatnonzero(own).tolist()) for slot, own in allowed.items() if own.any() and not own.all()
        }

    @cached_property
    def _checks_of(self) -> list[list[_Check]]:
        by_slot: list[list[_Check]] = [[] for _ in self.compiled.slots]
        for check in self._variables[1]:
            for slot in set(check.scope):
                by_slot[slot].append(check)
        return by_slot

    def broken(self, codes: Sequence[int]) -> str | None:
        """Returns the name of a keyed predicate or given value that ``codes`` of all slots break, or None."""
        for check in self._variables[1]:
            if not check.table[tuple(codes[slot] for slot in check.scope)]:
                return check.name
        slots = self.compiled.slots
        for constraint in self.constraints:
            if isinstance(constraint, Given):
                for key in matches(constraint.key, list(self.compiled.by_key)):
                    own = self.compiled.by_key[key]
                    active = [slot for slot in own if codes[slot] >= 0]
                    if not active and key == constraint.key:
                        return constraint.name
                    for slot in active:
                        if slots[slot].domain.code(constraint.value) != codes[slot]:
                            return constraint.name
        return None

    @cached_property
    def has_given(self) -> bool:
        return any(isinstance(constraint, Given) for constraint in self.constraints)

    def allows(self, codes: Sequence[int], changed: Sequence[int]) -> bool:
        """Whether ``codes`` keep the rules, when the codes before ``changed`` did."""
        if self.has_given:
            return self.broken(codes) is None
        checks = self._checks_of
        for slot in changed:
            for check in checks[slot]:
                if not check.table[tuple(codes[source] for source in check.scope)]:
                    return False
        return True

    def rejects(self, architecture: Architecture) -> str | None:
        """Returns the name of a predicate applied by rejection that does not hold, or None."""
        for name, function in self.predicates:
            if not function(architecture):
                return name
        return None


def _noted(function: Callable[..., Any], name: str) -> Callable[[Architecture], bool]:
    def holds(architecture: Architecture) -> bool:
        try:
            return bool(function(architecture))
        except Exception as error:
            error.add_note(f"while asking {name} about {architecture!r}")
            raise

    return holds


def check_given(compiled: Compiled, key: str, value: object) -> None:
    """Refuses a value that the choice does not have.

    Raises:
        SpaceError: Naming the values there are.
    """
    from sartor.space._text import values_in_words

    for each in matches(key, list(compiled.by_key)):
        slots = [compiled.slots[slot] for slot in compiled.by_key[each]]
        if all(slot.domain.code(value) is None for slot in slots):  # type: ignore[arg-type]
            raise SpaceError(f"{each} is {' or '.join(values_in_words(slot.domain) for slot in slots)}, not {value!r}")
