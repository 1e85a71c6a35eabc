"""Motifs of motifs: small graphs of operations, of which the graph of a cell is made.

Liu et al. 2018, "Hierarchical Representations for Efficient Architecture Search", arXiv:1711.00436. Level 1 is seven
operations, level 2 six motifs of four nodes whose edges are operations, level 3 a cell of five nodes whose edges are
motifs or ``none``.

Keys are ``motif1.edges.0`` to ``motif6.edges.5``, and ``cell.edges.0`` to ``cell.edges.9``, ordered by target, then by
source: 0-1, 0-2, 1-2, 0-3, ... A motif that the cell does not use is not chosen.

Deviations: a node is the sum of its edges, where the paper concatenates them and projects by a 1x1 convolution; every
graph keeps the number of channels. The network is NAS-Bench-201's skeleton (``CellNet``): three stages of cells with a
residual block of stride 2 between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from functools import partial
from typing import Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Shared, Space

SPEC = Spec(
    "hierarchical",
    "sartor.spaces.hierarchical:hierarchical",
    summary="motifs of operations, and a cell of motifs (1.2e38 architectures)",
    citation="Liu et al. 2018, arXiv:1711.00436",
)

OPERATIONS = (
    "none",
    "identity",
    "conv_1x1",
    "depthwise_conv_3x3",
    "separable_conv_3x3",
    "max_pool_3x3",
    "avg_pool_3x3",
)


def hierarchical(
    channels: int,
    classes: int,
    width: int = 16,
    cells_per_stage: int = 1,
    *,
    num_motifs: int = 6,
    motif_nodes: int = 4,
    cell_nodes: int = 5,
) -> Space:
    """Returns the space.

    Args:
        channels: Of the image.
        classes: Number of logits.
        width: Channels of the first stage.
        cells_per_stage: Every cell of a network is the same.
        num_motifs: Of level 2; 6 in the paper.
        motif_nodes: Of each motif, its input and output among them; 4 in the paper.
        cell_nodes: Of the cell, its input and output among them; 5 in the paper.

    Raises:
        InputError: No motif, or fewer than 2 nodes.
    """
    from torch import nn

    from sartor.nets import AvgPool, Cell, CellNet, MaxPool, Zero, conv_bn_relu, depthwise_bn_relu, separable_bn_relu

    if num_motifs < 1 or min(motif_nodes, cell_nodes) < 2:
        raise InputError(
            f"expected at least 1 motif and 2 nodes (input and output), got {num_motifs} motifs of {motif_nodes} nodes "
            f"in a cell of {cell_nodes}"
        )
    options = (
        partial(Zero),
        partial(nn.Identity),
        partial(conv_bn_relu, kernel=1),
        partial(depthwise_bn_relu, kernel=3),
        partial(separable_bn_relu, kernel=3),
        partial(MaxPool, kernel=3),
        partial(AvgPool, kernel=3),
    )
    motifs: dict[str, Any] = {}
    for number in range(1, num_motifs + 1):
        edges: list[Any] = [OneOf(**dict(zip(OPERATIONS, options, strict=True))) for _ in _edges(motif_nodes)]
        motifs[f"motif{number}"] = Shared(f"motif{number}", partial(Cell, edges=edges))
    places: list[Any] = [OneOf(none=partial(Zero), **motifs) for _ in _edges(cell_nodes)]
    cell: Any = Shared("cell", partial(Cell, edges=places))
    return Space(partial(CellNet, channels, classes, stages=[[cell] * cells_per_stage] * 3, width=width), graph=graph)


def _edges(num_nodes: int) -> list[tuple[int, int]]:
    return [(source, target) for target in range(num_nodes) for source in range(target)]


def _num_nodes(keys: Container[str], name: str) -> int:
    """Returns the nodes of a graph whose edges have these keys."""
    nodes = 2
    while f"{name}.edges.{nodes * (nodes - 1) // 2}" in keys:
        nodes += 1
    return nodes


def _chosen(architecture: Mapping[str, Any], name: str) -> dict[tuple[int, int], str]:
    """Returns the edges of a graph, ordered, and what is on each."""
    edges = _edges(_num_nodes(architecture, name))
    return {edge: architecture[f"{name}.edges.{i}"] for i, edge in enumerate(edges)}


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the cell of operations that motifs in the place of its edges make, with operations as nodes; what lies on
    no path to the output is left out.
    """
    values = dict(architecture.items())
    cell = _chosen(values, "cell")
    motifs = {name: _chosen(values, name) for name in set(cell.values()) - {"none"}}
    operations: dict[tuple[int, int], str | None] = {}
    numbers = itertools.count(1)
    nodes = [0]
    for target in range(1, _num_nodes(values, "cell")):
        # Nodes inside the motifs that lead to a node are numbered before it, so that edges go forward.
        inside = []
        for source in range(target):
            if (name := cell[source, target]) != "none":
                inner = range(1, max(node for _, node in motifs[name]))
                inside.append((motifs[name], [nodes[source], *(next(numbers) for _ in inner)]))
        nodes.append(next(numbers))
        for motif, at in inside:
            at.append(nodes[target])
            operations |= {(at[x], at[y]): None if name == "none" else name for (x, y), name in motif.items()}
    return Graph.of_edges(nodes[-1] + 1, operations).live()


def hand_designed(space: Space) -> Architecture:
    """Returns a chain of one motif: a chain of separable convolutions beside an identity, as in a residual network."""
    values: dict[str, Any] = {}
    for name, link, shortcut in (("motif1", "separable_conv_3x3", "identity"), ("cell", "motif1", "none")):
        num_nodes = _num_nodes(space.keys, name)
        for i, (source, target) in enumerate(_edges(num_nodes)):
            around = shortcut if (source, target) == (0, num_nodes - 1) else "none"
            values[f"{name}.edges.{i}"] = link if target == source + 1 else around
    return space.architecture(values)
