"""Partial channel connections (Xu et al. 2020, arXiv:1907.05737)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.space._mixture import Around


class PartialChannels(nn.Module):
    """Passes the first of ``parts`` parts of the channels through an operation, and shuffles all.

    Args:
        operation: Keeps the number of channels, and the resolution or halves it.
        in_channels: Of the input, a multiple of ``parts``.
        parts: How many.
    """

    def __init__(self, operation: nn.Module, in_channels: int, parts: int) -> None:
        super().__init__()
        self.operation, self.parts = operation, parts
        self.out_channels = in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to as many channels."""
        size = x.shape[1] // self.parts
        mixed = self.operation(x[:, :size])
        others = x[:, size:]
        if mixed.shape[2:] != others.shape[2:]:
            others = functional.max_pool2d(others, 2, ceil_mode=True)
        y = torch.cat([mixed, others], 1)
        # Channel i of part p to place i * parts + p, so that the next operation mixes others (Zhang et al. 2018).
        return y.view(len(y), self.parts, size, *y.shape[2:]).transpose(1, 2).flatten(1, 2)


def partially(parts: int) -> Around:
    """Returns what makes mixed operations of one of ``parts`` parts of the channels, for `sartor.space.Mixture`."""

    def around(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def made(in_channels: int, **keywords: Any) -> nn.Module:
            if in_channels % parts:
                raise InputError(f"expected channels that partial={parts} divides, got {in_channels}")
            return PartialChannels(make(in_channels // parts, **keywords), in_channels, parts)

        return made

    return around
