"""A space whose classes a table lists, and architectures as codes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sartor.errors import SpaceError
from sartor.space import Architecture, FloatRange, OneOf, Repeat, Space


def _sorted(architecture: Architecture) -> dict[str, int]:
    """Stands for all orders of the same numbers."""
    return dict(zip(architecture, sorted(architecture.values()), strict=True))


def _wide(num: int = 8) -> Space:
    """43 million architectures."""
    return Space({f"x{i}": OneOf(*range(9)) for i in range(num)})


def _listed(num: int = 300) -> tuple[Space, np.ndarray]:
    plain = _wide()
    rows = np.unique(np.sort(plain.sample_codes(num, np.random.default_rng(0)), axis=1), axis=0)
    return plain, rows


def _even(value: int) -> bool:
    return value % 2 == 0


def test_codes_go_both_ways() -> None:
    space = Space({"a": OneOf("x", "y"), "b": [Repeat(OneOf(1, 2, 3), times=OneOf(1, 2))]})
    made = space.sample(np.random.default_rng(0), 20)
    codes = space.codes(made)
    assert codes.shape == (20, len(space.keys)) and space.of_codes(codes) == made
    assert (space.codes([dict(each) for each in made]) == codes).all()
    assert space.codes([]).shape == (0, len(space.keys))
    with pytest.raises(SpaceError, match="a is missing"):
        space.codes([{"b": 1}])
    with pytest.raises(SpaceError, match="float ranges"):
        Space({"rate": FloatRange(0.0, 1.0)}).of_codes(np.zeros((1, 1), np.int8))


def test_a_space_of_listed_classes_is_counted_listed_and_sampled_from_them() -> None:
    plain, rows = _listed()
    space = plain.modulo(_sorted, rows=rows)
    assert space.count() == len(rows) and list(space) == plain.of_codes(rows)
    drawn = space.sample(np.random.default_rng(1), 200)
    assert set(drawn) <= set(plain.of_codes(rows)) and len(set(drawn)) > 50
    assert pickle.loads(pickle.dumps(space)).count() == len(rows)
    best = space.argmax({"x7": list(range(9))})
    assert best["x7"] == rows[:, 7].max()


def test_constraints_added_later_hold_for_the_listed_classes() -> None:
    plain, rows = _listed()
    space = plain.modulo(_sorted, rows=rows).where(_even, "x7")
    assert space.count() == (rows[:, 7] % 2 == 0).sum() == len(list(space))
    assert all(each["x7"] % 2 == 0 for each in space.sample(np.random.default_rng(0), 50))


def test_listed_classes_need_representatives_that_are_architectures() -> None:
    plain, rows = _listed()
    space = plain.modulo(lambda architecture: tuple(sorted(architecture.values())), name="text", rows=rows)
    with pytest.raises(SpaceError, match="must return the representative architecture"):
        space.mutate(plain.of_codes(rows)[0], np.random.default_rng(0))
