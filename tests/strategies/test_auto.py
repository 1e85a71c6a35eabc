"""What a search uses when nobody chose."""

from __future__ import annotations

from functools import partial

import pytest

from sartor.space import FloatRange, OneOf, Space
from sartor.strategies._auto import choose


def grid(num: int) -> Space:
    return Space(partial(dict, width=OneOf(*range(num)), depth=OneOf(*range(num))))


@pytest.mark.parametrize(
    ("space", "trials", "name", "why"),
    [
        (grid(30), None, "bayesian", "fewest trainings"),
        (grid(30), 200, "bayesian", "fewest trainings"),
        (grid(30), 900, "random", "all 900 architectures"),
        (grid(30), 5, "random", "too few"),
        (grid(300), 50_000, "evolution", "more time than it saves"),
        (Space(partial(dict, rate=FloatRange(0.1, 1.0))), 100, "bayesian", "fewest trainings"),
    ],
)
def test_the_strategy_follows_from_budget_and_space(space: Space, trials: int | None, name: str, why: str) -> None:
    chosen, said = choose(space, trials)
    assert chosen == name
    assert why in said
