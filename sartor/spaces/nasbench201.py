"""NAS-Bench-201: one cell of four nodes, whose six edges are one of five operations each.

Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
arXiv:2001.00326. 5^6 = 15,625 architectures; by the literature's rule 6,466 classes that compute the same function,
one of each kept by ``nasbench201(...).modulo(canonical)``.

Keys are ``cell.edges.0`` to ``cell.edges.5`` in the benchmark's order of edges: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3. The
network is the benchmark's: a 3x3 stem, three stages of cells with a residual block of stride 2 between them, 16, 32
and 64 channels. The number of parameters equals the benchmark's table for all cells.

Deviations: normalisation keeps running statistics (the benchmark's normalises by the batch in evaluation too), and
average pooling of odd sizes between stages rounds up, so that images of any size pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from sartor.errors import InputError, near
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Shared, Space

SPEC = Spec(
    "nasbench201",
    "sartor.spaces.nasbench201:nasbench201",
    summary="one cell, six edges of five operations (15,625 architectures)",
    citation="Dong and Yang 2020, arXiv:2001.00326",
)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of each edge, in order."""


def nasbench201(channels: int, classes: int, width: int = 16, cells_per_stage: int = 5) -> Space:
    """Returns the space.

    Args:
        channels: Of the image.
        classes: Number of logits.
        width: Channels of the first stage; 16 in the benchmark.
        cells_per_stage: 5 in the benchmark; every cell of a network is the same.
    """
    from torch import nn

    from sartor.nets import AvgPool, Cell, CellNet, ReluConvBn, Zero

    edges: list[Any] = [
        OneOf(
            none=partial(Zero),
            skip_connect=partial(nn.Identity),
            nor_conv_1x1=partial(ReluConvBn, kernel=1),
            nor_conv_3x3=partial(ReluConvBn, kernel=3),
            avg_pool_3x3=partial(AvgPool, kernel=3),
        )
        for _ in EDGES
    ]
    cell: Any = Shared("cell", partial(Cell, edges=edges))
    return Space(partial(CellNet, channels, classes, stages=[[cell] * cells_per_stage] * 3, width=width), graph=graph)


def graph(architecture: Mapping[str, object]) -> Graph:
    """Returns the cell with its operations as nodes; what lies on no path to the output is left out."""
    return _wired(*_operations(architecture))


@cache
def _wired(*operations: str) -> Graph:
    named = zip(EDGES, operations, strict=True)
    return Graph.of_edges(4, {edge: None if name == "none" else name for edge, name in named}).live()


def hand_designed(space: Space) -> Architecture:
    """Returns the residual cell of the benchmark's paper."""
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    return space.architecture(from_arch_str(text))


def _operations(architecture: Mapping[str, object]) -> list[str]:
    return [str(architecture[f"cell.edges.{i}"]) for i in range(len(EDGES))]


def to_arch_str(architecture: Mapping[str, object]) -> str:
    """Returns the benchmark's text, e.g. ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``."""
    operations = dict(zip(EDGES, _operations(architecture), strict=True))
    nodes = ["".join(f"|{operations[source, target]}~{source}" for source in range(target)) for target in (1, 2, 3)]
    return "+".join(f"{node}|" for node in nodes)


def from_arch_str(text: str) -> Architecture:
    """Reads the benchmark's text.

    Raises:
        InputError: not of that form, or an unknown operation (with the near name).
    """
    found: dict[tuple[int, int], str] = {}
    nodes = text.strip().split("+")
    for target, node in enumerate(nodes, 1):
        for operation, source in re.findall(r"\|([^|~]+)~(\d+)", node):
            if operation not in OPERATIONS:
                raise InputError(f"unknown operation {operation!r} in {text!r}{near(operation, OPERATIONS)}")
            found[int(source), target] = operation
    if len(nodes) != 3 or set(found) != set(EDGES):
        raise InputError(f"expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, got {text!r}")
    return Architecture({f"cell.edges.{i}": found[edge] for i, edge in enumerate(EDGES)})


def canonical(architecture: Mapping[str, object]) -> str:
    """Returns a text that is equal for architectures of one class: 6,466 classes.

    The literature's rule: a skip is its source, ``none`` or anything behind a ``none`` is ``#``, a node is the
    sorted sum of its edges, the zeros among them kept (dropping these would leave 5,390 classes).
    """
    edge = iter(_operations(architecture))
    nodes = ["0"]
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            operation = next(edge)
            if operation == "none" or nodes[source] == "#":
                terms.append("#")
            elif operation == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]
