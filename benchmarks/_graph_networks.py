"""The networks of NAS-Bench-Graph, on a whole graph: nodes are the samples.

Qin et al. 2022, arXiv:2206.09166, written after the description in the paper and checked by its counts of parameters:
they are exactly those of the table (on ``physics`` of two thirds). An optional linear layer on the features; four
layers of one operation each, before which come batch normalisation, ReLU and dropout unless they read the raw
features; what nothing reads is concatenated; one or two linear layers. How many and how wide was chosen by the
benchmark's makers for each graph (`SETTINGS`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.data import Rows, Splits
from sartor.errors import InputError
from sartor.estimators.tables.nasbench_graph import from_text, space
from sartor.space import Architecture, Space
from sartor.task import Metric, Predictions, Task
from sartor.training import Recipe, Step


@dataclass(frozen=True)
class Setting:
    """How the benchmark builds and trains its networks on one graph.

    Attributes:
        before: Linear layers on the features.
        behind: Linear layers behind the first one on what was concatenated.
        width: Units of a layer.
        dropout: Share of units, and of features.
    """

    before: int
    behind: int
    width: int
    dropout: float


SETTINGS: Mapping[str, Setting] = {
    "cora": Setting(0, 1, 256, 0.7),
    "citeseer": Setting(0, 1, 256, 0.7),
}
"""Of the graphs whose data are at hand. They were trained 400 epochs by SGD at rates of .1 and .2, decay .0005."""


@dataclass(frozen=True)
class Graph:
    """A graph with features and labels of its nodes.

    Attributes:
        features: ``[nodes, features]``, as published.
        labels: ``[nodes]``, -1 where there is none.
        parts: Nodes by ``train``, ``validation`` and ``test``.
        links: From and to, each edge both ways, ``[2, edges]``.
    """

    features: Tensor
    labels: Tensor
    parts: Mapping[str, Tensor]
    links: Tensor

    @cached_property
    def bags(self) -> Tensor:
        """The features, sparse."""
        return self.features.to_sparse().coalesce()

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1


def read(path: str | Path) -> Graph:
    """Returns a graph of ``cora.npz`` or ``citeseer.npz`` with the split that is published with it."""
    from scipy.sparse import csr_matrix

    file = np.load(path, allow_pickle=False)
    shape = (len(file["indptr"]) - 1, int(file["n_features"]))
    features = csr_matrix((file["data"], file["indices"], file["indptr"]), shape=shape).toarray()
    edges = torch.from_numpy(np.array(file["edges"], np.int64).reshape(-1, 2))
    edges = edges[edges[:, 0] != edges[:, 1]].T
    parts = {part: torch.from_numpy(np.array(file[key], np.int64)) for part, key in _PARTS.items()}
    labels = torch.from_numpy(np.array(file["labels"], np.int64))
    return Graph(torch.from_numpy(features).float(), labels, parts, torch.cat([edges, edges.flip(0)], 1))


_PARTS = {"train": "train", "validation": "val", "test": "test"}


def _sparse(links: Tensor, weights: Tensor, num: int) -> Tensor:
    """Returns what a node gets from each other, ``[num, num]``."""
    return torch.sparse_coo_tensor(links.flip(0), weights, (num, num)).coalesce()


class Neighbours(nn.Module):
    """What the operations gather over: sums, means, and sums over both nodes' degrees."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        num, links = len(graph.features), graph.links
        loops = torch.arange(num).expand(2, num)
        looped = torch.cat([links, loops], 1)
        degree = torch.bincount(links[1], minlength=num).float()
        scale, scale_looped = degree.clamp(min=1).rsqrt(), (degree + 1).rsqrt()
        for name, matrix in {
            "sums": _sparse(links, torch.ones(links.shape[1]), num),
            "own_and_sums": _sparse(looped, torch.ones(looped.shape[1]), num),
            "means": _sparse(links, 1 / degree[links[1]], num),
            "by_degree": _sparse(links, scale[links[0]] * scale[links[1]], num),
            "own_by_degree": _sparse(looped, scale_looped[looped[0]] * scale_looped[looped[1]], num),
        }.items():
            self.register_buffer(name, matrix, persistent=False)
        self.register_buffer("looped", looped, persistent=False)


class Linear(nn.Linear):
    """Takes sparse features too: a bag of words is mostly zeros."""

    def forward(self, x: Tensor) -> Tensor:
        if x.layout == torch.strided:
            return super().forward(x)
        found = torch.sparse.mm(x, self.weight.T)
        return found if self.bias is None else found + self.bias


class Layer(nn.Module):
    """One operation on ``[nodes, inputs]``.

    What is linear comes first and what is gathered last, which is the same and, on wide features, cheaper.
    """

    def __init__(self, operation: str, inputs: int, width: int, dropout: float, raw: bool, near: Neighbours) -> None:
        super().__init__()
        self.operation, self.raw, self.near = operation, raw, (near,)  # in a tuple: shared, no module of this one
        self.norm = nn.BatchNorm1d(width)
        self.act, self.drop = nn.ReLU(), nn.Dropout(dropout)
        if operation != "skip":
            self.main = Linear(inputs, width, bias=operation in ("fc", "gin"))
            nn.init.xavier_uniform_(self.main.weight)
        if operation not in ("skip", "fc", "gin"):
            self.bias = nn.Parameter(torch.zeros(width))
        if operation in ("cheb", "sage", "arma", "graph"):
            self.own = Linear(inputs, width, bias=False)
            nn.init.xavier_uniform_(self.own.weight)
        if operation == "gat":
            self.query, self.key = (nn.Parameter(torch.empty(_HEADS, width // _HEADS)) for _ in range(2))
            nn.init.xavier_uniform_(self.query)
            nn.init.xavier_uniform_(self.key)

    def forward(self, x: Tensor) -> Tensor:
        if not self.raw:
            x = self.drop(self.act(self.norm(x)))
        if self.operation == "skip":
            return x if x.layout == torch.strided else x.to_dense()
        near, out = self.near[0], self.main(x)
        match self.operation:
            case "fc":
                return out
            case "gcn":
                return near.own_by_degree @ out + self.bias
            case "gin":
                # The bias is no part of what is gathered.
                return near.own_and_sums @ (out - self.main.bias) + self.main.bias
            case "cheb":
                return self.own(x) - near.by_degree @ out + self.bias
            case "sage":
                return self.own(x) + near.means @ out + self.bias
            case "graph":
                return self.own(x) + near.sums @ out + self.bias
            case "arma":
                return torch.relu(self.own(x) + near.by_degree @ out + self.bias)
            case "gat":
                return self._attended(out, near.looped) + self.bias
        raise ValueError(self.operation)

    def _attended(self, value: Tensor, looped: Tensor) -> Tensor:
        value = value.view(len(value), _HEADS, -1)
        queries, keys = (value * self.query).sum(2), (value * self.key).sum(2)
        logits = functional.leaky_relu(queries[looped[1]] + keys[looped[0]], 0.2)
        weights = (logits - logits.detach().max()).exp()
        total = torch.zeros_like(queries).index_add(0, looped[1], weights)
        weighted = value[looped[0]] * (weights / total[looped[1]])[:, :, None]
        return torch.zeros_like(value).index_add(0, looped[1], weighted).flatten(1)


_HEADS = 4


class Network(nn.Module):
    """Maps features ``[nodes, features]`` of the graph to logits, ``[nodes, classes]``.

    Args:
        architecture: Of the table.
        graph: Whose nodes they are.
        setting: Of the graph; its width may be another.
        near: Of the graph, made once for many networks.
    """

    def __init__(self, architecture: Mapping[str, Any], graph: Graph, setting: Setting, near: Neighbours) -> None:
        super().__init__()
        width, features = setting.width, graph.features.shape[1]
        self.graph = graph
        self.sources = [int(source) for source in str(architecture["link"]).split("-")]
        self.drop = nn.Dropout(setting.dropout)
        self.first = Linear(features, width) if setting.before else nn.Identity()
        raw = [not setting.before]
        layers = []
        for i, source in enumerate(self.sources):
            operation = str(architecture[f"operations.{i}"])
            inputs = features if raw[source] else width
            layers.append(Layer(operation, inputs, width, setting.dropout, raw[source], near))
            raw.append(raw[source] and operation == "skip")
        self.layers = nn.ModuleList(layers)
        self.ends = [i for i in range(1, len(layers) + 1) if i not in self.sources]
        sizes = [width * len(self.ends), *[width] * setting.behind, graph.num_classes]
        self.act = nn.ReLU()
        self.last = nn.Sequential(*(Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)))

    def forward(self, x: Tensor) -> Tensor:
        sparse = self.graph.bags if x is self.graph.features else x.to_sparse().coalesce()
        values = self.drop(sparse.values())
        outputs = [self.first(torch.sparse_coo_tensor(sparse.indices(), values, x.shape, is_coalesced=True))]
        for layer, source in zip(self.layers, self.sources, strict=True):
            outputs.append(layer(outputs[source]))
        found: Tensor = self.last(self.act(torch.cat([outputs[end] for end in self.ends], 1)))
        return found


def _accuracy(predictions: Predictions) -> float:
    return float((predictions["logits"].argmax(1) == predictions["label"]).mean())


class Nodes(Task):
    """Classes of a graph's nodes, learnt from the few whose class is published for that.

    ``source`` is ``cora.npz`` or ``citeseer.npz``. A step sees the whole graph, and the loss is of all nodes to train
    on. The recipe is of our own, short; the table's was several hundred epochs (`SETTINGS`).
    """

    @dataclass(frozen=True)
    class Options:
        """Options of the graph networks."""

        width: Annotated[int, "units of a layer; 256 in the benchmark"] = 64

    recipe = Recipe(optimizer="adam", learning_rate=1e-2, weight_decay=5e-4, batch_size=1024, clip_norm=None)
    metrics = {"accuracy": Metric(_accuracy)}
    default_epochs = 40.0

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        if source is None:
            raise InputError("expected the file of a graph, cora.npz or citeseer.npz")
        self._graph = read(source)
        self._setting = replace(SETTINGS[Path(source).stem], width=self.options.width)
        self._near = Neighbours(self._graph)

    def data(self) -> Splits:
        parts = {name: nodes.numpy() for name, nodes in self._graph.parts.items()}
        labels, nodes = self._graph.labels, torch.arange(len(self._graph.labels))
        return Splits.of(
            lambda index: Rows(node=nodes[index], label=labels[index]),
            parts,
            nodes.numpy(),
            fingerprint=hashlib.sha256(Path(str(self.source)).read_bytes()).hexdigest()[:16],
            notes=(),
        )

    def space(self) -> Space:
        return space()

    def build(self, space: Space, architecture: Architecture) -> nn.Module:
        return Network(architecture, self._graph, self._setting, self._near)

    def baseline(self) -> Architecture:
        return from_text("0-0-0-1|gcn-skip-skip-gcn")

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        return functional.cross_entropy(network(self._graph.features)[batch["node"]], batch["label"])

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        logits = deployed(self._graph.features)[part.columns["node"]]
        return {"logits": logits.numpy(), "label": part.columns["label"].numpy()}

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[Tensor, ...]:
        return (self._graph.features,)
