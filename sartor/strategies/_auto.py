"""Which strategy a search uses when nobody chose one."""

from __future__ import annotations

from sartor.space import Space

AUTO = "auto"
_MODEL_FROM = 6
"""Evaluations below which a model has nothing to learn from."""
_CHEAP_FROM = 20_000
"""Evaluations from which what a model saves is less than what it takes."""


def choose(space: Space, trials: int | None) -> tuple[str, str]:
    """Returns the name of a strategy and why, in words.

    Args:
        space: To be searched.
        trials: Evaluations that the budget holds, or None where it is a time.
    """
    if trials is not None and not space.continuous and trials < _CHEAP_FROM:
        count = _count(space)
        if count is not None and count <= trials:
            return "random", f"all {count:,} architectures fit into {trials:,} trials, in whatever order"
    if trials is not None and trials < _MODEL_FROM:
        return "random", f"{trials} trials are too few to learn from"
    if trials is not None and trials >= _CHEAP_FROM:
        return "evolution", f"with {trials:,} trials a model would take more time than it saves"
    return "bayesian", "a model of what was trained needs the fewest trainings"


def _count(space: Space) -> int | None:
    try:
        return space.count()
    except OverflowError:
        return None
