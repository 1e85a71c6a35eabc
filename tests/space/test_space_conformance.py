"""The public suite accepts sound spaces and says what is wrong with unsound ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sartor.space import FloatRange, IntRange, OneOf, Permutation, Repeat, Shared, Space, Subset
from sartor.testing.spaces import check_space


def net(*parts, **named):
    return (parts, named)


DEPTH = Shared("depth", OneOf(1, 2, 3))
TREE = {
    "network": partial(
        net, Repeat(OneOf(partial(net, k=OneOf(3, 5)), skip=None), DEPTH), w=Shared("w", IntRange(1, 4))
    ),
    "bits": Repeat(OneOf(4, 8), DEPTH),
}


def test_sound_spaces_pass():
    built = []
    space = Space(TREE)
    check_space(space, build=5, check_built=lambda architecture, network: built.append(network))
    assert len(built) == 5
    check_space(space.where(lambda d, w: d <= w, "depth", "w", name="deep needs wide"), samples=20)
    check_space(space.given({"depth": 2}), samples=20)
    check_space(space.where(lambda a: len(a) > 5, name="long"), samples=20)
    check_space(space.modulo(lambda a: (a["depth"], a["w"])), samples=20)
    check_space(Space({"lr": FloatRange(1e-4, 1e-1, log=True), "o": OneOf("sgd", "adam")}), samples=20)
    check_space(Space(partial(net, s=Subset([*"abcdef"], size=[2, 3]), p=Permutation(1, 2, 3))), samples=20)
    check_space(Space(partial(net, OneOf(7))), samples=5)


class Lazy(Space):
    """Mutates nothing."""

    def mutate(self, architecture, rng):
        return architecture


class Forgetful(Space):
    """Draws from its own generator."""

    _own = np.random.default_rng(0)

    def sample(self, rng, n=None):
        return super().sample(self._own, n)


class Miscounting(Space):
    """Counts one too many."""

    def count(self):
        return super().count() + 1


class Blurred(Space):
    """Encodes all architectures alike."""

    def encode(self, architectures):
        return np.zeros_like(super().encode(architectures))


class Straying(Space):
    """Crosses over into another space."""

    def crossover(self, one, other, rng):
        return type(one)({"elsewhere": 1})


@pytest.mark.parametrize(("kind", "message"), [
    (Lazy, "mutate changed nothing"),
    (Forgetful, "draws differ"),
    (Miscounting, "are listed"),
    (Blurred, "equal vectors"),
    (Straying, "which is not in the space"),
])
def test_unsound_spaces_are_told_what_they_break(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_space(kind(TREE))
