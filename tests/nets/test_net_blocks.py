import pytest
import torch
from torch import nn

from sartor.errors import InputError
from sartor.nets import (
    AvgPool,
    BasicBlock,
    Bottleneck,
    Cell,
    Chain,
    ClassifierHead,
    ConvBnAct,
    DepthwiseSeparable,
    DilConv,
    FactorizedReduce,
    MaxPool,
    MBConv,
    ReluConvBn,
    SepConv,
    SqueezeExcite,
    Stage,
    Standardise,
    Zero,
    depthwise_bn_relu,
    separable_bn_relu,
)


def num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", [1, 7, 8, 28])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "block", [ConvBnAct, DepthwiseSeparable, MBConv, ReluConvBn, BasicBlock, Bottleneck, SepConv, DilConv]
)
def test_a_block_gives_its_channels_and_rounds_sizes_up(block, stride: int, size: int) -> None:
    made = block(6, out_channels=12, kernel=5, stride=stride).eval()
    out = made(torch.zeros(2, 6, size, size))
    assert made.out_channels == 12
    assert out.shape == (2, 12, -(-size // stride), -(-size // stride))


def test_separable_convolutions_have_the_parameters_of_darts() -> None:
    # Within channels, across them, and the two vectors of the normalisation.
    assert num_params(DilConv(8, kernel=5)) == 8 * 25 + 8 * 8 + 16
    assert num_params(SepConv(8, 12, kernel=3)) == (8 * 9 + 8 * 8 + 16) + (8 * 9 + 8 * 12 + 24)
    assert num_params(depthwise_bn_relu(8)) == 8 * 9 + 16
    assert num_params(separable_bn_relu(8)) == (8 * 9 + 16) + (8 * 8 + 16)


def test_a_dilated_convolution_reads_every_other_place() -> None:
    block = DilConv(1, kernel=3).eval()
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    with torch.no_grad():
        block.layers[1].weight.fill_(1)
    read = block(x)[0, 0].nonzero().tolist()
    assert read == [[row, column] for row in (2, 4, 6) for column in (2, 4, 6)]


@pytest.mark.parametrize("size", [(8, 6), (7, 6), (8, 5), (7, 5), (1, 1)])
def test_a_factorized_reduction_reads_even_and_odd_places(size: tuple[int, int]) -> None:
    block = FactorizedReduce(4, 5).eval()
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))
    padded = nn.functional.pad(torch.relu(x), (0, 2, 0, 2))
    even = nn.functional.conv2d(torch.relu(x), block.even.weight, stride=2)
    odd = nn.functional.conv2d(padded[:, :, 1:, 1:], block.odd.weight, stride=2)[:, :, : even.shape[2], : even.shape[3]]
    torch.testing.assert_close(block(x), block.norm(torch.cat([even, odd], 1)))


@pytest.mark.parametrize("pool", [AvgPool, MaxPool])
def test_pools_keep_channels_and_round_sizes_up(pool) -> None:
    assert pool(3, 3, 2)(torch.zeros(1, 3, 7, 7)).shape == (1, 3, 4, 4)


def test_average_pooling_leaves_the_padding_out() -> None:
    assert torch.equal(AvgPool(1)(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_mbconv_has_the_parameters_of_its_paper() -> None:
    # 8 -> 8 channels, 24 inside: expand + depthwise + project, each with the two vectors of its normalisation.
    expected = (8 * 24 + 48) + (24 * 25 + 48) + (24 * 8 + 16)
    assert num_params(MBConv(8, 8, kernel=5, expand=3)) == expected
    # A quarter of the input's 8 channels: 2 squeezed, with biases.
    assert num_params(MBConv(8, 8, kernel=5, expand=3, squeeze_excite=True)) == expected + (24 * 2 + 2) + (2 * 24 + 24)
    assert num_params(MBConv(8, 8, expand=1)) == (8 * 9 + 16) + (8 * 8 + 16)


def test_mbconv_adds_its_input_only_where_shapes_agree() -> None:
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(MBConv(8, 8).eval()(x), x), "a residual branch starts as nothing"
    assert not MBConv(8, 12).residual and not MBConv(8, 8, stride=2).residual


def test_squeeze_excite_scales_each_channel_by_a_gate_of_the_means() -> None:
    block = SqueezeExcite(4, 2)
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    w1, w2 = block.reduce.weight[:, :, 0, 0], block.expand.weight[:, :, 0, 0]
    hidden = torch.relu(x.mean((2, 3)) @ w1.T + block.reduce.bias)
    gate = ((hidden @ w2.T + block.expand.bias) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(block(x), x * gate[:, :, None, None])


def test_a_chain_tells_each_block_its_channels_and_takes_torchs_own_modules() -> None:
    from functools import partial

    chain = Chain(
        3,
        blocks=[
            partial(nn.Conv2d, out_channels=5, kernel_size=3),
            nn.ReLU(),
            partial(Stage, blocks=[partial(MBConv, out_channels=7), nn.Identity()], stride=2),
        ],
        head=partial(ClassifierHead, classes=4, dropout=0.1),
    )
    assert chain.out_channels == 4 and chain.blocks[2].out_channels == 7
    assert chain.eval()(torch.zeros(2, 3, 9, 9)).shape == (2, 4)


def test_a_cell_sums_over_all_earlier_nodes() -> None:
    class Times(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return x * self.factor

    cell = Cell(2, [Times(k) for k in (2.0, 3.0, 5.0, 7.0, 11.0, 13.0)])
    one = 2.0
    two = 3.0 + 5 * one
    assert torch.equal(cell(torch.ones(1, 2, 1, 1)), torch.full((1, 2, 1, 1), 7 + 11 * one + 13 * two))


def test_zero_gives_zeros_with_a_gradient() -> None:
    x = torch.ones(1, 2, 3, 3, requires_grad=True)
    out = Zero(2)(x)
    out.sum().backward()
    assert not out.any() and x.grad is not None and not x.grad.any()
    assert Zero(2, stride=2)(x).shape == (1, 2, 2, 2)


def test_standardise_is_per_channel() -> None:
    out = Standardise([0.5, 0.25], [0.5, 0.125])(torch.full((1, 2, 1, 1), 0.5))
    assert out.flatten().tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvBnAct(3, 4, kernel=4), "odd kernel"),
        (lambda: FactorizedReduce(1), "at least 2 output channels"),
        (lambda: Cell(3, [nn.Identity()] * 4), "v\\(v-1\\)/2 edges"),
        (lambda: Cell(3, [lambda c: ConvBnAct(c, 5)]), "must keep 3 channels"),
        (lambda: Stage(3, []), "at least one block"),
        (lambda: Stage(3, [nn.Identity()]), "expected a factory"),
        (lambda: Chain(3, [7]), "a module or a factory"),
        (lambda: Standardise([0.0], [0.0]), "positive deviation"),
    ],
)
def test_what_cannot_be_built_is_said(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
