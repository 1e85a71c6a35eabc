"""Attention between tokens, feed-forward, patches."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from sartor.errors import InputError
from sartor.nets import FeedForward, MultiHeadAttention, PatchEmbedding, TransformerBlock, VisionTransformer


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_attention_equals_torchs_own() -> None:
    own, reference = MultiHeadAttention(12, heads=3, head_dim=4), nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([own.query.weight, own.key.weight, own.value.weight]))
        reference.in_proj_bias.copy_(torch.cat([own.query.bias, torch.zeros(12), own.value.bias]))
        reference.out_proj.weight.copy_(own.out.weight)
        reference.out_proj.bias.copy_(own.out.bias)
    x = torch.randn(2, 5, 12, generator=seeded(1))
    torch.testing.assert_close(own(x), reference(x, x, x)[0])


def test_the_first_rows_of_attention_are_its_first_heads() -> None:
    large, small = MultiHeadAttention(6, heads=3, head_dim=4), MultiHeadAttention(6, heads=2, head_dim=4)
    with torch.no_grad():
        large.out.weight[:, 8:] = 0
        for name, parameter in small.named_parameters():
            parameter.copy_(large.get_parameter(name)[tuple(slice(size) for size in parameter.shape)])
    x = torch.randn(2, 5, 6, generator=seeded(1))
    torch.testing.assert_close(small(x), large(x))


def test_attention_reads_all_tokens_and_does_not_know_their_order() -> None:
    attention = MultiHeadAttention(6, heads=2, head_dim=3)
    x, order = torch.randn(1, 5, 6, generator=seeded(1)), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])
    changed = x.clone()
    changed[0, 4] += 1
    assert not torch.allclose(attention(changed)[0, 0], attention(x)[0, 0])


def test_a_block_adds_both_branches_behind_their_normalisation() -> None:
    block = TransformerBlock(6, heads=2, head_dim=4, ffn_ratio=2)
    x = torch.randn(2, 5, 6, generator=seeded(1))
    half = x + block.attention(nn.functional.layer_norm(x, (6,)))
    expand = block.ffn.expand
    inside = nn.functional.gelu(nn.functional.layer_norm(half, (6,)) @ expand.weight.T + expand.bias)
    torch.testing.assert_close(block(x), half + inside @ block.ffn.reduce.weight.T + block.ffn.reduce.bias)
    assert FeedForward(6, 1.5).expand.out_features == 9


def test_patches_are_squares_by_one_linear_map_and_odd_sizes_are_filled_with_zeros() -> None:
    embedding = PatchEmbedding(3, 5, patch=2)
    x = torch.randn(2, 3, 3, 5, generator=seeded(1))
    padded = torch.zeros(2, 3, 4, 6)
    padded[:, :, :3, :5] = x
    squares = [padded[:, :, r : r + 2, c : c + 2].flatten(1) for r in (0, 2) for c in (0, 2, 4)]
    expected = torch.stack(squares, 1) @ embedding.conv.weight.flatten(1).T + embedding.conv.bias
    torch.testing.assert_close(embedding(x), expected)


def test_a_network_tells_places_apart() -> None:
    layers = [partial(TransformerBlock, heads=2, head_dim=4)] * 2
    net = VisionTransformer(1, 3, (9, 7), 4, 8, layers)
    assert net.position.shape == (3 * 2, 8)
    x = torch.zeros(1, 1, 9, 7)
    x[..., :4, :4] = torch.randn(4, 4, generator=seeded(1))
    moved = x.roll(4, 2)
    assert net(x).shape == (1, 3) and not torch.allclose(net(x), net(moved))
    with torch.no_grad():
        net.position.zero_()
    torch.testing.assert_close(net(x), net(moved))


def test_positions_start_as_large_as_patches_of_standardised_pixels() -> None:
    net = VisionTransformer(3, 3, (64, 64), 4, 64, [])
    patches = net.embedding(torch.randn(8, 3, 64, 64, generator=seeded(1)))
    assert net.position.std().item() == pytest.approx(patches.std().item(), rel=0.25)


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(InputError, match="at least 1 pixel, got 0"):
        PatchEmbedding(3, 8, 0)
    with pytest.raises(InputError, match="must keep 8 features"):
        VisionTransformer(1, 3, (8, 8), 4, 8, [lambda dim: TransformerBlock(dim + 1, 1, 4)])
