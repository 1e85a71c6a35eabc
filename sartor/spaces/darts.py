"""DARTS: a normal and a reduction cell, in which each of four nodes reads two states before it by one of eight
operations.

Liu et al. 2019, "DARTS: Differentiable Architecture Search", arXiv:1806.09055. Without ``none`` a cell is one of
1,037,664,180 (about 10^18 pairs), with it one of 3,019,898,880.

Keys are those of a genotype: states 0 and 1 are the outputs of the cell before the previous one and of the previous
one, 2 to 5 the nodes. ``normal.nodes.0`` holds the two states that state 2 reads, ``normal.nodes.0.1`` the operation
on state 1 that it reads; ``reduce.nodes.0`` and so on of the reduction cell. All normal cells of a network are one, and
all reduction cells, which lie at a third and at two thirds of its depth.

The restricted spaces of Zela et al. 2020 (arXiv:1909.09656) whose edges are all alike are ``operations``: S2 is
``("skip_connect", "sep_conv_3x3")``, S3 has ``none`` too.

The network is the paper's for CIFAR-10, with the published number of parameters (``width=36``, ``num_cells=20``).

Deviations: no auxiliary head and no drop path, which are of the paper's training; pooling is not normalised, as in the
paper's final networks, not as in its search; reductions of odd sizes round up, so that images of any size pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sartor.errors import InputError, near
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Shared, Space, Subset

SPEC = Spec(
    "darts",
    "sartor.spaces.darts:darts",
    summary="normal and reduction cell, four nodes of two inputs each, eight operations (9.1e18 architectures)",
    citation="Liu et al. 2019, arXiv:1806.09055",
)

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NUM_INPUTS = 2
"""Of a cell, and of a node."""

Node = tuple[tuple[str, int], tuple[str, int]]
"""(operation, state that it reads), twice."""

DARTS_V2: Mapping[str, tuple[Node, ...]] = {
    "normal": (
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 1), ("skip_connect", 0)),
        (("skip_connect", 0), ("dil_conv_3x3", 2)),
    ),
    "reduce": (
        (("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        (("skip_connect", 2), ("max_pool_3x3", 1)),
        (("max_pool_3x3", 0), ("skip_connect", 2)),
        (("skip_connect", 2), ("max_pool_3x3", 1)),
    ),
}
"""The cells that the paper found on CIFAR-10 by its second-order method."""


def darts(
    channels: int,
    classes: int,
    width: int = 16,
    num_cells: int = 8,
    *,
    nodes: int = 4,
    operations: Sequence[str] = OPERATIONS,
) -> Space:
    """Returns the space.

    Args:
        channels: Of the image.
        classes: Number of logits.
        width: Channels of a node in the first cells; 16 in the paper's search, 36 in its final networks.
        num_cells: At least 3; 8 in the paper's search, 20 in its final networks.
        nodes: Of a cell, beside its inputs.
        operations: Some of `OPERATIONS`.

    Raises:
        InputError: Fewer than 3 cells or 1 node; an unknown operation (with the near name), none or one twice.
    """
    from sartor.nets import AvgPool, DartsCell, DartsNet, DilConv, MaxPool, SepConv, Zero, skip_connect

    if num_cells < 3 or nodes < 1:
        raise InputError(f"expected at least 3 cells (2 of them reductions) and 1 node, got {num_cells} and {nodes}")
    for name in operations:
        if name not in OPERATIONS:
            raise InputError(f"unknown operation {name!r}{near(name, OPERATIONS)}")
    if not operations or len(set(operations)) < len(operations):
        raise InputError(f"expected distinct operations, got {list(operations)}")
    made = {
        "none": partial(Zero),
        "max_pool_3x3": partial(MaxPool, kernel=3),
        "avg_pool_3x3": partial(AvgPool, kernel=3),
        "skip_connect": partial(skip_connect),
        "sep_conv_3x3": partial(SepConv, kernel=3),
        "sep_conv_5x5": partial(SepConv, kernel=5),
        "dil_conv_3x3": partial(DilConv, kernel=3),
        "dil_conv_5x5": partial(DilConv, kernel=5),
    }
    options = {name: made[name] for name in operations}

    def cell(name: str) -> Any:
        states = range(NUM_INPUTS, NUM_INPUTS + nodes)
        read: list[Any] = [Subset({source: OneOf(**options) for source in range(k)}, NUM_INPUTS) for k in states]
        return Shared(name, partial(DartsCell, nodes=read))

    normal, reduce = cell("normal"), cell("reduce")
    first, second = num_cells // 3, 2 * num_cells // 3
    stages = [
        [normal] * first,
        [reduce, *[normal] * (second - first - 1)],
        [reduce, *[normal] * (num_cells - second - 1)],
    ]
    return Space(partial(DartsNet, channels, classes, stages=stages, width=width), graph=graph)


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns both cells side by side, with operations and states as nodes; what lies on no path is left out.

    An operation feeds the state that adds it; a state of a cell feeds the operations that read it and the output. A
    ``none`` is an edge that is not there, and a skip that halves the resolution is no skip.
    """
    labels = ["input"]
    edges: list[tuple[int, int]] = []
    ends: list[int] = []
    for cell, genotype in to_genotype(architecture).items():
        states = []
        for name in ("before_previous", "previous"):
            edges.append((0, len(labels)))
            states.append(len(labels))
            labels.append(f"{name} cell={cell}")
        for node in genotype:
            terms = []
            for operation, source in node:
                if operation != "none":
                    halves = cell == "reduce" and source < NUM_INPUTS
                    name = "factorized_reduce" if halves and operation == "skip_connect" else operation
                    edges.append((states[source], len(labels)))
                    terms.append(len(labels))
                    labels.append(f"{name} cell={cell}")
            edges += [(term, len(labels)) for term in terms]
            states.append(len(labels))
            labels.append(f"sum cell={cell}")
        ends += states[NUM_INPUTS:]
    edges += [(state, len(labels)) for state in ends]
    return Graph((*labels, "output"), tuple(edges)).live()


def to_genotype(architecture: Mapping[str, Any]) -> dict[str, tuple[Node, ...]]:
    """Returns the nodes of the cells ``normal`` and ``reduce`` as the paper's code writes them (see `DARTS_V2`)."""
    found: dict[str, tuple[Node, ...]] = {}
    for cell in ("normal", "reduce"):
        nodes: list[Node] = []
        while (key := f"{cell}.nodes.{len(nodes)}") in architecture:
            first, second = architecture[key]
            nodes.append(((architecture[f"{key}.{first}"], first), (architecture[f"{key}.{second}"], second)))
        found[cell] = tuple(nodes)
    return found


def from_genotype(genotype: Mapping[str, Sequence[Node]]) -> Architecture:
    """Returns the architecture of a genotype; its two operations on a node may come in any order.

    Raises:
        InputError: Not of that form: other cells than ``normal`` and ``reduce``, or a node that reads one state twice.
    """
    if set(genotype) != {"normal", "reduce"}:
        raise InputError(f"expected the cells normal and reduce, got {sorted(genotype)}")
    values: dict[str, Any] = {}
    for cell, nodes in genotype.items():
        for i, node in enumerate(nodes):
            operations = {source: operation for operation, source in sorted(node, key=lambda term: term[1])}
            if len(operations) != NUM_INPUTS:
                raise InputError(f"node {i} of the {cell} cell reads two different states, got {node}")
            values[f"{cell}.nodes.{i}"] = tuple(operations)
            values |= {f"{cell}.nodes.{i}.{source}": operation for source, operation in operations.items()}
    return Architecture(values)


def hand_designed(space: Space) -> Architecture:
    """Returns the paper's `DARTS_V2` as far as it fits: the first of its nodes, its last node again for further ones,
    and for an operation that the space lacks a separable convolution (its last operation, where that lacks too).
    """
    known = space.values("normal.nodes.0.0")
    instead = "sep_conv_3x3" if "sep_conv_3x3" in known else str(known[-1])
    num_nodes = sum(f"normal.nodes.{i}" in space.keys for i in range(len(space.keys)))
    cells: dict[str, list[Node]] = {}
    for cell, nodes in DARTS_V2.items():
        fitted = [*nodes, *[nodes[-1]] * num_nodes][:num_nodes]
        cells[cell] = [
            ((a if a in known else instead, i), (b if b in known else instead, j)) for (a, i), (b, j) in fitted
        ]
    return space.architecture(from_genotype(cells))
