"""A space choice by choice: what each choice can be, and the architecture that separate decisions make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sartor.space import _vary
from sartor.space._architecture import Architecture
from sartor.space._domains import Combinations, Domain, Listed, Orders

if TYPE_CHECKING:
    from sartor.space._space import Space

Values = npt.NDArray[np.float64]
"""Decisions, ``[n, num_choices]``: the position of the value, or how far a number is on its range (0 to 1); nan where
the choice is not active."""
Kind = Literal["category", "ordered", "members", "order", "number"]

_LEAST_ORDERED = 8
"""Values from which increasing numbers are close to one another rather than merely different."""


@dataclass(frozen=True, eq=False)
class Choice:
    """One choice.

    Attributes:
        kind: How its values relate.
        domain: Its values; of a number, none but its presence.
    """

    kind: Kind
    domain: Domain


class Choices:
    """Reads and makes architectures of a space choice by choice.

    Args:
        space: Whose architectures.

    Attributes:
        columns: The choices, in the order of `Values`.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._slots = space._compiled.slots
        self._visible = space._compiled.visible
        self._column_of = space._compiled.column_of
        self.columns: tuple[Choice, ...] = tuple(
            Choice(_kind(self._slots[index].kind, self._slots[index].domain), self._slots[index].domain)
            for index in self._visible
        )

    def values(self, architectures: Sequence[Architecture]) -> Values:
        """Returns what was decided in architectures of the space."""
        found = np.full((len(architectures), len(self.columns)), np.nan)
        for row, architecture in enumerate(architectures):
            codes, numbers = self._space._parse(architecture)
            for column, index in enumerate(self._visible):
                if codes[index] >= 0:
                    found[row, column] = codes[index]
            for index, number in numbers.items():
                if index in self._column_of:
                    found[row, self._column_of[index]] = self._slots[index].node.share(number)
        return found

    def make(self, values: Sequence[float], rng: np.random.Generator, *, repair: bool = False) -> Architecture | None:
        """Returns the architecture of decisions for all choices, of which the inactive ones are not read.

        Args:
            values: One for each choice, none of them nan.
            rng: Breaks ties of a repair.
            repair: Take the nearest legal architecture where they break a constraint.

        Returns:
            None when they break a constraint that was not repaired.
        """
        codes: list[int] = []
        numbers: dict[int, float] = {}
        for index, slot in enumerate(self._slots):
            codes.append(-1)
            if not self._space._compiled.is_active(index, codes):
                continue
            column = self._column_of.get(index)
            if slot.kind == "number" and column is not None:
                numbers[index] = slot.node.value(values[column])
            codes[index] = 0 if column is None or slot.kind == "number" else int(values[column])
        if self._space._rules.broken(codes) is not None:
            repaired = _vary._repaired(self._space, codes, {}, rng) if repair else None
            if repaired is None:
                return None
            codes = repaired
        return _vary._finish(self._space, codes, numbers, rng)


def _kind(slot: str, domain: Domain) -> Kind:
    if slot == "number":
        return "number"
    if isinstance(domain, Combinations):
        return "members"
    if isinstance(domain, Orders):
        return "order"
    if isinstance(domain, Listed) and len(domain) >= _LEAST_ORDERED and _increases(domain.labels):
        return "ordered"
    return "category"


def _increases(labels: Sequence[Any]) -> bool:
    if any(isinstance(label, bool) or not isinstance(label, (int, float)) for label in labels):
        return False
    return all(lower < upper for lower, upper in zip(labels, labels[1:], strict=False))
