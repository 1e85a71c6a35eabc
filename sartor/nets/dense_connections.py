"""Dense connections: each layer reads what all layers before it gave (Huang et al. 2017, arXiv:1608.06993).

    x_l = H_l([x_0, x_1, ..., x_{l-1}])

with the bracket a concatenation over channels. Features are reused instead of computed anew, and memory grows with the
square of the depth where every concatenation is kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets.chain import Block, attach
from sartor.nets.normalisation import batch_norm

BOTTLENECK = 4
"""Channels inside a layer over its growth, as in the paper's DenseNet-B."""


class DenseLayer(nn.Module):
    """Normalisation, ReLU, 1x1 convolution, and again with 3x3: ``growth`` channels from any number.

    Args:
        in_channels: Of the input.
        growth: Channels that the layer adds.
        kernel: Odd, of the second convolution.
    """

    def __init__(self, in_channels: int, growth: int, kernel: int = 3) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"expected an odd kernel, got {kernel}")
        self.out_channels = growth
        inside = BOTTLENECK * growth
        self.layers = nn.Sequential(
            batch_norm(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, inside, 1, bias=False),
            batch_norm(inside),
            nn.ReLU(),
            nn.Conv2d(inside, growth, kernel, padding=kernel // 2, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class DenseBlock(nn.Module):
    """Layers each of which reads the input and all layers before it.

    Args:
        in_channels: Of the input.
        layers: Factories called with the number of channels there are by then; each keeps height and width.
    """

    def __init__(self, in_channels: int, layers: Sequence[Block]) -> None:
        super().__init__()
        channels = in_channels
        made = []
        for layer in layers:
            module, added = attach(layer, channels)
            made.append(module)
            channels += added
        self.layers = nn.ModuleList(made)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, height, width)``: the input comes first."""
        for layer in self.layers:
            x = torch.cat((x, layer(x)), 1)
        return x


class DenseTransition(nn.Module):
    """Between dense blocks: fewer channels by a 1x1 convolution, half the places a side by average pooling.

    Args:
        in_channels: Of the input.
        compression: Channels kept, as a share above 0 and up to 1.
    """

    def __init__(self, in_channels: int, compression: float = 0.5) -> None:
        super().__init__()
        if not 0 < compression <= 1:
            raise InputError(f"expected a compression above 0 and up to 1, got {compression}")
        self.out_channels = max(1, int(compression * in_channels))
        self.layers = nn.Sequential(
            batch_norm(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, self.out_channels, 1, bias=False),
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / 2), ceil(width / 2))``."""
        out: Tensor = self.layers(x)
        return out
