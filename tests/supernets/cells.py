"""Small spaces and data, for tests of differentiable methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sartor.data import Rows
from sartor.nets import AvgPool, ReluConvBn, Zero
from sartor.nets.chain import attach
from sartor.space import OneOf, Shared, Space, Subset
from sartor.supernets._relaxed import Search
from sartor.training import Learner, Recipe, Step

CHANNELS = 8
CLASSES = 3
INPUTS = (torch.zeros(2, 1, 6, 6),)
RECIPE = Recipe(
    optimizer="sgd", learning_rate=0.05, weight_decay=3e-4, batch_size=16, schedule="constant", warmup=0.0,
    players={"architecture": {"learning_rate": 0.02}},
)  # fmt: skip
OPERATIONS: Mapping[str, Any] = {
    "none": partial(Zero),
    "skip_connect": partial(nn.Identity),
    "conv_1x1": partial(ReluConvBn, kernel=1),
    "conv_3x3": partial(ReluConvBn, kernel=3),
    "avg_pool_3x3": partial(AvgPool, kernel=3),
}


class TwoInputNodes(nn.Module):
    """A cell whose nodes sum some of the states before them; its output is the last node."""

    def __init__(self, in_channels: int, nodes: Sequence[Mapping[int, Any]]) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.nodes = nn.ModuleList(
            nn.ModuleDict({str(i): attach(make, in_channels)[0] for i, make in node.items()}) for node in nodes
        )

    def forward(self, x: Tensor) -> Tensor:
        states = [x, x.flip(-1)]
        for node in self.nodes:
            terms = [operation(states[int(source)]) for source, operation in node.items()]  # type: ignore[operator]
            states.append(sum(terms[1:], terms[0]))
        return states[-1]


class Net(nn.Module):
    """A stem, cells, a classifier."""

    def __init__(self, cells: Sequence[Any]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.cells = nn.Sequential(*(cell(CHANNELS) for cell in cells))
        self.head = nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cells(self.stem(x)).mean((2, 3)))
        return out


def cells(*names: str, num_cells: int = 1, nodes: int = 2) -> Space:
    """Returns a space of cells of two-input nodes, with operations of these names."""
    options = {name: OPERATIONS[name] for name in names or OPERATIONS}
    read: list[Any] = [Subset({i: OneOf(**options) for i in range(2 + k)}, size=2) for k in range(nodes)]
    normal: Any = Shared("normal", partial(TwoInputNodes, nodes=read))
    return Space(partial(Net, [normal] * num_cells))


def data(rows: int = 96, seed: int = 0) -> Rows:
    """Returns images whose class is where they are bright."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, rows)
    x = rng.normal(size=(rows, 1, 6, 6)).astype(np.float32)
    for label in range(CLASSES):
        x[y == label, 0, :, 2 * label : 2 * label + 2] += 1.0
    return Rows(x=x, y=y)


def cross_entropy(network: nn.Module, batch: Any, step: Step) -> Tensor:
    return F.cross_entropy(network(batch["x"]), batch["y"])


def search(method: Any) -> Search:
    """Returns the method's learner around a plain classifier."""
    learner = method.learner(Learner(cross_entropy))
    assert isinstance(learner, Search)
    return learner


def equal(a: Any, b: Any) -> bool:
    """Returns whether two values are equal, bit by bit where they are tensors."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)
