"""Cells: small graphs whose edges are operations, repeated to make a network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets.chain import Block, attach
from sartor.nets.conv import ConvBnAct, ReluConvBn
from sartor.nets.normalisation import batch_norm
from sartor.nets.pooling import GlobalAvgPool
from sartor.nets.residual import PoolShortcut


class Cell(nn.Module):
    """A complete directed graph: node 0 is the input, each later node the sum of its edges, the last the output.

    Args:
        in_channels: Of every node.
        edges: One operation for each pair of nodes, ordered by target, then by source (NAS-Bench-201): for four
            nodes 0-1, 0-2, 1-2, 0-3, 1-3, 2-3. Each keeps shape.
    """

    def __init__(self, in_channels: int, edges: Sequence[nn.Module | Block]) -> None:
        super().__init__()
        nodes = 1
        while nodes * (nodes + 1) // 2 < len(edges):
            nodes += 1
        if nodes * (nodes + 1) // 2 != len(edges):
            raise InputError(f"a cell of v nodes has v(v-1)/2 edges (1, 3, 6, 10, ...), got {len(edges)}")
        self.num_nodes = nodes + 1
        self.out_channels = in_channels
        made = []
        for i, edge in enumerate(edges):
            module, channels = attach(edge, in_channels)
            if channels != in_channels:
                raise InputError(f"edge {i} of a cell must keep {in_channels} channels, {module} gives {channels}")
            made.append(module)
        self.edges = nn.ModuleList(made)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to the same shape."""
        nodes = [x]
        edge = iter(self.edges)
        for _ in range(1, self.num_nodes):
            total = next(edge)(nodes[0])
            for source in nodes[1:]:
                total = total + next(edge)(source)
            nodes.append(total)
        return nodes[-1]


class _Reduction(nn.Module):
    """NAS-Bench-201's residual block between stages: halves the resolution, doubles the channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.layers = nn.Sequential(
            ReluConvBn(in_channels, out_channels, stride=2), ReluConvBn(out_channels, out_channels)
        )
        self.shortcut = PoolShortcut(in_channels, out_channels, stride=2, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x) + self.shortcut(x)
        return out


class CellNet(nn.Module):
    """NAS-Bench-201's skeleton: a 3x3 stem, stages of cells with a residual block of stride 2 between them, then
    normalisation, ReLU, global average pooling and a linear layer.

    Args:
        in_channels: Of the input, shape ``(n, in_channels, height, width)``.
        classes: Number of logits.
        stages: Cells of each stage, as factories called with the number of channels.
        width: Channels of the first stage; each further stage has twice those before.
    """

    def __init__(self, in_channels: int, classes: int, stages: Sequence[Sequence[Block]], width: int = 16) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ConvBnAct(in_channels, width, act=None)]
        channels = width
        for i, cells in enumerate(stages):
            if i:
                blocks.append(_Reduction(channels, 2 * channels))
                channels *= 2
            blocks.extend(attach(cell, channels)[0] for cell in cells)
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(batch_norm(channels), nn.ReLU())
        self.pool = GlobalAvgPool()
        self.linear = nn.Linear(channels, classes)
        self.out_channels = classes

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, shape ``(n, classes)``."""
        out: Tensor = self.linear(self.pool(self.last(self.blocks(x))))
        return out
