"""Highway layers and dense connections."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets import DenseBlock, DenseLayer, DenseTransition, Highway, highway_conv, highway_linear


def test_a_highway_layer_is_its_formula() -> None:
    layer = highway_linear(5, nn.Tanh)
    x = torch.randn(7, 5)
    hidden = torch.tanh(functional.linear(x, layer.transform[0].weight, layer.transform[0].bias))
    share = 1 / (1 + torch.exp(-functional.linear(x, layer.gate.weight, layer.gate.bias)))
    torch.testing.assert_close(layer(x), share * hidden + (1 - share) * x)


def test_gates_begin_by_carrying_the_input_on() -> None:
    layer = highway_linear(16, gate_bias=-20.0)
    x = torch.randn(3, 16)
    torch.testing.assert_close(layer(x), x, atol=1e-5, rtol=0)
    image = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(highway_conv(4, gate_bias=-20.0)(image), image, atol=1e-5, rtol=0)


def test_a_highway_layer_that_changes_the_width_is_refused() -> None:
    with pytest.raises(InputError, match="keeps 4 channels: its transform gives 5"):
        Highway(4, lambda channels: _Told(nn.Linear(channels, 5), 5), nn.Linear(4, 4))


class _Told(nn.Sequential):
    def __init__(self, layer: nn.Module, out_channels: int) -> None:
        super().__init__(layer)
        self.out_channels = out_channels


def deep(kind: str, depth: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(64, width)]
    for _ in range(depth):
        layers.append(highway_linear(width) if kind == "highway" else nn.Sequential(nn.Linear(width, width), nn.ReLU()))
    return nn.Sequential(*layers, nn.Linear(width, 10))


def test_fifty_highway_layers_train_where_fifty_plain_ones_do_not() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, digits = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(pixels, dtype=torch.float32) / 16 - 0.5, torch.tensor(digits)
    accuracy = {}
    for kind in ("highway", "plain"):
        torch.manual_seed(0)
        network = deep(kind, 50, 32)
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for step in range(100):
            rows = torch.arange(128 * step, 128 * (step + 1)) % 1400
            optimizer.zero_grad()
            functional.cross_entropy(network(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            accuracy[kind] = float((network(x[1400:]).argmax(1) == y[1400:]).float().mean())
    assert accuracy["highway"] > 0.7, accuracy
    assert accuracy["plain"] < 0.3, accuracy


def test_a_dense_block_reads_all_that_came_before() -> None:
    block = DenseBlock(3, [lambda channels: DenseLayer(channels, 4)] * 3).eval()
    x = torch.randn(2, 3, 6, 5)
    first = block.layers[0](x)
    second = block.layers[1](torch.cat((x, first), 1))
    third = block.layers[2](torch.cat((x, first, second), 1))
    assert block.out_channels == 15
    torch.testing.assert_close(block(x), torch.cat((x, first, second, third), 1))


def test_a_transition_halves_places_and_channels() -> None:
    transition = DenseTransition(15).eval()
    assert transition(torch.zeros(1, 15, 7, 8)).shape == (1, 7, 4, 4)
    with pytest.raises(InputError, match="above 0 and up to 1"):
        DenseTransition(4, 0.0)
