"""Depthwise convolution whose gradients are as fast as itself on a CPU.

The gradients of a convolution are convolutions too, but those that torch calls for depthwise ones with gaps, strides or
large kernels are 5 to 15 times slower on a CPU than its forward pass. Here they are computed by that forward pass: the
gradient of the input is a convolution of the output's gradient with the mirrored kernel; that of the weights convolves
each channel of each image with its own output's gradient, the gap and the stride in one another's place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError

_SMALL = 3
"""Kernels of up to this side are not worth it, unless they have gaps and strides."""


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution of equal strides, gaps and paddings in both dimensions, without a bias."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
        return functional.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, *ctx.numbers = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.numbers
        of_input = _of_input(gradient, x, weight, stride, padding, dilation) if ctx.needs_input_grad[0] else None
        of_weight = _of_weight(gradient, x, weight, stride, padding, dilation) if ctx.needs_input_grad[1] else None
        return of_input, of_weight, None, None, None


def _native(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, which: int
) -> Tensor:
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], x.shape[1],
        [which == 0, which == 1, False],
    )  # fmt: skip
    return found[which]


def _of_input(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    if stride > 1:
        if dilation == 1:
            return _native(gradient, x, weight, stride, padding, dilation, 0)
        # As of a convolution without strides whose other outputs nobody looked at.
        spread = torch.zeros_like(x, memory_format=torch.preserve_format)
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    return functional.conv2d(gradient, weight.flip(2, 3), None, 1, padding, dilation, groups=x.shape[1])


def _of_weight(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    kernel = weight.shape[2]
    if kernel <= _SMALL and (dilation == 1 or stride == 1):
        return _native(gradient, x, weight, stride, padding, dilation, 1)
    n, channels = x.shape[:2]
    images = x.reshape(1, n * channels, *x.shape[2:])
    kernels = gradient.reshape(n * channels, 1, *gradient.shape[2:])
    found = functional.conv2d(images, kernels, None, dilation, padding, stride, groups=n * channels)
    # Places behind the last that the stride reaches were never read.
    found = found[:, :, :kernel, :kernel].reshape(n, channels, 1, kernel, kernel)
    return found.sum(0)


class DepthwiseConv2d(nn.Conv2d):
    """A convolution within channels (Howard et al. 2017, MobileNet, arXiv:1704.04861), without a bias.

    Args:
        channels: Of input and output.
        kernel: Odd.
        stride: The output has ``ceil(size / stride)`` places a side.
        dilation: Distance between the places that the kernel reads.

    Raises:
        InputError: An even kernel, or a number below 1.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        if kernel % 2 == 0 or min(kernel, stride, dilation) < 1:
            raise InputError(
                f"expected an odd kernel, a stride and a dilation of at least 1, got {kernel}, {stride}, {dilation}"
            )
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, channels, height, width)`` to ``(n, channels, ceil(height / stride), ...)``."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        stride, padding, dilation = self.stride[0], int(self.padding[0]), self.dilation[0]
        out: Tensor = _Depthwise.apply(x, self.weight, stride, padding, dilation)  # type: ignore[no-untyped-call]
        return out
