"""Whole layers that become the identity."""

import pytest
import torch
from torch import Tensor, nn

from sartor.compress.pruning.layers import influences, without_layers
from sartor.devices.counts import Counts
from sartor.errors import BudgetError, UnsupportedNetworkError


class Residual(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(6, 6), scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.scale * self.layer(x)
        return out


def macs(network: nn.Module) -> float:
    return float(Counts().count(network, (torch.zeros(1, 6),))["macs"].value)


def test_the_layer_that_changes_least_goes_first() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 6), Residual(1.0), Residual(0.01), Residual(0.5), nn.Linear(6, 2))
    x = torch.randn(32, 6)
    seen: list[Tensor] = []
    network[2].register_forward_hook(lambda _, given, out: seen.extend((given[0], out)))
    found = influences(network, lambda each: each(x))
    assert list(found) == ["0", "1", "2", "3"] and min(found, key=found.__getitem__) == "2"
    cosine = torch.nn.functional.cosine_similarity(seen[0], seen[1]).mean()
    assert found["2"] == pytest.approx(1 - float(cosine), abs=1e-6)
    network[2]._forward_hooks.clear()
    smaller, gone = without_layers(network, lambda each: each(x), macs, 0.8 * macs(network), skip=["0"])
    assert gone[0] == "2" and isinstance(smaller[2], nn.Identity) and isinstance(network[2], Residual)
    assert macs(smaller) <= 0.8 * macs(network)
    with pytest.raises(BudgetError, match="all 3 layers"):
        without_layers(network, lambda each: each(x), macs, 1.0, skip=["0"])


def test_a_network_without_such_layers_is_refused() -> None:
    with pytest.raises(UnsupportedNetworkError, match="no layer that gives the shape"):
        without_layers(nn.Sequential(nn.Linear(6, 2)), lambda each: each(torch.zeros(1, 6)), macs, 1.0)
