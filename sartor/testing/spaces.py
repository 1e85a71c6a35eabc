"""Conformance suite for search spaces: what every `Space` promises, checked on one of yours.

    from sartor.testing.spaces import check_space

    def test_my_space():
        check_space(my_space(), build=3)
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sartor.errors import SpaceError
from sartor.space import Architecture, Space

SMALL = 20_000
"""Spaces of up to this many architectures are listed."""


def check_space(
    space: Space,
    *,
    samples: int = 50,
    build: int = 0,
    check_built: Callable[[Architecture, Any], None] | None = None,
    seed: int = 0,
) -> None:
    """Checks that counting, sampling, variation, encoding, JSON and (with ``build``) building agree with one another.

    Args:
        space: What is checked.
        samples: How many architectures are drawn for the checks.
        build: How many of them are built.
        check_built: Called with each architecture that was built and what was built.
        seed: Of the draws.

    Raises:
        AssertionError: Saying which promise does not hold, for which architecture.
    """
    drawn = space.sample(np.random.default_rng(seed), samples)
    check_membership(space, drawn)
    check_json(space, drawn)
    check_seed(space, seed)
    check_variation(space, drawn, seed)
    check_encoding(space, drawn)
    check_listing(space)
    check_words(space)
    for architecture in drawn[:build]:
        built = space.build(architecture)
        if check_built is not None:
            check_built(architecture, built)


def check_membership(space: Space, drawn: Sequence[Architecture]) -> None:
    """Every sample is in the space and validates to itself; a changed key or value is refused."""
    for architecture in drawn:
        assert architecture in space, f"a sample is not in the space: {architecture!r}"
        again = space.architecture(dict(architecture))
        assert again == architecture, f"validating {architecture!r} gave {again!r}"
        assert hash(again) == hash(architecture), f"equal architectures with different hashes: {architecture!r}"
        assert set(architecture) <= set(space.keys), f"keys beyond space.keys in {architecture!r}"
        assert {**architecture, "no such key": 1} not in space, "an architecture with an unknown key is accepted"
        for key in architecture:
            missing = {other: value for other, value in architecture.items() if other != key}
            assert missing not in space, f"{architecture!r} without {key!r} is accepted"
            break


def check_json(space: Space, drawn: Sequence[Architecture]) -> None:
    """JSON and pickle both give back the same architecture."""
    for architecture in drawn:
        text = architecture.to_json()
        again = Architecture.from_json(text)
        assert again == architecture and hash(again) == hash(architecture), f"{text} came back as {again!r}"
        assert space.architecture(json.loads(text)).to_json() == text, f"{text} changes when it is written again"
        assert pickle.loads(pickle.dumps(architecture)) == architecture, f"{text} does not survive pickling"


def check_seed(space: Space, seed: int) -> None:
    """Equal generators give equal draws, and different ones different draws unless there is one architecture."""
    first = _trace(space, seed)
    assert first == _trace(space, seed), "draws differ between two generators with one seed"


def _trace(space: Space, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    trace = [space.sample(rng), *space.sample(rng, 3), space.sample_choices(rng)]
    trace.append(space.crossover(trace[0], trace[1], rng))
    try:
        trace.append(space.mutate(trace[0], rng))
    except SpaceError:
        _check_single(space, trace[0])
    return trace


def _check_single(space: Space, architecture: Architecture) -> None:
    listed = [] if space.continuous else [each for each, _ in zip(space, range(2), strict=False)]
    others = [each for each in listed if each != architecture]
    assert not others, f"mutate gave up although the space holds {others[0]!r} beside {architecture!r}"


def check_variation(space: Space, drawn: Sequence[Architecture], seed: int) -> None:
    """Mutants are legal and different, crossovers legal and made of their parents, neighbours legal and distinct."""
    rng = np.random.default_rng(seed + 1)
    for one, other in zip(drawn, reversed(drawn), strict=True):
        child = space.crossover(one, other, rng)
        assert child in space, f"crossover of {one!r} and {other!r} gave {child!r}, which is not in the space"
        try:
            mutant = space.mutate(one, rng)
        except SpaceError:
            _check_single(space, one)
            continue
        assert mutant != one, f"mutate changed nothing in {one!r}"
        assert mutant in space, f"mutate of {one!r} gave {mutant!r}, which is not in the space"
    first = drawn[0]
    near = [each for each, _ in zip(space.neighbours(first), range(200), strict=False)]
    assert len(set(near)) == len(near), f"neighbours of {first!r} repeat"
    assert first not in near, f"{first!r} is its own neighbour"
    for each in near:
        assert each in space, f"the neighbour {each!r} of {first!r} is not in the space"


def check_encoding(space: Space, drawn: Sequence[Architecture]) -> None:
    """Vectors have one length, differ where architectures do, and decode."""
    vectors = space.encode(drawn)
    shape = (len(drawn), space.num_features)
    assert vectors.dtype == np.float32 and vectors.shape == shape, f"expected float32 {shape}, got {vectors.shape}"
    assert len(space.feature_names) == space.num_features, "feature_names and num_features disagree"
    assert np.isfinite(vectors).all() and vectors.min(initial=0) >= 0 and vectors.max(initial=0) <= 1, "not in 0..1"
    distinct = {architecture: vector.tobytes() for architecture, vector in zip(drawn, vectors, strict=True)}
    assert len(set(distinct.values())) == len(distinct), "different architectures have equal vectors"
    if not space.continuous:
        assert space.decode(vectors) == list(drawn), "decode does not give back what was encoded"


def check_listing(space: Space) -> None:
    """Where the space is small, its count is the number of distinct architectures listed."""
    if space.continuous:
        return
    try:
        number = space.count()
    except SpaceError:
        return
    if number <= SMALL:
        listed = list(space)
        assert len(listed) == number, f"count() says {number}, {len(listed)} are listed"
        assert len(set(listed)) == number, f"{number - len(set(listed))} architectures are listed twice"
        for architecture in listed[:: max(len(listed) // 50, 1)]:
            assert architecture in space, f"{architecture!r} is listed but not in the space"


def check_words(space: Space) -> None:
    """The description is JSON, the fingerprint that of an equal space, and the tree prints."""
    json.dumps(space.describe())
    assert space.diff(space.given({})) == [], "a space differs from itself"
    assert space.fingerprint == space.given({}).fingerprint, "equal spaces have different fingerprints"
    assert str(space).strip(), "the space prints as nothing"
