"""Architectures as values, errors, printing, description, fingerprint, pickling, start-up."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from sartor.errors import SpaceError
from sartor.space import Architecture, Derived, FloatRange, OneOf, Permutation, Repeat, Shared, Space, Subset


def net(*parts, **named):
    return (parts, named)


def is_even(value):
    return value % 2 == 0


def is_short(architecture):
    return len(architecture) < 6


WIDTH = Shared("width", OneOf(16, 24, 32))
SPACE = Space({
    "network": partial(
        net,
        stem=WIDTH,
        head=WIDTH * 2,
        blocks=[
            partial(net, kernel=OneOf(3, 5, 7)),
            Repeat(OneOf(partial(net, expand=OneOf(3, 6)), skip="skip"), times=OneOf(1, 2, 3)),
        ],
        edges=Subset({(0, 1): OneOf("a", "b"), (0, 2): "c"}, size=[1, 2]),
    ),
    "mapping": Permutation(*"kcyx"),
    "recipe": {"learning_rate": FloatRange(1e-4, 1e-1, log=True)},
})


def test_an_architecture_is_a_plain_value():
    architecture = Architecture({"a": 1, "b": [1, [2, "x"]], "c": None})
    assert architecture["b"] == (1, (2, "x"))
    assert architecture.to_json() == '{"a":1,"b":[1,[2,"x"]],"c":null}'
    same = Architecture({"c": None, "b": (1, (2, "x")), "a": 1})
    assert architecture == same and hash(architecture) == hash(same) and len({architecture, same}) == 1
    assert Architecture({"a": 1}) != Architecture({"a": True}) != Architecture({"a": 1.0})
    assert copy.deepcopy(architecture) == pickle.loads(pickle.dumps(architecture)) == architecture
    with pytest.raises(TypeError):
        architecture["a"] = 2
    with pytest.raises(SpaceError, match="plain values"):
        Architecture({"a": object()})
    for text in ("[1]", "{", "3"):
        with pytest.raises(SpaceError, match="one object"):
            Architecture.from_json(text)


def test_sampled_validated_and_parsed_architectures_are_one_value():
    rng = np.random.default_rng(0)
    for architecture in SPACE.sample(rng, 50):
        text = architecture.to_json()
        parsed = Architecture.from_json(text)
        shuffled = Architecture(dict(sorted(architecture.items(), key=lambda item: item[0][::-1])))
        validated = SPACE.architecture(shuffled)
        assert architecture == parsed == shuffled == validated
        assert len({hash(each) for each in (architecture, parsed, shuffled, validated)}) == 1
        assert validated.to_json() == text
        assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_hashes_of_many_architectures_do_not_collide():
    space = Space(partial(net, c=[OneOf(*range(5))] * 20))
    drawn = set(space.sample(np.random.default_rng(0), 20_000))
    assert len({hash(each) for each in drawn}) == len(drawn)


def test_what_is_wrong_with_an_architecture_is_said():
    good = dict(SPACE.sample(np.random.default_rng(0)))
    good |= {"network.blocks.1.times": 1, "network.blocks.1.0": "skip"}
    closed = ("network.blocks.1.0.expand", "network.blocks.1.1", "network.blocks.1.2")
    good = {key: value for key, value in good.items() if not key.startswith(closed)}
    assert good in SPACE
    for change, message in [
        ({"width": 20}, "width is 16 | 24 | 32, not 20"),
        ({"width": 16.0}, "not 16.0"),
        ({"width": None}, "not None"),
        ({"widht": 16}, "no choice has the key 'widht'; did you mean 'width'"),
        ({"network.blocks.1.2": "skip"}, "blocks.1.2 is not active here: it is when network.blocks.1.times is 3"),
        ({"recipe.learning_rate": 1.0}, "recipe.learning_rate is 0.0001 to 0.1"),
        ({"mapping": ["k", "k", "y", "x"]}, "an order of k, c, y, x"),
        ({"network.edges": [[0, 3]]}, "1 or 2 of"),
        ({"width": object()}, "no JSON form"),
    ]:
        with pytest.raises(SpaceError) as caught:
            SPACE.architecture({**good, **change})
        assert message in str(caught.value)
        assert {**good, **change} not in SPACE
    del good["width"]
    with pytest.raises(SpaceError, match="width is missing: 16 | 24 | 32; unknown: wide"):
        SPACE.architecture({**good, "wide": 16})
    assert 3 not in SPACE and "width" not in SPACE


def test_a_broken_constraint_is_named():
    space = Space(partial(net, a=OneOf(1, 2), b=OneOf(1, 2)))
    for narrowed, name in [
        (space.where(is_even, "a"), "is_even"),
        (space.where(lambda a: a["a"] == 2, name="two"), "two"),
        (space.given({"a": 2}), "given a = 2"),
    ]:
        with pytest.raises(SpaceError, match=f'"a":1.*breaks {name}'):
            narrowed.architecture({"a": 1, "b": 1})
        assert {"a": 2, "b": 1} in narrowed
    classes = space.modulo(lambda a: sum(a.values()), name="sum")
    with pytest.raises(SpaceError, match="not the representative of its class under sum"):
        classes.architecture({"a": 2, "b": 1})


def test_keys_of_constraints_are_checked_where_they_are_written():
    with pytest.raises(SpaceError, match="did you mean 'width'"):
        SPACE.where(is_even, "widht")
    with pytest.raises(SpaceError, match="no choice has a key like"):
        SPACE.where(is_even, "*.kernal")
    with pytest.raises(SpaceError, match="width is 16"):
        SPACE.given({"width": 17})
    with pytest.raises(SpaceError, match="did you mean"):
        SPACE.given({"widht": 16})
    with pytest.raises(SpaceError, match="stand for the same text nowhere"):
        Space(partial(net, a=[OneOf(1, 2)], b={"x": OneOf(1, 2)})).where(max, "a.*", "b.*")


def test_wildcards_of_one_predicate_stand_for_the_same_text():
    layers = [partial(net, dim=OneOf(4, 6), heads=OneOf(2, 3, 4))] * 3
    space = Space(partial(net, layers=layers)).where(lambda d, h: d % h == 0, "layers.*.dim", "layers.*.heads")
    assert space.count() == 4**3
    assert Space(partial(net, layers=layers)).where(lambda k: k == 4, "layers.[!12].dim").count() == 6**3 // 2


def test_given_narrows_to_architectures_that_have_the_value():
    options = OneOf(a=partial(net, k=OneOf(1, 2)), b=partial(net, k=OneOf(2, 3)), c=0)
    space = Space(partial(net, op=options, x=[OneOf(1, 2)] * 2))
    assert space.given({"op.k": 2}).count() == 2 * 4
    assert space.given({"op.k": 3}).count() == 1 * 4
    assert space.given({"x.*": 1}).count() == 5
    assert space.given({"op": "c"}).given({"op.k": 2}).count() == 0


def test_an_exception_in_a_predicate_says_what_it_was_asked():
    space = Space(partial(net, a=OneOf(0, 1))).where(lambda a: 1 / a > 0, "a", name="inverse")
    with pytest.raises(ZeroDivisionError) as caught:
        space.count()
    assert "while asking inverse about (0,)" in caught.value.__notes__


def test_modulo_takes_classes_or_representatives():
    space = Space(partial(net, c=[OneOf(0, 1, 2)] * 3))
    classes = space.modulo(lambda a: tuple(sorted(a.values())))
    representatives = space.modulo(lambda a: Architecture(dict(zip(a, sorted(a.values()), strict=True))))
    assert classes.count() == representatives.count() == 10
    assert set(classes) == set(representatives)
    narrowed = classes.given({"c.0": 2})
    assert narrowed.count() == 6, "each class of the narrowed space is kept once"
    with pytest.raises(SpaceError, match="without float ranges"):
        SPACE.modulo(len)


def test_modulo_of_a_large_space_needs_representatives():
    space = Space(partial(net, c=[OneOf(*range(4))] * 12))
    rng = np.random.default_rng(0)
    by_class = space.modulo(lambda a: tuple(sorted(a.values())), name="sorted")
    with pytest.raises(SpaceError, match="must return the representative architecture"):
        by_class.sample(rng)
    with pytest.raises(SpaceError, match="too many to count"):
        by_class.count()
    first = space.modulo(lambda a: Architecture({**a, "c.0": 0}), name="first is zero")
    assert all(each["c.0"] == 0 for each in first.sample(rng, 20))
    assert first.estimate_count(rng) == pytest.approx(4**11, rel=0.1)
    assert first.mutate(first.sample(rng), rng) in first


def test_a_space_prints_as_a_tree():
    text = str(SPACE.where(is_even, "width").where(is_short))
    for line in [
        "network: net",
        "  stem: = width",
        "  head: = (width * 2)",
        "    0: net",
        "      kernel: 3 | 5 | 7",
        "    1: 1 | 2 | 3 times",
        "          expand: 3 | 6",
        "        | skip: 'skip'",
        "mapping: an order of k, c, y, x",
        "  learning_rate: 0.0001 to 0.1 (log)",
        "width (shared): 16 | 24 | 32",
        "where is_even: width",
        "where is_short: whole architecture (by rejection)",
    ]:
        assert line in text.splitlines(), f"{line!r} is not in\n{text}"
    assert "0x" not in str(Space(partial(net, object(), k=OneOf(1, 2))))


def test_a_space_is_described_as_json():
    description = json.loads(json.dumps(SPACE.describe()))
    assert [each["key"] for each in description["choices"]][:2] == ["width", "network.blocks.0.kernel"]
    assert description["tree"]["entries"][0][0] == "network"


def test_the_fingerprint_follows_the_definition():
    def make(options=(1, 2), fixed=1, function=is_even, rule=None):
        space = Space(partial(net, Shared("w", OneOf(*options)), fixed, act=function))
        return space if rule is None else space.where(rule, "w", name="rule")

    assert make().fingerprint == make().fingerprint
    variants = [make(), make((1, 2, 3)), make(fixed=2), make(function=is_short), make(rule=is_even)]
    variants += [make(rule=lambda w: w > 1), make(rule=lambda w: w < 2), make().given({"w": 1}), make().modulo(len)]
    # Two keyed predicates with one truth table are one rule.
    assert len({each.fingerprint for each in variants}) == len(variants) - 1
    assert make(rule=lambda w: w > 1).fingerprint == make(rule=is_even).fingerprint


def test_differences_are_named_in_words():
    def make(kernels=(3, 5), more=(), bits=(4, 8), fixed=1):
        operation = OneOf(a=partial(net, b=OneOf(*bits)), z=0)
        return Space(partial(net, fixed, k=OneOf(*kernels), op=operation, more=list(more)))

    base = make()
    assert base.diff(make()) == []
    assert base.diff(make(kernels=(3, 5, 7))) == ["k: 3 | 5 before, 3 | 5 | 7 now"]
    assert base.diff(make(more=[OneOf(1, 2)])) == ["more.0: there only now (1 | 2)"]
    assert make(more=[OneOf(1, 2)]).diff(base) == ["more.0: there only before (1 | 2)"]
    assert base.diff(make(fixed=2)) == ["the choices are the same; fixed arguments or names of functions differ"]
    assert base.diff(base.where(lambda k: k > 3, "k", name="big")) == ["big: there only now"]
    first, second = (base.where(rule, "k", name="rule") for rule in (lambda k: k > 3, lambda k: k > 4 or k == 3))
    assert first.diff(second) == ["rule: allows other values now"]
    shared = Shared("s", OneOf(1, 2))
    here = Space(partial(net, op=OneOf(a=shared, z=0, y=1)))
    there = Space(partial(net, op=OneOf(a=0, z=shared, y=1)))
    assert here.diff(there) == ["s: active when op is a before, when op is z now"]


def test_spaces_pickle_when_their_functions_do():
    space = SPACE.where(is_even, "width").where(is_short).given({"mapping": list("kcyx")})
    again = pickle.loads(pickle.dumps(space))
    assert again.fingerprint == space.fingerprint and again.diff(space) == []
    loaded = pickle.loads(pickle.dumps(Space(partial(net, WIDTH, Derived(max, WIDTH, 20))).modulo(len)))
    assert loaded.build({"width": 24}) == ((24, 24), {})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(SPACE.where(lambda w: w > 1, "width"))


SCRIPT = """
import sys
from functools import partial
import numpy as np
from sartor.space import *
def net(*parts, **named): return (parts, named)
class Op: pass
width = Shared("width", OneOf(16, 24, 32))
space = Space({"network": partial(net, width, width * 2, [Repeat(OneOf(partial(Op), skip=None), OneOf(1, 2))]),
               "edges": Subset({(0, 1): 1, (1, 2): 2}, size=1), "lr": FloatRange(1e-4, 1e-1, log=True)})
space = space.where(lambda w: w > 16, "width", name="wide")
rng = np.random.default_rng(0)
drawn = space.sample(rng, 3)
drawn += [space.mutate(drawn[0], rng), space.crossover(*drawn[:2], rng), space.sample_choices(rng)]
drawn += list(space.neighbours(drawn[0]))
space.encode(drawn); str(space); space.given({"lr": 0.01}).count()
print(space.fingerprint, [each.to_json() for each in drawn])
assert "torch" not in sys.modules, "torch was loaded"
"""


def test_draws_and_fingerprints_are_the_same_in_every_process_and_load_no_torch():
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT], env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
