"""Single morphisms of anybody's modules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.compress.morphism import add_branch, add_heads, add_skip, deepen, max_difference, reshape_kernel, widen
from sartor.errors import InputError, UnsupportedNetworkError
from sartor.nets import VisionTransformer
from sartor.nets.transformer import TransformerBlock
from tests.compress.morphism.test_inherit import Grouped, images, shaken


def attending() -> nn.Module:
    """Returns a Transformer of two layers of two heads."""
    layers = [TransformerBlock(12, 2, 4) for _ in range(2)]
    return shaken(VisionTransformer(3, 5, (16, 16), 4, 12, layers))


def check(network: nn.Module, large: nn.Module) -> None:
    assert max_difference(network, large, images(), seed=3) < 1e-10
    assert sum(p.numel() for p in large.parameters()) > sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("layer", "width"), [("first", 12), ("grouped", 16), ("depthwise", 12)])
def test_convolutions_are_widened_with_all_that_holds_the_same_channels(layer: str, width: int) -> None:
    network = shaken(Grouped(8))
    large = widen(network, layer, width, images())
    check(network, large)
    assert large.first.out_channels == large.norm.num_features == large.depthwise.groups == width
    assert large.last.in_channels == 2 * width and large.grouped.groups == 4
    assert network.first.out_channels == 8


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        ("embedding.conv", 17),
        ("layers.0.ffn.expand", 70),
        ("layers.1.attention.query", 16),
        ("layers.0.ffn.reduce", 24),
    ],
)
def test_layers_of_a_transformer_are_widened(layer: str, width: int) -> None:
    network = attending()
    check(network, widen(network, layer, width, images()))


def test_heads_are_added() -> None:
    network = attending()
    large = add_heads(network, "layers.1.attention", 5, images())
    check(network, large)
    assert large.layers[1].attention.heads == 5 and large.layers[1].attention.query.out_features == 20
    assert large.layers[0].attention.heads == 2


def test_keys_whose_heads_grow_are_scaled() -> None:
    class Attention(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(6, 2 * dim) for _ in range(3))
            self.out = nn.Linear(2 * dim, 6)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (f(x).unflatten(2, (2, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
            out: Tensor = self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            return out

    from sartor.compress.morphism import inherit

    x = [torch.randn(2, 5, 6, dtype=torch.float64)]
    small = shaken(Attention(4))
    assert max_difference(small, inherit(small, Attention(7).double(), x), x) < 1e-10


@pytest.mark.parametrize(("layer", "kernel"), [("first", 7), ("grouped", (3, 5)), ("depthwise", 5), ("last", 3)])
def test_kernels_grow(layer: str, kernel: int | tuple[int, int]) -> None:
    network = shaken(Grouped(8))
    large = reshape_kernel(network, layer, kernel, images())
    check(network, large)
    assert large.get_submodule(layer).kernel_size == ((kernel, kernel) if isinstance(kernel, int) else kernel)


@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.Tanh, nn.ELU, nn.Softplus])
def test_layers_are_added_for_every_activation(act: Callable[[], nn.Module]) -> None:
    network = shaken(Grouped(8))
    large = deepen(network, "grouped", images(), act=act)
    check(network, large)
    large(images()[0]).square().sum().backward()
    for name, parameter in large.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_layers_behind_a_relu_are_plain_identities() -> None:
    network = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)))
    large = deepen(network, "1", images(), norm=True)
    check(network, large)
    assert [type(layer) for layer in large[1]] == [nn.ReLU, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    check(network, deepen(network, "3", images(), act=nn.Tanh))
    with pytest.raises(InputError, match="GELU behind 1 is no identity"):
        deepen(network, "1", images(), act=nn.GELU, way="identity")


def test_float32_networks_are_deepened_too() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    x = [torch.randn(3, 4)]
    large = deepen(network, "0", x, act=nn.LeakyReLU)
    assert torch.allclose(large(x[0]), network(x[0]), atol=1e-6) and large[0][1].weight.dtype == torch.float32


def test_skips_and_branches_start_at_nothing_and_learn() -> None:
    convs = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, padding=1)
    network = shaken(nn.Sequential(*convs, nn.Flatten(), nn.Linear(384, 2)))
    branch = nn.Sequential(nn.Conv2d(6, 6, 5, padding=2), nn.ReLU()).double()
    for large in (
        add_skip(network, "0", images()),
        add_skip(network, "1", images()),
        add_skip(network, "3", images()),
        add_branch(network, "1", branch, images()),
    ):
        check(network, large)
        large(images()[0]).square().sum().backward()
        scales = [p.grad for name, p in large.named_parameters() if name.endswith("scale")]
        assert len(scales) == 1 and scales[0] is not None and scales[0].abs().sum() > 0


def test_morphisms_follow_one_another() -> None:
    network = shaken(Grouped(8))
    large = widen(network, "first", 12, images())
    large = deepen(large, "grouped", images(), act=nn.GELU)
    large = widen(large, "grouped.1", 32, images())
    large = reshape_kernel(large, "grouped.3", 5, images())
    large = add_skip(large, "grouped", images())
    check(network, large)


def test_bad_requests_say_what_was_expected() -> None:
    network, x = shaken(Grouped(8)), images()
    with pytest.raises(InputError, match="no layer 'frist'; did you mean 'first'"):
        widen(network, "frist", 12, x)
    with pytest.raises(InputError, match="expected at least 8, got 4"):
        widen(network, "first", 4, x)
    with pytest.raises(InputError, match="act is a GELU: give the convolution"):
        widen(network, "act", 4, x)
    with pytest.raises(UnsupportedNetworkError, match="must be a multiple of 2 or 4, got 9"):
        widen(network, "first", 9, x)
    with pytest.raises(UnsupportedNetworkError, match="what the network gives, by conv in last, keeps its shape"):
        widen(network, "last", 6, x)
    with pytest.raises(InputError, match=r"grows by even numbers, got \(4, 4\)"):
        reshape_kernel(network, "first", 4, x)
    with pytest.raises(InputError, match="no convolution 'act'"):
        reshape_kernel(network, "act", 5, x)
    with pytest.raises(InputError, match="expected an odd kernel"):
        deepen(network, "first", x, kernel=2)
    with pytest.raises(UnsupportedNetworkError, match=r"the branch \(2, 7, 16, 16\): they cannot be added"):
        add_branch(network, "first", nn.Conv2d(3, 7, 1).double(), x)


def test_what_reads_all_features_at_once_is_named() -> None:
    x = [torch.randn(2, 4, 8, dtype=torch.float64)]
    for readers, message in (
        ([nn.Softmax(-1), nn.Linear(6, 2)], "softmax in 1 is over these features"),
        ([nn.LSTM(6, 3, batch_first=True)], "nothing is known of how lstm in 1"),
    ):
        with pytest.raises(UnsupportedNetworkError, match=message):
            widen(shaken(nn.Sequential(nn.Linear(8, 6), *readers)), "0", 9, x)
    grouped = shaken(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)))
    with pytest.raises(UnsupportedNetworkError, match="statistics over 4 channels together, which would be 6"):
        widen(grouped, "0", 12, images())
    encoder = shaken(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    assert max_difference(encoder, widen(encoder, "linear1", 20, x), x) < 1e-10
    with pytest.raises(UnsupportedNetworkError, match="multi_head_attention_forward in self_attn"):
        widen(encoder, "linear2", 16, x)
    with pytest.raises(InputError, match="MultiheadAttention divides a fixed width"):
        add_heads(encoder, "self_attn", 4, x)


class PackedAttention(nn.Module):
    """Queries, keys and values by one layer, as most vision Transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 2
        self.qkv, self.out = nn.Linear(8, 3 * 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        out: Tensor = self.out((scores @ v).transpose(1, 2).flatten(2))
        return out


class Mixing(nn.Module):
    """Tokens are mixed by a layer along another dimension than features, inside a sum that is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.mix, self.last = nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(5, 5), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.mix(self.norm(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.last(self.norm(x))
        return out


class ChannelsLast(nn.Module):
    """A depthwise convolution before a layer normalisation over channels (ConvNeXt)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.depthwise = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.up, self.down = nn.LayerNorm(6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.scale, self.last = nn.Parameter(torch.ones(6)), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(functional.gelu(self.up(y)))
        x = functional.interpolate(x + y.permute(0, 3, 1, 2), scale_factor=2)
        out: Tensor = self.last(x)
        return out


def test_packed_projections_get_more_heads() -> None:
    network, x = shaken(PackedAttention()), [torch.randn(2, 5, 8, dtype=torch.float64)]
    large = add_heads(network, "", 3, x)
    assert max_difference(network, large, x) < 1e-10
    assert large.qkv.out_features == 36 and large.heads == 3


@pytest.mark.parametrize(
    ("network", "layer", "width", "fails"),
    [
        (Mixing(), "embed", 12, 7),
        (ChannelsLast(), "embed", 12, 7),
        (nn.Sequential(nn.Linear(8, 6), nn.RMSNorm(6), nn.Linear(6, 10), nn.GLU(), nn.Linear(5, 2)), "0", 7, None),
        (nn.Sequential(nn.Linear(8, 6), nn.RMSNorm(6), nn.Linear(6, 10), nn.GLU(), nn.Linear(5, 2)), "2", 14, 13),
    ],
    ids=["tokens mixed", "channels last", "root mean square", "gated"],
)
def test_layers_whose_features_are_read_together_grow_as_far_as_that_is_exact(
    network: nn.Module, layer: str, width: int, fails: int | None
) -> None:
    network = shaken(network)
    x = images() if isinstance(network, ChannelsLast) else [torch.randn(2, 5, 8, dtype=torch.float64)]
    assert max_difference(network, widen(network, layer, width, x), x) < 1e-10
    if fails is not None:
        with pytest.raises(UnsupportedNetworkError):
            widen(network, layer, fails, x)
