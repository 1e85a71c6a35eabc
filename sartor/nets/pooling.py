"""Pooling, and the operation that gives nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sartor.errors import InputError


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


class AdaptiveAvgPool(nn.Module):
    """Average pooling to a fixed number of places, whatever the input's (He et al. 2014, arXiv:1406.4729).

    Place ``i`` of ``k`` is the mean of the input's places ``floor(i n / k)`` up to ``ceil((i + 1) n / k)``, as in
    torch's ``nn.AdaptiveAvgPool2d``; written as two products with a matrix of means, it exports for every size.

    Args:
        in_channels: Kept.
        places: A side of the output.
    """

    def __init__(self, in_channels: int, places: int = 1) -> None:
        super().__init__()
        if places < 1:
            raise InputError(f"expected at least 1 place a side, got {places}")
        self.out_channels = in_channels
        self.places = places

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, in_channels, places, places)``."""
        rows, columns = (_means(int(size), self.places).to(x) for size in x.shape[2:])
        return rows @ x @ columns.T


def _means(size: int, places: int) -> Tensor:
    """Returns the matrix ``(places, size)`` whose rows average the input's places of each output place."""
    matrix = torch.zeros(places, size)
    for place in range(places):
        begin, end = place * size // places, -(-(place + 1) * size // places)
        matrix[place, begin:end] = 1 / (end - begin)
    return matrix


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
