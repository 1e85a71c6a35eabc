"""Convolutions with their normalisation and activation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets.attention import SqueezeExcite
from sartor.nets.normalisation import batch_norm

Activation = Callable[[], nn.Module]


def _padding(kernel: int) -> int:
    if kernel % 2 == 0 or kernel < 1:
        raise InputError(f"expected an odd kernel, got {kernel}: padding of half the kernel keeps sizes only then")
    return kernel // 2


class ConvBnAct(nn.Module):
    """Convolution, batch normalisation, activation: the post-activation order of MobileNet and ResNet.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel: Odd.
        stride: The output has ``ceil(size / stride)`` places a side.
        groups: Of the convolution.
        act: Makes the activation, or None for a linear output.
        zero: Starts the normalisation's scale at 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: Activation | None = nn.ReLU,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, _padding(kernel), groups=groups, bias=False)
        self.norm = batch_norm(out_channels, zero=zero)
        self.act = nn.Identity() if act is None else act()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / stride), ...)``."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class ReluConvBn(nn.Module):
    """ReLU, convolution, batch normalisation: the pre-activation order of NAS-Bench-201 and DARTS.

    Arguments as for ``ConvBnAct``; ``out_channels`` is ``in_channels`` when None.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = in_channels if out_channels is None else out_channels
        # Not in place: several edges of a cell read one input.
        self.act = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, self.out_channels, kernel, stride, _padding(kernel), bias=False)
        self.norm = batch_norm(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(self.act(x)))
        return out


class DepthwiseSeparable(nn.Module):
    """A convolution within channels, then one across them (Howard et al. 2017, MobileNet, arXiv:1704.04861).

    Arguments as for ``ConvBnAct``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, act: Activation = nn.ReLU
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.depthwise = ConvBnAct(in_channels, in_channels, kernel, stride, groups=in_channels, act=act)
        self.pointwise = ConvBnAct(in_channels, out_channels, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


def conv_bn_relu(channels: int, kernel: int = 3) -> ConvBnAct:
    """Returns a convolution with normalisation and ReLU that keeps the number of channels."""
    return ConvBnAct(channels, channels, kernel)


def depthwise_bn_relu(channels: int, kernel: int = 3) -> ConvBnAct:
    """Returns a convolution within channels with normalisation and ReLU."""
    return ConvBnAct(channels, channels, kernel, groups=channels)


def separable_bn_relu(channels: int, kernel: int = 3) -> DepthwiseSeparable:
    """Returns a depthwise separable convolution that keeps the number of channels."""
    return DepthwiseSeparable(channels, channels, kernel)


def _relu_separable_bn(
    in_channels: int, out_channels: int, kernel: int, stride: int, dilation: int = 1
) -> list[nn.Module]:
    """Returns ReLU, a convolution within channels, one across them, batch normalisation."""
    padding = dilation * _padding(kernel)
    return [
        nn.ReLU(),
        nn.Conv2d(in_channels, in_channels, kernel, stride, padding, dilation, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        batch_norm(out_channels),
    ]


class SepConv(nn.Module):
    """Two depthwise separable convolutions, each behind a ReLU (Zoph et al. 2018, arXiv:1707.07012; DARTS).

    Args:
        in_channels: Of the input.
        out_channels: Of the output; ``in_channels`` when None.
        kernel: Odd, of both.
        stride: Of the first; the output has ``ceil(size / stride)`` places a side.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = in_channels if out_channels is None else out_channels
        self.layers = nn.Sequential(
            *_relu_separable_bn(in_channels, in_channels, kernel, stride),
            *_relu_separable_bn(in_channels, self.out_channels, kernel, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / stride), ...)``."""
        out: Tensor = self.layers(x)
        return out


class DilConv(nn.Module):
    """A depthwise separable convolution behind a ReLU, whose kernel has gaps (Yu and Koltun 2016, arXiv:1511.07122).

    Arguments as for ``SepConv``; ``dilation`` is the distance between places that the kernel reads, 2 in DARTS.
    """

    def __init__(
        self, in_channels: int, out_channels: int | None = None, kernel: int = 3, stride: int = 1, dilation: int = 2
    ) -> None:
        super().__init__()
        self.out_channels = in_channels if out_channels is None else out_channels
        self.layers = nn.Sequential(*_relu_separable_bn(in_channels, self.out_channels, kernel, stride, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / stride), ...)``."""
        out: Tensor = self.layers(x)
        return out


class FactorizedReduce(nn.Module):
    """Halves the resolution by 1x1 convolutions: half the output's channels read even places, half read odd ones.

    Of four places a convolution of stride 2 loses three, these two lose two (NASNet, DARTS). The last row and column of
    an odd size have no odd neighbour: the odd half reads zeros there.

    Args:
        in_channels: Of the input.
        out_channels: Of the output; ``in_channels`` when None. At least 2.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.out_channels = in_channels if out_channels is None else out_channels
        if self.out_channels < 2:
            raise InputError(f"expected at least 2 output channels, of even and of odd places, got {self.out_channels}")
        half = self.out_channels // 2
        self.act = nn.ReLU()
        # Places are picked before the convolution: a third of the time of a 1x1 convolution of stride 2 on a CPU.
        self.even = nn.Conv2d(in_channels, half, 1, bias=False)
        self.odd = nn.Conv2d(in_channels, self.out_channels - half, 1, bias=False)
        self.norm = batch_norm(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / 2), ceil(width / 2))``."""
        height, width = x.shape[2:]
        even, odd = self.act(x[:, :, ::2, ::2]), self.act(x[:, :, 1::2, 1::2])
        if height % 2 or width % 2:
            odd = functional.pad(odd, (0, width % 2, 0, height % 2))
        out: Tensor = self.norm(torch.cat([self.even(even), self.odd(odd)], 1))
        return out


class MBConv(nn.Module):
    """Mobile inverted bottleneck (Sandler et al. 2018, MobileNetV2, arXiv:1801.04381) with squeeze-and-excitation
    inside (Tan et al. 2019, MnasNet, arXiv:1807.11626).

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel: Of the depthwise convolution, odd.
        expand: Width inside over ``in_channels``; 1 leaves the expanding convolution out.
        stride: Of the depthwise convolution.
        squeeze_excite: Ratio of the squeezed channels to ``in_channels`` (as in MnasNet and EfficientNet); True is
            the papers' 0.25, False or 0 none.
        act: Makes the activation.
        residual: Adds the input where shapes allow it (stride 1 and equal channels).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        expand: float = 3,
        stride: int = 1,
        squeeze_excite: bool | float = False,
        act: Activation = nn.ReLU,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        inside = max(1, round(in_channels * expand))
        self.residual = residual and stride == 1 and in_channels == out_channels
        ratio = 0.25 if squeeze_excite is True else float(squeeze_excite)
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(ConvBnAct(in_channels, inside, 1, act=act))
        layers.append(ConvBnAct(inside, inside, kernel, stride, groups=inside, act=act))
        if ratio:
            layers.append(SqueezeExcite(inside, max(1, round(in_channels * ratio))))
        layers.append(ConvBnAct(inside, out_channels, 1, act=None, zero=self.residual))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, out_channels, ceil(height / stride), ...)``."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out
