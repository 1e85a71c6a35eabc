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


def group_norm(channels: int, groups: int = 8) -> nn.GroupNorm:
    """Returns group normalisation (Wu and He 2018, arXiv:1803.08494): statistics over groups of an image's channels.

        y = (x - mean_g) / sqrt(var_g + eps) * weight + bias

    Unlike batch normalisation it does the same in training and in use, and on a batch of one.

    Args:
        channels: Of the input, shape ``(n, channels, ...)``.
        groups: At most; the largest number that divides ``channels`` is taken. 1 is layer normalisation over an image,
            ``channels`` instance normalisation.
    """
    if groups < 1:
        raise InputError(f"expected at least 1 group, got {groups}")
    return nn.GroupNorm(next(num for num in range(min(groups, channels), 0, -1) if channels % num == 0), channels)


class ChannelRMSNorm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467) over the channels of each place.

        y = x / sqrt(mean_c(x^2) + eps) * weight

    No mean is subtracted. For tokens, whose features come last, torch's ``nn.RMSNorm`` is the same.

    Args:
        channels: Of the input, shape ``(n, channels, height, width)``.
        eps: Added to the mean square.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.out_channels = channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, channels, height, width)`` to the same shape."""
        scale = torch.rsqrt(x.square().mean(1, keepdim=True) + self.eps)
        return x * scale * self.weight.view(1, -1, 1, 1)


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
