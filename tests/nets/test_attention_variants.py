"""Attention within windows, between sequences and of linear cost, against full attention under a mask."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets import (
    FourierMixing,
    MultiHeadAttention,
    TransformerBlock,
    VisionTransformer,
    WindowAttention,
    linformer_attention,
    performer_attention,
    sliding_window_attention,
)
from sartor.space import OneOf, Space


@pytest.mark.parametrize(("tokens", "reach"), [(1, 3), (7, 2), (12, 4), (13, 4), (5, 9)])
def test_a_sliding_window_is_full_attention_under_a_band(tokens: int, reach: int) -> None:
    attention = sliding_window_attention(6, 2, 3, reach=reach)
    full = MultiHeadAttention(6, 2, 3)
    full.load_state_dict(attention.state_dict())
    x = torch.randn(2, tokens, 6)
    place = torch.arange(tokens)
    band = (place[:, None] - place[None, :]).abs() <= reach
    torch.testing.assert_close(attention(x), full(x, mask=band))


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (8, 12), (5, 7), (3, 9)])
def test_window_attention_is_full_attention_within_each_window(size: tuple[int, int], shift: bool) -> None:
    block = WindowAttention(6, 2, 3, window=4, shift=shift)
    x = torch.randn(2, 6, *size)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    rows, columns, start = rows.flatten(), columns.flatten(), 2 if shift else 0
    window = 100 * ((rows - start) // 4) + (columns - start) // 4
    same = window[:, None] == window[None, :]
    down, right = rows[:, None] - rows[None, :] + 3, columns[:, None] - columns[None, :] + 3
    bias = block.bias[:, (down * 7 + right).clamp(0, 48)].masked_fill(~same, float("-inf"))
    expected = block.attention(x.flatten(2).transpose(1, 2), mask=bias)
    torch.testing.assert_close(block(x), expected.transpose(1, 2).unflatten(2, size))


def test_cross_attention_is_that_of_torch() -> None:
    attention = MultiHeadAttention(6, 2, 3, context_dim=5)
    theirs = nn.MultiheadAttention(6, 2, kdim=5, vdim=5, batch_first=True)
    with torch.no_grad():
        theirs.q_proj_weight.copy_(attention.query.weight)
        theirs.k_proj_weight.copy_(attention.key.weight)
        theirs.v_proj_weight.copy_(attention.value.weight)
        theirs.in_proj_bias.copy_(torch.cat((attention.query.bias, torch.zeros(6), attention.value.bias)))
        theirs.out_proj.load_state_dict(attention.out.state_dict())
    x, context = torch.randn(2, 4, 6), torch.randn(2, 7, 5)
    torch.testing.assert_close(attention(x, context), theirs(x, context, context, need_weights=False)[0])
    hidden = torch.tensor([[True] * 4 + [False] * 3])
    torch.testing.assert_close(attention(x, context, mask=hidden), attention(x, context[:, :4]))


def test_random_features_come_close_to_softmax_attention() -> None:
    torch.manual_seed(0)
    full = MultiHeadAttention(8, 2, 4)
    x = torch.randn(3, 20, 8)
    errors = []
    for num in (16, 4096):
        performer = performer_attention(8, 2, 4, num_features=num)
        performer.load_state_dict(full.state_dict() | {"read.directions": performer.read.directions})
        errors.append(((performer(x) - full(x)).norm() / full(x).norm()).item())
    assert errors[1] < 0.08 and errors[1] < errors[0] / 3


def test_linformer_with_every_token_kept_as_it_is_is_full_attention() -> None:
    linformer = linformer_attention(6, 2, 3, tokens=5, num_kept=5)
    with torch.no_grad():
        linformer.read.mix.weight.copy_(torch.eye(5))
    full = MultiHeadAttention(6, 2, 3)
    full.load_state_dict({name: value for name, value in linformer.state_dict().items() if "read" not in name})
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(linformer(x), full(x))
    with pytest.raises(InputError, match="keep 1 to 5 tokens, got 6"):
        linformer_attention(6, 2, 3, tokens=5, num_kept=6)


def test_fourier_mixing_is_the_sum_of_cosines() -> None:
    x = torch.randn(1, 5, 4)
    n, d = np.arange(5), np.arange(4)
    angle = 2 * np.pi * (np.multiply.outer(n, n)[:, None, :, None] / 5 + np.multiply.outer(d, d)[None, :, None, :] / 4)
    expected = np.einsum("kltd,td->kl", np.cos(angle), x[0].numpy())
    np.testing.assert_allclose(FourierMixing(4)(x)[0].numpy(), expected, atol=1e-5)


KINDS = {
    "full": partial(MultiHeadAttention),
    "window": partial(sliding_window_attention, reach=3),
    "performer": partial(performer_attention),
    "linformer": partial(linformer_attention, tokens=16, num_kept=4),
    "fourier": partial(FourierMixing),
}


def attention_space() -> Space:
    layer = partial(
        TransformerBlock, heads=2, head_dim=4, ffn_ratio=2, attention=OneOf(**KINDS),
        norm=OneOf(layer=partial(nn.LayerNorm), rms=partial(nn.RMSNorm)),
    )  # fmt: skip
    return Space(partial(VisionTransformer, 1, 3, (8, 8), 2, 8, [layer, layer]))


def test_kinds_of_attention_and_normalisation_are_choices_of_a_space() -> None:
    space = attention_space()
    assert space.count() == (5 * 2) ** 2
    x = torch.randn(2, 1, 8, 8)
    supernet = space.supernet()
    for architecture in space.sample(np.random.default_rng(0), 6):
        torch.manual_seed(0)
        functional.cross_entropy(space.build(architecture)(x), torch.tensor([0, 1])).backward()
        torch.testing.assert_close(supernet(x, arch=architecture), supernet.child(architecture)(x), atol=0, rtol=0)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_attention_exports(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from sartor.export.onnx import export_onnx

    block = TransformerBlock(8, 2, 4, attention=KINDS[kind]).eval()
    export_onnx(block, (torch.randn(1, 16, 8),), tmp_path / "block.onnx", description={})
