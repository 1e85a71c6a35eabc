import numpy as np
import pytest
import torch

from sartor.nets.additive import GroupedExU, GroupedLinear, NeuralAdditive, ShapeNetworks, kept
from sartor.nets.piecewise import PiecewiseLinear, quantile_edges


def test_grouped_layers_are_layers_side_by_side() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 7, 4)
    layer, exu = GroupedLinear(3, 4, 5), GroupedExU(3, 4, 5)
    for g in range(3):
        assert torch.allclose(layer(x)[g], x[g] @ layer.weight[g] + layer.bias[g], atol=1e-6)
        for unit in range(5):
            by_hand = ((x[g] - exu.bias[g, :, unit]) * exu.weight[g, :, unit].exp()).sum(1)
            assert torch.allclose(exu(x)[g, :, unit], by_hand, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("unit", ["relu", "silu", "exu"])
def test_all_subnetworks_at_once_are_the_subnetworks_one_by_one(unit) -> None:
    torch.manual_seed(1)
    networks = ShapeNetworks(3, 2, 4, units=5, depth=3, unit=unit, dropout=0.0, members=2)
    torch.nn.init.normal_(networks.last.weight)
    x = torch.randn(3, 6, 2)
    found = networks(x)
    assert found.shape == (3, 2, 6, 4)
    nonlinear = torch.nn.functional.silu if unit == "silu" else torch.relu
    for term in range(3):
        for member in range(2):
            columns = slice(5 * member, 5 * member + 5)
            weight, bias = networks.first.weight[term][:, columns], networks.first.bias[term][:, columns]
            if unit == "exu":
                inner = ((x[term][:, :, None] - bias) * weight.exp()).sum(1).clamp(0, 1)
            else:
                inner = nonlinear(x[term] @ weight + bias)
            for layer in networks.hidden:
                inner = nonlinear(inner @ layer.weight[2 * term + member] + layer.bias[2 * term + member])
            last = networks.last
            by_hand = inner @ last.weight[2 * term + member] + last.bias[2 * term + member]
            assert torch.allclose(found[term, member], by_hand, atol=1e-4)


def test_a_term_sees_its_own_features_alone() -> None:
    torch.manual_seed(2)
    network = NeuralAdditive(4, 2, bins=3, units=6, pairs=2, members=2).eval()
    for part in (network.shapes, network.pairs):
        torch.nn.init.normal_(part.last.weight)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 3])
    sees = [{0}, {1}, {2}, {3}, {0, 2}, {1, 3}]
    encoded, present = torch.rand(4, 5, 3), torch.ones(4, 5)
    before = network(encoded, present, first, second)
    for feature in range(4):
        other = encoded.clone()
        other[feature] = torch.rand(5, 3)
        changed = (network(other, present, first, second) != before).flatten(1).any(1)
        assert [term for term in range(6) if changed[term]] == [t for t in range(6) if feature in sees[t]]


def test_a_missing_value_has_a_term_of_its_own() -> None:
    network = NeuralAdditive(2, 1, pairs=1, members=1).eval()
    torch.nn.init.constant_(network.missing, 3.0)
    index = torch.tensor([0]), torch.tensor([1])
    terms = network(torch.rand(2, 2, 1), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), *index)[:, 0, :, 0]
    assert terms.tolist() == [[0.0, 3.0], [0.0, 0.0], [0.0, 3.0]]


def test_feature_dropout_leaves_out_whole_terms_and_keeps_the_mean() -> None:
    torch.manual_seed(3)
    network = NeuralAdditive(2, 3, feature_dropout=0.25, members=1)
    torch.nn.init.constant_(network.missing, 1.0)
    terms = network(torch.zeros(2, 20_000, 1), torch.zeros(2, 20_000), torch.tensor([]), torch.tensor([]))
    assert terms.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(terms[..., 0], terms[..., 2])
    assert terms.mean().item() == pytest.approx(1, abs=0.01)


def test_dropout_leaves_out_its_share_everywhere_and_repeats() -> None:
    torch.manual_seed(4)
    found = kept(0.3, (7, 3, 5001), torch.device("cpu"))
    assert found.unique().tolist() == pytest.approx([0, 256 / (256 - 77)])
    for part in (found[..., ::8], found[..., 3::8], found):
        assert (part == 0).float().mean().item() == pytest.approx(77 / 256, abs=0.01)
    first, second = (kept(0.3, (50, 9), torch.device("cpu")) for _ in range(2) if torch.manual_seed(5))
    assert torch.equal(first, second)


def test_piecewise_linear_encoding_is_the_published_formula() -> None:
    edges = [np.array([0.0, 1.0, 3.0]), np.array([-1.0, 1.0])]
    found = PiecewiseLinear(edges)(torch.tensor([[2.0, -5.0, 9.0], [0.0, 1.0, 0.5]]))
    assert found[0].tolist() == [[1.0, 0.5], [0.0, 0.0], [1.0, 1.0]]
    assert found[1].tolist() == [[0.5, 0.0], [1.0, 0.0], [0.75, 0.0]]


def test_edges_are_quantiles_and_never_equal() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    edges = quantile_edges(values, 10)
    assert len(edges) == 11 and (np.diff(edges) > 0).all() and edges[0] == values.min() and edges[-1] == values.max()
    counts = np.histogram(values, edges)[0]
    assert counts.min() > 450 and counts.max() < 550
    assert quantile_edges(np.array([2.0, 2.0, 5.0]), 10).tolist() == [2.0, 5.0]
    assert len(quantile_edges(np.concatenate([np.zeros(5000), values]), 16)) == 17
