"""Which operation each node is and which nodes it feeds, padded to the largest graph of the space.

Two blocks: for each place the words of its node's label (several where a label says what was chosen,
``MBConv kernel=5``), then the upper triangle of the adjacency matrix. Nodes are in a canonical order in which edges go
forward, so isomorphic graphs have equal vectors (the plain encoding depends on their numbering: White et al. 2020, "A
Study on Encodings for Neural Architecture Search", arXiv:2007.04965). Output is last in any graph.

Of spaces too large to list, the largest graph and the words are those of a sample: nodes beyond the size are left out,
and a word that was not seen counts in one of eight features by its hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sartor.registry import Spec
from sartor.space import Architecture, Graph, Space
from sartor.space.encodings._hashing import digest
from sartor.space.encodings._isomorphism import canonical, labels_of
from sartor.space.encodings._survey import graphs_of, survey

SPEC = Spec(
    "adjacency",
    "sartor.space.encodings.adjacency:Adjacency",
    "operation of each node and the edges between nodes, in canonical order",
    citation="White, Neiswanger, Nolen and Savani 2020, arXiv:2007.04965",
)

_NUM_HASHED = 8


class Adjacency:
    """Encodes graphs by nodes and edges.

    Args:
        space: Whose architectures are encoded.
        seed: Not used.
        contract_skips: Take skips out of the graph first, so that cells which compute the same are one; an edge then
            counts how often it is repeated.

    Attributes:
        num_features: Length of a vector.
        words: Words of labels that have a feature of their own, in order.
    """

    def __init__(self, space: Space, *, seed: int = 0, contract_skips: bool = False) -> None:
        self._space, self._contract = space, contract_skips
        seen = survey(space, contract_skips)
        self.words = tuple(sorted({word for label in labels_of(seen.graphs) for word in label.split()}))
        self._words = {word: i for i, word in enumerate(self.words)}
        self._width = len(self.words) + (0 if seen.complete else _NUM_HASHED)
        self._inner = max(len(graph.labels) for graph in seen.graphs) - 2
        num = self._inner + 2
        offsets = [source * (num - 1) - source * (source - 1) // 2 - source - 1 for source in range(num)]
        self._edge_from = [self._inner * self._width + offset for offset in offsets]
        """Feature of the edge (source, target), less target."""
        self.num_features = self._inner * self._width + num * (num - 1) // 2

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        graphs = graphs_of(self._space, architectures, self._contract)
        at = {graph: i for i, graph in enumerate(dict.fromkeys(graphs))}
        rows: list[int] = []
        columns: list[int] = []
        for row, graph in enumerate(at):
            own = self._columns(canonical(graph))
            rows += [row] * len(own)
            columns += own
        vectors = np.zeros((len(at), self.num_features))
        np.add.at(vectors, (rows, columns), 1.0)
        return vectors[[at[graph] for graph in graphs]]

    def unpacked(self, vectors: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Returns vectors as features of the nodes and adjacency matrices.

        Args:
            vectors: ``[n, num_features]``.

        Returns:
            Words of each node and whether it is input or output, ``[n, nodes, words + 2]``, and adjacency,
            ``[n, nodes, nodes]``; places that a graph does not use are 0.
        """
        num, size = len(vectors), self._inner + 2
        nodes = np.zeros((num, size, self._width + 2))
        nodes[:, 0, -2] = nodes[:, -1, -1] = 1.0
        split = self._inner * self._width
        nodes[:, 1:-1, : self._width] = vectors[:, :split].reshape(num, self._inner, self._width)
        edges = np.zeros((num, size, size))
        upper = np.triu_indices(size, 1)
        edges[:, upper[0], upper[1]] = vectors[:, split:]
        return nodes, edges

    def _columns(self, graph: Graph) -> list[int]:
        last = len(graph.labels) - 1
        columns = [
            place * self._width + self._word(word)
            for place, label in enumerate(graph.labels[1:last][: self._inner])
            for word in label.split()
            if word in self._words or self._width > len(self._words)
        ]
        for source, target in graph.edges:
            if source <= self._inner and (target <= self._inner or target == last):
                columns.append(self._edge_from[source] + (self._inner + 1 if target == last else target))
        return columns

    def _word(self, word: str) -> int:
        known = self._words.get(word)
        return len(self._words) + digest(word) % _NUM_HASHED if known is None else known
