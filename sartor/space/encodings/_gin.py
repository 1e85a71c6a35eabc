"""A graph isomorphism network that makes one vector of a graph (Xu et al. 2019, arXiv:1810.00826), and how it is used.

Nodes add up what they get along edges in both directions, each with weights of its own. As nodes stand in canonical
order, the vector is read off all of them by one linear layer, which keeps more than their sum does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.space.encodings.adjacency import Adjacency

Array = npt.NDArray[np.float64]
_DECIMALS = 6
"""Kept of a vector: computed in float64, its last bits depend on how many are computed at once, these do not."""
_CHUNK = 1024


class GraphNetwork(nn.Module):
    """Makes one vector of each graph.

    Args:
        num_inputs: Features of a node.
        num_nodes: Of the padded graph.
        num_outputs: Length of the vector.
        width: Hidden features of a node.
        depth: Rounds of passing messages.
    """

    def __init__(self, num_inputs: int, num_nodes: int, num_outputs: int, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs, width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.before = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.behind = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.last = nn.Linear(num_nodes * width, num_outputs)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Returns ``[n, outputs]`` from nodes ``[n, nodes, inputs]`` and edges ``[n, nodes, nodes]``."""
        there = (nodes.sum(2, keepdim=True) > 0).to(nodes.dtype)
        hidden = torch.relu(self.first(nodes)) * there
        for own, before, behind in zip(self.own, self.before, self.behind, strict=True):
            sent = before(edges.transpose(1, 2) @ hidden) + behind(edges @ hidden)
            hidden = (hidden + torch.relu(own(hidden) + sent)) * there
        made: Tensor = self.last(hidden.flatten(1))
        return made


def tensors(adjacency: Adjacency, vectors: Array, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns nodes and edges of adjacency vectors, as `GraphNetwork` reads them."""
    nodes, edges = adjacency.unpacked(vectors)
    return torch.from_numpy(nodes).to(dtype), torch.from_numpy(edges).to(dtype)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One thread, so that sums have one order, and the global random state as it was afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)


def descend(network: nn.Module, loss: Callable[[], Tensor], num_steps: int, rate: float) -> None:
    """Trains by Adam (Kingma and Ba 2015, arXiv:1412.6980), the learning rate falling to 0 by a cosine."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    network.train()
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    network.eval()


def embedded(adjacency: Adjacency, vectors: Array, embed: Callable[[Tensor, Tensor], Tensor]) -> Array:
    """Returns what ``embed`` makes, in float64, of nodes and edges of each of ``vectors``, equal ones once."""
    at: dict[bytes, int] = {}
    index = [at.setdefault(vector.tobytes(), len(at)) for vector in vectors]
    found = np.frombuffer(b"".join(at), np.float64).reshape(len(at), adjacency.num_features)
    with torch.no_grad(), alone():
        # None at all still has a width.
        chunks = [found[i : i + _CHUNK] for i in range(0, max(len(found), 1), _CHUNK)]
        made = torch.cat([embed(*tensors(adjacency, chunk, torch.float64)) for chunk in chunks])
    rounded: Array = np.round(made.numpy(), _DECIMALS) + 0.0
    return rounded[index]


def save(path: Path, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Writes weights and what they are for."""
    torch.save({"facts": dict(facts), "weights": network.state_dict()}, path)


def load(path: Path, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Reads weights that `save` wrote.

    Raises:
        InputError: No such file; the weights are for another space or other options.
    """
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    kept = torch.load(path, weights_only=True)
    for name, expected in facts.items():
        if kept["facts"].get(name) != expected:
            raise InputError(f"{path}: weights are for {name} {kept['facts'].get(name)!r}, expected {expected!r}")
    network.load_state_dict(kept["weights"])
    network.eval()
