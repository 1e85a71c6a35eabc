"""Composition: blocks in a row, each told the channels of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets.pooling import GlobalAvgPool

Block = Callable[..., nn.Module]
"""Called with ``in_channels``; the module that it makes has ``out_channels`` where these differ."""


def attach(block: nn.Module | Block, in_channels: int, **fixed: object) -> tuple[nn.Module, int]:
    """Makes a block behind ``in_channels`` channels.

    Args:
        block: A factory, called with ``in_channels`` and ``fixed``; or a module, which is taken as it is.
        in_channels: Of its input.
        fixed: Further arguments for the factory.

    Returns:
        The module and its ``out_channels``; a module that does not tell keeps ``in_channels``.

    Raises:
        InputError: neither a module nor a factory, or a module where ``fixed`` arguments are wanted.
    """
    if isinstance(block, nn.Module):
        if fixed:
            raise InputError(f"expected a factory to call with {fixed}, got a built {type(block).__name__}")
        module = block
    elif callable(block):
        module = block(in_channels, **fixed)
    else:
        raise InputError(f"expected a module or a factory called with in_channels, got {block!r}")
    return module, int(getattr(module, "out_channels", in_channels))


class Chain(nn.Module):
    """Blocks in a row, and a head behind them.

    Args:
        in_channels: Of the input, shape ``(n, in_channels, height, width)``.
        blocks: Factories and modules: see ``attach``.
        head: The last one, or None. Kept apart so that features may be read before it.
    """

    def __init__(
        self, in_channels: int, blocks: Sequence[nn.Module | Block], head: nn.Module | Block | None = None
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        channels = in_channels
        made = []
        for block in blocks:
            module, channels = attach(block, channels)
            made.append(module)
        self.blocks = nn.Sequential(*made)
        self.head: nn.Module = nn.Identity()
        if head is not None:
            self.head, channels = attach(head, channels)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(x))
        return out


class Stage(nn.Module):
    """Blocks at one resolution, of which the first changes it.

    Args:
        in_channels: Of the input.
        blocks: At least one; the first is called with ``stride`` too, so it must be a factory.
        stride: Of the first block.
    """

    def __init__(self, in_channels: int, blocks: Sequence[nn.Module | Block], stride: int = 1) -> None:
        super().__init__()
        if not blocks:
            raise InputError("a stage needs at least one block: the first one changes resolution and width")
        channels = in_channels
        made = []
        for i, block in enumerate(blocks):
            module, channels = attach(block, channels) if i else attach(block, channels, stride=stride)
            made.append(module)
        self.blocks = nn.Sequential(*made)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class ClassifierHead(nn.Module):
    """Global average pooling and a linear layer: ``(n, in_channels, height, width)`` to logits ``(n, classes)``.

    Args:
        in_channels: Of the input.
        classes: Number of logits.
        dropout: Share of the pooled features dropped in training.
    """

    def __init__(self, in_channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.out_channels = classes
        self.pool = GlobalAvgPool()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.linear = nn.Linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.dropout(self.pool(x)))
        return out
