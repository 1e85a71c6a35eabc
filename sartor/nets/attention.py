"""Attention over channels."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate read from the means of all (Hu et al. 2018, arXiv:1709.01507).

    The gate is a hard sigmoid, as in MobileNetV3 (Howard et al. 2019, arXiv:1905.02244): cheap on every runtime.

    Args:
        in_channels: Kept.
        squeezed: Channels of the bottleneck, at least 1.
    """

    def __init__(self, in_channels: int, squeezed: int) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.reduce = nn.Conv2d(in_channels, squeezed, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, in_channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to the same shape."""
        means = x.mean((2, 3), keepdim=True)
        out: Tensor = x * self.gate(self.expand(self.act(self.reduce(means))))
        return out
