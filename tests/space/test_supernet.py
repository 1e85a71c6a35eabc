"""One store of weights: every architecture runs on windows of it and is what `build` would make."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import random
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sartor.errors import SpaceError
from sartor.nets import Chain, ClassifierHead, ConvBnAct, MBConv, Stage
from sartor.space import Derived, Factory, OneOf, Repeat, Shared, Space, Subset
from sartor.spaces.mbconv import mbconv
from sartor.spaces.nasbench201 import nasbench201
from sartor.spaces.resnet_like import resnet_like


class ReadsItsParameters(nn.Module):
    """Asks for its own parameters while it runs, as networks do that place or regularise themselves."""

    def __init__(self, width=4):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, width), nn.Linear(width, 2)

    def forward(self, x):
        penalty = sum(parameter.square().sum() for parameter in self.parameters())
        return self.outer(self.inner(x.to(next(self.parameters()).dtype))) + penalty


def assert_child_equals_forward(supernet, *inputs, num=6):
    """To the last bit, in eval and in train, with and without gradients."""
    space, rng = supernet.space, np.random.default_rng(0)
    for is_training in (True, False, True):
        supernet.train(is_training)
        for _ in range(num):
            architecture = space.sample_choices(rng)
            for is_recording in (True, False):
                with torch.set_grad_enabled(is_recording):
                    expected = supernet.child(architecture)(*inputs)
                    found = supernet(*inputs, arch=architecture)
                for one, other in zip(tensors(expected), tensors(found), strict=True):
                    assert torch.equal(one, other), dict(architecture)


def tensors(output):
    return [output] if isinstance(output, Tensor) else [each for part in output for each in tensors(part)]


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_a_network_that_reads_its_own_parameters_finds_the_windows():
    supernet = Space(partial(ReadsItsParameters, width=OneOf(2, 4))).supernet()
    assert_child_equals_forward(supernet, torch.randn(5, 3))
    shapes = {tuple(parameter.shape) for parameter in supernet.network(next(iter(supernet.space))).parameters()}
    assert shapes == {(2, 3), (2,), (2, 2)}


class RandomScale(nn.Module):
    """Has a buffer that is no normalisation's."""

    def __init__(self, width=4):
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.register_buffer("scale", torch.randn(width))

    def forward(self, x):
        return self.inner(x) * self.scale


def test_a_network_first_used_in_inference_mode_can_be_trained_later():
    space = Space(partial(RandomScale, width=OneOf(2, 4)))
    supernet, architecture = space.supernet(), space.architecture({"width": 2})
    with torch.inference_mode():
        expected = supernet(torch.ones(1, 3), arch=architecture)
    output = supernet(torch.ones(1, 3), arch=architecture)
    assert torch.equal(expected, output)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in supernet.parameters())


def test_windows_require_gradients_in_every_mode_as_parameters_do():
    # torch multiplies by another path where weights require none: a GRU then rounds otherwise than its child.
    supernet = Space(partial(nn.GRU, 3, OneOf(4, 8), num_layers=OneOf(1, 2), batch_first=True)).supernet()
    assert_child_equals_forward(supernet, torch.randn(2, 5, 3))


class KeepsItsNorm(nn.Module):
    """Made with a normalisation in eval mode."""

    def __init__(self, width=4):
        super().__init__()
        self.inner, self.norm = nn.Linear(3, width), nn.BatchNorm1d(width).eval()

    def forward(self, x):
        return self.norm(self.inner(x))


def test_child_and_forward_are_in_the_mode_of_the_supernet_throughout():
    supernet = Space(partial(KeepsItsNorm, width=OneOf(2, 4))).supernet()
    architecture = next(iter(supernet.space))
    for is_training in (True, False, True):
        supernet.train(is_training)
        modes = {
            module.training for net in (supernet.network(architecture), supernet.child(architecture))
            for module in net.modules()
        }
        assert modes == {is_training}
    assert_child_equals_forward(supernet, torch.randn(5, 3))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_child_made_without_gradients_can_be_trained(mode):
    supernet = Space(partial(RandomScale, width=OneOf(2, 4))).supernet().double()
    with mode():
        child = supernet.child(next(iter(supernet.space)))
        supernet(torch.ones(1, 3, dtype=torch.float64), arch=next(iter(supernet.space)))
    for network in (child, supernet.network(next(iter(supernet.space)))):
        network(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    assert child.inner.weight.grad is not None and child.scale.dtype == torch.float64


def by_name(supernet, ending):
    (found,) = (tensor for name, tensor in supernet.state_dict().items() if name.endswith(ending))
    return found


def normed_conv(in_channels, out_channels, kernel):
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2))


def test_a_parametrised_kernel_is_centred_as_the_kernel_would_be():
    space = Space(partial(normed_conv, 3, OneOf(4, 8), OneOf(3, 5)))
    supernet = space.supernet()
    assert_child_equals_forward(supernet, torch.randn(2, 3, 6, 6))
    child = supernet.child({"out_channels": 4, "kernel": 3})
    direction, norm = by_name(supernet, "original1"), by_name(supernet, "original0")
    assert torch.equal(child.parametrizations.weight.original1, direction[:4, :, 1:4, 1:4])
    assert torch.equal(child.parametrizations.weight.original0, norm[:4])


@pytest.mark.parametrize(("kind", "num_gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_packed_gates_of_recurrent_networks_are_sliced_gate_by_gate(kind, num_gates):
    supernet = Space(partial(kind, input_size=OneOf(3, 5), hidden_size=OneOf(4, 8))).supernet()
    assert_child_equals_forward_at(supernet, {"input_size": 3, "hidden_size": 4}, torch.randn(6, 2, 3))
    child = supernet.child({"input_size": 3, "hidden_size": 4})
    assert torch.equal(child.weight_ih_l0, gates(by_name(supernet, "weight_ih_l0"), num_gates, 4)[:, :3])
    assert torch.equal(child.weight_hh_l0, gates(by_name(supernet, "weight_hh_l0"), num_gates, 4)[:, :4])
    assert torch.equal(child.bias_hh_l0, gates(by_name(supernet, "bias_hh_l0"), num_gates, 4))


@pytest.mark.parametrize(("kind", "num_gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_packed_gates_of_recurrent_cells_are_sliced_gate_by_gate(kind, num_gates):
    supernet = Space(partial(kind, 3, hidden_size=OneOf(4, 8))).supernet()
    assert_child_equals_forward(supernet, torch.randn(2, 3))
    child = supernet.child({"hidden_size": 4})
    assert torch.equal(child.weight_ih, gates(by_name(supernet, "weight_ih"), num_gates, 4))
    assert torch.equal(child.weight_hh, gates(by_name(supernet, "weight_hh"), num_gates, 4)[:, :4])
    assert torch.equal(child.bias_ih, gates(by_name(supernet, "bias_ih"), num_gates, 4))


def gates(packed, num_gates, size):
    return torch.cat([gate[:size] for gate in packed.chunk(num_gates)])


def assert_child_equals_forward_at(supernet, values, *inputs):
    architecture = supernet.space.architecture(values)
    for one, other in zip(
        tensors(supernet.child(architecture)(*inputs)), tensors(supernet(*inputs, arch=architecture)), strict=True
    ):
        assert torch.equal(one, other)


def test_a_window_of_the_wrong_shape_is_refused_by_name():
    def first_row(module, name, stored, shape):
        return stored[:1]

    supernet = Space(partial(nn.Linear, 3, OneOf(2, 4))).supernet(windows={nn.Linear: first_row})
    architecture = supernet.space.architecture({"out_features": 2})
    message = r"window for weight of Linear gives \(1, 3\) of the stored \(4, 3\), its module needs \(2, 3\)"
    with pytest.raises(SpaceError, match=message):
        supernet.child(architecture)
    with pytest.raises(SpaceError, match=message):
        supernet(torch.zeros(1, 3), arch=architecture)


def last_rows(module, name, stored, shape):
    return stored[(slice(-shape[0], None), *(slice(size) for size in shape[1:]))]


def test_a_person_may_say_which_part_a_module_takes():
    supernet = Space(partial(nn.Linear, 3, OneOf(2, 4))).supernet(windows={nn.Linear: last_rows})
    assert_child_equals_forward(supernet, torch.randn(5, 3))
    child = supernet.child({"out_features": 2})
    assert torch.equal(child.weight, by_name(supernet, "weight")[-2:])
    assert torch.equal(child.bias, by_name(supernet, "bias")[-2:])


def test_a_module_that_stands_in_the_tree_is_copied_and_keeps_its_weights():
    pretrained = nn.Linear(3, 3)
    before = pretrained.weight.detach().clone()
    space = Space(partial(nn.Sequential, pretrained, OneOf(partial(nn.ReLU), partial(nn.Tanh)), pretrained))
    supernet = space.supernet()
    assert torch.equal(by_name(supernet, "0/weight"), before)
    assert_child_equals_forward(supernet, torch.randn(5, 3))
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert torch.equal(pretrained.weight, before)
    child = supernet.child(next(iter(space)))
    assert child[0] is child[2] and child[0] is not pretrained
    assert len(list(supernet.parameters())) == 2


class MayBeFrozen(nn.Module):
    def __init__(self, is_frozen=False, width=4):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, width).requires_grad_(not is_frozen), nn.Linear(width, 1)

    def forward(self, x):
        return self.outer(self.inner(x))


def test_parameters_built_frozen_stay_frozen():
    supernet = Space(partial(MayBeFrozen, True, width=OneOf(2, 4))).supernet()
    assert {name: parameter.requires_grad for name, parameter in supernet.named_parameters()} == {
        ":inner/weight": False, ":inner/bias": False, ":outer/weight": True, ":outer/bias": True
    }


@pytest.mark.parametrize("width", [2, 4])
def test_a_choice_may_freeze_what_other_architectures_train(width):
    space = Space(partial(MayBeFrozen, is_frozen=OneOf(True, False), width=OneOf(2, 4)))
    supernet = space.supernet()
    for is_frozen in (True, False):
        supernet.zero_grad()
        supernet(torch.randn(5, 3), arch=space.architecture({"is_frozen": is_frozen, "width": width})).sum().backward()
        trained = [name for name, parameter in supernet.named_parameters() if parameter.grad is not None]
        assert trained == [":inner/weight", ":inner/bias"] * (not is_frozen) + [":outer/weight", ":outer/bias"]


class RandomEverywhere(nn.Module):
    """Draws from every global generator while it is built."""

    def __init__(self, width=4):
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.register_buffer("scale", torch.randn(width))
        self.register_buffer("shift", torch.as_tensor(np.random.randn(width), dtype=torch.float32))
        self.factor = random.random()

    def forward(self, x):
        return self.inner(x) * self.scale * self.factor + self.shift


def test_what_a_network_draws_when_built_is_equal_in_child_and_forward():
    assert_child_equals_forward(Space(partial(RandomEverywhere, width=OneOf(2, 4))).supernet(), torch.randn(5, 3))


def test_building_a_supernet_and_its_networks_leaves_the_global_generators_alone(monkeypatch):
    # Not torch.manual_seed: it would start the accelerators' generators anew, and with them dropout.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("an accelerator was seeded"))
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    supernet = Space(partial(RandomEverywhere, width=OneOf(2, 4))).supernet()
    supernet(torch.zeros(1, 3), arch=next(iter(supernet.space)))
    supernet.child(next(iter(supernet.space)))
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_lazy_modules_are_refused_with_what_to_write_instead():
    with pytest.raises(SpaceError, match=r"LazyLinear at 0 has no shape before its network runs.*input size"):
        Space(partial(nn.Sequential, partial(nn.LazyLinear, OneOf(2, 4)))).supernet()


def test_an_architecture_may_be_any_mapping():
    supernet = Space(partial(nn.Linear, 3, OneOf(2, 4))).supernet()
    assert supernet(torch.zeros(1, 3), arch={"out_features": 2}).shape == (1, 2)
    with pytest.raises(SpaceError, match="out_features"):
        supernet(torch.zeros(1, 3), arch={"out_features": 3})


def test_options_whose_labels_differ_in_a_slash_have_weights_of_their_own():
    options = {"a.b": partial(nn.Linear, 3, 3), "a/b": partial(nn.Linear, 3, 3)}
    supernet = Space(partial(nn.Sequential, OneOf(**options))).supernet()
    assert len(list(supernet.parameters())) == 4


def test_where_no_architecture_is_largest_the_first_keeps_its_initial_weights():
    width, height = Shared("width", OneOf(4, 8)), Shared("height", OneOf(4, 8))
    space = Space(partial(nn.Linear, width, height, bias=False)).where(lambda w, h: w * h <= 32, "width", "height")
    (weight,) = space.supernet().parameters()
    assert weight.shape == (8, 8)
    # Seen were 8 x 4, 4 x 8 and 4 x 4: nothing of these repeats, which would make neurons that stay equal.
    assert len(weight[:4].unique()) == 32 and len(weight[:, :4].unique()) == 32


class ChangesItsParts(nn.Module):
    """Adds to one of the modules that it is given and ties another to it."""

    def __init__(self, part, tail):
        super().__init__()
        self.part, self.tail = part, tail
        self.part.append(nn.Linear(3, 6))
        self.tail.bias = self.part[-1].bias

    def forward(self, x):
        return self.tail(self.part(x))


def test_receivers_may_change_the_modules_that_they_are_given():
    width = Shared("width", OneOf(*range(2, 10)))
    first = partial(ChangesItsParts, partial(nn.Sequential), partial(nn.Linear, 6, 6))
    space = Space(partial(nn.Sequential, first, partial(nn.Linear, 6, width), partial(nn.Linear, width, 2)))
    supernet = space.supernet()
    expected = ["0/part:0/weight", "0/part:0/bias", "0/tail:weight"]
    assert [name for name in supernet.state_dict() if name.startswith("0")] == expected
    assert_child_equals_forward(supernet, torch.randn(5, 3))
    child = supernet.child({"width": 3})
    assert child[0].tail.bias is child[0].part[0].bias


class CountsItself(nn.Linear):
    num_built = 0

    def __init__(self, in_features, out_features):
        type(self).num_built += 1
        super().__init__(in_features, out_features)


def test_laying_out_builds_what_repeats_once_and_starts_from_the_largest_architecture(monkeypatch):
    monkeypatch.setattr(CountsItself, "num_built", 0)
    options = {"none": partial(nn.Identity), "one": partial(CountsItself, 4, 4), "two": partial(CountsItself, 4, 4)}
    space = Space(partial(nn.Sequential, *(OneOf(**options) for _ in range(5)), partial(nn.Linear, 4, OneOf(2, 3))))
    assert 256 < space.count() < 1000
    supernet = space.supernet(seed=3)
    assert CountsItself.num_built == 10
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        largest = space.build({**{str(i): "none" for i in range(5)}, "5.out_features": 3})
    assert torch.equal(by_name(supernet, "5:weight"), largest[5].weight)


# ---- every kind of space


def test_the_ready_made_spaces_run_as_their_children():
    images = torch.randn(4, 3, 8, 8)
    narrow = {"depths": (1, 2), "stem_widths": (4, 8), "stage_widths": ((4, 8), (8, 12), (8, 16))}
    assert_child_equals_forward(nasbench201(3, 10, width=4, cells_per_stage=2).supernet(), images, num=4)
    assert_child_equals_forward(mbconv(3, 10, 8, **narrow).supernet(), images, num=4)
    assert_child_equals_forward(resnet_like(3, 10, 8, **narrow).supernet(), images, num=4)


def elastic_chain() -> Space:
    width = Shared("width", OneOf(4, 8))
    block = partial(MBConv, out_channels=width, kernel=OneOf(3, 5, 7), expand=OneOf(2, 3))
    blocks = [
        partial(ConvBnAct, out_channels=4),
        partial(Stage, blocks=[block, Repeat(OneOf(block, skip=partial(nn.Identity)), OneOf(1, 2, 3))], stride=2),
    ]
    return Space(partial(Chain, 3, blocks=blocks, head=partial(ClassifierHead, classes=3)))


def test_an_elastic_chain_runs_as_its_children():
    assert_child_equals_forward(elastic_chain().supernet(), torch.randn(4, 3, 8, 8))


class Concat(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat([x, self.inner(x)], 1)


def dense_net() -> Space:
    growth, stem = Shared("growth", OneOf(2, 4)), Shared("stem", OneOf(4, 8))
    layers = [
        partial(Concat, partial(nn.Conv2d, Derived(lambda s, g, i=i: s + i * g, stem, growth), growth, 3, padding=1))
        for i in range(3)
    ]
    pooled = [partial(nn.AdaptiveAvgPool2d, 1), partial(nn.Flatten)]
    return Space(partial(nn.Sequential, partial(nn.Conv2d, 3, stem, 3), *layers, *pooled,
                         partial(nn.Linear, Derived(lambda s, g: s + 3 * g, stem, growth), 5)))


def test_a_dense_net_of_derived_widths_runs_as_its_children_and_by_hand():
    space = dense_net()
    supernet, x = space.supernet(), torch.randn(2, 3, 6, 6)
    assert_child_equals_forward(supernet, x)
    stored = supernet.state_dict()
    for growth, stem in ((2, 4), (4, 4), (2, 8), (4, 8)):
        y = nn.functional.conv2d(x, stored["0:weight"][:stem], stored["0:bias"][:stem])
        for i in range(1, 4):
            weight, bias = stored[f"{i}/inner:weight"], stored[f"{i}/inner:bias"]
            y = torch.cat([y, nn.functional.conv2d(y, weight[:growth, : y.shape[1]], bias[:growth], padding=1)], 1)
        y = nn.functional.linear(y.mean((2, 3)), stored["6:weight"][:, : y.shape[1]], stored["6:bias"])
        torch.testing.assert_close(supernet(x, arch=space.architecture({"growth": growth, "stem": stem})), y)


def transformer() -> Space:
    dim = Shared("dim", OneOf(16, 24))
    layer = partial(nn.TransformerEncoderLayer, dim, nhead=OneOf(2, 3, 4), dim_feedforward=OneOf(16, 32), dropout=0.0,
                    batch_first=True)
    space = Space(partial(nn.Sequential, partial(nn.Linear, 7, dim), Repeat(layer, OneOf(1, 2)),
                          partial(nn.Linear, dim, 5)))
    return space.where(lambda d, h: d % h == 0, "dim", "*.nhead")


def test_a_coupled_transformer_runs_as_its_children():
    assert_child_equals_forward(transformer().supernet(), torch.randn(2, 6, 7))


def test_attention_takes_the_leading_rows_of_query_key_and_value():
    dim = Shared("dim", OneOf(4, 8))
    supernet = Space(partial(nn.MultiheadAttention, dim, num_heads=OneOf(1, 2), batch_first=True)).supernet()
    assert_child_equals_forward_at(supernet, {"dim": 4, "num_heads": 2}, *[torch.randn(2, 5, 4)] * 3)
    child = supernet.child({"dim": 4, "num_heads": 2})
    packed, bias = by_name(supernet, "in_proj_weight"), by_name(supernet, "in_proj_bias")
    assert torch.equal(child.in_proj_weight, torch.cat([packed[:4, :4], packed[8:12, :4], packed[16:20, :4]]))
    assert torch.equal(child.in_proj_bias, torch.cat([bias[:4], bias[8:12], bias[16:20]]))


def test_a_stacked_encoder_of_torch_has_separate_weights_by_depth_or_shares_them_by_name():
    layer = partial(nn.TransformerEncoderLayer, 8, nhead=2, dim_feedforward=OneOf(8, 16), dropout=0.0, batch_first=True)
    space = Space(partial(nn.TransformerEncoder, layer, num_layers=OneOf(1, 2, 3), enable_nested_tensor=False))
    separate, shared = space.supernet(), space.supernet(elastic=["num_layers"])
    assert len(list(separate.parameters())) == 2 * len(list(shared.parameters())) == 2 * 3 * 12
    for supernet in (separate, shared):
        assert_child_equals_forward(supernet, torch.randn(2, 5, 8), num=3)


def test_lstms_of_elastic_depth_run_as_their_children():
    space = Space(partial(nn.LSTM, 3, hidden_size=OneOf(4, 8), num_layers=OneOf(1, 2), batch_first=True))
    assert_child_equals_forward(space.supernet(elastic=["num_layers"]), torch.randn(2, 5, 3))


class Fabric(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({f"{i}{j}": each for (i, j), each in la.items()}) for la in layers)

    def forward(self, x):
        states = {0: x}
        for layer in self.layers:
            reached = {}
            for name, module in layer.items():
                source, target = map(int, name)
                if source in states:
                    reached[target] = reached.get(target, 0) + module(states[source])
            states = reached
        return sum(states.values())


def is_connected(*layers):
    reached = {0}
    for layer in layers:
        reached = {target for source, target in layer if source in reached}
    return bool(reached)


def test_a_fabric_of_subsets_under_a_keyed_constraint_runs_as_its_children():
    def layer(sources):
        moves = {(i, j): partial(nn.Linear, 4, 4) for i in sources for j in range(2)}
        return Subset(moves, size=range(1, len(moves) + 1))

    space = Space(partial(Fabric, layers=[layer((0,)), layer((0, 1)), layer((0, 1))]))
    space = space.where(is_connected, "layers.0", "layers.1", "layers.2")
    assert_child_equals_forward(space.supernet(), torch.randn(3, 4))


class HidesItsDepth(nn.Module):
    """Third-party: its depth is a number, and its head's name depends on it."""

    def __init__(self, width=8, depth=2):
        super().__init__()
        hidden = (nn.Linear(width, width) for _ in range(depth))
        self.layers = nn.Sequential(nn.Linear(3, width), *hidden, nn.Linear(width, 1))

    def forward(self, x):
        return self.layers(x)


def test_depth_hidden_behind_a_number_gets_weights_of_its_own_unless_elastic():
    space = Space(partial(HidesItsDepth, width=OneOf(4, 8), depth=OneOf(1, 2, 3)))
    separate, shared = space.supernet(), space.supernet(elastic=["depth"])
    assert len(list(separate.parameters())) == 6 + 8 + 10
    assert len(list(shared.parameters())) == 10
    for supernet in (separate, shared):
        assert_child_equals_forward(supernet, torch.randn(5, 3))


def test_black_box_predicates_are_respected_while_shapes_are_learned():
    widths = [Shared(f"w{i}", OneOf(*range(1, 6))) for i in range(3)]
    sizes = [3, *widths, 2]
    layers = [partial(nn.Linear, sizes[i], sizes[i + 1]) for i in range(4)]
    space = Space(partial(nn.Sequential, *layers)).where(lambda a: sum(a.values()) <= 9)
    supernet = space.supernet()
    assert_child_equals_forward(supernet, torch.randn(5, 3), num=10)
    for architecture in list(space)[::7]:
        supernet.child(architecture)


# ---- what the windows are


class ConvNet(nn.Module):
    def __init__(self, width=8, kernel=5, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def conv_net() -> Space:
    return Space(partial(ConvNet, width=OneOf(4, 8), kernel=OneOf(1, 3, 5)))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("width", [4, 8])
def test_forward_and_child_equal_a_network_sliced_by_hand(width, kernel):
    supernet, x = conv_net().supernet(), torch.randn(4, 3, 6, 6)
    stored = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    edge = (5 - kernel) // 2
    weight = stored[":conv/weight"][:width, :, edge : 5 - edge, edge : 5 - edge]
    mean, var = stored[":norm/running_mean"][:width].clone(), stored[":norm/running_var"][:width].clone()
    y = nn.functional.conv2d(x, weight, stored[":conv/bias"][:width], padding=kernel // 2)
    scale, shift = stored[":norm/weight"][:width], stored[":norm/bias"][:width]
    y = nn.functional.batch_norm(y, mean, var, scale, shift, training=True)
    y = nn.functional.linear(y.relu().mean((2, 3)), stored[":head/weight"][:, :width], stored[":head/bias"])
    child = supernet.child({"width": width, "kernel": kernel})
    torch.testing.assert_close(child(x), y)
    torch.testing.assert_close(supernet(x, arch={"width": width, "kernel": kernel}), y)
    after = supernet.state_dict()
    torch.testing.assert_close(after[":norm/running_mean"][:width], mean)
    torch.testing.assert_close(after[":norm/running_var"][:width], var)
    assert torch.equal(after[":norm/running_mean"][width:], stored[":norm/running_mean"][width:])
    assert after[":norm/num_batches_tracked"] == 1
    torch.testing.assert_close(child.norm.running_mean, mean)


def test_gradients_are_the_childs_within_the_window_and_zero_outside():
    supernet, x = conv_net().supernet(), torch.randn(4, 3, 6, 6)
    values = {"width": 4, "kernel": 3}
    child = supernet.child(values)
    child(x).square().sum().backward()
    supernet(x, arch=values).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in supernet.named_parameters()}
    inside = gradients[":conv/weight"][:4, :, 1:4, 1:4]
    assert torch.equal(inside, child.conv.weight.grad)
    assert torch.equal(gradients[":head/weight"][:, :4], child.head.weight.grad)
    assert torch.equal(gradients[":norm/weight"][:4], child.norm.weight.grad)
    assert gradients[":conv/weight"].count_nonzero() == inside.count_nonzero() > 0
    assert gradients[":head/weight"][:, 4:].count_nonzero() == gradients[":norm/weight"][4:].count_nonzero() == 0


class Checkpointed(nn.Module):
    def __init__(self, blocks, use_reentrant=False):
        super().__init__()
        self.blocks, self.use_reentrant = nn.ModuleList(blocks), use_reentrant

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.use_reentrant)
        return x


@pytest.mark.parametrize("net", [nn.Sequential, Checkpointed, partial(Checkpointed, use_reentrant=True)])
def test_architectures_in_flight_before_one_backward_give_the_sum_of_their_gradients(net):
    block = partial(nn.Sequential, partial(nn.Linear, 4, 4), partial(nn.BatchNorm1d, 4), partial(nn.Tanh))
    blocks = [OneOf(a=block, b=partial(nn.Linear, 4, 4)) for _ in range(2)]
    space = Space(partial(net, *blocks) if net is nn.Sequential else partial(net, blocks=blocks))
    supernet, x = space.supernet(), torch.randn(6, 4, requires_grad=True)
    architectures = [*space, next(iter(space))]
    expected: dict[str, Tensor] = {}
    for architecture in architectures:
        supernet.zero_grad()
        supernet(x, arch=architecture).square().sum().backward()
        for name, parameter in supernet.named_parameters():
            if parameter.grad is not None:
                expected[name] = expected.get(name, 0) + parameter.grad
    supernet.zero_grad()
    losses = [supernet(x, arch=architecture).square().sum() for architecture in architectures]
    with torch.no_grad():
        supernet.network(architectures[0])  # taken again without gradients, as an evaluation in between does
    torch.stack(losses).sum().backward()
    found = {name: parameter.grad for name, parameter in supernet.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


def test_an_optimiser_over_the_store_trains_its_architectures():
    supernet = conv_net().supernet()
    x, y = torch.randn(12, 3, 6, 6), torch.arange(12) % 3
    optimiser, rng = torch.optim.SGD(supernet.parameters(), 0.1, momentum=0.9), np.random.default_rng(0)

    def loss(architecture):
        return nn.functional.cross_entropy(supernet(x, arch=architecture), y)

    architectures = list(supernet.space)
    before = sum(loss(each).item() for each in architectures)
    for _ in range(60):
        optimiser.zero_grad()
        loss(architectures[rng.integers(len(architectures))]).backward()
        optimiser.step()
    assert sum(loss(each).item() for each in architectures) < 0.7 * before


# ---- what is shared


class Tied(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.embed, self.inner = nn.Embedding(5, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.inner(self.inner(self.embed(x))))


def test_tied_parameters_and_modules_used_twice_stay_one():
    supernet = Space(partial(Tied, width=OneOf(4, 8))).supernet()
    assert [name for name, _ in supernet.named_parameters()] == [":embed/weight", ":inner/weight", ":inner/bias"]
    assert_child_equals_forward(supernet, torch.arange(5))
    child = supernet.child({"width": 4})
    assert child.head.weight is child.embed.weight
    child(torch.arange(5)).sum().backward()
    supernet(torch.arange(5), arch={"width": 4}).sum().backward()
    torch.testing.assert_close(by_parameter(supernet, "embed/weight").grad[:, :4], child.embed.weight.grad)


def by_parameter(supernet, ending):
    (found,) = (parameter for name, parameter in supernet.named_parameters() if name.endswith(ending))
    return found


class Twice(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return self.second(self.first(x))


def test_a_shared_choice_has_weights_of_its_own_at_each_place():
    option = Shared("option", OneOf(a=partial(nn.Linear, 3, 3), b=partial(nn.Linear, 3, 3, bias=False)))
    supernet = Space(partial(Twice, option, option)).supernet()
    assert sorted(name for name, _ in supernet.named_parameters()) == [
        "first[a]:bias", "first[a]:weight", "first[b]:weight", "second[a]:bias", "second[a]:weight", "second[b]:weight"
    ]
    assert_child_equals_forward(supernet, torch.randn(2, 3))


class Listed(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.several = nn.ParameterList([torch.randn(3, width) for _ in range(2)])
        self.named = nn.ParameterDict({"shift": torch.randn(width)})

    def forward(self, x):
        return sum(x @ each for each in self.several) + self.named["shift"]


def test_lists_and_dicts_of_parameters_are_shared_as_parameters_are():
    supernet = Space(partial(Listed, width=OneOf(2, 4))).supernet()
    assert len(list(supernet.parameters())) == 3
    assert_child_equals_forward(supernet, torch.randn(5, 3))


def test_separate_choices_have_weights_of_their_own_for_each_value():
    supernet = conv_net().supernet(separate=["kernel"])
    assert_child_equals_forward(supernet, torch.randn(4, 3, 6, 6))
    kernels = [tuple(each.shape) for name, each in supernet.named_parameters() if name.endswith("conv/weight")]
    assert sorted(kernels) == [(8, 3, 1, 1), (8, 3, 3, 3), (8, 3, 5, 5)]


class Ranks(nn.Module):
    """A parameter whose number of dimensions follows a choice."""

    def __init__(self, rank=1):
        super().__init__()
        self.scale = nn.Parameter(torch.ones([3] * rank))

    def forward(self, x):
        return x * self.scale


def test_elastic_choices_that_cannot_share_are_told_to_be_separate():
    space = Space(partial(Ranks, rank=OneOf(1, 2)))
    with pytest.raises(SpaceError, match=r":scale has the shapes \(3, 3\) and \(3,\).*separate="):
        space.supernet(elastic=["rank"])
    assert_child_equals_forward(space.supernet(), torch.randn(3, 3))


@pytest.mark.parametrize("word", ["elastic", "separate"])
def test_unknown_choices_to_share_by_are_refused_with_the_near_name(word):
    with pytest.raises(SpaceError, match="no choice has the key 'kernal'; did you mean 'kernel'"):
        conv_net().supernet(**{word: ["kernal"]})


def test_sharing_says_which_tensors_there_are_in_which_shapes_and_for_which_values():
    sharing = conv_net().supernet().sharing()
    (kernel,) = (tensor for tensor in sharing.tensors if tensor.name == ":conv/weight")
    assert kernel.kind == "Conv2d" and kernel.shape == (8, 3, 5, 5) and len(kernel.windows) == 6
    assert {key: sorted(values) for key, values in kernel.settings.items()} == {"width": [4, 8], "kernel": [1, 3, 5]}
    line = next(line for line in str(sharing).splitlines() if line.startswith(":conv/weight"))
    assert "Conv2d" in line and "8 x 3 x 5 x 5, 6 windows from 4 x 3 x 1 x 1" in line and "kernel in" in line
    assert ":norm/num_batches_tracked  BatchNorm2d  scalar" in str(sharing)


class Rare(nn.Module):
    """Has a layer more under one rare combination of choices that no place reads together."""

    def __init__(self, parts):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(1 + (sum(part.code for part in parts) == 0)))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Part(nn.Module):
    def __init__(self, code=0):
        super().__init__()
        self.code = code


def test_an_architecture_not_laid_out_for_is_told_and_examples_cure_it():
    space = Space(partial(Rare, parts=[partial(Part, code=OneOf(*range(6))) for _ in range(4)]))
    rare, common = ({f"parts.{i}.code": code for i in range(4)} for code in (0, 1))
    supernet = space.supernet()
    supernet(torch.zeros(1, 3), arch=common)
    for use in (supernet.child, supernet.network):
        with pytest.raises(SpaceError, match=r"not laid out for .*'parts.0.code': 0.*no such tensor.*examples="):
            use(space.architecture(rare))
    cured = space.supernet(examples=[rare])
    known, added = supernet.state_dict(), cured.state_dict()
    assert known.keys() < added.keys() and all(torch.equal(added[name], known[name]) for name in known)
    assert_child_equals_forward_at(cured, rare, torch.randn(2, 3))
    assert_child_equals_forward_at(cured, common, torch.randn(2, 3))


def test_a_dict_space_has_a_supernet_of_each_part():
    width = Shared("width", OneOf(2, 4))
    critic = partial(nn.Linear, width, 1)
    space = Space({"network": partial(nn.Linear, 3, width), "critic": critic, "rate": OneOf(1, 2)})
    architecture = space.architecture({"width": 2, "rate": 1})
    assert space.supernet()(torch.zeros(1, 3), arch=architecture).shape == (1, 2)
    assert space.supernet("critic")(torch.zeros(1, 2), arch=architecture).shape == (1, 1)
    with pytest.raises(SpaceError, match="no entry 'critics'; did you mean 'critic'"):
        space.supernet("critics")
    with pytest.raises(SpaceError, match="builds a module"):
        space.supernet("rate")
    with pytest.raises(SpaceError, match="modules with weights"):
        Space(partial(nn.Sequential, OneOf(partial(nn.ReLU), partial(nn.GELU)))).supernet()


# ---- copies, precision, cost


def copies(supernet):
    yield copy.deepcopy(supernet)
    yield pickle.loads(pickle.dumps(supernet))
    file = io.BytesIO()
    torch.save(supernet.state_dict(), file)
    file.seek(0)
    other = supernet.space.supernet(seed=1)
    other.load_state_dict(torch.load(file))
    yield other


def test_copies_pickles_and_saved_weights_give_the_same_outputs():
    supernet, x = conv_net().supernet(), torch.randn(4, 3, 6, 6)
    architectures = list(supernet.space)
    for architecture in architectures:
        supernet(x, arch=architecture)
    supernet.eval()
    expected = [supernet(x, arch=each) for each in architectures]
    for other in copies(supernet):
        other.eval()
        assert all(torch.equal(other(x, arch=a), y) for a, y in zip(architectures, expected, strict=True))
        with torch.no_grad():
            by_parameter(other, "head/bias").add_(1.0)
        assert torch.equal(supernet(x, arch=architectures[0]), expected[0])
        assert not torch.equal(other(x, arch=architectures[0]), expected[0])


def test_precision_and_device_of_the_store_are_those_of_its_networks():
    supernet = Space(partial(RandomScale, width=OneOf(2, 4))).supernet()
    architecture, x = next(iter(supernet.space)), torch.randn(5, 3)
    expected = supernet(x, arch=architecture)
    supernet.double()
    assert_child_equals_forward(supernet, x.double())
    torch.testing.assert_close(supernet(x.double(), arch=architecture), expected.double())
    assert {each.dtype for each in supernet.child(architecture).state_dict().values()} == {torch.float64}
    supernet.to(torch.float32)
    assert torch.equal(supernet(x, arch=architecture), expected)
    supernet.to("meta")
    assert supernet(x.to("meta"), arch=architecture).device.type == "meta"
    assert supernet.child(architecture).scale.device.type == "meta"


def test_binding_builds_a_network_once_and_sees_later_weights(monkeypatch):
    monkeypatch.setattr(CountsItself, "num_built", 0)
    space = Space(partial(nn.Sequential, partial(CountsItself, 3, OneOf(2, 4))))
    supernet, x = space.supernet(), torch.randn(5, 3)
    built = CountsItself.num_built
    architecture = next(iter(space))
    network = supernet.network(architecture)
    for _ in range(3):
        assert supernet.network(space.architecture(dict(architecture))) is network
    assert CountsItself.num_built == built + 1
    before = supernet(x, arch=architecture)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.mul_(2.0)
    assert torch.equal(supernet(x, arch=architecture), 2 * before)
    assert CountsItself.num_built == built + 1


def test_networks_kept_for_reuse_are_limited_in_number():
    space = Space(partial(nn.Sequential, *(partial(nn.Linear, 2, 2, bias=OneOf(True, False)) for _ in range(9))))
    supernet, x = space.supernet(), torch.randn(1, 2)
    for architecture in space:
        supernet(x, arch=architecture)
    assert space.count() == 512 and len(supernet._skeletons) == 256


class SeesItsWeight(nn.Linear):
    weights: list[weakref.ref[Tensor]] = []

    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)
        self.weights.append(weakref.ref(self.weight))


def test_networks_kept_for_reuse_hold_no_weights_of_their_own(monkeypatch):
    supernet = Space(partial(nn.Sequential, partial(SeesItsWeight, 3, OneOf(2, 4)))).supernet()
    monkeypatch.setattr(SeesItsWeight, "weights", [])
    for architecture in supernet.space:
        supernet(torch.zeros(1, 3), arch=architecture)
    gc.collect()
    assert len(SeesItsWeight.weights) == 2 and all(each() is None for each in SeesItsWeight.weights)


class _Sized(nn.Module):
    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size))


class _Other(_Sized):
    pass


def _wired(cell: Any, number: int, share: float) -> nn.Module:
    return cell(round(100 * share) % 37 + number)  # not largest where both are


def _product(**numbers: int) -> nn.Module:
    return _Sized(math.prod(numbers.values()))


def test_the_store_holds_alternatives_whose_inner_parts_depend_on_outer_choices() -> None:
    cell = OneOf(one=Factory(partial(_Sized)), other=Factory(partial(_Other)))
    wired = partial(_wired, cell, number=OneOf(1, 2, 3), share=OneOf(0.2, 0.5, 0.7))
    others = {name: partial(_product, **{f"{name}{i}": OneOf(1, 2, 3) for i in range(4)}) for name in "abc"}
    space = Space({"network": OneOf(wired=wired, **others), "rate": OneOf(*range(9))})
    supernet = space.supernet("network")
    for architecture in space.given({"network": "wired", "rate": 0}):
        supernet.network(architecture)


def _renamed(one: int, two: int, turned: bool, **numbers: int) -> nn.Module:
    size = math.prod(numbers.values())
    return nn.ModuleDict({f"of {one} and {two}": _Sized((1, size) if turned else (size, 1))})


def test_the_store_holds_products_whose_names_two_of_many_choices_change() -> None:
    numbers = {f"n{i}": OneOf(1, 2, 3) for i in range(6)}
    space = Space(partial(_renamed, one=OneOf(0, 1, 2), two=OneOf(0, 1, 2), turned=OneOf(False, True), **numbers))
    supernet = space.supernet()
    for architecture in space.sample(np.random.default_rng(0), 500):
        supernet.network(architecture)
