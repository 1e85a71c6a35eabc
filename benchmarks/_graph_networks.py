"""Networks of NAS-Bench-Graph, as far as training-free scores need them: on batches of small pieces of one graph.

Qin et al. 2022, arXiv:2206.09166. A linear layer, four layers of one operation each, what nothing reads concatenated,
a linear layer. Deviations: dense adjacency; one head of attention; 64 units whatever the benchmark chose by data set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def pieces(folder: str | Path, name: str, num: int, nodes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns features ``[num, features, nodes]``, rows of the graph's summing to 1, and adjacencies
    ``[num, nodes, nodes]`` of neighbourhoods: the nodes nearest to a drawn one.
    """
    from scipy.sparse import csr_matrix

    file = np.load(Path(folder) / f"{name}.npz", allow_pickle=False)
    num_nodes = len(file["indptr"]) - 1
    shape = (num_nodes, int(file["n_features"]))
    features = csr_matrix((file["data"], file["indices"], file["indptr"]), shape=shape)
    neighbours: list[list[int]] = [[] for _ in range(num_nodes)]
    for a, b in file["edges"].reshape(-1, 2) if file["edges"].shape[-1] == 2 else file["edges"].T:
        neighbours[a].append(int(b))
        neighbours[b].append(int(a))
    rng, found, adjacencies = np.random.default_rng(seed), [], []
    while len(found) < num:
        start = int(rng.integers(num_nodes))
        seen, queue = {start: 0}, deque([start])
        while queue and len(seen) < nodes:
            for other in neighbours[queue.popleft()]:
                if other not in seen and len(seen) < nodes:
                    seen[other] = len(seen)
                    queue.append(other)
        if len(seen) < nodes:
            continue
        rows = torch.from_numpy(features[list(seen)].toarray()).float()
        found.append((rows / rows.sum(1, keepdim=True).clamp(min=1)).T)
        adjacency = torch.zeros(nodes, nodes)
        for node, at in seen.items():
            for other in neighbours[node]:
                if other in seen:
                    adjacency[at, seen[other]] = 1
        adjacencies.append(adjacency)
    return torch.stack(found), torch.stack(adjacencies)


def _linear(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv1d(inputs, outputs, 1)


class Layer(nn.Module):
    """One operation on ``[n, width, nodes]``, then ReLU; ``skip`` passes on."""

    def __init__(self, operation: str, width: int) -> None:
        super().__init__()
        self.operation = operation
        self.own = _linear(width, width) if operation != "skip" else nn.Identity()
        if operation in ("cheb", "sage", "arma", "graph", "gin"):
            self.other = _linear(width, width)
        if operation == "gat":
            self.query, self.key = _linear(width, 1), _linear(width, 1)
        self.act = nn.ReLU() if operation != "skip" else nn.Identity()

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        looped = adjacency + torch.eye(adjacency.shape[1], dtype=adjacency.dtype)
        by_degree = looped / (looped.sum(1, keepdim=True) * looped.sum(2, keepdim=True)).sqrt()
        match self.operation:
            case "skip":
                return x
            case "fc":
                out = self.own(x)
            case "gcn":
                out = self.own(x) @ by_degree
            case "cheb":
                out = self.own(x) - self.other(x @ by_degree)
            case "arma":
                out = self.own(x) @ by_degree + self.other(x)
            case "sage":
                out = self.own(x) + self.other(x @ adjacency / adjacency.sum(1, keepdim=True).clamp(min=1))
            case "graph":
                out = self.own(x) + self.other(x @ adjacency)
            case "gin":
                out = self.other(torch.relu(self.own(x + x @ adjacency)))
            case "gat":
                value = self.own(x)
                logits = nn.functional.leaky_relu(self.query(value).transpose(1, 2) + self.key(value), 0.2)
                out = value @ logits.masked_fill(looped == 0, -torch.inf).softmax(2).transpose(1, 2)
            case _:
                raise ValueError(self.operation)
        return self.act(out)


class Network(nn.Module):
    """Maps ``[n, features, nodes]`` and ``[n, nodes, nodes]`` to logits, ``[n, classes, nodes]``."""

    def __init__(self, architecture: Mapping[str, Any], features: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.sources = [int(source) for source in str(architecture["link"]).split("-")]
        self.first = _linear(features, width)
        self.layers = nn.ModuleList(Layer(str(architecture[f"operations.{i}"]), width) for i in range(4))
        self.ends = [i for i in range(1, 5) if i not in self.sources]
        self.last = _linear(width * len(self.ends), classes)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        outputs = [self.first(x)]
        for layer, source in zip(self.layers, self.sources, strict=True):
            outputs.append(layer(outputs[source], adjacency))
        found: Tensor = self.last(torch.cat([outputs[end] for end in self.ends], 1))
        return found
