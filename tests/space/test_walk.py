"""Architectures as sequences of tokens: exact masks, and back again, on spaces with everything that spaces may have."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from sartor.errors import SpaceError
from sartor.space import OneOf, Permutation, Repeat, Shared, Space, Subset
from sartor.space._walk import NUM_BINS, Walk
from sartor.testing.strategies import make_spaces


def _pair(**values: Any) -> tuple[Any, ...]:
    return tuple(values.items())


def _spaces() -> dict[str, Space]:
    width = Shared("width", OneOf(8, 16, 24))
    uses = partial(_pair, width=width)
    return make_spaces() | {
        "large domains": Space(
            {
                "order": Permutation(*range(5)),
                "subset": OneOf(a=Subset({i: i for i in range(10)}, size=range(1, 6)), b=0),
            }
        ),
        "used in one of many places": Space({"layers": [OneOf(a=uses, b=0, c=1) for _ in range(12)]}),
        "given": make_spaces()["conditional"].given({"layers.times": 3}),
        "given a number": make_spaces()["numbers"].given({"rate": 0.01}),
        "classes": Space({"a": OneOf(0, 1, 2), "b": OneOf(0, 1, 2)}).modulo(
            lambda one: {"a": min(one.values()), "b": max(one.values())}
        ),
        "small conditional": Space(
            {"layers": Repeat(OneOf(a=partial(_pair, kernel=OneOf(3, 5)), b=0), times=OneOf(1, 2))}
        ),
        "fixed": Space({"a": 1}),
    }


@pytest.mark.parametrize("name", list(_spaces()))
def test_sequences_stand_for_the_architectures_that_they_are_made_of(name: str) -> None:
    space, rng = _spaces()[name], np.random.default_rng(0)
    walk = Walk(space)
    sampled = space.sample(rng, 64)
    tokens = walk.tokens(sampled)
    assert tokens.shape == (64, walk.num_tokens)
    assert walk.allowed(tokens)[1].all()
    again = walk.architectures(tokens, rng)
    if space.continuous:
        for one, other in zip(sampled, again, strict=True):
            assert other is not None and one.keys() == other.keys()
        assert (walk.tokens([one for one in again if one is not None]) == tokens).all()
    else:
        assert again == sampled


@pytest.mark.parametrize("name", list(_spaces()))
def test_what_masks_allow_is_in_the_space_and_never_meets_a_dead_end(name: str) -> None:
    space, rng = _spaces()[name], np.random.default_rng(1)
    prefixes = Walk(space).begin(200)
    for _ in Walk(space).sizes:
        allowed = prefixes.allowed()
        assert allowed.any(1).all()
        prefixes.append(np.where(allowed, rng.random(allowed.shape), -1.0).argmax(1))
    assert prefixes.valid.all()
    for architecture in prefixes.architectures(rng):
        assert architecture in space


@pytest.mark.parametrize("name", ["small conditional", "constrained", "used in one of many places"])
def test_masks_allow_nothing_but_the_space(name: str) -> None:
    space = _spaces()[name]
    if name == "constrained":
        space = space.given({"layers.2.groups": 1, "layers.3.groups": 1, "layers.1.kernel": 3, "layers.2.kernel": 5})
    elif name == "used in one of many places":
        space = space.given({f"layers.{i}": "b" for i in range(3, 12)})
    walk = Walk(space)
    every = np.array(list(itertools.product(*map(range, walk.sizes))))
    _, valid = walk.allowed(every)
    made = walk.architectures(every[valid], np.random.default_rng(0))
    assert len(set(made)) == int(valid.sum()) == space.count()


def test_a_predicate_on_whole_architectures_rejects_afterwards() -> None:
    space = Space({"a": OneOf(0, 1), "b": OneOf(0, 1)}).where(lambda one: one["a"] != one["b"], name="differ")
    walk = Walk(space)
    every = np.array(list(itertools.product(range(2), range(2))))
    made = walk.architectures(every, np.random.default_rng(0))
    assert sum(one is None for one in made) == 2
    assert {one for one in made if one is not None} == set(space)


def test_a_number_is_drawn_within_its_bin() -> None:
    space = make_spaces()["numbers"].given({"rate": 0.01, "depth": 1})
    walk, rng = Walk(space), np.random.default_rng(0)
    assert walk.sizes == (NUM_BINS,)
    for made in walk.architectures(np.full((20, 1), 3), rng):
        assert made is not None and 3 / NUM_BINS <= made["decay"] < 4 / NUM_BINS and made["rate"] == 0.01


def test_a_space_without_architectures_is_refused() -> None:
    space = Space({"a": OneOf(1, 2), "layers": Repeat(OneOf(1, 2), times=2)}).where(lambda a: a > 2, "a", name="large")
    with pytest.raises(SpaceError, match="no architecture satisfies the constraints: large"):
        Walk(space)
