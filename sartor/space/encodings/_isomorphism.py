"""Graphs up to the numbering of their nodes: a canonical order, and the key that isomorphic graphs share.

Nodes are told apart by colour refinement (Weisfeiler and Leman 1968) from depth and label; where some stay alike, each
is singled out in turn and the smallest description of the graph kept, as in nauty (McKay and Piperno 2014,
arXiv:1301.1493) without its pruning by automorphisms. Nodes of the same label and the same neighbours are
interchangeable, and only one of them is tried.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence

from sartor.space._graph import Graph

SKIPS = ("skip_connect", "skip", "identity", "Identity")
"""First words of labels of nodes that pass on what they get."""
_MAX_LEAVES = 2_000
"""Orders tried of one graph. Beyond, isomorphic graphs may get different keys; different graphs never get one."""

Edges = tuple[tuple[int, int], ...]
_Neighbours = Sequence[Sequence[int]]


def is_skip(label: str) -> bool:
    """Returns whether the node passes on what it gets, unchanged."""
    return label.split(" ", 1)[0] in SKIPS


def contracted(graph: Graph) -> Graph:
    """Returns the graph without its skips, whose sources feed their targets.

    Edges may then be repeated: a node that is added to itself is not the node.
    """
    edges = list(graph.edges)
    kept = []
    for node, label in enumerate(graph.labels):
        if not is_skip(label):
            kept.append(node)
            continue
        sources = [s for s, t in edges if t == node]
        targets = [t for s, t in edges if s == node]
        edges = [edge for edge in edges if node not in edge]
        edges += [(s, t) for s in sources for t in targets]
    at = {node: i for i, node in enumerate(kept)}
    return Graph(tuple(graph.labels[i] for i in kept), tuple(sorted((at[s], at[t]) for s, t in edges)))


def canonical(graph: Graph) -> Graph:
    """Returns the same graph for all numberings of it: nodes by depth, then by what surrounds them."""
    order = canonical_order(graph)
    return Graph(tuple(graph.labels[node] for node in order), _moved(graph.edges, order))


def canonical_key(graph: Graph) -> str:
    """Returns a text that is equal for isomorphic graphs, and for those alone (but see ``_MAX_LEAVES``)."""
    same = canonical(graph)
    return hashlib.blake2b(json.dumps([same.labels, same.edges]).encode(), digest_size=16).hexdigest()


def canonical_order(graph: Graph) -> list[int]:
    """Returns the nodes in an order in which edges go forward and which isomorphic graphs share; output last."""
    num = len(graph.labels)
    sources: list[list[int]] = [[] for _ in range(num)]
    targets: list[list[int]] = [[] for _ in range(num)]
    depths = [0] * num
    for source, target in sorted(graph.edges):
        sources[target].append(source)
        targets[source].append(target)
        depths[target] = max(depths[target], depths[source] + 1)
    depths[0], depths[-1] = -1, num
    colours = _ranks(list(zip(depths, graph.labels, strict=True)))
    search = _Search(graph.edges, sources, targets)
    search.visit(_refined(colours, sources, targets))
    return search.order


def _ranks(values: Sequence[tuple[object, ...]]) -> list[int]:
    at = {value: i for i, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]
    return [at[value] for value in values]


def _refined(colours: list[int], sources: _Neighbours, targets: _Neighbours) -> list[int]:
    """Returns the colours, told apart by those of the neighbours until nothing changes; their order is kept."""
    num = len(colours)
    known = len(set(colours))
    while known < num:
        seen = [
            (
                colours[node],
                tuple(sorted([colours[i] for i in sources[node]])),
                tuple(sorted([colours[i] for i in targets[node]])),
            )
            for node in range(num)
        ]
        colours = _ranks(seen)
        found = len(set(colours))
        if found == known:
            break
        known = found
    return colours


def _moved(edges: Edges, order: Sequence[int]) -> Edges:
    at = [0] * len(order)
    for position, node in enumerate(order):
        at[node] = position
    return tuple(sorted([(at[s], at[t]) for s, t in edges]))


class _Search:
    """Finds the order whose edges are smallest; labels follow from colours, so that these are compared already."""

    def __init__(self, edges: Edges, sources: _Neighbours, targets: _Neighbours) -> None:
        self._edges, self._sources, self._targets = edges, sources, targets
        self._leaves = 0
        self._best: Edges | None = None
        self.order: list[int] = []

    def visit(self, colours: list[int]) -> None:
        num = len(colours)
        if len(set(colours)) == num:
            order = sorted(range(num), key=colours.__getitem__)
            edges = _moved(self._edges, order)
            self._leaves += 1
            if self._best is None or edges < self._best:
                self._best, self.order = edges, order
            return
        cells = defaultdict(list)
        for node, colour in enumerate(colours):
            cells[colour].append(node)
        cell = min((colour, nodes) for colour, nodes in cells.items() if len(nodes) > 1)[1]
        tried: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        for node in cell:
            around = tuple(sorted(self._sources[node])), tuple(sorted(self._targets[node]))
            if around in tried or self._leaves >= _MAX_LEAVES:
                continue
            tried.add(around)
            single = [2 * colour + (colour == colours[node] and i != node) for i, colour in enumerate(colours)]
            self.visit(_refined(single, self._sources, self._targets))


def labels_of(graphs: Collection[Graph]) -> tuple[str, ...]:
    """Returns all labels but those of the ends, sorted."""
    return tuple(sorted({label for graph in graphs for label in graph.labels[1:-1]}))
