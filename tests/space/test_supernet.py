"""One store of weights: every architecture runs on windows of it and is what `build` would make."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sartor.errors import SpaceError
from sartor.space import OneOf, Shared, Space


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


class NormsItsPart(nn.Module):
    """Changes the module that it is given: its parameters are others afterwards."""

    def __init__(self, part, tail):
        super().__init__()
        self.part, self.tail = nn.utils.parametrizations.weight_norm(part), tail
        self.tail.bias = self.part.bias

    def forward(self, x):
        return self.tail(self.part(x))


def test_receivers_may_change_the_modules_that_they_are_given():
    width = Shared("width", OneOf(*range(2, 10)))
    first = partial(NormsItsPart, partial(nn.Linear, 3, 6), partial(nn.Linear, 6, 6))
    space = Space(partial(nn.Sequential, first, partial(nn.Linear, 6, width), partial(nn.Linear, width, 2)))
    supernet = space.supernet()
    assert [name for name in supernet.state_dict() if name.startswith("0")] == [
        "0/part:bias", "0/part:parametrizations/weight/original0", "0/part:parametrizations/weight/original1",
        "0/tail:weight",
    ]
    assert_child_equals_forward(supernet, torch.randn(5, 3))
    child = supernet.child({"width": 3})
    assert child[0].tail.bias is child[0].part.bias


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
