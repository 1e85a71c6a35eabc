"""Which fidelity a strategy without rungs asks for."""

from __future__ import annotations

from collections.abc import Sequence

from sartor.errors import InputError
from sartor.trials import Fidelity


def ascending(fidelities: Sequence[Fidelity]) -> tuple[Fidelity, ...]:
    """Returns the fidelities once they are known to be one or more, of one unit, in ascending order.

    Raises:
        InputError: they are not.
    """
    found = tuple(fidelities)
    if not found:
        raise InputError("a strategy needs at least one fidelity, got none")
    if len({fidelity.unit for fidelity in found}) > 1 or any(
        a.amount >= b.amount for a, b in zip(found, found[1:], strict=False)
    ):
        raise InputError(f"expected ascending fidelities of one unit, got {', '.join(map(str, found))}")
    return found


def highest(fidelities: Sequence[Fidelity]) -> Fidelity:
    """Returns the last of ascending fidelities."""
    return ascending(fidelities)[-1]
