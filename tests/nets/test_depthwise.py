"""Depthwise convolution with gradients of its own."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets.depthwise import DepthwiseConv2d

SHAPES = list(itertools.product((3, 5), (1, 2), (1, 2), ((8, 8), (9, 7), (4, 5))))


@pytest.mark.parametrize(("kernel", "stride", "dilation", "size"), SHAPES)
def test_its_gradients_are_those_of_torch(kernel: int, stride: int, dilation: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(3, kernel, stride, dilation).double()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
        ours = layer(x)
        padding = dilation * (kernel // 2)
        theirs = functional.conv2d(x, layer.weight, None, stride, padding, dilation, groups=3)
        assert torch.equal(ours, theirs)
        weight = torch.randn_like(ours)
        for one, other in zip(
            torch.autograd.grad(ours, (x, layer.weight), weight),
            torch.autograd.grad(theirs, (x, layer.weight), weight),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (5, 1, 2), (3, 2, 2), (5, 2, 1)])
def test_it_has_second_derivatives_and_is_mapped(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(2, kernel, stride, dilation).double()
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x), (x,))
    images = torch.randn(3, 1, 2, 5, 5, dtype=torch.float64)
    of_each = torch.func.vmap(torch.func.grad(lambda image: layer(image).square().sum()))(images)
    for one, image in zip(of_each, images, strict=True):
        alone = image.clone().requires_grad_()
        torch.testing.assert_close(one, torch.autograd.grad(layer(alone).square().sum(), alone)[0])


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="odd kernel"):
        DepthwiseConv2d(2, 4)
