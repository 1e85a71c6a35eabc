"""More places a side, learned: transposed convolution, pixel shuffle, and resizing before a convolution.

A transposed convolution whose kernel the stride does not divide writes to some places more often than to others, which
shows as a checkerboard (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts", Distill). A pixel shuffle
computes the channels of all new places at once and moves them there (Shi et al. 2016, arXiv:1609.05158); resizing
first leaves no place different from another.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError


def _check(factor: int) -> None:
    if factor < 1:
        raise InputError(f"expected a factor of at least 1, got {factor}")


class TransposedConv(nn.Module):
    """Transposed convolution, ``factor`` times as many places a side.

    The kernel is twice the factor, three times where that is odd: the stride divides it, so that every new place inside
    of the image is written to equally often.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        factor: Places a side over those of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2) -> None:
        super().__init__()
        _check(factor)
        self.out_channels = out_channels
        padding, kernel = (factor, 3 * factor) if factor % 2 else (factor // 2, 2 * factor)
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, kernel, factor, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, h, w)`` to ``(n, out_channels, factor * h, factor * w)``."""
        out: Tensor = self.conv(x)
        return out


class PixelShuffle(nn.Module):
    """A convolution to ``factor**2`` times the channels, which become places:

        y[c, factor * i + a, factor * j + b] = conv(x)[c * factor**2 + a * factor + b, i, j]

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        factor: Places a side over those of the input.
        kernel: Odd.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2, kernel: int = 3) -> None:
        super().__init__()
        _check(factor)
        if kernel % 2 == 0:
            raise InputError(f"expected an odd kernel, got {kernel}")
        self.out_channels = out_channels
        self.conv = nn.Conv2d(in_channels, out_channels * factor**2, kernel, padding=kernel // 2)
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, h, w)`` to ``(n, out_channels, factor * h, factor * w)``."""
        out: Tensor = self.shuffle(self.conv(x))
        return out


class ResizeConv(nn.Module):
    """The nearest place's value, then a convolution.

    Arguments as for ``PixelShuffle``.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2, kernel: int = 3) -> None:
        super().__init__()
        _check(factor)
        if kernel % 2 == 0:
            raise InputError(f"expected an odd kernel, got {kernel}")
        self.out_channels = out_channels
        self.factor = float(factor)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, h, w)`` to ``(n, out_channels, factor * h, factor * w)``."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=self.factor, mode="nearest"))
        return out
