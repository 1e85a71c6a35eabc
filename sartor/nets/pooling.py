"""Pooling, and the operation that gives nothing."""

from __future__ import annotations

from torch import Tensor, nn


class GlobalAvgPool(nn.Module):
    """Mean over all places: ``(n, channels, height, width)`` to ``(n, channels)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class AvgPool(nn.Module):
    """Average pooling with padding of half the kernel that is left out of the mean.

    Args:
        in_channels: Kept.
        kernel: Odd.
        stride: The output has ``ceil(size / stride)`` places a side.
    """

    def __init__(self, in_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.pool = nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(x)
        return out


class MaxPool(nn.Module):
    """Max pooling with padding of half the kernel; arguments as for ``AvgPool``."""

    def __init__(self, in_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.pool = nn.MaxPool2d(kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(x)
        return out


class Zero(nn.Module):
    """The absent edge of a cell: zeros.

    Zeros are the input times 0, as in NAS-Bench-201 and DARTS, so that every parameter before it has a gradient.

    Args:
        in_channels: Kept.
        stride: The output has ``ceil(size / stride)`` places a side.
    """

    def __init__(self, in_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return x * 0.0
