"""Blocks that change the number of places, and normalisation, against torch and their formulas."""

import pytest
import torch
from torch import nn

from sartor.nets import AdaptiveAvgPool, ChannelRMSNorm, PixelShuffle, ResizeConv, TransposedConv, group_norm


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("block", [TransposedConv, PixelShuffle, ResizeConv])
def test_each_side_has_the_factor_times_the_places(block, factor: int) -> None:
    assert block(3, 5, factor=factor)(torch.zeros(2, 3, 4, 7)).shape == (2, 5, 4 * factor, 7 * factor)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_transposed_convolution_writes_to_inner_places_equally_often(factor: int) -> None:
    block = TransposedConv(1, 1, factor=factor)
    with torch.no_grad():
        block.conv.weight.fill_(1)
        block.conv.bias.zero_()
    edge = 2 * factor
    inner = block(torch.ones(1, 1, 6, 6))[..., edge:-edge, edge:-edge]
    torch.testing.assert_close(inner, torch.full_like(inner, 9.0 if factor % 2 else 4.0))


def test_a_pixel_shuffle_moves_channels_to_places() -> None:
    block = PixelShuffle(2, 3, factor=2)
    x = torch.randn(1, 2, 3, 4)
    channels, out = block.conv(x), block(x)
    for c, i, j, a, b in [(0, 0, 0, 0, 0), (1, 2, 3, 1, 0), (2, 1, 2, 0, 1), (2, 2, 3, 1, 1)]:
        assert out[0, c, 2 * i + a, 2 * j + b] == channels[0, 4 * c + 2 * a + b, i, j]


@pytest.mark.parametrize(("size", "places"), [((8, 8), 1), ((8, 8), 4), ((7, 9), 3), ((2, 3), 5)])
def test_adaptive_pooling_is_that_of_torch(size: tuple[int, int], places: int) -> None:
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(AdaptiveAvgPool(3, places)(x), nn.AdaptiveAvgPool2d(places)(x))


def test_group_normalisation_is_its_formula() -> None:
    norm = group_norm(6, groups=4)
    assert norm.num_groups == 3  # 4 does not divide 6
    x = torch.randn(2, 6, 4, 5)
    groups = x.view(2, 3, 2, 4, 5)
    mean, variance = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), unbiased=False, keepdim=True)
    torch.testing.assert_close(norm(x), ((groups - mean) / (variance + norm.eps).sqrt()).view_as(x))


def test_channel_rms_normalisation_is_that_of_torch_on_tokens() -> None:
    ours, theirs = ChannelRMSNorm(6), nn.RMSNorm(6, eps=1e-6)
    with torch.no_grad():
        ours.weight.copy_(torch.rand(6))
        theirs.weight.copy_(ours.weight)
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(ours(x), theirs(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
