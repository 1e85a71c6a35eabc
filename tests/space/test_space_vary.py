"""Mutation, crossover, neighbours and the best under scores."""

from __future__ import annotations

import collections
import itertools
from functools import partial

import numpy as np
import pytest

from sartor.errors import SpaceError
from sartor.space import Architecture, FloatRange, OneOf, Permutation, Repeat, Shared, Space, Subset


def node(*arguments, **keywords):
    return (arguments, keywords)


WIDTH = Shared("width", OneOf(4, 6, 8))
NESTED = Space(
    partial(
        node,
        stem=OneOf(8, 16),
        body=Repeat(OneOf(partial(node, k=OneOf(3, 5), e=OneOf(1, 2)), skip="skip"), times=OneOf(1, 2, 3)),
    )
)
COUPLED = Space(partial(node, d=WIDTH, l=Repeat(OneOf(1, 2, 3, 4), times=OneOf(1, 2, 3)))).where(
    lambda d, h: d % h == 0, "width", "l.?", name="divides"
)
SPACES = {
    "nested": NESTED,
    "coupled": COUPLED,
    "subset": Space(partial(node, s=Subset({n: OneOf(1, 2) for n in "abc"}, size=[1, 2]), p=Permutation(1, 2, 3))),
    "whole predicate": NESTED.where(lambda a: len(a) % 2 == 0, name="even"),
    "given": NESTED.given({"body.times": 2}),
    "classes": Space(partial(node, c=[OneOf(0, 1, 2)] * 4)).modulo(lambda a: tuple(sorted(a.values()))),
    "representatives": Space(partial(node, c=[OneOf(0, 1, 2)] * 4)).modulo(
        lambda a: Architecture(dict(zip(a, sorted(a.values()), strict=True)))
    ),
    "equal neighbours": Space(partial(node, c=[OneOf(*range(5))] * 4)).where(
        lambda *values: len(set(values)) == 1, "c.0", "c.1", "c.2", "c.3", name="all equal"
    ),
    "numbers": Space({"lr": FloatRange(1e-4, 1e-1, log=True), "o": OneOf(partial(node, m=FloatRange(0, 1)), "none")}),
}


@pytest.mark.parametrize("name", SPACES)
def test_mutants_and_children_are_legal(name):
    space, rng = SPACES[name], np.random.default_rng(0)
    one, other = space.sample(rng, 2)
    for _ in range(100):
        mutant = space.mutate(one, rng)
        assert mutant in space and mutant != one
        child = space.crossover(mutant, other, rng)
        assert child in space
        one, other = mutant, one


def test_a_mutant_differs_in_one_choice_and_in_what_that_opens():
    rng = np.random.default_rng(0)
    for architecture in NESTED.sample(rng, 300):
        mutant = NESTED.mutate(architecture, rng)
        differing = [key for key in architecture if key in mutant and architecture[key] != mutant[key]]
        assert len(differing) == 1
        opened = set(mutant) ^ set(architecture)
        assert all(key.startswith("body") for key in opened)
        if differing[0].endswith((".k", ".e")) or differing[0] == "stem":
            assert not opened


def test_every_active_choice_is_mutated_equally_often():
    rng = np.random.default_rng(0)
    architecture = NESTED.architecture({"stem": 8, "body.times": 1, "body.0": "node", "body.0.k": 3, "body.0.e": 1})
    changed = collections.Counter()
    for _ in range(4000):
        mutant = NESTED.mutate(architecture, rng)
        changed[next(key for key in architecture if mutant.get(key) != architecture[key])] += 1
    assert set(changed) == set(architecture)
    assert min(changed.values()) > 0.8 * 4000 / 5


def test_a_mutant_under_a_coupling_repairs_as_little_as_it_can():
    rng = np.random.default_rng(0)
    start = COUPLED.architecture({"width": 8, "l.times": 3, "l.0": 4, "l.1": 1, "l.2": 2})
    for _ in range(200):
        mutant = COUPLED.mutate(start, rng)
        if mutant["width"] == 6:
            # Four does not divide six, one and two do.
            assert mutant["l.1"] == 1 and mutant["l.2"] == 2 and mutant["l.0"] in (1, 2, 3)
            return
    pytest.fail("the width was never mutated to six")


def test_a_space_with_one_architecture_cannot_be_mutated():
    space = NESTED.given({"stem": 8, "body.times": 1, "body.0": "skip"})
    with pytest.raises(SpaceError, match="nothing to mutate"):
        space.mutate(space.sample(np.random.default_rng(0)), np.random.default_rng(0))
    assert list(space.neighbours(next(iter(space)))) == []


def test_choices_of_a_child_come_from_its_parents():
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = NESTED.sample(rng, 2)
        child = NESTED.crossover(one, other, rng)
        for key, value in child.items():
            parents = [parent[key] for parent in (one, other) if key in parent]
            assert not parents or value in parents


def test_numbers_are_kept_crossed_and_mutated():
    space, rng = SPACES["numbers"], np.random.default_rng(0)
    start = space.architecture({"lr": 0.01, "o": "node", "o.m": 0.25})
    changed = collections.Counter()
    for _ in range(300):
        mutant = space.mutate(start, rng)
        changed.update(key for key in start if mutant.get(key) != start[key])
        assert 1e-4 <= mutant["lr"] <= 1e-1
    assert changed["lr"] and changed["o"] and changed["o.m"]
    child = space.crossover(start, space.architecture({"lr": 0.02, "o": "none"}), rng)
    assert child["lr"] in (0.01, 0.02) and child.get("o.m", 0.25) == 0.25
    assert space.mutate(space.given({"lr": 0.01}).sample(rng), rng) in space


@pytest.mark.parametrize("name", ["nested", "coupled", "subset", "whole predicate", "given"])
def test_neighbours_are_all_architectures_that_differ_in_one_shared_choice(name):
    space = SPACES[name]
    listed = list(space)
    for start in listed[:: max(len(listed) // 8, 1)]:
        expected = {
            other
            for other in listed
            if sum(start[key] != other[key] for key in start if key in other) == 1
        }
        found = list(space.neighbours(start))
        assert len(found) == len(set(found))
        assert set(found) == expected


def test_neighbours_of_classes_are_representatives():
    space = SPACES["classes"]
    start = next(iter(space))
    found = list(space.neighbours(start))
    assert found and all(each in space and each != start for each in found)


@pytest.mark.parametrize("name", ["nested", "coupled", "subset", "whole predicate", "classes", "given"])
def test_argmax_is_the_best_of_all(name):
    space, rng = SPACES[name], np.random.default_rng(1)
    listed = list(space)
    for _ in range(20):
        scores = {key: dict(zip(space.values(key), rng.normal(size=len(space.values(key))), strict=True))
                  for key in space.keys}

        def total(architecture, scores=scores):
            return sum(scores[key][value] for key, value in architecture.items())

        assert total(space.argmax(scores)) == pytest.approx(max(map(total, listed)))
        arrays = {key: list(own.values()) for key, own in scores.items()}
        assert space.argmax(arrays) == space.argmax(scores)


def test_argmax_says_what_is_wrong_with_the_scores():
    with pytest.raises(SpaceError, match="did you mean 'stem'"):
        NESTED.argmax({"stam": [1, 2]})
    with pytest.raises(SpaceError, match="stem has 2 values, got scores of shape"):
        NESTED.argmax({"stem": [1, 2, 3]})
    with pytest.raises(SpaceError, match="stem has no value 9"):
        NESTED.argmax({"stem": {9: 1.0}})
    large = Space(partial(node, c=[OneOf(*range(6))] * 9)).where(lambda a: True, name="anything")
    with pytest.raises(SpaceError, match="argmax under anything lists the space"):
        large.argmax({})
    assert SPACES["numbers"].argmax({"lr": 0.01, "o": {"none": 1.0}}) == {"lr": 0.01, "o": "none"}


def test_the_encoding_tells_all_architectures_apart_and_decodes():
    for name in ("nested", "coupled", "subset", "classes"):
        space = SPACES[name]
        listed = list(space)
        vectors = space.encode(listed)
        assert vectors.dtype == np.float32 and vectors.shape == (len(listed), space.num_features)
        assert len(np.unique(vectors, axis=0)) == len(listed)
        assert space.decode(vectors) == listed
    space = SPACES["numbers"]
    drawn = space.sample(np.random.default_rng(0), 20)
    for before, after in zip(drawn, space.decode(space.encode(drawn)), strict=True):
        assert before.keys() == after.keys() and after["lr"] == pytest.approx(before["lr"], rel=1e-4)
    assert NESTED.feature_names[:3] == ["stem=8", "stem=16", "body.times=1"]
    assert NESTED.encode([]).shape == (0, NESTED.num_features)


def test_an_architecture_of_an_equal_space_or_from_json_varies_the_same():
    again = Space(NESTED.tree)
    start = NESTED.sample(np.random.default_rng(0))
    copies = [start, Architecture.from_json(start.to_json()), again.architecture(start)]
    mutants = {space.mutate(each, np.random.default_rng(2)) for each in copies for space in (NESTED, again)}
    assert len(mutants) == 1
    assert len({tuple(map(tuple, itertools.islice(NESTED.neighbours(each), 5))) for each in copies}) == 1


def test_what_a_predicate_and_the_classes_say_of_an_architecture_is_asked_once(monkeypatch):
    asked: collections.Counter[Architecture] = collections.Counter()

    def odd(architecture):
        asked[architecture] += 1
        return sum(architecture.values()) % 2 == 1

    def ordered(architecture):
        return Architecture(dict(zip(architecture, sorted(architecture.values()), strict=True)))

    def walked(space):
        rng = np.random.default_rng(4)
        found = [space.sample_choices(rng)]
        for _ in range(300):
            found.append(space.crossover(space.mutate(found[-1], rng), found[int(rng.integers(len(found)))], rng))
        return found

    tree = partial(node, c=[OneOf(*range(4))] * 5)
    kept = walked(Space(tree).where(odd).modulo(ordered))
    # Where it is not known yet, a representative is asked once more for itself.
    assert len(asked) > 50 and max(asked.values()) <= 2
    monkeypatch.setattr("sartor.space._space._MAX_STANDS", 1)
    assert walked(Space(tree).where(odd).modulo(ordered)) == kept


def test_a_repaired_change_is_the_change_alone_where_no_choice_depends_on_another():
    from sartor.space import _vary

    tree = partial(node, c=[OneOf(*range(4))] * 5)
    free, tied = Space(tree), Space(tree).where(lambda a, b: True, "c.0", "c.1", name="anything")
    codes = [0, 1, 2, 3, 0]
    repaired = [_vary._repaired(space, codes, {2: 0}, np.random.default_rng(3)) for space in (free, tied)]
    assert repaired == [[0, 1, 0, 3, 0]] * 2
    states = []
    for space in (free, tied):
        rng = np.random.default_rng(3)
        _vary._repaired(space, codes, {2: 0}, rng)
        states.append(rng.random())
    assert states[0] == states[1]
