"""How often each path from input to output occurs, by the operations along it (White et al. 2021, arXiv:1910.11858).

The paper's encoding says whether a path occurs; counts say more where operations are added up. A space of up to 20,000
architectures is listed, and has one feature for each path that occurs in it. Of a larger one the paths of a sample have
a feature each, short ones first, and all others share ``num_hashed`` features by their hash.

In a chain, an architecture is one path: `weisfeiler_lehman` and `adjacency` see what two chains have in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, Graph, Space
from sartor.space.encodings._hashing import Columns
from sartor.space.encodings._isomorphism import is_skip
from sartor.space.encodings._survey import graphs_of, survey

SPEC = Spec(
    "path",
    "sartor.space.encodings.path:Path",
    "counts of paths from input to output, by the operations along them",
    citation="White, Neiswanger and Savani 2021, arXiv:1910.11858",
)

Steps = tuple[str, ...] | None
"""Labels along a path; None stands for a graph that has none."""
_MAX_PATHS = 4096
"""Different paths kept at a node, the shortest: deep nets of branches have more than anything can learn from."""
_MAX_KNOWN = 1024


class Path:
    """Encodes graphs by their paths.

    Args:
        space: Whose architectures are encoded.
        seed: Not used.
        contract_skips: Leave skips out of paths, so that those which compute the same are one.
        max_length: Operations of the longest path that counts (the paper truncates too), or None.
        num_hashed: Features for paths without one of their own, in spaces too large to list.

    Raises:
        InputError: ``max_length`` below 0 or ``num_hashed`` below 1.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        contract_skips: bool = False,
        max_length: int | None = None,
        num_hashed: int = 256,
    ) -> None:
        if max_length is not None and max_length < 0:
            raise InputError(f"max_length is at least 0, got {max_length}")
        if num_hashed < 1:
            raise InputError(f"num_hashed is at least 1, got {num_hashed}")
        self._space, self._contract, self._max_length = space, contract_skips, max_length
        seen = survey(space)
        paths = set().union(*(self._count(graph) for graph in seen.graphs)) - {None}
        ordered = sorted(paths, key=lambda path: (len(path or ()), path))
        known = ordered if seen.complete else ordered[:_MAX_KNOWN]
        self._columns = Columns[Steps]([None, *known], 0 if seen.complete else num_hashed)

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        graphs = graphs_of(self._space, architectures)
        at = {graph: i for i, graph in enumerate(dict.fromkeys(graphs))}
        vectors = self._columns.vectors([self._count(graph) for graph in at])
        return vectors[[at[graph] for graph in graphs]]

    def _count(self, graph: Graph) -> Mapping[Steps, int]:
        counts: dict[Steps, int] = {}
        counts.update(path_counts(graph, self._contract, self._max_length).items())
        return counts or {None: 1}


def path_counts(graph: Graph, contract_skips: bool = False, max_length: int | None = None) -> Counter[tuple[str, ...]]:
    """Returns labels along a path from input to output, ends left out -> number of such paths.

    Args:
        graph: Live, i.e. each node lies on a path.
        contract_skips: Leave skips out of the paths.
        max_length: Labels of the longest path that counts, or None.
    """
    reaching: list[Counter[tuple[str, ...]]] = [Counter() for _ in graph.labels]
    reaching[0][()] = 1
    last = len(graph.labels) - 1
    extended = [False] * len(graph.labels)
    for source, target in sorted(graph.edges):
        before = reaching[source]
        if source and not extended[source]:
            # All edges into the source have a smaller source and are done.
            extended[source] = True
            label = graph.labels[source]
            if not (contract_skips and is_skip(label)):
                before = Counter({(*path, label): num for path, num in before.items()})
            if max_length is not None:
                before = Counter({path: num for path, num in before.items() if len(path) <= max_length})
            if len(before) > _MAX_PATHS:
                shortest = sorted(before, key=lambda path: (len(path), path))[:_MAX_PATHS]
                before = Counter({path: before[path] for path in shortest})
            reaching[source] = before
        after = reaching[target]
        for path, num in before.items():
            after[path] += num
    return reaching[last]
