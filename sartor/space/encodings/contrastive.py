"""Vectors in which architectures a change apart are near: trained by contrast on a space.

After the contrastive pretext task of Wei et al. 2020, "Self-supervised Representation Learning for Evolutionary Neural
Architecture Search", arXiv:2011.00186, whose positives are graphs of small edit distance: here an architecture and a
mutation of it; negatives are the others of the batch, and the loss is InfoNCE (van den Oord et al. 2018,
arXiv:1807.03748). No accuracy is looked at.

Deviations: one mutation is the view, instead of a centre of several; graphs equal to either are no negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, SpaceError
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.space.encodings._survey import drawn
from sartor.space.encodings.adjacency import Adjacency

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC = Spec(
    "contrastive",
    "sartor.space.encodings.contrastive:Contrastive",
    "vector of unit length, near for architectures a change apart, trained on the space without accuracies",
    citation="Wei et al. 2020, arXiv:2011.00186",
)

Array = npt.NDArray[np.float64]
_NUM_ANCHORS = 3_000
_NUM_VIEWS = 3
_BATCH = 128
_RATE = 3e-3


class Contrastive:
    """Encodes graphs by a network that it trains when first used, unless weights were loaded.

    Args:
        space: Whose architectures are encoded, and from which it learns.
        seed: Of weights, samples and mutations.
        num_features: Length of a vector.
        num_steps: Of training, on 128 pairs each.
        temperature: Of the loss: below 1, the nearest negatives weigh most.

    Raises:
        InputError: ``num_features`` or ``num_steps`` below 1, or ``temperature`` not above 0.
    """

    def __init__(
        self, space: Space, *, seed: int = 0, num_features: int = 32, num_steps: int = 400, temperature: float = 0.2
    ) -> None:
        if num_features < 1 or num_steps < 1:
            raise InputError(f"num_features and num_steps are at least 1, got {num_features} and {num_steps}")
        if not temperature > 0:
            raise InputError(f"temperature is above 0, got {temperature}")
        self._space, self._seed = space, seed
        self._num_features, self._num_steps, self._temperature = num_features, num_steps, temperature
        self._adjacency = Adjacency(space)
        self._network: nn.Module | None = None

    def __call__(self, architectures: Sequence[Architecture]) -> Array:
        from torch.nn.functional import normalize

        from sartor.space.encodings._gin import embedded

        network = self._trained()

        def embed(nodes: Tensor, edges: Tensor) -> Tensor:
            return normalize(network(nodes, edges), dim=1)

        return embedded(self._adjacency, self._adjacency(architectures), embed)

    def save(self, path: Path) -> None:
        """Writes the weights, trained first where they are not."""
        from sartor.space.encodings._gin import save

        save(path, self._trained(), self._facts())

    def load(self, path: Path) -> None:
        """Reads weights that `save` wrote.

        Raises:
            InputError: No such file; the weights are for another space or other options.
        """
        from sartor.space.encodings._gin import alone, load

        with alone():
            network = self._built().double()
        load(path, network, self._facts())
        self._network = network

    def _facts(self) -> dict[str, Any]:
        inputs = self._adjacency.num_features
        return {"encoding": SPEC.name, "words": list(self._adjacency.words), "inputs": inputs} | {
            "features": self._num_features
        }

    def _built(self) -> nn.Module:
        from sartor.space.encodings._gin import GraphNetwork

        nodes, _ = self._adjacency.unpacked(np.zeros((1, self._adjacency.num_features)))
        return GraphNetwork(nodes.shape[2], nodes.shape[1], self._num_features)

    def _views(self, rng: np.random.Generator) -> Array:
        """Returns adjacency vectors, ``[anchors, 1 + views, features]``; without neighbours an anchor is its own."""
        anchors = list(dict.fromkeys(drawn(self._space, rng, _NUM_ANCHORS)))
        groups: list[Architecture] = []
        for anchor in anchors:
            groups.append(anchor)
            for _ in range(_NUM_VIEWS):
                try:
                    groups.append(self._space.mutate(anchor, rng))
                except SpaceError:
                    groups.append(anchor)
        return self._adjacency(groups).reshape(len(anchors), 1 + _NUM_VIEWS, self._adjacency.num_features)

    def _trained(self) -> nn.Module:
        if self._network is not None:
            return self._network
        import torch
        from torch.nn.functional import cross_entropy, normalize

        from sartor.space.encodings._gin import alone, descend, tensors

        views = self._views(np.random.default_rng([self._seed, 22]))
        flat = views.reshape(-1, views.shape[2])
        at: dict[bytes, int] = {}
        graph_of = torch.tensor([at.setdefault(vector.tobytes(), len(at)) for vector in flat])
        with alone():
            torch.manual_seed(self._seed)
            network = self._built()
            nodes, edges = tensors(self._adjacency, flat, torch.float32)
            size = min(_BATCH, len(views))

            def loss() -> Tensor:
                anchor = torch.randperm(len(views))[:size] * (1 + _NUM_VIEWS)
                view = anchor + torch.randint(1, 1 + _NUM_VIEWS, (size,))
                rows = torch.cat([anchor, view])
                vectors = normalize(network(nodes[rows], edges[rows]), dim=1)
                logits = vectors @ vectors.T / self._temperature
                partner = torch.arange(2 * size).roll(size)
                same = graph_of[rows][:, None] == graph_of[rows]
                same |= same[partner]
                same[torch.arange(2 * size), partner] = False
                same.fill_diagonal_(True)
                return cross_entropy(logits.masked_fill(same, -torch.inf), partner)

            descend(network, loss, self._num_steps, _RATE)
        self._network = network.double()
        return self._network
