"""What `build` calls, hands over and refuses."""

from __future__ import annotations

import dataclasses
import functools
from collections import namedtuple
from functools import partial

import numpy as np
import pytest

from sartor.errors import SpaceError
from sartor.space import Derived, Factory, FloatRange, OneOf, Permutation, Repeat, Shared, Space, Subset


def net(*parts, **named):
    return (parts, named)


def block(in_channels, out_channels, kernel=3):
    return (in_channels, out_channels, kernel)


class Config:
    def __init__(self, dim, heads=1):
        self.dim, self.heads = dim, heads


def only(tree):
    space = Space(tree)
    (architecture,) = space
    return space.build(architecture)


def test_complete_partials_are_called_and_incomplete_ones_are_handed_over():
    assert only(partial(net, partial(block, 1, 2))) == (((1, 2, 3),), {})
    (factory,), _ = only(partial(net, partial(block, out_channels=2)))
    assert isinstance(factory, functools.partial) and factory(in_channels=5) == (5, 2, 3)


def test_bare_classes_functions_and_values_are_handed_over_as_they_are():
    (kind, function, number), _ = only(partial(net, Config, block, 7))
    assert kind is Config and function is block and number == 7


def test_a_recipe_hands_a_complete_partial_over_uncalled():
    (recipe,), _ = only(partial(net, Factory(partial(block, 1, 2))))
    assert isinstance(recipe, functools.partial) and recipe() == (1, 2, 3)
    space = Space(partial(net, act=Factory(partial(block, 1, 2, kernel=OneOf(3, 5)))))
    assert space.build({"act.kernel": 5})[1]["act"]() == (1, 2, 5)


def test_repeats_are_spliced_into_lists_and_positions_and_are_lists_as_keywords():
    space = Space(partial(net, "first", Repeat("x", 2), [Repeat(OneOf("y", "z"), 2), "last"], named=Repeat("w", 3)))
    architecture = {"1.0": "y", "1.1": "z"}
    keys = dict(zip(space.keys, ("y", "z"), strict=True))
    assert len(architecture) == len(keys)
    assert space.build(keys) == (("first", "x", "x", ["y", "z", "last"]), {"named": ["w", "w", "w"]})


def test_an_option_may_be_a_repeat():
    space = Space(partial(net, [OneOf(two=Repeat("x", 2), none=Repeat("x", 0))]))
    assert [space.build(each)[0][0] for each in space] == [["x", "x"], []]


def test_repeats_in_positions_decide_whether_a_call_is_complete():
    def three(a, b, c):
        return (a, b, c)

    space = Space(partial(net, part=partial(three, Repeat(1, OneOf(2, 3)))))
    built = {each["part.a.times"]: space.build(each)[1]["part"] for each in space}
    assert built[3] == (1, 1, 1) and built[2](9) == (1, 1, 9)


def test_times_follow_a_shared_choice_and_what_is_computed_from_it():
    depth = Shared("depth", OneOf(1, 2))
    space = Space(partial(net, a=Repeat(OneOf("x", "y"), depth), b=Repeat("z", depth * 2 + 1)))
    assert space.count() == 2 + 4
    for architecture in space:
        named = space.build(architecture)[1]
        assert (len(named["a"]), len(named["b"])) == (architecture["depth"], 2 * architecture["depth"] + 1)


def test_derived_values_are_computed_from_shared_choices():
    width, groups = Shared("width", OneOf(4, 6)), Shared("groups", OneOf(1, 2))
    tree = partial(
        net,
        width * 2, 2 * width, width + groups, 10 - width, width // 2, width % 4, width / 2, -width, 2**groups,
        1 + width, width - 1, 12 // width, 13 % width, 12 / width, width**2, abs(-width),
        Derived(max, width, Derived(min, groups, 5)),
    )
    built, _ = Space(tree).build({"width": 6, "groups": 2})
    assert built == (12, 12, 8, 4, 3, 2, 3.0, -6, 4, 7, 5, 2, 1, 2.0, 36, 6, 6)


def test_shared_places_may_differ_in_fixed_arguments():
    def place(channels):
        return Shared("op", OneOf(conv=partial(block, channels, channels), skip="skip"))

    space = Space(partial(net, place(4), place(8)))
    assert space.count() == 2
    assert space.build({"op": "conv"})[0] == ((4, 4, 3), (8, 8, 3))


def test_shared_places_may_not_differ_in_choices():
    with pytest.raises(SpaceError, match="Shared\\('k'\\) has two definitions"):
        Space(partial(net, Shared("k", OneOf(1, 2)), Shared("k", OneOf(1, 3))))
    with pytest.raises(SpaceError, match="Shared\\('k'\\) has two definitions.*not in choices"):
        Space(partial(net, Shared("k", partial(net, a=OneOf(1, 2))), Shared("k", partial(net, b=OneOf(1, 2)))))


def test_unnamed_choices_are_independent_although_they_are_one_object():
    choice = OneOf(1, 2)
    assert Space(partial(net, [choice] * 3)).count() == 8
    assert Space(partial(net, [Shared("x", choice)] * 3)).count() == 2


def test_subsets_permutations_and_numbers_build_plain_values():
    space = Space(partial(
        net,
        s=Subset({"a": OneOf(1, 2), "b": partial(block, 1, 2)}, size=2),
        p=Permutation("x", "y"),
        f=FloatRange(0, 1),
    ))
    built = space.build({"s": ["a", "b"], "s.a": 2, "p": ["y", "x"], "f": 0.5})[1]
    assert built == {"s": {"a": 2, "b": (1, 2, 3)}, "p": ("y", "x"), "f": 0.5}


def test_tuples_named_tuples_and_dicts_keep_their_type():
    point = namedtuple("point", "x y")
    space = Space(partial(net, (OneOf(1, 2), 3), point(OneOf(1, 2), 3), {"k": OneOf(1, 2)}))
    built = space.build(dict.fromkeys(space.keys, 2))[0]
    assert built == ((2, 3), point(2, 3), {"k": 2}) and type(built[1]) is point


def test_a_dict_space_builds_its_network_or_the_part_asked_for():
    space = Space({"network": partial(net, k=OneOf(3, 5)), "bits": OneOf(4, 8)})
    architecture = {"network.k": 3, "bits": 8}
    assert space.build(architecture) == ((), {"k": 3})
    assert space.build(architecture, part="bits") == 8
    with pytest.raises(SpaceError, match="no entry 'bit'; did you mean 'bits'"):
        space.build(architecture, part="bit")
    both = Space({"a": OneOf(1, 2), "b": OneOf(3, 4)})
    assert both.build({"a": 1, "b": 4}) == {"a": 1, "b": 4}


def test_a_failing_constructor_says_which_place_it_was():
    def broken(k):
        raise RuntimeError("too small")

    space = Space(partial(net, stem=partial(broken, k=OneOf(1))))
    with pytest.raises(RuntimeError, match="too small") as caught:
        space.build({"stem.k": 1})
    assert any("stem" in note for note in caught.value.__notes__)


def test_unknown_arguments_are_refused_where_the_space_is_defined():
    with pytest.raises(SpaceError, match="block takes no argument 'kernal'; did you mean 'kernel'"):
        Space(partial(block, kernal=OneOf(3, 5)))
    with pytest.raises(SpaceError, match="block.*cannot be called so"):
        Space(partial(block, 1, 2, 3, 4))
    with pytest.raises(SpaceError, match="block.*multiple values"):
        Space(partial(block, 1, in_channels=2))


def test_a_bare_module_class_beside_partials_is_refused_with_what_to_write():
    torch = pytest.importorskip("torch")
    with pytest.raises(SpaceError, match="Identity is a bare class beside partials.*write partial\\(Identity\\)"):
        OneOf(partial(torch.nn.ReLU), torch.nn.Identity)
    assert OneOf(torch.nn.ReLU, torch.nn.GELU).labels == ("ReLU", "GELU")


@pytest.mark.parametrize("compute", [
    lambda c: c * 2, lambda c: 2 * c, lambda c: c + 1, lambda c: c // 2, lambda c: -c, lambda c: c**2, int, range,
])
@pytest.mark.parametrize("choice", [OneOf(1, 2), FloatRange(0, 1), Subset([1, 2], size=1), Repeat("x", 2)])
def test_arithmetic_on_a_bare_choice_is_refused(compute, choice):
    with pytest.raises(SpaceError, match="arithmetic on a bare .*Shared\\('name'"):
        compute(choice)


def test_a_shared_choice_is_no_number_before_it_is_built():
    for compute in (int, float, range):
        with pytest.raises(SpaceError, match="no value before an architecture is built.*Derived\\(int"):
            compute(Shared("width", OneOf(1, 2)))


@dataclasses.dataclass
class Settings:
    dim: object = 3


class Holder:
    def __init__(self, inner):
        self.inner = inner


def test_a_choice_hidden_in_an_object_is_refused_with_what_to_write():
    with pytest.raises(SpaceError, match="hidden inside a Settings at 'settings'.*partial\\(Settings, dim=OneOf"):
        Space(partial(net, settings=Settings(OneOf(1, 2))))
    assert Space(partial(net, settings=partial(Settings, OneOf(1, 2)))).count() == 2
    with pytest.raises(SpaceError, match="hidden inside a Holder"):
        Space(partial(net, Holder([OneOf(1, 2)])))
    with pytest.raises(SpaceError, match="hidden inside a set.*list, tuple or dict"):
        Space(partial(net, {OneOf(1, 2)}))
    inner = OneOf(1, 2)
    with pytest.raises(SpaceError, match="hidden inside a function.*pass it as an argument"):
        Space(partial(net, lambda: inner))


def test_labels_are_distinct_and_say_how_to_label():
    assert OneOf(partial(block, kernel=3), partial(block, kernel=5)).labels == ("block(kernel=3)", "block(kernel=5)")
    assert OneOf(1, True, 1.0, "1", None).labels == (1, True, 1.0, "1", None)
    assert OneOf([1, 2], (3,)).labels == ((1, 2), (3,))
    assert OneOf(np.int64(3), np.float32(0.5)).labels == (3, 0.5)
    for make, message in [
        (lambda: OneOf(), "at least one option"),
        (lambda: OneOf(3, 3), "must be distinct.*label them"),
        (lambda: OneOf(object()), "needs a label that JSON can carry"),
        (lambda: OneOf(float("nan")), "no JSON form"),
        (lambda: OneOf(OneOf(1, 2), 3), "needs a label"),
        (lambda: Subset([1, 2], size=3), "takes sizes from 0"),
        (lambda: Permutation(1, 1), "distinct items"),
        (lambda: Shared("", OneOf(1)), "needs a name"),
        (lambda: Derived(max, OneOf(1, 2)), "name this one"),
        (lambda: Derived(max, 1), "at least one Shared"),
        (lambda: Derived(3, Shared("x", OneOf(1))), "a function first"),
        (lambda: Repeat("x", 1.5), "times is a number"),
        (lambda: Factory(3), "takes a partial"),
        (lambda: Space(partial(net, Repeat("x", OneOf("a", "b")))), "whole numbers"),
        (lambda: Space(partial(net, Repeat("x", -1))), "0 or more"),
    ]:
        with pytest.raises(SpaceError, match=message):
            make()


def test_one_key_for_two_choices_is_refused():
    with pytest.raises(SpaceError, match="both be active have the key 'width'"):
        Space(partial(net, width=OneOf(1, 2), other=Shared("width", OneOf(3, 4))))
    exclusive = Space(partial(net, op=OneOf(a=partial(net, k=OneOf(1, 2)), b=partial(net, k=OneOf(5, 6, 7)))))
    assert exclusive.count() == 5 and exclusive.values("op.k") == (1, 2, 5, 6, 7)
    assert exclusive.given({"op.k": 6}).count() == 1


def test_a_shared_choice_that_holds_itself_is_refused():
    with pytest.raises(SpaceError, match="holds itself"):
        Space(partial(net, Shared("a", partial(net, Shared("a", OneOf(1, 2))))))


def test_a_number_of_repetitions_may_be_read_in_what_is_repeated():
    times = Shared("times", OneOf(1, 2))
    inner = Repeat(OneOf(a=partial(net, times), b=0), times=times)
    space = Space(partial(net, OneOf(p=partial(net, inner), q=0)))
    assert space.count() == 1 + 2 + 4 == len(set(space))
    other = Shared("other", OneOf(1, 2))
    both = [Repeat(OneOf(a=partial(net, x), b=0), times=y) for x, y in ((times, other), (other, times))]
    assert Space(partial(net, OneOf(p=both, q=0))).count() == 1 + (2 + 4) ** 2
    wrapped = Shared("wrapped", partial(net, Repeat(OneOf(3, 5), times)))
    assert Space(partial(net, OneOf(p=Repeat(wrapped, times), q=0))).count() == 1 + 2 + 4
