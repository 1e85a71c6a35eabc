"""The continuous relaxation: every alternative at once, summed under weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sartor.errors import SpaceError
from sartor.space import OneOf, Repeat, Space


class Counted(nn.Linear):
    """A linear layer that counts how often it ran."""

    def __init__(self, features=4):
        super().__init__(features, features)
        self.num_calls = 0

    def forward(self, x):
        self.num_calls += 1
        return super().forward(x)


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return self.scale * x.square()


class Fails(nn.Module):
    """Runs what it holds, then fails if asked to."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, fail=False):
        output = self.inner(x)
        if fail:
            raise ArithmeticError("failed after the alternatives ran")
        return output


def uniform(mixture) -> dict[str, Tensor]:
    return {key: torch.full((len(values),), 1 / len(values)) for key, values in mixture.choices.items()}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def inputs(*shape):
    return (torch.randn(*(shape or (3, 4))),)


def test_no_weights_are_kept_after_forward_also_when_it_fails():
    (x,) = inputs()
    mixture = Space(partial(Fails, OneOf(a=partial(Counted), b=partial(Counted)))).mixture((x,))
    mixture(x, weights=uniform(mixture))
    for _ in range(2):
        with pytest.raises(SpaceError, match="during its forward only"):
            mixture.network(x)
        with pytest.raises(ArithmeticError):
            mixture(x, fail=True, weights=uniform(mixture))


def test_a_mixture_compiles_to_one_graph_and_keeps_no_weights():
    (x,) = inputs()
    option = OneOf(a=partial(Square), b=partial(nn.Tanh))
    space = Space(partial(nn.Sequential, option, Repeat(partial(Square), OneOf(0, 1))))
    mixture = space.mixture((x,))
    compiled = torch.compile(mixture, fullgraph=True, backend="eager")
    for values in ({"0": [0.25, 0.75], "1.times": [0.5, 0.5]}, {"0": [1.0, 0.0], "1.times": [0.0, 1.0]}):
        weights = {key: torch.tensor(value, requires_grad=True) for key, value in values.items()}
        expected, found = mixture(x, weights=weights), compiled(x, weights=weights)
        assert torch.equal(expected, found)
        for one, other in zip(
            torch.autograd.grad(expected.sum(), list(weights.values())),
            torch.autograd.grad(found.sum(), list(weights.values())),
            strict=True,
        ):
            assert torch.equal(one, other)
    with pytest.raises(SpaceError, match="during its forward only"):
        mixture.network(x)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x, mask, scale=1.0):
        return self.inner(x) * mask * scale


class Layers(nn.Module):
    """Hands its layers more than one input."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x, torch.ones(4), scale=2.0)
        return x


def test_repetitions_may_take_more_inputs_than_the_one_they_map():
    (x,) = inputs()
    mixture = Space(partial(Layers, layers=Repeat(partial(Masked), OneOf(1, 2)))).mixture((x,))
    first, second = (gate.repetition if hasattr(gate, "repetition") else gate for gate in mixture.network.layers)
    once = 2 * first.inner(x)
    twice = 2 * second.inner(once)
    found = mixture(x, weights={"layers.times": torch.tensor([0.25, 0.75])})
    torch.testing.assert_close(found, 0.25 * once + 0.75 * twice)


def test_a_single_number_of_repetitions_is_weighted_too_so_that_its_weight_learns():
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, Repeat(partial(nn.Linear, 4, 4), OneOf(1, 2)))).mixture((x,))
    for times in (1, 2):
        weight = torch.tensor(0.5, requires_grad=True)
        output = mixture(x, weights={"0.times": {times: weight}})
        (gradient,) = torch.autograd.grad(output.sum(), weight)
        torch.testing.assert_close(gradient, output.sum() / 0.5)
    with pytest.raises(SpaceError, match="no alternative of 0.times has a weight"):
        mixture(x, weights={"0.times": {}})


class ZeroedLast(nn.Module):
    """Reads a tensor of the module it is given."""

    def __init__(self, last):
        super().__init__()
        self.last = last
        nn.init.zeros_(last.weight)


def test_a_receiver_that_reads_a_tensor_which_alternatives_have_each_is_refused_by_name():
    linear = partial(nn.Linear, 4, 4)
    with pytest.raises(SpaceError, match=r"alternatives of last .* differ in weight: a has a tensor of \(4, 4\)"):
        Space(partial(ZeroedLast, OneOf(a=linear, b=linear))).mixture(inputs())


def test_a_bare_tensor_as_example_inputs_is_refused_with_what_to_write():
    with pytest.raises(SpaceError, match=r"a tuple: \(x,\)"):
        Space(partial(nn.Sequential, OneOf(a=partial(Square), b=partial(Square)))).mixture(torch.zeros(3, 4))


@pytest.mark.parametrize(("weight", "said"), [(0.5, "got one 0.5"), (torch.ones(1), r"got one of shape \(1,\)")])
def test_weights_of_single_values_must_be_tensors_without_dimensions(weight, said):
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, OneOf(a=partial(Square), b=partial(Square)))).mixture((x,))
    with pytest.raises(SpaceError, match=f"0 needs a tensor without dimensions for 'a', {said}"):
        mixture(x, weights={"0": {"a": weight}})


class Steps(nn.Module):
    """Receives pairs of a module and a number."""

    def __init__(self, steps):
        super().__init__()
        self.layers = nn.ModuleList(layer for layer, _ in steps)
        self.factors = [factor for _, factor in steps]

    def forward(self, x):
        for layer, factor in zip(self.layers, self.factors, strict=True):
            x = factor * layer(x)
        return x


def test_values_received_beside_modules_in_one_list_expand_at_their_receiver():
    (x,) = inputs()
    space = Space(partial(Steps, [(partial(Square), OneOf(1.0, 2.0)), (partial(Square), OneOf(1.0, 3.0))]))
    mixture = space.mixture((x,))
    assert mixture.choices == {"steps.0.1": (1.0, 2.0), "steps.1.1": (1.0, 3.0)}
    assert len(mixture.network.alternatives) == 4
