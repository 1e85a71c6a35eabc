"""Cells of two inputs whose nodes read some of those before them (DARTS)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets.chain import Block, attach
from sartor.nets.conv import ConvBnAct, FactorizedReduce, ReluConvBn
from sartor.nets.pooling import GlobalAvgPool


def skip_connect(in_channels: int, stride: int = 1) -> nn.Module:
    """Returns the identity, or where the resolution is halved ``FactorizedReduce``."""
    return nn.Identity() if stride == 1 else FactorizedReduce(in_channels)


class DartsCell(nn.Module):
    """A directed acyclic graph over the outputs of the two cells before it (Liu et al. 2019, arXiv:1806.09055).

    States 0 and 1 are the outputs of the cell before the previous one and of the previous one, each brought to the
    cell's channels. States 2, 3, ... are its nodes: each the sum of its operations on earlier states. The output is all
    nodes, concatenated.

    Args:
        in_channels: Of the two inputs.
        channels: Of each node.
        nodes: For each node its operations: state that is read -> factory, called with ``channels`` and ``stride``.
            Any number of states may be read: two in an architecture of DARTS, all in its continuous relaxation.
        stride: Of the operations that read an input: 1 in a normal cell, 2 in a reduction cell.
        halved: Whether the second input has half the resolution of the first, which is then halved too.

    Raises:
        InputError: A node that reads nothing or a state that is not before it; an operation that changes channels.
    """

    def __init__(
        self,
        in_channels: tuple[int, int],
        channels: int,
        nodes: Sequence[Mapping[int, Block]],
        stride: int = 1,
        halved: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = channels * len(nodes)
        first, second = in_channels
        self.first = FactorizedReduce(first, channels) if halved else ReluConvBn(first, channels, kernel=1)
        self.second = ReluConvBn(second, channels, kernel=1)
        self.operations = nn.ModuleDict()
        self.terms: list[list[tuple[str, int]]] = []
        for state, operations in enumerate(nodes, 2):
            if not operations or not set(operations) <= set(range(state)):
                raise InputError(f"state {state} of a cell reads some of 0 to {state - 1}, got {list(operations)}")
            self.terms.append([(f"{source}_{state}", source) for source in operations])
            for (name, source), operation in zip(self.terms[-1], operations.values(), strict=True):
                made, out = attach(operation, channels, stride=stride if source < 2 else 1)
                if out != channels:
                    raise InputError(f"operation {name} of a cell must keep {channels} channels, {made} gives {out}")
                self.operations[name] = made

    def forward(self, before_previous: Tensor, previous: Tensor) -> Tensor:
        """Maps ``(n, in_channels[0], ...)`` and ``(n, in_channels[1], height, width)`` to the nodes of the cell.

        Returns:
            Shape ``(n, channels * len(nodes), ceil(height / stride), ceil(width / stride))``.
        """
        states = [self.first(before_previous), self.second(previous)]
        operations = self.operations
        for node in self.terms:
            read = [operations[name](states[source]) for name, source in node]
            states.append(sum(read[1:], read[0]))
        return torch.cat(states[2:], 1)


class DartsNet(nn.Module):
    """DARTS' skeleton for small images: a 3x3 stem, cells each of which reads the two before it, global average
    pooling and a linear layer.

    Args:
        in_channels: Of the input, shape ``(n, in_channels, height, width)``.
        classes: Number of logits.
        stages: Cells at one resolution, as factories called with the channels of both inputs, the channels of a node,
            ``stride`` and ``halved``. The first cell of each stage but the first halves the resolution and doubles the
            channels.
        width: Channels of a node in the first stage.
        stem_multiplier: Channels of the stem over ``width``.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        stages: Sequence[Sequence[Callable[..., DartsCell]]],
        width: int = 16,
        stem_multiplier: int = 3,
    ) -> None:
        super().__init__()
        self.stem = ConvBnAct(in_channels, stem_multiplier * width, act=None)
        self.cells = nn.ModuleList()
        before = (self.stem.out_channels, self.stem.out_channels)
        channels, halved = width, False
        for number, cells in enumerate(stages):
            for place, cell in enumerate(cells):
                halves = number > 0 and place == 0
                channels *= 2 if halves else 1
                made = cell(before, channels, stride=2 if halves else 1, halved=halved)
                self.cells.append(made)
                before, halved = (before[1], made.out_channels), halves
        self.pool = GlobalAvgPool()
        self.linear = nn.Linear(before[1], classes)
        self.out_channels = classes

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, shape ``(n, classes)``."""
        before_previous = previous = self.stem(x)
        for cell in self.cells:
            before_previous, previous = previous, cell(before_previous, previous)
        out: Tensor = self.linear(self.pool(previous))
        return out
