"""What a larger network inherits: exact in float64, on the ready-made spaces and on networks of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sartor.compress.morphism import grow, inherit, max_difference, settle
from sartor.errors import InputError, UnsupportedNetworkError
from sartor.nets import BasicBlock, ConvBnAct, MBConv, SqueezeExcite, TransformerBlock
from sartor.registry import find
from sartor.space import Architecture


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Returns the network in float64 with weights and statistics that are no initial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network.double().eval()


def images(rows: int = 2, side: int = 16) -> list[Tensor]:
    return [torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)]


SPACES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "nasbench201": ((3, 10), {"width": 4}),
    "nasbench101": ((3, 10), {}),
    "nasbench_macro": ((3, 10), {"width": 4, "features": 32}),
    "darts": ((3, 10), {"width": 4, "num_cells": 3}),
    "hierarchical": ((3, 10), {"width": 4}),
    "mbconv": ((3, 10, 16), {}),
    "resnet-like": ((3, 10, 16), {}),
    "once-for-all": ((3, 10, 16), {}),
    "transformer": ((3, 10, 16), {}),
}


@pytest.mark.parametrize("name", SPACES)
def test_random_networks_of_a_ready_made_space_grow_exactly_or_are_refused(name: str) -> None:
    arguments, options = SPACES[name]
    space = find("spaces", name).load()(*arguments, **options)
    part = "network" if "data.resolution" in space.keys else None
    rng = np.random.default_rng(3)
    grown = 0
    for number in range(60):
        one = space.sample_choices(rng)
        pair = [space.build(each, part=part) for each in (one, space.mutate(one, rng))]
        small, large = sorted(pair, key=lambda network: sum(p.numel() for p in network.parameters()))
        shaken(small, number)
        try:
            inherit(small, large.double(), images())
        except UnsupportedNetworkError:
            continue
        assert max_difference(small, large, images(), seed=5) < 1e-10
        grown += 1
        if grown == 2:
            return
    raise AssertionError(f"{name}: of 60 pairs that differ in a choice only {grown} contain one another")


TRANSFORMERS = find("spaces", "transformer").load()(3, 10, 16)


def chosen(dim: int, depth: int, *, heads: int, ratio: int) -> Architecture:
    """Returns a Transformer whose layers are alike."""
    layers = {f"layers.{i}.{k}": v for i in range(depth) for k, v in (("heads", heads), ("ffn_ratio", ratio))}
    return TRANSFORMERS.architecture({"dim": dim, "depth": depth, **layers})


def test_an_architecture_grows_in_everything_at_once() -> None:
    space = find("spaces", "mbconv").load()(3, 10, 16)

    def conv(stem: int, widths: tuple[int, ...], **stage: Any) -> Architecture:
        values = {"stem.width": stem, "stem.stride": 2}
        for number, width in enumerate(widths, 1):
            values |= {f"stage{number}.{key}": value for key, value in {"width": width, **stage}.items()}
        return space.architecture({key: value for key, value in values.items() if key in space.keys})

    small = conv(8, (12, 16, 24), depth=1, kernel=3, expand=3, squeeze_excite=False)
    large = conv(16, (24, 48, 96), depth=3, kernel=7, expand=6, squeeze_excite=True)
    trained = shaken(space.build(small)).float()
    network = grow(space, small, large, trained.state_dict(), [x.float() for x in images()])
    assert sum(p.numel() for p in network.parameters()) > 5 * sum(p.numel() for p in trained.parameters())
    # In float32 only rounding is left.
    assert max_difference(trained, network, images()) < 1e-5


def test_a_transformer_grows_in_features_heads_and_depth_although_layers_are_normalised() -> None:
    space, one, other = TRANSFORMERS, chosen(32, 2, heads=1, ratio=1), chosen(48, 4, heads=3, ratio=4)
    trained, network = shaken(space.build(one)), space.build(other).double()
    inherit(trained, network, images())
    assert max_difference(trained, network, images(), seed=2) < 1e-10


def test_what_is_new_learns_from_the_first_two_steps() -> None:
    space, one, other = TRANSFORMERS, chosen(32, 2, heads=1, ratio=1), chosen(48, 3, heads=2, ratio=2)
    network = inherit(space.build(one), space.build(other), [x.float() for x in images()])
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    rate = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):
        rate.zero_grad()
        network(images()[0].float()).square().sum().backward()
        rate.step()
    for name, parameter in network.named_parameters():
        assert (parameter != before[name]).any(), name


class Grouped(nn.Module):
    """Grouped and depthwise convolutions behind a sum and a concatenation, with activations that are no ReLU."""

    def __init__(self, width: int, groups: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.grouped = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.last = nn.Conv2d(2 * width, 5, 1)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        y = x + self.act(self.norm(self.grouped(x)))
        out: Tensor = self.last(torch.cat([y, torch.sigmoid(self.depthwise(y))], 1))
        return out


@pytest.mark.parametrize("width", [12, 16, 20])
def test_groups_keep_what_is_theirs_when_channels_are_added(width: int) -> None:
    small = shaken(Grouped(8))
    large = inherit(small, Grouped(width).double(), images())
    assert max_difference(small, large, images()) < 1e-10
    # The second of two channels in each of four groups lies where the larger network's groups begin anew.
    x = torch.randn(1, 8, 5, 5, dtype=torch.float64)
    places = [group * width // 4 + i for group in range(4) for i in range(2)]
    wide = torch.zeros(1, width, 5, 5, dtype=torch.float64)
    wide[:, places] = x
    assert torch.allclose(large.grouped(wide)[:, places], small.grouped(x), atol=1e-12)


def test_groups_of_the_smaller_network_may_lie_together_in_larger_ones() -> None:
    small = shaken(Grouped(8, groups=4))
    for groups in (2, 1):
        large = inherit(small, Grouped(8, groups=groups).double(), images())
        assert max_difference(small, large, images()) < 1e-10


def test_a_new_gate_starts_at_one_half_so_that_it_learns() -> None:
    def net(gate: bool) -> nn.Module:
        gates = [SqueezeExcite(6, 6)] if gate else []
        return nn.Sequential(ConvBnAct(3, 6), *gates, ConvBnAct(6, 4, 1, act=None))

    small = shaken(net(False))
    large = inherit(small, net(True).double(), images())
    assert max_difference(small, large, images()) < 1e-10
    large(images()[0]).square().sum().backward()
    assert large[1].expand.weight.grad.abs().sum() > 0


def test_a_branch_that_would_be_silent_behind_a_relu_is_refused_because_it_would_never_learn() -> None:
    class Two(nn.Module):
        def __init__(self, both: bool) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 1)
            self.b = ConvBnAct(3, 4, 1) if both else None

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if self.b is None else self.a(x) + self.b(x)

    with pytest.raises(UnsupportedNetworkError, match=r"relu in b.act .* silent ReLU has no gradient"):
        inherit(Two(False), Two(True), [images()[0].float()])


def test_a_layer_normalisation_that_others_share_grows_by_whole_factors_only() -> None:
    class PostNorm(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.embed, self.norm = nn.Linear(5, dim), nn.LayerNorm(dim)
            self.inside, self.after, self.out = nn.Linear(dim, dim), nn.LayerNorm(dim), nn.Linear(dim, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.embed(x))
            out: Tensor = self.out(self.after(x + torch.tanh(self.inside(x))))
            return out

    x = [torch.randn(4, 5, dtype=torch.float64)]
    small = shaken(PostNorm(6))
    assert max_difference(small, inherit(small, PostNorm(18).double(), x), x) < 1e-10
    large = PostNorm(8).double()
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with pytest.raises(UnsupportedNetworkError, match=r"over 6 features.*so that 8 give others: 12 would be exact"):
        inherit(small, large, x)
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items())


def test_networks_that_do_not_contain_one_another_are_refused_with_the_place() -> None:
    x = [torch.randn(1, 3, 8, 8)]
    small = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU())
    with pytest.raises(UnsupportedNetworkError, match=r"kernel of conv in 0, \(3, 3\).*does not hold.*\(5, 5\)"):
        inherit(small, nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), x)
    with pytest.raises(UnsupportedNetworkError, match="stride"):
        inherit(small, nn.Sequential(nn.Conv2d(3, 4, 5, 2, padding=2), nn.ReLU()), x)
    with pytest.raises(UnsupportedNetworkError, match=r"keeps its shape: 4 features cannot become 8"):
        inherit(small, nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU()), x)
    with pytest.raises(UnsupportedNetworkError, match="cannot be run on inputs of shapes"):
        inherit(small, nn.Linear(3, 4), [torch.randn(1, 5)])


def test_noise_breaks_symmetry_only_when_asked_for() -> None:
    x = [torch.randn(2, 3, 8, 8)]
    small = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def large() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 9, 1), nn.ReLU(), nn.Conv2d(9, 2, 1))

    exact, noisy = inherit(small, large(), x), inherit(small, large(), x, noise=0.1, seed=3)
    assert not exact[2].weight[:, 4:].any() and noisy[2].weight[:, 4:].all()
    again = inherit(small, large(), x, noise=0.1, seed=3)
    assert torch.equal(again[2].weight, noisy[2].weight)
    with pytest.raises(InputError, match="noise is a share of at least 0, got -1"):
        inherit(small, large(), x, noise=-1.0)


def test_the_smaller_network_stays_as_it_was_and_modes_too() -> None:
    x = [torch.randn(2, 3, 8, 8)]
    small = nn.Sequential(BasicBlock(3, 4), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in small.state_dict().items()}
    large = inherit(small, nn.Sequential(BasicBlock(3, 4, kernel=5), nn.Dropout(0.5)), x)
    assert small.training and large.training and large[0].training
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_settling_keeps_eval_mode_and_brings_train_mode_near_it() -> None:
    x = torch.randn(256, 3, 8, 8, dtype=torch.float64)
    small = shaken(nn.Sequential(ConvBnAct(3, 6), nn.Identity(), nn.Conv2d(6, 2, 1)))
    settle(small, [x])
    large = nn.Sequential(ConvBnAct(3, 6), ConvBnAct(6, 6), nn.Conv2d(6, 2, 1)).double()
    inherit(small, large, [x[:2]])
    before = large.eval()(x)
    far = (large.train()(x) - before).abs().max()
    inherit(small, large, [x[:2]])
    settle(large, [x])
    assert torch.allclose(large.eval()(x), before, atol=1e-10)
    assert (large.train()(x) - before).abs().max() < 1e-9 < far


def test_weights_of_another_network_are_refused_with_the_first_difference() -> None:
    space, one = TRANSFORMERS, chosen(32, 2, heads=1, ratio=1)
    weights = space.build(one).state_dict()
    x = [x.float() for x in images()]
    with pytest.raises(InputError, match=r"the weights lack position"):
        grow(space, one, one, {k: v for k, v in weights.items() if k != "position"}, x)
    with pytest.raises(InputError, match=r"linear.bias has \(3,\), expected \(10,\)"):
        grow(space, one, one, {**weights, "linear.bias": torch.zeros(3)}, x)


def test_blocks_of_every_kind_are_made_nothing_where_they_are_new() -> None:
    for new, inputs in (
        (MBConv(6, 6, kernel=5, expand=2, squeeze_excite=True), [torch.randn(2, 6, 8, 8)]),
        (TransformerBlock(8, 2, 4), [torch.randn(2, 5, 8)]),
    ):
        small = shaken(nn.Sequential(nn.Identity(), nn.Linear(8, 8)))
        large = nn.Sequential(new, nn.Linear(8, 8)).double()
        given = [x.double() for x in inputs]
        assert max_difference(small, inherit(small, large, given), given) < 1e-10
