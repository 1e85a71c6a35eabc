"""Costs by a lookup table: what an architecture costs is the sum over its choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from sartor.errors import InputError, near

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.space import Architecture, Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label

Costs: TypeAlias = "Mapping[str, Mapping[Label, float] | Sequence[float]]"
"""Key -> value -> cost, or one cost for each value in their order; all in one unit, e.g. milliseconds."""


def table_of(space: Space, base: Architecture, cost: Callable[[Architecture], float]) -> dict[str, list[float]]:
    """Returns what each value of each choice adds to the cost of an architecture, over the cheapest value.

    Everything else stays as it is in ``base``, as far as the constraints let it. It is the lookup table by operation of
    Wu et al. 2019 (arXiv:1812.03443, section 3.3) made from whole networks, so that it serves any device and space;
    what choices cost together beyond that is left out.

    Args:
        space: Of finite choices.
        base: An architecture of it.
        cost: Of an architecture, asked once for each value.

    Returns:
        Key -> a cost for each value, in their order, the least being 0.
    """
    scores = {key: {value: float(value == base[key]) for value in space.values(key)} for key in base}
    table = {}
    for key in space.keys:
        found = []
        for value in space.values(key):
            own = {each: float(each == value) * 2 * len(space.keys) for each in space.values(key)}
            found.append(cost(space.argmax({**scores, key: own})))
        table[key] = [each - min(found) for each in found]
    return table


class CostTable:
    """Expected costs of a relaxed space.

    Args:
        costs: Key -> value -> cost; of a shared choice that of all its uses together. Keys left out cost nothing.
        choices: Key -> values, of the mixture.
        fixed: Cost of everything that is not chosen.

    Raises:
        InputError: A key or a value that is unknown, a value without a cost, a cost that is negative or not finite.
    """

    def __init__(self, costs: Costs, choices: Mapping[str, Sequence[Label]], fixed: float = 0.0) -> None:
        self.fixed = fixed
        self.rows: dict[str, list[float]] = {}
        for key, own in costs.items():
            if key not in choices:
                raise InputError(f"costs name a choice {key!r} that is not mixed{near(key, choices)}")
            if not isinstance(own, Mapping):
                if len(own) != len(choices[key]):
                    raise InputError(f"costs of {key}: expected {len(choices[key])}, one a value, got {len(own)}")
                self.rows[key] = [float(cost) for cost in own]
                continue
            missing = [value for value in choices[key] if value not in own]
            unknown = [value for value in own if value not in choices[key]]
            if missing or unknown:
                raise InputError(
                    f"costs of {key}: expected one for each of {list(choices[key])}, got {list(own)}"
                )
            self.rows[key] = [float(own[value]) for value in choices[key]]
        if not all(math.isfinite(cost) and cost >= 0 for row in (*self.rows.values(), [fixed]) for cost in row):
            raise InputError("expected costs that are finite and not negative")

    @property
    def least(self) -> float:
        """The cost of the cheapest alternatives."""
        return self.fixed + sum(map(min, self.rows.values()))

    def expected(self, weights: Weights) -> Tensor:
        """Returns the sum of costs under weights, one tensor ``[values]`` for each choice; as if all were active.

        Raises:
            InputError: No choice has a cost.
        """
        total: Tensor | None = None
        for key, row in self.rows.items():
            own: Tensor = weights[key]  # type: ignore[assignment]
            cost = own @ own.new_tensor(row)
            total = cost if total is None else total + cost
        if total is None:
            raise InputError("expected a cost of at least one choice")
        return total + self.fixed
