"""Cells of two inputs, and the network of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from sartor.errors import InputError
from sartor.nets import DartsCell, DartsNet, FactorizedReduce, ReluConvBn, SepConv, skip_connect


class Times(nn.Module):
    def __init__(self, in_channels: int, stride: int = 1, factor: float = 1.0) -> None:
        super().__init__()
        self.factor, self.stride = factor, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :: self.stride, :: self.stride] * self.factor


def times(factor: float) -> partial[Times]:
    return partial(Times, factor=factor)


def without_preprocessing(cell: DartsCell) -> DartsCell:
    cell.first = cell.second = nn.Identity()
    return cell


def test_a_node_is_the_sum_of_what_it_reads_and_the_cell_concatenates_its_nodes() -> None:
    nodes = [{0: times(2), 1: times(3)}, {1: times(5), 2: times(7)}]
    cell = without_preprocessing(DartsCell((1, 1), 1, nodes))
    first, second = torch.full((1, 1, 2, 2), 10.0), torch.full((1, 1, 2, 2), 100.0)
    one = 2 * 10 + 3 * 100
    two = 5 * 100 + 7 * one
    assert cell(first, second).mean((2, 3)).tolist() == [[one, two]]
    assert cell.out_channels == 2


def test_a_node_may_read_all_states_before_it() -> None:
    nodes = [{source: times(10.0**source) for source in range(state)} for state in (2, 3, 4)]
    cell = without_preprocessing(DartsCell((1, 1), 1, nodes))
    x = torch.ones(1, 1, 1, 1)
    one = 1 + 10
    two = 1 + 10 + 100 * one
    assert cell(x, x).flatten().tolist() == [one, two, 1 + 10 + 100 * one + 1000 * two]


def test_a_reduction_cell_halves_what_reads_an_input_and_nothing_else() -> None:
    cell = without_preprocessing(DartsCell((1, 1), 1, [{0: times(1), 1: times(1)}, {1: times(1), 2: times(1)}], 2))
    x = torch.zeros(1, 1, 7, 5)
    assert cell(x, x).shape == (1, 2, 4, 3)
    assert [cell.operations[name].stride for name in ("0_2", "1_2", "1_3", "2_3")] == [2, 2, 2, 1]


def test_names_of_weights_do_not_depend_on_what_else_a_node_reads() -> None:
    few = DartsCell((2, 2), 2, [{0: SepConv, 1: SepConv}, {1: SepConv, 2: SepConv}])
    all_read = DartsCell((2, 2), 2, [{0: SepConv, 1: SepConv}, {0: SepConv, 1: SepConv, 2: SepConv}])
    assert set(few.state_dict()) < set(all_read.state_dict())


def test_the_first_input_is_halved_behind_a_reduction() -> None:
    cell = DartsCell((6, 8), 4, [{0: skip_connect, 1: skip_connect}], halved=True)
    assert isinstance(cell.first, FactorizedReduce) and isinstance(cell.second, ReluConvBn)
    assert cell(torch.zeros(2, 6, 7, 9), torch.zeros(2, 8, 4, 5)).shape == (2, 4, 4, 5)


def test_each_stage_but_the_first_begins_with_a_cell_that_halves_and_doubles() -> None:
    cell = partial(DartsCell, nodes=[{0: skip_connect, 1: skip_connect}] * 2)
    net = DartsNet(3, 5, stages=[[cell, cell], [cell, cell], [cell]], width=4)
    shapes = []
    for each in net.cells:
        each.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    assert net(torch.zeros(2, 3, 9, 9)).shape == (2, 5)
    assert shapes == [(8, 9, 9), (8, 9, 9), (16, 5, 5), (16, 5, 5), (32, 3, 3)]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "reads some of 0 to 1"),
        ({2: skip_connect}, "reads some of 0 to 1"),
        ({0: lambda channels, stride: ReluConvBn(channels, 3)}, "0_2 of a cell must keep 2 channels"),
    ],
)
def test_nodes_that_cannot_be_are_refused(node: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DartsCell((2, 2), 2, [node])
