"""A vector from which the graph can be written down again: a variational autoencoder trained on a space.

After arch2vec (Yan et al. 2020, "Does Unsupervised Architecture Representation Learning Help Neural Architecture
Search?", arXiv:2006.06936): a graph isomorphism network over operations and edges, a decoder to operations and edges,
Kullback-Leibler divergence weighted by .005. No accuracy is looked at.

Deviations: the latent vector is the graph's, not each node's, so that it is decodable itself and no node's place is
lost in a mean; the decoder is therefore a network of two layers instead of inner products of nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.space.encodings._survey import members
from sartor.space.encodings.adjacency import Adjacency

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC = Spec(
    "autoencoder",
    "sartor.space.encodings.autoencoder:Autoencoder",
    "latent vector of a graph autoencoder trained on the space, without accuracies",
    citation="Yan, Zheng, Ao, Zeng and Zhang 2020, arXiv:2006.06936",
)

Array = npt.NDArray[np.float64]
_NUM_TRAINING = 8_000
_BATCH = 128
_RATE = 3e-3
_KL = 0.005
_WIDTH = 128


class Autoencoder:
    """Encodes graphs by a network that it trains when first used, unless weights were loaded.

    Args:
        space: Whose architectures are encoded, and from which it learns.
        seed: Of weights, samples and noise.
        num_features: Length of a vector.
        num_steps: Of training, on 128 graphs each.

    Raises:
        InputError: ``num_features`` or ``num_steps`` below 1.
    """

    def __init__(self, space: Space, *, seed: int = 0, num_features: int = 32, num_steps: int = 1500) -> None:
        if num_features < 1 or num_steps < 1:
            raise InputError(f"num_features and num_steps are at least 1, got {num_features} and {num_steps}")
        self._space, self._seed = space, seed
        self._num_features, self._num_steps = num_features, num_steps
        self._adjacency = Adjacency(space)
        self._network: nn.ModuleDict | None = None

    def __call__(self, architectures: Sequence[Architecture]) -> Array:
        from sartor.space.encodings._gin import embedded

        network = self._trained()

        def embed(nodes: Tensor, edges: Tensor) -> Tensor:
            made: Tensor = network["encoder"](nodes, edges)[:, : self._num_features]
            return made

        return embedded(self._adjacency, self._adjacency(architectures), embed)

    def reconstructs(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.bool_]:
        """Returns for which architectures the graph decoded from the vector is exactly theirs, shape ``[n]``."""
        import torch

        vectors = self(architectures)
        network = self._trained()
        with torch.no_grad():
            logits = network["decoder"](torch.from_numpy(vectors)).numpy()
        same: npt.NDArray[np.bool_] = ((logits > 0) == (self._adjacency(architectures) > 0)).all(1)
        return same

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

    def _built(self) -> nn.ModuleDict:
        from torch import nn

        from sartor.space.encodings._gin import GraphNetwork

        nodes, _ = self._adjacency.unpacked(np.zeros((1, self._adjacency.num_features)))
        decoder = nn.Sequential(
            nn.Linear(self._num_features, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, self._adjacency.num_features)
        )
        encoder = GraphNetwork(nodes.shape[2], nodes.shape[1], 2 * self._num_features)
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def _trained(self) -> nn.ModuleDict:
        if self._network is not None:
            return self._network
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        from sartor.space.encodings._gin import alone, descend, tensors

        rng = np.random.default_rng([self._seed, 21])
        known, _ = members(self._space, rng, _NUM_TRAINING)
        chosen = rng.permutation(len(known))[:_NUM_TRAINING].tolist()
        vectors = np.unique(self._adjacency([known[i] for i in chosen]), axis=0)
        targets = torch.from_numpy(np.minimum(vectors, 1.0)).float()
        with alone():
            torch.manual_seed(self._seed)
            network = self._built()
            nodes, edges = tensors(self._adjacency, vectors, torch.float32)

            def loss() -> Tensor:
                rows = torch.randint(len(vectors), (_BATCH,))
                mean, log_variance = network["encoder"](nodes[rows], edges[rows]).chunk(2, 1)
                drawn = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
                logits = network["decoder"](drawn)
                missed = binary_cross_entropy_with_logits(logits, targets[rows], reduction="none").sum(1)
                divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1)
                mixed: Tensor = (missed + _KL * divergence).mean()
                return mixed

            descend(network, loss, self._num_steps, _RATE)
        self._network = network.double()
        return self._network
