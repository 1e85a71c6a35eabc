"""Counts of the labelled subtrees around each node: the features of the Weisfeiler-Lehman kernel.

Shervashidze et al. 2011 (JMLR 12, 2539-2561); for architectures Ru et al. 2021, "Interpretable Neural Architecture
Search via Bayesian Optimisation with Weisfeiler-Lehman Kernels", arXiv:2006.07556. In iteration 0 a node's name is its
label; in each further one, its name and the sorted names of its neighbours before. The inner product of two vectors of
`subtree_counts` is the paper's kernel exactly; `WeisfeilerLehman` keeps it in expectation, as names share features by
their hash.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, Graph, Space
from sartor.space.encodings._hashing import Columns, digest
from sartor.space.encodings._survey import graphs_of

SPEC = Spec(
    "weisfeiler-lehman",
    "sartor.space.encodings.weisfeiler_lehman:WeisfeilerLehman",
    "counts of labelled subtrees around each operation",
    citation="Ru, Wan, Dong and Osborne 2021, arXiv:2006.07556",
)

Direction = Literal["forward", "both"]
_MAX_REMEMBERED = 1 << 17
_Seen = tuple[int, tuple[int, ...], tuple[int, ...]]


class WeisfeilerLehman:
    """Encodes graphs by their subtrees.

    Args:
        space: Whose architectures are encoded.
        seed: Not used.
        iterations: Depth of the subtrees.
        direction: ``forward``: a node sees what feeds it; ``both``: also what it feeds, told apart.
        contract_skips: Take skips out of the graph first, so that cells which compute the same are one.
        normalised: Scale vectors to length 1, so that the kernel is 1 for equal graphs.
        num_features: Length of a vector.

    Raises:
        InputError: ``iterations`` below 0, ``num_features`` below 1 or an unknown direction.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        iterations: int = 2,
        direction: Direction = "forward",
        contract_skips: bool = False,
        normalised: bool = False,
        num_features: int = 512,
    ) -> None:
        if iterations < 0:
            raise InputError(f"iterations is at least 0, got {iterations}")
        if num_features < 1:
            raise InputError(f"num_features is at least 1, got {num_features}")
        self._space, self._contract, self._normalised = space, contract_skips, normalised
        self._subtrees = Subtrees(iterations, direction)
        self._columns = Columns[int]((), num_features)

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        graphs = graphs_of(self._space, architectures, self._contract)
        at = {graph: i for i, graph in enumerate(dict.fromkeys(graphs))}
        vectors = self._columns.vectors([self._subtrees.count(graph) for graph in at])
        if self._normalised:
            lengths = np.sqrt((vectors**2).sum(1, keepdims=True))
            vectors /= np.where(lengths > 0, lengths, 1.0)
        return vectors[[at[graph] for graph in graphs]]


class Subtrees:
    """Counts subtrees, and remembers the names that it made.

    Args:
        iterations: Depth of the subtrees.
        direction: What a node sees, see `WeisfeilerLehman`.

    Raises:
        InputError: An unknown direction.
    """

    def __init__(self, iterations: int = 2, direction: Direction = "forward") -> None:
        if direction not in ("forward", "both"):
            raise InputError(f"direction is forward or both, got {direction!r}")
        self._iterations, self._both = iterations, direction == "both"
        self._labels: dict[str, int] = {}
        self._names: dict[_Seen, int] = {}

    def count(self, graph: Graph) -> Counter[int]:
        """Returns name -> number of nodes that have it, over all iterations; names are 64-bit hashes."""
        if len(self._names) + len(self._labels) > _MAX_REMEMBERED:
            self._labels.clear()
            self._names.clear()
        names = []
        for label in graph.labels:
            name = self._labels.get(label)
            if name is None:
                name = self._labels[label] = digest(label)
            names.append(name)
        nodes = range(len(names))
        sources: list[list[int]] = [[] for _ in nodes]
        targets: list[list[int]] = [[] for _ in nodes]
        for source, target in graph.edges:
            sources[target].append(source)
            if self._both:
                targets[source].append(target)
        found = list(names)
        for _ in range(self._iterations):
            names = [
                self._name(
                    names[node],
                    tuple(sorted([names[i] for i in sources[node]])),
                    tuple(sorted([names[i] for i in targets[node]])) if self._both else (),
                )
                for node in nodes
            ]
            found += names
        return Counter(found)

    def _name(self, *seen: *_Seen) -> int:
        name = self._names.get(seen)
        if name is None:
            own, before, behind = seen
            packed = struct.pack(
                f"<2I{1 + len(before) + len(behind)}Q", len(before), len(behind), own, *before, *behind
            )
            name = self._names[seen] = int.from_bytes(blake2b(packed, digest_size=8).digest(), "little")
        return name


def subtree_counts(graph: Graph, iterations: int = 2, direction: Direction = "forward") -> Counter[int]:
    """Returns the exact counts of one graph, for kernels: name of a subtree -> number of nodes that have it.

    A subtree's name is a 64-bit hash that also tells its depth, and is the same in every process. `Subtrees` counts
    many graphs faster.
    """
    return Subtrees(iterations, direction).count(graph)
