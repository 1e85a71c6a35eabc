"""The continuous relaxation: every alternative at once, summed under weights."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sartor.errors import ShapesDifferError, SpaceError
from sartor.nets import Chain, ClassifierHead, ConvBnAct, MBConv
from sartor.space import FloatRange, OneOf, Permutation, Repeat, Shared, Space, Subset
from sartor.space._mixture import Mixed


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
    first = OneOf(a=partial(Square), b=partial(nn.Tanh))
    space = Space(partial(nn.Sequential, first, Repeat(partial(Square), OneOf(0, 1))))
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


# ---- what it computes


def one_hot(mixture, architecture) -> dict[str, Tensor]:
    """Weights under which only the architecture's alternatives count; where a choice is inactive, its first value."""
    return {
        key: torch.tensor([float(value == architecture.get(key, values[0])) for value in values])
        for key, values in mixture.choices.items()
    }


def only(mixture, architecture) -> dict[str, dict[object, Tensor]]:
    """The same with all other alternatives absent."""
    return {key: {architecture.get(key, values[0]): torch.ones(())} for key, values in mixture.choices.items()}


class Affine(nn.Module):
    """Takes a value that changes no shape."""

    def __init__(self, power=1, scale=1.0):
        super().__init__()
        self.inner, self.power, self.scale = nn.Linear(4, 4), power, scale

    def forward(self, x):
        return self.scale * self.inner(x).pow(self.power)


def alternatives_of(mixture, architecture):
    """The modules that are left of a mixture under an architecture, in the order of the network's layers."""
    for layer in mixture.network:
        while hasattr(layer, "alternatives"):
            layer = next(
                alternative
                for term, alternative in zip(layer.terms, layer.alternatives, strict=True)
                if all(is_chosen(mixture, slot, code, architecture) for slot, code in term)
            )
        yield layer


def is_chosen(mixture, slot, code, architecture):
    slot = mixture.space._compiled.slots[slot]
    return slot.domain[code] == architecture[slot.key]


def test_one_hot_weights_give_a_built_network_with_the_alternatives_weights():
    (x,) = inputs()
    space = Space(partial(
        nn.Sequential,
        OneOf(linear=partial(nn.Linear, 4, 4), skip=partial(nn.Identity), tanh=partial(nn.Tanh)),
        partial(Affine, power=OneOf(1, 2), scale=OneOf(0.5, 2.0)),
        OneOf(deep=OneOf(a=partial(Affine, power=3), b=partial(nn.Linear, 4, 4)), flat=partial(nn.Sigmoid)),
    ))
    mixture = space.mixture((x,))
    for architecture in space:
        network = space.build(architecture)
        for own, alternative in zip(network, alternatives_of(mixture, architecture), strict=True):
            own.load_state_dict(alternative.state_dict())
        assert torch.equal(mixture(x, weights=one_hot(mixture, architecture)), network(x))
        assert torch.equal(mixture(x, weights=only(mixture, architecture)), network(x))


def test_weights_of_several_values_are_multiplied():
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, partial(Affine, power=OneOf(1, 2), scale=OneOf(0.5, 2.0)))).mixture((x,))
    power, scale = torch.tensor([0.25, 0.75]), torch.tensor([0.4, 0.6])
    (mixed,) = mixture.network
    expected = sum(
        power[i] * scale[j] * mixed.alternatives[2 * i + j](x) for i in range(2) for j in range(2)
    )
    torch.testing.assert_close(mixture(x, weights={"0.power": power, "0.scale": scale}), expected)


def test_gradients_of_weights_and_parameters_are_right():
    x = torch.randn(2, 4, dtype=torch.float64)
    space = Space(partial(
        nn.Sequential,
        OneOf(a=partial(nn.Linear, 4, 4), b=partial(Square)),
        partial(Affine, power=OneOf(1, 2)),
        Repeat(partial(nn.Linear, 4, 4), OneOf(0, 1, 2)),
    ))
    mixture = space.mixture((torch.zeros(2, 4),)).double()
    keys = list(mixture.choices)
    values = [torch.rand(len(mixture.choices[key]), dtype=torch.float64, requires_grad=True) for key in keys]
    inner = mixture.network[0].alternatives[0].weight

    def output(*given):
        return mixture(x, weights=dict(zip(keys, given[:-1], strict=True))) + 0 * given[-1].sum()

    assert torch.autograd.gradcheck(output, (*values, inner))


def test_two_forwards_before_one_backward_have_each_their_own_weights():
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, OneOf(a=partial(Square), b=partial(nn.Tanh)))).mixture((x,))
    weights = [torch.tensor(values, requires_grad=True) for values in ([0.2, 0.8], [0.9, 0.1])]
    outputs = [mixture(x, weights={"0": each}).square().sum() for each in weights]
    torch.stack(outputs).sum().backward()
    for each in weights:
        (expected,) = torch.autograd.grad(mixture(x, weights={"0": each}).square().sum(), each)
        assert torch.equal(each.grad, expected)
    assert not torch.equal(weights[0].grad, weights[1].grad)


def test_absent_alternatives_are_not_computed():
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, OneOf(**{name: partial(Counted) for name in "abc"}))).mixture((x,))
    counted = mixture.network[0].alternatives
    for each in counted:
        each.num_calls = 0
    weight = torch.tensor(0.5, requires_grad=True)
    output = mixture(x, weights={"0": {"b": weight}})
    assert [each.num_calls for each in counted] == [0, 1, 0]
    torch.testing.assert_close(output, 0.5 * nn.functional.linear(x, counted[1].weight, counted[1].bias))
    output.sum().backward()
    assert counted[0].weight.grad is None and weight.grad is not None
    with pytest.raises(SpaceError, match="no alternative of 0 has a weight"):
        mixture(x, weights={"0": {}})


@pytest.mark.parametrize(
    ("times", "second"),
    [
        (Shared("depth", OneOf(1, 2)), Shared("depth", OneOf(1, 2))),
        (Shared("depth", OneOf(1, 2)), Shared("depth", OneOf(1, 2)) * 2),
    ],
)
def test_one_number_of_repetitions_gates_wherever_it_is_used(times, second):
    (x,) = inputs()
    space = Space(partial(nn.Sequential, Repeat(partial(Affine), times), Repeat(partial(Affine), second)))
    mixture = space.mixture((x,))
    assert mixture.choices == {"depth": (1, 2)}
    for architecture in space:
        network = space.build(architecture)
        first, last = architecture["depth"], len(network) - architecture["depth"]
        layers = list(mixture.network)
        kept = [*layers[:first], *layers[2 : 2 + last]]
        for own, layer in zip(network, kept, strict=True):
            own.load_state_dict(getattr(layer, "repetition", layer).state_dict())
        torch.testing.assert_close(mixture(x, weights=one_hot(mixture, architecture)), network(x))
        torch.testing.assert_close(mixture(x, weights=only(mixture, architecture)), network(x))


def test_repetitions_that_are_left_out_are_not_computed():
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, Repeat(partial(Counted), OneOf(0, 1, 2)))).mixture((x,))
    counted = [gate.repetition for gate in mixture.network]
    for each in counted:
        each.num_calls = 0
    assert torch.equal(mixture(x, weights={"0.times": {0: torch.ones(())}}), x)
    mixture(x, weights={"0.times": {1: torch.ones(())}})
    assert [each.num_calls for each in counted] == [1, 0]


def test_a_shared_choice_is_weighted_alike_at_both_places_with_weights_of_its_own():
    (x,) = inputs()
    option = Shared("option", OneOf(a=partial(Square), b=partial(nn.Linear, 4, 4)))
    mixture = Space(partial(nn.Sequential, option, option)).mixture((x,))
    assert mixture.choices == {"option": ("a", "b")}
    first, second = mixture.network
    assert first.alternatives[0].scale is not second.alternatives[0].scale
    weights = torch.tensor([0.3, 0.7])
    y = 0.3 * first.alternatives[0](x) + 0.7 * first.alternatives[1](x)
    y = 0.3 * second.alternatives[0](y) + 0.7 * second.alternatives[1](y)
    torch.testing.assert_close(mixture(x, weights={"option": weights}), y)


class Sums(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, x):
        return sum(part(x) for part in self.parts.values())


def test_a_subset_keeps_all_items_and_shares_scale_them():
    (x,) = inputs()
    parts = {"a": partial(Square), "b": OneOf(c=partial(nn.Linear, 4, 4), d=partial(nn.Tanh))}
    mixture = Space(partial(Sums, parts=Subset(parts, size=1))).mixture((x,))
    assert mixture.choices == {"parts.b": ("c", "d")} and mixture.subsets == {"parts": ("a", "b")}
    weights = {"parts.b": torch.tensor([0.5, 0.5])}
    a, b = mixture.network.parts["a"].item(x), 0.5 * mixture.network.parts["b"].item.alternatives[0](x) + 0.5 * x.tanh()
    torch.testing.assert_close(mixture(x, weights=weights), a + b)
    shares = torch.tensor([0.2, 0.8], requires_grad=True)
    output = mixture(x, weights={**weights, "parts": shares})
    torch.testing.assert_close(output, 0.2 * a + 0.8 * b)
    output.sum().backward()
    torch.testing.assert_close(shares.grad, torch.stack([a.sum(), b.sum()]))
    torch.testing.assert_close(mixture(x, weights={**weights, "parts": {"b": torch.tensor(1.0)}}), b)


def test_given_choices_are_not_relaxed():
    (x,) = inputs()
    space = Space(partial(
        nn.Sequential,
        OneOf(a=partial(Square), b=partial(nn.Tanh)),
        partial(Affine, power=OneOf(1, 2), scale=FloatRange(0.5, 2.0)),
        Repeat(partial(nn.Linear, 4, 4), OneOf(1, 2)),
    ))
    narrowed = space.given({"0": "b", "1.scale": 1.5, "2.times": 2})
    mixture = narrowed.mixture((x,))
    assert mixture.choices == {"1.power": (1, 2)}
    assert len(mixture.network) == 4 and isinstance(mixture.network[0], nn.Tanh)
    assert {each.scale for each in mixture.network[1].alternatives} == {1.5}
    with pytest.raises(SpaceError, match="the mixture has no choice '0'"):
        mixture(x, weights={"1.power": torch.ones(2), "0": torch.ones(2)})


def test_what_a_given_choice_lies_under_is_not_relaxed_either():
    (x,) = inputs()
    inner = OneOf(plain=partial(nn.Tanh), affine=partial(Affine, power=OneOf(1, 2), scale=1.5))
    space = Space(partial(nn.Sequential, OneOf(skip=partial(nn.Identity), inner=partial(nn.Sequential, inner))))
    (key,) = (key for key in space.keys if key.endswith("power"))
    mixture = space.given({key: 2}).mixture((x,))
    assert mixture.choices == {}
    assert mixture.network[0][0].power == 2 and not any(isinstance(each, Mixed) for each in mixture.modules())
    # A glob says nothing of whether the choice is there.
    assert len(space.given({f"*{key[1:]}": 2}).mixture((x,)).choices) == 2


def test_the_choices_whose_alternatives_differ_in_shape_are_named_apart():
    block = partial(MBConv, out_channels=OneOf(8, 16), kernel=OneOf(3, 5), expand=1)
    with pytest.raises(ShapesDifferError) as caught:
        chain = partial(Chain, 3, blocks=[block], head=partial(ClassifierHead, classes=5))
        Space(chain).mixture((torch.zeros(1, 3, 8, 8),))
    assert caught.value.keys == ("blocks.0.out_channels",)
    with pytest.raises(ShapesDifferError) as caught:
        Space(partial(nn.Sequential, OneOf(a=partial(nn.Linear, 4, 5), b=partial(nn.Identity)))).mixture(inputs())
    assert caught.value.keys == ("0",)


def test_a_chain_passes_channels_through_mixtures_and_gates():
    block = partial(MBConv, out_channels=8, kernel=OneOf(3, 5), expand=OneOf(1, 2))
    stem = OneOf(conv=partial(ConvBnAct, out_channels=8), plain=partial(nn.Conv2d, out_channels=8, kernel_size=1))
    skip = OneOf(block=block, skip=partial(nn.Identity))
    space = Space(partial(Chain, 3, blocks=[stem, Repeat(skip, OneOf(1, 2))], head=partial(ClassifierHead, classes=5)))
    x = torch.randn(2, 3, 8, 8)
    mixture = space.mixture((x,))
    assert set(mixture.choices) == {
        "blocks.0", "blocks.1.times",
        *(f"blocks.1.{i}{name}" for i in range(2) for name in ("", ".kernel", ".expand")),
    }
    output = mixture(x, weights=uniform(mixture))
    assert output.shape == (2, 5)
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in mixture.parameters())


class Pooled(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride, 1)

    def forward(self, x):
        return self.pool(x)


class Separable(nn.Sequential):
    def __init__(self, channels, stride, kernel=3):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
        )


class DartsCell(nn.Module):
    """Each node sums operations on some of the states before it; called for every layer with its channels."""

    def __init__(self, channels, stride, nodes):
        super().__init__()
        self.nodes = nn.ModuleList(
            nn.ModuleDict({str(source): make(channels, stride if source < 2 else 1) for source, make in node.items()})
            for node in nodes
        )

    def forward(self, x):
        states = [x, x]
        for node in self.nodes:
            states.append(sum(module(states[int(source)]) for source, module in node.items()))
        return states[-1]


class Darts(nn.Module):
    def __init__(self, normal, reduce):
        super().__init__()
        self.cells = nn.Sequential(normal(4, 1), reduce(4, 2), normal(4, 1))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cells(x).mean((2, 3)))


def test_darts_cells_are_weighted_alike_in_every_layer():
    def cell():
        options = {"pool": partial(Pooled), "three": partial(Separable, kernel=3), "five": partial(Separable, kernel=5)}
        return partial(DartsCell, nodes=[Subset([OneOf(**options)] * k, size=2) for k in (2, 3)])

    space = Space(partial(Darts, normal=cell(), reduce=cell()))
    x = torch.randn(2, 4, 8, 8)
    mixture = space.mixture((x,))
    assert len(mixture.choices) == 10 and len(mixture.subsets) == 4
    weights = {key: value.requires_grad_() for key, value in uniform(mixture).items()}
    mixture(x, weights=weights).square().sum().backward()
    assert all(value.grad.count_nonzero() > 0 for value in weights.values())
    first, _, last = mixture.network.cells
    own, other = first.nodes[0]["0"].item.alternatives[1][1].weight, last.nodes[0]["0"].item.alternatives[1][1].weight
    assert own is not other and not torch.equal(own, other)
    best = space.argmax({key: value.grad for key, value in weights.items()})
    assert space.build(best)(x).shape == (2, 3)


def test_copies_are_independent_and_start_from_the_seed():
    (x,) = inputs()
    space = Space(partial(nn.Sequential, OneOf(a=partial(Square), b=partial(nn.Linear, 4, 4))))
    state = torch.get_rng_state()
    mixture, same, other = space.mixture((x,), seed=1), space.mixture((x,), seed=1), space.mixture((x,), seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    outputs = [each(x, weights=uniform(each)) for each in (mixture, same, other, copy.deepcopy(mixture))]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[3])
    assert not torch.equal(outputs[0], outputs[2])


def test_parts_of_a_dict_space_are_mixed_one_by_one():
    (x,) = inputs()
    option = Shared("option", OneOf(a=partial(Square), b=partial(nn.Tanh)))
    space = Space({"network": partial(nn.Sequential, option), "critic": partial(Affine, scale=OneOf(1.0, 2.0)), "n": 3})
    assert space.mixture((x,)).choices == {"option": ("a", "b")}
    assert space.mixture((x,), "critic").choices == {"critic.scale": (1.0, 2.0)}
    with pytest.raises(SpaceError, match="builds a module, this one builds int"):
        space.mixture((x,), "n")


# ---- what it refuses


class Wide(nn.Linear):
    def __init__(self, width):
        super().__init__(4, width)
        self.out_channels = width


class Receives(nn.Module):
    """Reads the channels of what it holds."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.channels = inner, inner.out_channels

    def forward(self, x):
        return self.inner(x)


class Holds(nn.Module):
    def __init__(self, inner, value=1):
        super().__init__()
        self.inner, self.value = inner, value

    def forward(self, x):
        return self.inner(x)


class Named(nn.Module):
    def forward(self, x):
        return {"x": x}


def values(*given):
    return list(given)


def test_orders_and_combinations_of_values_expand_at_their_receiver():
    (x,) = inputs()
    space = Space(partial(nn.Sequential, partial(Holds, partial(nn.Tanh), Permutation(1, 2, 3)),
                          partial(Holds, partial(nn.Tanh), Subset({"a": 1, "b": 2}, size=(1, 2)))))
    mixture = space.mixture((x,))
    assert {key: len(values) for key, values in mixture.choices.items()} == {"0.value": 6, "1.value": 3}
    assert [each.value for each in mixture.network[1].alternatives] == [{"a": 1}, {"b": 2}, {"a": 1, "b": 2}]
    torch.testing.assert_close(mixture(x, weights=uniform(mixture)), x.tanh().tanh())


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            partial(nn.Sequential, OneOf(a=partial(nn.Linear, 4, 4), b=partial(nn.Linear, 4, 5))),
            r"alternatives of 0 cannot be mixed, their outputs differ in shape: a gives \(3, 4\), b gives \(3, 5\)",
        ),
        (
            partial(nn.Sequential, partial(nn.Linear, 4, OneOf(4, 5))),
            r"0.out_features=4 gives \(3, 4\), 0.out_features=5 gives \(3, 5\)",
        ),
        (
            partial(nn.Sequential, OneOf(a=partial(Named), b=partial(Named))),
            "alternatives that give dict cannot be mixed: tensors, or tuples of them, can",
        ),
        (
            partial(Receives, OneOf(a=partial(Wide, 4), b=partial(Wide, 8))),
            "alternatives of inner cannot be mixed, they differ in out_channels: a has 4, b has 8",
        ),
        (
            partial(nn.Sequential, Repeat(partial(nn.Linear, 4, 5), OneOf(0, 1))),
            r"0.times cannot be mixed: leaving a repetition out needs equal shapes, it maps \(3, 4\) to \(3, 5\)",
        ),
        (OneOf(1, 2), "choice is a value that no module receives"),
        (partial(Affine, scale=FloatRange(0.5, 2)), "scale is a float range.*give it a number"),
        (
            partial(nn.Sequential, partial(Affine, power=OneOf(*range(9)), scale=OneOf(*range(15)))),
            r"Affine at 0 receives 0.power, 0.scale: 135 combinations, more than max_combinations=128.*given\(\)",
        ),
        (
            partial(nn.Sequential, OneOf(a=partial(nn.Tanh), b=None)),
            "alternatives of 0 cannot be mixed.*a: Tanh, b: NoneType",
        ),
        (partial(values), "a mixture needs a space that builds a module, this one builds list"),
        (partial(Wide), r"this one builds partial\(Wide, ...\), which lacks arguments"),
        (partial(values, OneOf(1, 2)), "0: values makes list, no module"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(tree, message):
    with pytest.raises(SpaceError, match=message):
        Space(tree).mixture(inputs())


def test_one_key_under_two_options_is_refused_with_what_to_write():
    options = OneOf(a=partial(Affine, power=OneOf(1, 2)), b=partial(Affine, power=OneOf(1, 3)))
    space = Space(partial(nn.Sequential, options))
    assert space.count() == 4
    with pytest.raises(SpaceError, match=r"two choices under different options have the key '0.power'.*Shared"):
        space.mixture(inputs())


def test_weights_that_are_missing_unknown_or_too_few_are_refused_by_name():
    (x,) = inputs()
    mixture = Space(partial(nn.Sequential, OneOf(left=partial(Square), right=partial(nn.Tanh)))).mixture((x,))
    for weights, message in (
        ({}, r"needs weights of 0: one for each of \['left', 'right'\]"),
        ({"0": torch.ones(2), "1": torch.ones(2)}, "has no choice '1'"),
        ({"0": torch.ones(3)}, r"0 needs weights of shape \(2,\), got \(3,\)"),
        ({"0": {"lefd": torch.ones(())}}, "0 has no value 'lefd'; did you mean 'left'"),
    ):
        with pytest.raises(SpaceError, match=message):
            mixture(x, weights=weights)


def test_a_module_is_an_alternative_to_a_factory_that_waits_for_channels():
    space = Space(partial(Chain, 3, blocks=[
        partial(ConvBnAct, out_channels=4), OneOf(conv=partial(ConvBnAct, out_channels=4), skip=partial(nn.Identity))
    ]))
    x = torch.randn(2, 3, 8, 8)
    mixture = space.mixture((x,)).eval()
    stem = mixture.network.blocks[0](x)
    assert torch.equal(mixture(x, weights={"blocks.1": {"skip": torch.ones(())}}), stem)
    assert mixture(x, weights={"blocks.1": torch.tensor([0.5, 0.5])}).shape == stem.shape
