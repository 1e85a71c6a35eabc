"""The largest and the smallest architecture of a space."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from sartor.errors import SpaceError
from sartor.nets import Chain, ClassifierHead, ConvBnAct
from sartor.space import OneOf, Repeat, Shared, Space
from sartor.supernets._extremes import Extremes, extremes, network_cost

IMAGE = (torch.zeros(1, 1, 8, 8),)


def space() -> Space:
    """Returns chains with a stride, which makes networks cheaper, options without an order, and a free resolution."""
    block = OneOf(skip=partial(nn.Identity), wide=partial(ConvBnAct, out_channels=8, kernel=5),
                  narrow=partial(ConvBnAct, out_channels=8, kernel=1))  # fmt: skip
    stem = partial(ConvBnAct, out_channels=8, kernel=OneOf(5, 3), stride=OneOf(1, 2))
    blocks = [stem, Repeat(block, times=Shared("depth", OneOf(1, 2, 3)))]
    network = partial(Chain, 1, blocks=blocks, head=partial(ClassifierHead, classes=3))
    return Space({"data": {"resolution": OneOf(4, 8)}, "network": network})


def found(of: Space) -> Extremes:
    return extremes(of, network_cost(of, IMAGE))


def test_ends_cost_most_and_least_and_a_choice_beside_the_network_goes_by_its_number() -> None:
    ends = found(space())
    assert ends.largest["network.blocks.0.stride"] == 1 and ends.smallest["network.blocks.0.stride"] == 2
    assert {ends.largest[f"network.blocks.1.{i}"] for i in range(3)} == {"wide"}
    assert dict(ends.smallest) | {"network.blocks.1.0": "skip"} == {
        "data.resolution": 4, "depth": 1, "network.blocks.0.kernel": 3, "network.blocks.0.stride": 2,
        "network.blocks.1.0": "skip",
    }  # fmt: skip
    assert ends.largest["data.resolution"] == 8
    assert ends.ordered("network.blocks.1.0") == ["wide", "narrow", "skip"]
    assert ends.ordered("network.blocks.0.stride") == [1, 2]
    costs = {each: network_cost(space(), IMAGE)(each) for each in space()}
    assert costs[ends.largest] == max(costs.values()) and costs[ends.smallest] == min(costs.values())


def test_ends_keep_constraints_and_are_exact_for_their_scores() -> None:
    narrow = space().where(lambda depth, stride: depth + stride == 3, "depth", "network.blocks.0.stride")
    ends = found(narrow)
    totals = {
        each: sum(ends.scores[key][value] for key, value in each.items()) for each in narrow
    }
    assert totals[ends.largest] == pytest.approx(max(totals.values()))
    assert totals[ends.smallest] == pytest.approx(min(totals.values()))


def test_without_inputs_parameters_are_counted() -> None:
    ends = extremes(space(), network_cost(space()))
    assert ends.largest["depth"] == 3 and ends.largest["network.blocks.1.2"] == "wide"


def test_a_space_of_no_modules_is_refused() -> None:
    with pytest.raises(SpaceError, match="builds a module"):
        found(Space(partial(dict, a=OneOf(1, 2))))
