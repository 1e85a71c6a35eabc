"""How much work an evaluation is, before it is done: the virtual clock of a search reads it. No torch."""

from __future__ import annotations

from sartor.errors import InputError
from sartor.training.recipe import Recipe
from sartor.trials import Fidelity


def predicted_work(
    fidelity: Fidelity, continued: Fidelity | None = None, *, cooldown: float = Recipe.cooldown
) -> float:
    """Returns the work of training to ``fidelity``, in its unit, going on from the trunk of ``continued``.

    A training of amount ``a`` leaves its trunk at ``a * (1 - cooldown)``, so going on to ``b`` takes ``b - a`` and
    once more what the first cooldown took.

    Args:
        fidelity: How far to train in all.
        continued: How far the continued training was, or None to start afresh.
        cooldown: Share of a training spent cooling down; 1 when nothing of an earlier training can be used.

    Raises:
        InputError: the two are in different units.

    Example:
        >>> predicted_work(Fidelity(9, "epochs"), Fidelity(3, "epochs"), cooldown=0.25)
        6.75
    """
    if continued is None:
        return fidelity.amount
    if continued.unit != fidelity.unit:
        raise InputError(f"a training of {fidelity} cannot go on from one of {continued}: the units differ")
    return fidelity.amount - (1.0 - cooldown) * continued.amount
