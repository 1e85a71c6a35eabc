"""Convolutional neural fabrics: a trellis of scales by layers, each node a sum of convolutions of its neighbours.

Saxena and Verbeek 2016, "Convolutional Neural Fabrics", arXiv:1606.02492.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets.chain import Block, ClassifierHead, attach
from sartor.nets.conv import ConvBnAct
from sartor.nets.normalisation import batch_norm

STEPS = {"finer": -1, "same": 0, "coarser": 1}
"""Which scale of the layer before an input comes from, relative to the node's own; scale 0 has the most places."""


class FabricConv(nn.Module):
    """A 3x3 convolution from a scale to the same one, to the next coarser (stride 2) or to the next finer one.

    To a finer scale each place is doubled before the convolution, where the paper puts zeros between.

    Args:
        in_channels: Kept.
        source: Where the input is: ``finer``, ``same`` or ``coarser`` than the output.
    """

    def __init__(self, in_channels: int, source: str = "same") -> None:
        super().__init__()
        if source not in STEPS:
            raise InputError(f"expected one of {', '.join(STEPS)}, got {source!r}")
        self.out_channels = in_channels
        self.source = source
        self.conv = nn.Conv2d(in_channels, in_channels, 3, 2 if source == "finer" else 1, padding=1, bias=False)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Maps ``(n, in_channels, ...)`` to ``(n, in_channels, *size)``."""
        if self.source == "coarser":
            x = functional.interpolate(x, size=list(size), mode="nearest")
        out: Tensor = self.conv(x)
        return out


class FabricNode(nn.Module):
    """The sum of some convolutions of neighbours, batch normalisation, ReLU.

    Args:
        in_channels: Of every node.
        inputs: Where from -> a factory called with the number of channels; at least one.
    """

    def __init__(self, in_channels: int, inputs: Mapping[str, Block]) -> None:
        super().__init__()
        if not inputs:
            raise InputError("a node of a fabric needs at least one input")
        self.out_channels = in_channels
        self.inputs = nn.ModuleDict({source: attach(made, in_channels)[0] for source, made in inputs.items()})
        self.norm = batch_norm(in_channels)

    def forward(self, sources: Mapping[str, Tensor], size: Sequence[int]) -> Tensor:
        """Returns ``(n, channels, *size)``; ``sources`` has a tensor for each input."""
        terms = [module(sources[source], size) for source, module in self.inputs.items()]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        out: Tensor = functional.relu(self.norm(total))
        return out


class Fabric(nn.Module):
    """A trellis that reads the image at its finest scale and gives logits from its coarsest.

    The first layer brings the image to every scale, each from the next finer one; the last layer is read in the same
    way down to the coarsest scale. Nodes that no path to the output needs are not built, so that a fabric with one
    input a node is a plain chain of convolutions.

    Args:
        in_channels: Of the image, shape ``(n, in_channels, height, width)``.
        classes: Number of logits.
        width: Channels of every node.
        layers: For each layer after the first, a factory of a node for each scale, the finest first.
        exits: For each scale but the finest a factory of the node that reads the last layer, by ``same``, and the
            next finer exit, by ``finer``.
    """

    def __init__(
        self, in_channels: int, classes: int, width: int, layers: Sequence[Sequence[Block]], exits: Sequence[Block]
    ) -> None:
        super().__init__()
        self.num_scales = len(exits) + 1
        if not layers or any(len(layer) != self.num_scales for layer in layers):
            raise InputError(
                f"expected layers of {self.num_scales} nodes, one more than exits, got {[len(each) for each in layers]}"
            )
        # Built from the output on, so that only what is read is built.
        read = {self.num_scales - 1}
        made_exits: list[nn.Module] = [nn.Identity() for _ in exits]
        wanted: set[int] = set()
        for scale in range(self.num_scales - 1, 0, -1):
            if scale in read:
                node = made_exits[scale - 1] = attach(exits[scale - 1], width)[0]
                read |= {scale - 1} if "finer" in _inputs(node) else set()
                wanted |= {scale} if "same" in _inputs(node) else set()
        if 0 in read:
            wanted.add(0)
        made_layers: list[nn.Module] = []
        for layer in reversed(layers):
            nodes: list[nn.Module] = [nn.Identity() for _ in layer]
            for scale in wanted:
                nodes[scale] = attach(layer[scale], width)[0]
            wanted = {scale + STEPS[source] for scale in wanted for source in _inputs(nodes[scale])}
            made_layers.append(nn.ModuleList(nodes))
        self.entries = nn.ModuleList(
            ConvBnAct(width if scale else in_channels, width, stride=2 if scale else 1)
            for scale in range(max(wanted) + 1)
        )
        self.layers = nn.ModuleList(reversed(made_layers))
        self.exits = nn.ModuleList(made_exits)
        self.head = ClassifierHead(width, classes)
        self.out_channels = classes

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, shape ``(n, classes)``."""
        sizes = [x.shape[2:]]
        for _ in range(1, self.num_scales):
            sizes.append(type(x.shape)([-(-side // 2) for side in sizes[-1]]))
        values: dict[int, Tensor] = {}
        for scale, entry in enumerate(self.entries):
            x = values[scale] = entry(x)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            values = {
                scale: node({source: values[scale + STEPS[source]] for source in _inputs(node)}, sizes[scale])
                for scale, node in enumerate(layer)
                if not isinstance(node, nn.Identity)
            }
        left = values.get(0)
        for scale, node in enumerate(self.exits, 1):
            if not isinstance(node, nn.Identity):
                sources = {"same": values.get(scale), "finer": left}
                left = node({source: sources[source] for source in _inputs(node)}, sizes[scale])
        out: Tensor = self.head(left)
        return out


def _inputs(node: nn.Module) -> list[str]:
    assert isinstance(node, FabricNode), f"a layer of a fabric makes nodes, got {node}"
    return list(node.inputs)
