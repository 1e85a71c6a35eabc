from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import apply, global_masks, local_masks, pruned, sparsity_of
from sartor.compress.sparsity.n_of_m import Pattern, n_of_m
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError, UnsupportedNetworkError
from tests.compress.made import classifier, convolutional


def test_global_magnitude_removes_what_torch_removes() -> None:
    network, theirs = convolutional(), convolutional()
    layers = [(layer, "weight") for layer in theirs if isinstance(layer, (nn.Conv2d, nn.Linear))]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=0.7)
    ours = pruned(network, global_masks(magnitude(network), 0.7))
    for (layer, _), weight in zip(layers, weights_of(ours).values(), strict=True):
        assert torch.equal(layer.weight, weight)


def test_local_magnitude_removes_the_same_share_of_each_layer() -> None:
    network = convolutional()
    masks = local_masks(magnitude(network), 0.5)
    assert [float(mask.float().mean()) for mask in masks.values()] == [0.5] * len(masks)
    theirs = convolutional()
    prune.l1_unstructured(theirs[0], "weight", amount=0.5)
    assert torch.equal(pruned(network, masks).get_parameter("0.weight"), theirs[0].weight)


def test_the_network_that_is_pruned_is_left_alone() -> None:
    network = classifier()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = pruned(network, global_masks(magnitude(network), 0.9))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert made is not network


def test_masks_within_masks_remove_more_and_bring_nothing_back() -> None:
    scores = magnitude(classifier())
    first = local_masks(scores, 0.5)
    second = global_masks({name: torch.rand_like(value) for name, value in scores.items()}, 0.8, first)
    assert sparsity_of(second) == pytest.approx(0.8, abs=1e-3)
    assert not any(bool((second[name] & ~first[name]).any()) for name in first)
    with pytest.raises(InputError, match="removed already"):
        global_masks(scores, 0.2, first)


def test_shared_weights_are_listed_once_and_embeddings_never() -> None:
    tied = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False), nn.LSTM(4, 4))
    tied[2].weight = tied[0].weight
    assert list(weights_of(tied)) == ["1.weight", "2.weight", "3.weight_ih_l0", "3.weight_hh_l0"]
    twice = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    twice[1].weight = twice[0].weight
    assert list(weights_of(twice)) == ["0.weight"]


def test_layers_are_skipped_by_pattern() -> None:
    assert list(weights_of(classifier(), skip=["0", "4"])) == ["2.weight"]
    with pytest.raises(InputError, match="no layer with weights is called 'fc'"):
        weights_of(classifier(), skip=["fc"])
    with pytest.raises(UnsupportedNetworkError, match="beside those skipped"):
        weights_of(classifier(), skip=["*"])
    with pytest.raises(UnsupportedNetworkError, match="no linear or convolutional layer"):
        weights_of(nn.ReLU())


def test_masks_of_another_network_are_refused_before_anything_changes() -> None:
    network = classifier()
    before = [value.clone() for value in network.parameters()]
    with pytest.raises(InputError, match=r"0\.weight: the mask has shape \(32, 6\), the weight \(24, 6\)"):
        apply(network, global_masks(magnitude(classifier(32)), 0.5))
    with pytest.raises(InputError, match="no weight '1.weight'"):
        apply(network, {"1.weight": torch.ones(2, 2, dtype=torch.bool)})
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(InputError, match="sparsity"):
        global_masks(magnitude(classifier()), sparsity)


def test_weights_that_are_not_finite_are_named() -> None:
    network = classifier()
    with torch.no_grad():
        network[2].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"2\.weight: 1 of 576 scores are not finite"):
        global_masks(magnitude(network), 0.5)


def test_two_of_four_keeps_the_two_largest_along_the_inputs() -> None:
    values = torch.randn(8, 12, 3, 3, generator=torch.Generator().manual_seed(0)).abs()
    mask = n_of_m({"conv.weight": values})["conv.weight"]
    for out in range(8):
        for group in range(3):
            part = values[out, 4 * group : 4 * group + 4, 1, 2]
            kept = mask[out, 4 * group : 4 * group + 4, 1, 2]
            assert int(kept.sum()) == 2
            assert part[kept].min() > part[~kept].max()


def test_layers_too_small_for_a_pattern_are_named() -> None:
    with pytest.raises(InputError, match=r"not so: 0\.weight \(3 inputs\)\. Give them to skip"):
        n_of_m(magnitude(convolutional()))
    assert len(n_of_m(magnitude(convolutional(), skip=["0"]))) == 3
    with pytest.raises(InputError, match="1 <= n < m, got 4 of 4"):
        n_of_m(magnitude(convolutional()), Pattern(4, 4))
