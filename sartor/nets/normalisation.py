"""Normalisation of activations and of inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sartor.errors import InputError


def batch_norm(channels: int, *, zero: bool = False) -> nn.BatchNorm2d:
    """Returns batch normalisation (Ioffe and Szegedy 2015) over ``channels``.

    Args:
        channels: Of the input, shape ``(n, channels, height, width)``.
        zero: Starts the scale at 0, so that a residual branch starts as nothing (Goyal et al. 2017, arXiv:1706.02677).
    """
    norm = nn.BatchNorm2d(channels)
    if zero:
        nn.init.zeros_(norm.weight)
    return norm


class Standardise(nn.Module):
    """Subtracts a mean and divides by a deviation for each channel: both are buffers, so they are exported.

    Args:
        mean: One for each channel.
        std: One for each channel, above 0.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std, default=0.0) <= 0:
            raise InputError(f"expected a mean and a positive deviation for each channel, got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, channels, height, width)`` to the same shape."""
        return (x - self.mean) * self.scale
