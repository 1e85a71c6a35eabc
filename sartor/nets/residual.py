"""Residual blocks (He et al. 2016, arXiv:1512.03385)."""

from __future__ import annotations

from torch import Tensor, nn

from sartor.nets.conv import Activation, ConvBnAct


class PoolShortcut(nn.Module):
    """The shortcut where shapes change: average pooling by the stride, then a 1x1 convolution without bias.

    Pooling before the convolution loses no pixel, as a strided convolution does (He et al. 2019, ResNet-D,
    arXiv:1812.01187; NAS-Bench-201 has it too). Odd sizes are rounded up, as a padded convolution does.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        stride: Of the block that it shortens.
        norm: Normalises the output (ResNet), or not (NAS-Bench-201).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        self.out_channels = out_channels
        layers: list[nn.Module] = []
        if stride > 1:
            layers.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
        if norm:
            layers.append(ConvBnAct(in_channels, out_channels, 1, act=None))
        else:
            layers.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return PoolShortcut(in_channels, out_channels, stride)


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel: Odd, of both.
        stride: Of the first.
        act: Makes the activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, act: Activation = nn.ReLU
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.layers = nn.Sequential(
            ConvBnAct(in_channels, out_channels, kernel, stride, act=act),
            ConvBnAct(out_channels, out_channels, kernel, act=None, zero=True),
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / stride), ...)``."""
        out: Tensor = self.act(self.layers(x) + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """A convolution between two 1x1 ones, narrower inside, beside a shortcut.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel: Odd, of the middle convolution.
        stride: Of the middle convolution (torchvision's "v1.5").
        ratio: ``out_channels`` over the channels inside; 4 in the paper.
        act: Makes the activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        ratio: int = 4,
        act: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        inside = max(1, out_channels // ratio)
        self.layers = nn.Sequential(
            ConvBnAct(in_channels, inside, 1, act=act),
            ConvBnAct(inside, inside, kernel, stride, act=act),
            ConvBnAct(inside, out_channels, 1, act=None, zero=True),
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / stride), ...)``."""
        out: Tensor = self.act(self.layers(x) + self.shortcut(x))
        return out
