"""Counting, enumeration and uniform sampling, against brute force and chi-square."""

from __future__ import annotations

import collections
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sartor.errors import SpaceError
from sartor.space import FloatRange, IntRange, OneOf, Permutation, Repeat, Shared, Space, Subset
from sartor.testing.spaces import check_space


def node(*arguments, **keywords):
    return (arguments, keywords)


def decide(value, shared):
    """Every way to decide a tree, by plain recursion: (shared decisions, canonical text) pairs. The oracle."""
    if isinstance(value, Shared):
        if value.name in shared:
            yield shared, ("shared", value.name)
            return
        for after, text in decide(value.node, shared):
            yield {**after, value.name: text}, ("shared", value.name)
    elif isinstance(value, OneOf):
        for label, option in zip(value.labels, value.options, strict=True):
            for after, text in decide(option, shared):
                yield after, (repr(label), text)
    elif isinstance(value, Subset):
        from itertools import combinations

        for size in value.sizes:
            for chosen in combinations(range(len(value.items)), size):
                yield from ((a, (chosen, t)) for a, t in decide_all([value.items[i] for i in chosen], shared))
    elif isinstance(value, Permutation):
        for number in range(math.factorial(len(value.items))):
            yield shared, number
    elif isinstance(value, Repeat):
        if isinstance(value.times, int):
            yield from decide_all([value.node] * value.times, shared)
            return
        for after, text in decide(value.times, shared):
            source = value.times
            label = after[source.name] if isinstance(source, Shared) else text
            yield from ((a, (label, t)) for a, t in decide_all([value.node] * int(label[0]), after))
    elif isinstance(value, partial):
        yield from decide_all([*value.args, *value.keywords.values()], shared)
    elif isinstance(value, (list, tuple)):
        yield from decide_all(list(value), shared)
    elif isinstance(value, dict):
        yield from decide_all(list(value.values()), shared)
    else:
        yield shared, None


def decide_all(values, shared):
    if not values:
        yield shared, ()
        return
    for after, text in decide(values[0], shared):
        for last, rest in decide_all(values[1:], after):
            yield last, (text, *rest)


def brute_count(tree):
    return len({(repr(sorted(shared.items())), repr(text)) for shared, text in decide(tree, {})})


SHARED = [
    Shared("s0", OneOf(1, 2)),
    Shared("s1", OneOf(partial(node, a=OneOf(1, 2)), "none")),
    Shared("s2", partial(node, x=OneOf(1, 2), y=OneOf(3, 4))),
]
leaves = st.one_of(
    st.just("leaf"),
    st.integers(1, 3).map(lambda n: OneOf(*range(n))),
    st.just(Permutation("a", "b", "c")),
    st.sampled_from(SHARED),
)


def deeper(children):
    return st.one_of(
        st.lists(children, min_size=1, max_size=3),
        st.lists(children, min_size=1, max_size=2).map(
            lambda parts: OneOf(**{f"option{i}": partial(node, part) for i, part in enumerate(parts)}, skip="skip")
        ),
        st.lists(children, min_size=2, max_size=3).map(lambda parts: Subset(parts, size=[1, 2])),
        st.tuples(children, st.sampled_from([1, 2, OneOf(0, 1, 2), OneOf(1, 2), Shared("times", OneOf(0, 1, 2))])).map(
            lambda pair: Repeat(pair[0], pair[1])
        ),
        st.tuples(children, children).map(lambda pair: partial(node, left=pair[0], right=pair[1])),
    )


trees = st.recursive(leaves, deeper, max_leaves=5).map(lambda tree: partial(node, root=tree))


def size_of(tree):
    return sum(1 for _ in zip(decide(tree, {}), range(3001), strict=False))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(trees)
def test_the_count_of_a_random_space_is_that_of_plain_recursion_and_of_enumeration(tree):
    if size_of(tree) > 2000:
        return
    space = Space(tree)
    listed = list(space)
    assert space.count() == brute_count(tree) == len(listed) == len(set(listed))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(trees)
def test_a_random_space_passes_the_conformance_suite(tree):
    if size_of(tree) > 500:
        return
    check_space(Space(tree), samples=10, build=3)


KERNEL, DEPTH = Shared("kernel", OneOf(3, 5, 7)), Shared("depth", OneOf(1, 2, 3))
WIDTH = Shared("width", OneOf(4, 6, 8))
MOTIFS = [Shared(f"motif{i}", partial(node, e=[OneOf("a", "b")] * 2)) for i in range(3)]
NESTED = Space(
    partial(
        node,
        a=OneOf(partial(node, k=KERNEL, w=OneOf(1, 2)), skip="skip"),
        b=OneOf(partial(node, k=KERNEL), none="none"),
        blocks=Repeat(OneOf("x", "y"), times=DEPTH),
        bits=Repeat(OneOf(4, 8), times=DEPTH),
    )
)
UNIFORM = {
    "nested and shared": NESTED,
    "keyed and whole predicates": NESTED.where(lambda depth, b: depth > 1 or b == "none", "depth", "b", name="d").where(
        lambda a: a.get("kernel") != 7 or a["depth"] != 2, name="no seven at two"
    ),
    "subset with choices": Space(
        partial(node, e=[Subset([OneOf(partial(node, k=OneOf(1, 2)), "s", None)] * k, size=2) for k in (2, 3)])
    ),
    "motifs": Space(partial(node, cells=[OneOf(*MOTIFS)] * 3)),
    "twelve conditional uses": Space(partial(node, l=[OneOf(partial(node, k=Shared("k", OneOf(3, 5))), "id")] * 9)),
    "coupled": Space(partial(node, d=WIDTH, l=Repeat(OneOf(1, 2, 3, 4), times=OneOf(1, 2, 3)))).where(
        lambda d, h: d % h == 0, "width", "l.?", name="divides"
    ),
    "given": NESTED.given({"depth": 2, "a": "node"}),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_samples_are_uniform_over_architectures(name):
    space = UNIFORM[name]
    listed = list(space)
    assert len(listed) == len(set(listed)) == space.count()
    counts = collections.Counter(space.sample(np.random.default_rng(7), 60 * len(listed)))
    assert set(counts) <= set(listed)
    assert chisquare([counts[each] for each in listed]).pvalue > 1e-3


@pytest.mark.parametrize("rows", [1, 4, 64])
def test_samples_stay_uniform_when_little_is_tabulated(rows, monkeypatch):
    """The same draws through single variables (alias tables) rather than blocks."""
    monkeypatch.setattr("sartor.space._network.BLOCK_ROWS", rows)
    space = NESTED.given({})
    listed = list(space)
    assert set(listed) == set(UNIFORM["nested and shared"])
    counts = collections.Counter(space.sample(np.random.default_rng(3), 60 * len(listed)))
    assert chisquare([counts[each] for each in listed]).pvalue > 1e-3


def test_sample_choices_is_uniform_over_each_choice_where_sample_is_not():
    space = Space(partial(node, b=OneOf(partial(node, x=OneOf(*range(9))), "id")))
    rng = np.random.default_rng(0)
    by_choice = np.mean([space.sample_choices(rng)["b"] == "id" for _ in range(4000)])
    by_architecture = np.mean([each["b"] == "id" for each in space.sample(rng, 4000)])
    assert abs(by_choice - 0.5) < 0.04 and abs(by_architecture - 0.1) < 0.03


def test_conditional_uses_of_one_shared_choice_are_counted_through_helpers():
    shared = Shared("k", OneOf(3, 5))
    space = Space(partial(node, l=[OneOf(partial(node, k=shared), "id")] * 40))
    assert space.count() == 2 * (2**40 - 1) + 1


def test_five_hundred_slots_are_counted_and_sampled():
    part = OneOf(partial(node, k=OneOf(3, 5, 7), e=OneOf(3, 4, 6), se=OneOf(True, False)), "skip")
    space = Space(partial(node, stages=[Repeat(part, times=OneOf(*range(1, 7)))] * 20))
    assert space.count() == sum(19**times for times in range(1, 7)) ** 20
    assert all(each in space for each in space.sample(np.random.default_rng(0), 20))


def test_float_ranges_are_sampled_but_not_counted():
    tree = {"lr": FloatRange(1e-4, 1e-1, log=True), "net": OneOf(partial(node, m=FloatRange(0, 1)), "id")}
    space = Space(tree)
    with pytest.raises(SpaceError, match="not counted.*lr, net.m"):
        space.count()
    with pytest.raises(SpaceError, match="cannot be listed"):
        next(iter(space))
    drawn = space.sample(np.random.default_rng(0), 2000)
    shares = np.log10([each["lr"] for each in drawn])
    assert abs(shares.mean() + 2.5) < 0.1 and shares.min() >= -4 and shares.max() <= -1
    assert {"net.m" in each for each in drawn} == {True, False}
    assert space.continuous == ("lr", "net.m")
    assert space.given({"lr": 0.01, "net": "id", }).continuous == ("net.m",)
    assert space.given({"lr": 0.01, "net.m": 0.5}).count() == 1


def test_a_predicate_on_whole_architectures_is_counted_by_listing_or_refused():
    space = Space(partial(node, c=[OneOf(*range(6))] * 5))
    assert space.where(lambda a: sum(a.values()) == 3, name="sum").count() == math.comb(7, 4)
    large = Space(partial(node, c=[OneOf(*range(6))] * 9)).where(lambda a: sum(a.values()) % 2 == 0, name="even")
    with pytest.raises(SpaceError, match=r"10,077,696 architectures before even.*estimate_count"):
        large.count()
    estimate = large.estimate_count(np.random.default_rng(0))
    assert abs(estimate - 6**9 / 2) < 5 * estimate.error and 0.45 < estimate.acceptance < 0.55
    large.sample(np.random.default_rng(0), 100)
    assert large.acceptance == pytest.approx(0.5, abs=0.06)
    assert "by rejection, accepts 0.5" in str(large) or "by rejection, accepts 0.4" in str(large)


def test_a_hopeless_predicate_stops_with_its_acceptance(monkeypatch):
    monkeypatch.setattr("sartor.space._space._MAX_DRAWS", 20_000)
    space = Space(partial(node, c=[OneOf(*range(6))] * 9)).where(lambda a: False, name="never")
    with pytest.raises(SpaceError, match="never accepted 0 of"):
        space.sample(np.random.default_rng(0))


def test_a_table_over_too_many_keys_is_applied_by_rejection_and_says_so():
    space = Space(partial(node, c=[OneOf(*range(6))] * 8))
    keys = [f"c.{i}" for i in range(8)]
    with pytest.warns(UserWarning, match="1,679,616 entries over 8 keys.*by rejection"):
        limited = space.where(lambda *values: sum(values) <= 20, *keys, name="sum")
    assert "by rejection: a table of 1,679,616 is too large" in str(limited)
    rng = np.random.default_rng(0)
    assert all(sum(each.values()) <= 20 for each in limited.sample(rng, 200))
    assert all(each in limited for each in limited.sample(rng, 5))


def test_a_keyed_predicate_on_a_float_range_is_applied_by_rejection():
    space = Space({"lr": FloatRange(0, 1), "b": OneOf(1, 2), "m": OneOf(partial(node, x=FloatRange(0, 1)), "none")})
    limited = space.where(lambda lr, b: lr * b < 0.5, "lr", "b", name="small")
    rng = np.random.default_rng(0)
    drawn = limited.sample(rng, 200)
    assert all(each["lr"] * each["b"] < 0.5 for each in drawn)
    assert limited.mutate(drawn[0], rng) in limited and limited.crossover(*drawn[:2], rng) in limited
    assert "by rejection: it reads a float range" in str(limited)


def test_a_wide_subset_of_choices_is_sampled_uniformly():
    space = Space(partial(node, s=Subset([OneOf(1, 2)] * 14, size=range(1, 8))))
    sizes = {size: math.comb(14, size) * 2**size for size in range(1, 8)}
    assert space.count() == sum(sizes.values())
    counts = collections.Counter(len(each["s"]) for each in space.sample(np.random.default_rng(0), 20_000))
    expected = np.array([20_000 * size / space.count() for size in sizes.values()])
    assert chisquare([counts[size] for size in sizes], expected * (20_000 / expected.sum())).pvalue > 1e-3


@pytest.mark.parametrize("width", [1, 2, 5, 64, 65, 300])
def test_alias_tables_give_the_weights_they_were_made_of(width):
    from sartor.space._network import Bucket, _alias

    rng = np.random.default_rng(width)
    weights = rng.integers(0, 9, (7, width)).astype(float)
    weights[:, 0] += 1
    weights[3] = 0
    single = _alias(Bucket((0,), 1, weights, (), 0.0, 0.0))
    given = np.zeros_like(weights[:, single.codes])
    for row in range(7):
        for position in range(len(single.codes)):
            given[row, position] += single.threshold[row, position]
            given[row, single.alias[row, position]] += 1 - single.threshold[row, position]
    rows = [0, 1, 2, 4, 5, 6]
    shares = weights[rows][:, single.codes] / weights[rows].sum(1, keepdims=True)
    np.testing.assert_allclose(given[rows] / len(single.codes), shares, atol=1e-12)


def test_constraints_that_nothing_satisfies_are_named():
    space = Space(partial(node, a=OneOf(1, 2))).where(lambda a: a > 2, "a", name="more than two")
    assert space.count() == 0 and list(space) == []
    with pytest.raises(SpaceError, match="no architecture satisfies the constraints: more than two"):
        space.sample(np.random.default_rng(0))
    with pytest.raises(SpaceError, match="more than two"):
        space.argmax({})


def test_a_subset_with_many_combinations_is_ranked_not_listed():
    space = Space(partial(node, s=Subset([*"abcdefghijklmnopqrst"], size=range(1, 10))))
    total = sum(math.comb(20, size) for size in range(1, 10))
    assert space.count() == total
    domain = space._compiled.slots[0].domain
    for code in (0, 19, 20, 1000, total - 1):
        assert domain.code(domain[code]) == code
    with pytest.raises(SpaceError, match="split it"):
        Space(partial(node, s=Subset(list(range(40)), size=20)))


def test_ranges_hold_both_ends():
    assert IntRange(16, 512, log=True, num=6).labels == (16, 32, 64, 128, 256, 512)
    assert IntRange(1, 7, step=3).labels == (1, 4, 7)
    with pytest.raises(SpaceError, match="low <= high"):
        IntRange(5, 4)
    with pytest.raises(SpaceError, match="low < high"):
        FloatRange(1.0, 1.0)


def test_equal_seeds_give_equal_draws():
    for space in UNIFORM.values():
        assert space.sample(np.random.default_rng(5), 20) == space.sample(np.random.default_rng(5), 20)


def test_a_space_without_choices_has_one_architecture():
    space = Space(partial(node, 1, a=2))
    assert space.count() == 1 and list(space) == [space.sample(np.random.default_rng(0))]
    assert space.build({}) == ((1,), {"a": 2})


def test_constraints_that_couple_too_much_are_refused_with_what_to_do():
    space = Space(partial(node, c=[OneOf(*range(10))] * 12))
    for i in range(12):
        for j in range(i):
            space = space.where(lambda a, b: a + b != 9, f"c.{i}", f"c.{j}", name=f"{i} and {j}")
    with pytest.raises(SpaceError, match="couple c.0, c.1.*where\\(function\\) without keys"):
        space.count()


def test_a_choice_may_be_the_whole_space():
    space = Space(OneOf(partial(node, k=OneOf(1, 2)), 7))
    assert space.keys == ("choice", "choice.k") and space.count() == 3
    assert space.build({"choice": 7}) == 7
    assert space.sample(np.random.default_rng(0), 0) == []


def test_a_huge_space_is_listed_lazily_in_little_memory():
    import itertools
    import tracemalloc

    part = OneOf(partial(node, k=OneOf(3, 5, 7), e=OneOf(3, 4, 6)), "skip")
    space = Space(partial(node, stages=[Repeat(part, times=OneOf(1, 2, 3))] * 10))
    tracemalloc.start()
    first = list(itertools.islice(space, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(first)) == 1000 and first == list(itertools.islice(space, 1000))
    assert peak < 200e6
