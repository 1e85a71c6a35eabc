import json

import pytest
import torch
from torch import nn

from sartor.devices.counts import Counts
from sartor.devices.graph import Graph, trace
from sartor.errors import InputError
from sartor.nets import Chain, ClassifierHead, ConvBnAct, MBConv


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 5, 3, padding=1), nn.Linear(8, 2)

    def forward(self, x):
        both = torch.cat([self.left(x), self.right(x)], 1)
        return self.head(both.mean((2, 3)).flatten(1))


def by_name(graph):
    return {(node.name, node.kind): node for node in graph.nodes}


def test_nodes_are_leaf_modules_and_the_functions_between_them():
    graph = trace(TwoBranches(), (torch.zeros(1, 2, 4, 4),))
    assert [node.kind for node in graph.nodes] == ["input", "Conv2d", "Conv2d", "cat", "mean", "Linear", "output"]
    assert [node.inputs for node in graph.nodes] == [(), (0,), (0,), (1, 2), (3,), (4,), (5,)]
    assert graph.nodes[3].shape == (1, 8, 4, 4)
    assert [node.name for node in graph.nodes][1:3] == ["left", "right"]


def test_a_residual_sum_has_both_of_its_sources():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return x + self.attention(x, x, x, need_weights=False)[0]

    graph = trace(Net(), (torch.zeros(1, 3, 8),))
    assert [node.kind for node in graph.nodes] == ["input", "MultiheadAttention", "add", "output"]
    assert set(graph.nodes[2].inputs) == {0, 1}


def test_params_and_macs_add_up_to_the_counts():
    blocks = [ConvBnAct(1, 8), MBConv(8, 8, expand=3, squeeze_excite=True), MBConv(8, 12), ClassifierHead(12, 5)]
    network = Chain(1, blocks)
    inputs = (torch.zeros(1, 1, 12, 12),)
    graph, figures = trace(network, inputs), Counts().count(network, inputs)
    assert sum(node.params for node in graph.nodes) == figures["params"].value
    assert sum(node.macs for node in graph.nodes) == figures["macs"].value


def test_a_shared_layer_is_two_nodes_whose_parameters_count_once():
    layer = nn.Linear(4, 4)
    graph = trace(nn.Sequential(layer, nn.ReLU(), layer), (torch.zeros(1, 4),))
    assert [(node.kind, node.params, node.macs) for node in graph.nodes[1:4]] == [
        ("Linear", 20, 16), ("ReLU", 0, 0), ("Linear", 0, 16),
    ]


def test_labels_say_what_tells_layers_apart():
    network = nn.Sequential(
        nn.Conv2d(8, 8, (3, 5), stride=(2, 1), groups=8), nn.Conv2d(8, 4, 3, groups=2, dilation=2),
        nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(3),
    )
    network(torch.zeros(1, 8, 24, 24))
    labels = [node.label for node in trace(network, (torch.zeros(1, 8, 24, 24),)).nodes]
    assert labels[1:4] == ["depthwise Conv2d 3x5, stride 2x1", "Conv2d 3x3, dilation 2, groups 2", "MaxPool2d 2"]
    assert labels[4].startswith("Linear ") and labels[4].endswith(" to 3")


def test_several_inputs_and_outputs_are_nodes_of_their_own():
    class Net(nn.Module):
        def forward(self, a, b):
            return a + b, a * b

    graph = trace(Net(), (torch.zeros(1, 2), torch.zeros(1, 2)))
    assert [node.label for node in graph.nodes] == ["input 0", "input 1", "+", "×", "output 0", "output 1"]
    assert [node.inputs for node in graph.nodes] == [(), (), (0, 1), (0, 1), (2,), (3,)]


def test_edges_go_forward_and_ids_are_positions():
    graph = trace(TwoBranches(), (torch.zeros(1, 2, 4, 4),))
    assert [node.id for node in graph.nodes] == list(range(len(graph.nodes)))
    assert all(source < node.id for node in graph.nodes for source in node.inputs)


class Looping(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.act = nn.Linear(3, 3), nn.ReLU()

    def forward(self, x):
        for _ in range(6):
            x = self.act(self.cell(x)) + x
        return x


def test_a_module_that_loops_is_one_node():
    graph = trace(nn.Sequential(nn.Linear(2, 3), Looping(), nn.Linear(3, 1)), (torch.rand(1, 2),))
    assert [node.label for node in graph.nodes] == ["input", "Linear 2 to 3", "Looping", "Linear 3 to 1", "output"]
    assert (graph.nodes[2].macs, graph.nodes[2].params, graph.nodes[2].inputs) == (6 * 9, 12, (1,))


def test_a_shared_activation_is_no_loop():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.act = nn.ModuleList(nn.Linear(3, 3) for _ in range(6)), nn.ReLU()

        def forward(self, x):
            for layer in self.layers:
                x = self.act(layer(x))
            return x

    graph = trace(nn.Sequential(Chain(), nn.Linear(3, 1)), (torch.rand(1, 3),))
    assert [node.kind for node in graph.nodes].count("ReLU") == 6


def test_a_graph_survives_json():
    graph = trace(TwoBranches(), (torch.zeros(1, 2, 4, 4),))
    plain = json.loads(json.dumps(graph.to_json()))
    assert Graph.from_json(plain) == graph
    assert set(plain["nodes"][0]) == {"id", "name", "label", "kind", "shape", "params", "macs", "inputs"}


def test_what_is_no_graph_is_refused():
    with pytest.raises(InputError, match="expected a graph"):
        Graph.from_json({"edges": []})
    with pytest.raises(InputError, match="expected a graph"):
        Graph.from_json({"nodes": [{"id": 0}]})
