"""Training-free proxies: conformance, and each against a computation written straight from its definition."""

from __future__ import annotations

import math
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sartor.errors import InputError, UnsupportedNetworkError
from sartor.estimators.proxies import DEAD, load, score
from sartor.estimators.proxies._probe import Probe
from sartor.estimators.proxies.aggregate import INGREDIENTS, aggregate
from sartor.registry import specs
from sartor.testing.proxies import check_proxy, check_together, make_networks

NAMES = list(specs("proxies"))


@pytest.fixture
def perceptron():
    return make_networks()["perceptron"]


@pytest.fixture
def convolutional():
    return make_networks()["convolutional"]


def drawn(seed):
    """Returns the generator that a probe draws its targets from."""
    return torch.Generator().manual_seed(zlib.crc32(f"targets {seed}".encode()))


def value_of(name, network, inputs, seed=0):
    return score(network, inputs, load(name), seed=seed)[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_proxy_keeps_what_proxies_promise(name):
    check_proxy(*load(name))


def test_proxies_together_give_what_each_gives_alone():
    check_together(NAMES)


def test_each_is_one_object_named_as_its_file_says():
    for name in NAMES:
        assert load(name)[0].name == name and specs("proxies")[name].citation


def test_listing_them_loads_no_torch():
    code = "import sys; from sartor.registry import specs; specs('proxies'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_counts_are_those_of_the_layers(perceptron):
    network, inputs = perceptron
    assert value_of("params", network, inputs) == 6 * 16 + 16 + 16 * 16 + 16 + 16 + 1
    assert value_of("macs", network, inputs) == 6 * 16 + 16 * 16 + 16


@pytest.mark.parametrize("name", ["convolutional", "attention"])
def test_macs_are_half_of_what_the_counter_of_torch_says(name):
    network, inputs = make_networks()[name]
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(*(each[:1] for each in inputs))
    assert value_of("macs", network, inputs) == counter.get_total_flops() / 2 > 0


def test_naswot_is_the_determinant_of_the_agreement_of_patterns(perceptron):
    network, (x,) = perceptron
    first = network[1](network[0](x))
    second = network[3](network[2](first))
    on = torch.cat([first, second], 1) > 0
    agreement = (on[:, None] == on[None]).sum(-1).double()
    assert value_of("naswot", network, (x,)) == pytest.approx(float(torch.linalg.slogdet(agreement)[1]), rel=1e-9)


def test_of_more_samples_than_units_some_are_compared():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(6, 200), nn.ReLU(), nn.Linear(200, 3)), torch.randn(300, 6)
    with Probe(network, (x,), frozenset({"patterns", "codes"})) as probe:
        compared = probe.compared
    assert len(set(compared.tolist())) == 128 and int(compared.max()) > 200
    on = network[1](network[0](x[compared])) > 0
    agreement = (on[:, None] == on[None]).sum(-1).double()
    found = score(network, (x,), load("naswot", "swap", "jacov"))
    assert found["naswot"] == pytest.approx(float(torch.linalg.slogdet(agreement)[1]), rel=1e-9)
    assert found["swap"] == len({tuple(column.tolist()) for column in on.T})
    assert found["jacov"] == pytest.approx(value_of("jacov", network, (x[compared],)), rel=1e-4)


def test_swap_counts_different_columns_of_the_patterns(perceptron):
    network, (x,) = perceptron
    first = network[1](network[0](x))
    on = torch.cat([first, network[3](network[2](first))], 1) > 0
    assert value_of("swap", network, (x,)) == len({tuple(column.tolist()) for column in on.T})


def test_jacov_is_of_the_correlations_of_the_rows(perceptron):
    network, (x,) = perceptron
    rows = np.stack([torch.autograd.functional.jacobian(network, each[None]).numpy().ravel() for each in x])
    values = np.linalg.eigvalsh(np.corrcoef(rows.astype(np.float64))).clip(0)
    expected = -(np.log(values + 1e-5) + 1 / (values + 1e-5)).sum()
    assert value_of("jacov", network, (x,)) == pytest.approx(expected, rel=1e-2)


def test_synflow_is_the_sum_over_paths_times_their_number_of_weights():
    network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    first, last = network[0].weight.detach().abs(), network[2].weight.detach().abs()
    found = score(network, [torch.randn(4, 3)], load("synflow", "logsynflow"))
    assert found["synflow"] == pytest.approx(2 * float((last @ first).sum()), rel=1e-5)
    flows = last * first.sum(1), first * last.sum(0)[:, None]
    assert found["logsynflow"] == pytest.approx(float(sum(torch.log1p(each).sum() for each in flows)), rel=1e-5)


def test_gradients_are_those_of_the_drawn_targets(perceptron):
    network, (x,) = perceptron
    targets = torch.randn((8, 1), generator=drawn(3))
    loss = ((network(x) - targets) ** 2).mean()
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    found = score(network, (x,), load("grad-norm", "snip"), seed=3)
    assert found["grad-norm"] == pytest.approx(float(sum(g.norm() for g in gradients)), rel=1e-5)
    expected = sum((p.detach() * g).abs().sum() for p, g in zip(network.parameters(), gradients, strict=True))
    assert found["snip"] == pytest.approx(float(expected), rel=1e-5)


def test_grasp_is_the_product_of_weights_hessian_and_gradient(perceptron):
    network, (x,) = perceptron
    targets = torch.randn((8, 1), generator=drawn(3))
    names = [name for name, _ in network.named_parameters()]
    weights = tuple(p.detach() for p in network.parameters())

    def loss(*own):
        return ((torch.func.functional_call(network, dict(zip(names, own, strict=True)), (x,)) - targets) ** 2).mean()

    gradient = torch.autograd.functional.jacobian(loss, weights)
    _, product = torch.autograd.functional.hvp(loss, weights, gradient)
    expected = -sum((w * p).sum() for w, p in zip(weights, product, strict=True))
    assert value_of("grasp", network, (x,), seed=3) == pytest.approx(float(expected), rel=1e-4)


def test_ntk_is_the_condition_of_the_samples_gradients(perceptron):
    network, (x,) = perceptron
    rows = []
    for each in x:
        found = torch.autograd.grad(network(each[None]).sum(), list(network.parameters()))
        rows.append(torch.cat([g.ravel() for g in found]).double())
    values = torch.linalg.eigvalsh(torch.stack(rows) @ torch.stack(rows).T)
    assert value_of("ntk", network, (x,)) == pytest.approx(-float(torch.log(values[-1] / values[0])), rel=1e-3)


def test_zico_divides_mean_by_deviation_in_each_layer():
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    x = torch.randn(8, 2)
    targets = torch.randint(2, (8,), generator=drawn(0))
    halves = []
    for rows in (slice(0, 4), slice(4, 8)):
        loss = nn.functional.cross_entropy(network(x)[rows], targets[rows])
        halves.append(torch.autograd.grad(loss, list(network.parameters())))
    total = 0.0
    for first, second in zip(*halves, strict=True):
        both = torch.stack([first, second])
        deviation = both.std(0, correction=0)
        known = deviation > 0
        total += math.log(float((both.abs().mean(0)[known] / deviation[known]).sum()))
    assert value_of("zico", network, [x]) == pytest.approx(total, rel=1e-4)


def test_meco_is_the_least_eigenvalue_of_correlated_maps(convolutional):
    network, (x,) = convolutional
    network.train()
    maps = [network[0](x), network[:4](x)]
    rows = [each[0].flatten(1).detach().double().numpy() for each in maps]
    expected = sum(np.linalg.eigvalsh(np.corrcoef(each))[0] for each in rows)
    assert value_of("meco", network, (x,)) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_trainability_of_an_identity_is_near_its_best():
    class Same(nn.Module):
        def forward(self, x):
            return x

    network = nn.Sequential(nn.Linear(4, 4), Same(), Same())
    loose = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        for layer in loose[1:]:
            layer.weight.mul_(20)
    x = torch.randn(4096, 4)
    assert value_of("az-trainability", network, [x]) > -0.01 > value_of("az-trainability", loose, [x])


def test_regions_are_counted_between_two_samples():
    network = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.copy_(torch.tensor([-0.25, -0.5, 5.0]))
    # Of three units two change between 0 and 1.
    assert value_of("linear-regions", network, [torch.tensor([[0.0], [1.0]])]) == 2


def test_what_a_proxy_cannot_look_at_is_refused_by_name():
    networks = make_networks()
    for name, network, what in [
        ("synflow", "attention", "softmax"),
        ("synflow", "recurrent", "LSTM"),
        ("meco", "perceptron", "no convolutions"),
        ("naswot", "recurrent", "no activation modules"),
        ("az-expressivity", "recurrent", "no list of at least two blocks"),
    ]:
        with pytest.raises(UnsupportedNetworkError, match=f"{name} cannot score .*{what}"):
            score(*networks[network], load(name))
    with pytest.raises(UnsupportedNetworkError, match="jacov cannot score Embedding: its inputs are whole numbers"):
        score(nn.Embedding(4, 2), [torch.arange(4)], load("jacov"))
    with pytest.raises(InputError, match="unknown proxy 'jacv'; did you mean 'jacov'"):
        load("jacv")


def test_networks_without_the_derivatives_that_a_proxy_needs_are_refused_by_name():
    gated = nn.Sequential(nn.Linear(3, 4), nn.Hardsigmoid(), nn.Linear(4, 2))
    with pytest.raises(UnsupportedNetworkError, match="grasp cannot score Sequential: .*second derivative.*hardsigm"):
        value_of("grasp", gated, [torch.randn(4, 3)])
    assert value_of("snip", gated, [torch.randn(4, 3)]) > 0

    class Second(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, times, marks):
            return self.layer(marks)

    with pytest.raises(UnsupportedNetworkError, match="jacov cannot score Second: its output has no gradient"):
        value_of("jacov", Second(), [torch.randn(4, 1), torch.randn(4, 3)])


def test_fisher_of_a_convolution_in_one_dimension_is_that_of_the_same_in_two():
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 8, 4))
    deep = nn.Sequential(nn.Conv2d(2, 3, (1, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 8, 4))
    weights = flat.state_dict()
    deep.load_state_dict({name: each[:, :, None] if each.ndim == 3 else each for name, each in weights.items()})
    x = torch.randn(4, 2, 10)
    expected = value_of("fisher", flat, [x])
    assert value_of("fisher", deep, [x[:, :, None]]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["meco", "fisher", "snip", "az-expressivity", "az-trainability", "naswot"])
def test_activations_in_place_change_no_score(name):
    def made(inplace):
        torch.manual_seed(0)
        block = [nn.Sequential(nn.ReLU(inplace=inplace), nn.Conv2d(4, 4, 3, padding=1)) for _ in range(2)]
        relu = nn.ReLU(inplace=inplace)
        return nn.Sequential(nn.Conv2d(3, 4, 3), *block, relu, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    x = torch.randn(4, 3, 8, 8)
    assert value_of(name, made(True), [x]) == pytest.approx(value_of(name, made(False), [x]), rel=1e-6)


def test_blocks_may_repeat_a_module_and_be_called_by_keyword():
    relu, (x,) = nn.ReLU(), make_networks()["perceptron"][1]
    shared = nn.Sequential(nn.Linear(6, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 2))
    own = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))
    own.load_state_dict(shared.state_dict())
    for name in ("az-expressivity", "az-progressivity", "az-trainability"):
        assert value_of(name, shared, [x]) == value_of(name, own, [x])

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])

        def forward(self, x):
            for block in self.blocks:
                x = block(input=x)
            return x

    with pytest.raises(UnsupportedNetworkError, match="no list of at least two blocks"):
        value_of("az-expressivity", Named(), [x])


def test_frozen_networks_and_single_precision_are_refused_by_name(perceptron):
    network, (x,) = perceptron
    with torch.no_grad():
        expected = value_of("snip", network, (x,))
    assert expected == value_of("snip", network, (x,))
    network[0].requires_grad_(False)
    assert value_of("fisher", network, (x,)) > 0
    network.requires_grad_(False)
    for name in ("snip", "fisher", "ntk", "zico", "grasp", "grad-norm"):
        with pytest.raises(UnsupportedNetworkError, match=f"{name} cannot score .*frozen"):
            value_of(name, network, (x,))

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(x @ torch.eye(6))

    with pytest.raises(UnsupportedNetworkError, match="logsynflow cannot score Shifted: it cannot run in double"):
        value_of("logsynflow", Shifted(), [x])


def test_dropout_changes_no_score(perceptron):
    network, (x,) = perceptron
    dropping = nn.Sequential(*network[:2], nn.Dropout(0.5), *network[2:])
    assert score(dropping, (x,), load("naswot", "snip")) == score(network, (x,), load("naswot", "snip"))
    assert dropping[2].training


def test_passes_in_evaluation_see_the_statistics_of_an_untrained_network(convolutional):
    network, (x,) = convolutional
    shares = torch.linspace(0, 1, 32).reshape(-1, 1, 1, 1)
    line = x[:1] * (1 - shares) + x[1:2] * shares
    network.eval()
    with torch.no_grad():
        first = network[:3](line) > 0
        second = network[:6](line) > 0
    flips = sum(int((on[1:] != on[:-1]).sum()) for on in (first, second))
    assert score(network, (x,), load("naswot", "linear-regions"))["linear-regions"] == flips


def test_scores_that_are_not_finite_are_dead(perceptron):
    network, (x,) = perceptron
    with torch.no_grad():
        network[0].weight.fill_(math.nan)
    assert set(score(network, (x,), load("macs", "naswot")).values()) == {DEAD}


def test_the_aggregate_puts_the_dead_last_and_punishes_one_bad_rank():
    columns = {"jacov": [3.0, 2.0, 1.0, DEAD, 4.0], "macs": [3.0, 2.0, 4.0, 5.0, 1.0]}
    found = aggregate(columns, ("jacov", "macs"))
    assert found[3] == -math.inf and found.argmax() == 0
    assert found[0] == pytest.approx(math.log(4 / 5) + math.log(3 / 5))
    assert set(INGREDIENTS) <= set(NAMES)


def test_growth_is_the_smallest_share_by_which_entropies_grow(convolutional):
    network, (x,) = convolutional
    with Probe(network, [x], frozenset({"entropies"})) as probe:
        entropies = probe.entropies
    shares = [after / before - 1 for before, after in zip(entropies, entropies[1:], strict=False)]
    assert len(shares) > 1 and value_of("growth", network, (x,)) == pytest.approx(min(shares), rel=1e-4)


def test_entropy_is_of_the_eigenvalues_of_the_covariance_of_channels(convolutional):
    _, (x,) = convolutional
    maps = x + torch.randn(x.shape[1], 1, 1) * 3
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double().numpy()
    shares = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    shares /= shares.sum()
    network = nn.Sequential(nn.Identity(), nn.Flatten(2))
    with Probe(network, [maps], frozenset({"entropies"})) as probe:
        assert probe.entropies[0] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-4)


def test_pooling_on_its_own_is_no_block():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)]
    body = nn.Sequential(layers[0], nn.AvgPool2d(2), layers[1], nn.MaxPool2d(2), layers[2])
    pooled = nn.Sequential(body, nn.Flatten())
    with Probe(pooled, [torch.randn(4, 3, 20, 20)], frozenset({"entropies"})) as probe:
        assert probe.blocks == layers and len(probe.entropies) == 3


def test_gradients_by_halves_add_up_to_those_of_the_batch(convolutional):
    network, (x,) = convolutional
    odd = x[:7]
    for name in ("fisher", "snip", "grad-norm"):
        assert score(network, (odd,), load(name, "zico"))[name] == pytest.approx(
            value_of(name, network, (odd,)), rel=1e-4
        )


def test_zen_scales_by_the_deviations_of_the_batch_and_leaves_normalisation_as_it_was():
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)]
    blocks = nn.Sequential(nn.Conv2d(3, 4, 3), norms[0], nn.Conv2d(4, 4, 3), norms[1])
    network = nn.Sequential(blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    noise = torch.randn(5, 3, 9, 9)
    with Probe(network, [noise], frozenset()) as probe:
        features, deviations = probe.deviations(noise)
    before = [blocks[0](noise)]
    before.append(blocks[2](norms[0](before[0])))
    expected = [math.sqrt(float(each.detach().var((0, 2, 3), correction=0).mean()) + 1e-5) for each in before]
    assert deviations == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(features, norms[1](before[1]), atol=1e-5)
    assert norms[0].momentum == 0.1 and int(norms[0].num_batches_tracked) == 1
