"""Cells whose wiring is an upper triangular matrix and whose vertices are operations (NAS-Bench-101)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets.conv import ConvBnAct
from sartor.nets.pooling import GlobalAvgPool


class MatrixCell(nn.Module):
    """A directed acyclic graph: vertex 0 is the input, the last the output, those between are operations.

    As in the benchmark: an operation reads the sum of its inputs; channels of the output are shared evenly by the
    vertices that it concatenates (the first ones get what is left over) and a vertex behind has as many as the widest
    that reads it; the cell's input is projected by a 1x1 convolution for each vertex that reads it, the output
    included, which adds it. Vertices on no path from input to output are left out.

    Args:
        in_channels: Of the cell's input.
        out_channels: Of its output.
        edges: 0 or 1 for each pair of vertices, ordered by target, then by source: 0-1, 0-2, 1-2, 0-3, ...
        operations: One for each vertex but the ends, as factories called with the number of channels, which they keep.

    Raises:
        InputError: No path leads from input to output; the numbers of edges and operations do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edges: Sequence[int],
        operations: Sequence[Callable[[int], nn.Module]],
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        last = len(operations) + 1
        if len(edges) != last * (last + 1) // 2:
            raise InputError(f"{len(operations)} operations have {last * (last + 1) // 2} edges, got {len(edges)}")
        pairs = [(x, y) for y in range(last + 1) for x in range(y)]
        present = {pair for pair, edge in zip(pairs, edges, strict=True) if edge}
        reached, used = {0}, {last}
        for x, y in sorted(present):
            if x in reached:
                reached.add(y)
        for x, y in sorted(present, reverse=True):
            if y in used:
                used.add(x)
        if last not in reached:
            raise InputError("no path leads from the input of the cell to its output")
        self.vertices = [vertex for vertex in range(1, last) if vertex in reached & used]
        self.sources = {
            vertex: [x for x in (0, *self.vertices) if (x, vertex) in present] for vertex in (*self.vertices, last)
        }
        self.channels = self._channels(out_channels, last)
        self.last = last
        self.operations = nn.ModuleDict({str(v): operations[v - 1](self.channels[v]) for v in self.vertices})
        self.projections = nn.ModuleDict(
            {
                str(vertex): ConvBnAct(in_channels, self.channels[vertex], 1)
                for vertex, sources in self.sources.items()
                if 0 in sources
            }
        )

    def _channels(self, out_channels: int, last: int) -> dict[int, int]:
        """Returns the channels of each vertex but the input."""
        channels = {last: out_channels}
        concatenated = [x for x in self.sources[last] if x]
        for i, vertex in enumerate(concatenated):
            share, left = divmod(out_channels, len(concatenated))
            channels[vertex] = share + (i < left)
        for vertex in reversed(self.vertices):
            if vertex not in concatenated:
                channels[vertex] = max(channels[y] for y, sources in self.sources.items() if vertex in sources)
        return channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, height, width)``."""
        values: dict[int, Tensor] = {}
        for vertex in self.vertices:
            width = self.channels[vertex]
            total = [values[source][:, :width] for source in self.sources[vertex] if source]
            if 0 in self.sources[vertex]:
                total.append(self.projections[str(vertex)](x))
            values[vertex] = self.operations[str(vertex)](sum(total[1:], total[0]))
        concatenated = [values[source] for source in self.sources[self.last] if source]
        if 0 not in self.sources[self.last]:
            return torch.cat(concatenated, 1)
        projected: Tensor = self.projections[str(self.last)](x)
        return torch.cat(concatenated, 1) + projected if concatenated else projected


class MatrixCellNet(nn.Module):
    """NAS-Bench-101's skeleton: a 3x3 stem, stacks of cells with a 2x2 max pooling between them, which double the
    channels, then global average pooling and a linear layer.

    Args:
        in_channels: Of the input, shape ``(n, in_channels, height, width)``.
        classes: Number of logits.
        stacks: Cells of each stack, as factories called with the numbers of input and output channels.
        width: Channels of stem and first stack.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        stacks: Sequence[Sequence[Callable[[int, int], nn.Module]]],
        width: int = 128,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ConvBnAct(in_channels, width)]
        before = width
        for i, cells in enumerate(stacks):
            if i:
                blocks.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            for cell in cells:
                blocks.append(cell(before, width * 2**i))
                before = width * 2**i
        self.blocks = nn.Sequential(*blocks)
        self.pool = GlobalAvgPool()
        self.linear = nn.Linear(before, classes)
        self.out_channels = classes

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, shape ``(n, classes)``."""
        out: Tensor = self.linear(self.pool(self.blocks(x)))
        return out
