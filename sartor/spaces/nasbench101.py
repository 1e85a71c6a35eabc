"""NAS-Bench-101: one cell of at most seven vertices and nine edges, whose inner vertices are one of three operations.

Ying et al. 2019, "NAS-Bench-101: Towards Reproducible Neural Architecture Search", arXiv:1902.09635. 423,624 cells that
differ as graphs; one of each kept by ``nasbench101(...).modulo(representative)``.

Keys are ``cell.edges.0`` to ``cell.edges.20``, 0 or 1, ordered by target, then by source: 0-1, 0-2, 1-2, ..., 5-6;
and ``cell.operations.0`` to ``cell.operations.4`` of the vertices 1 to 5. Vertices that lie on no path from input (0)
to output (6) are pruned, as in the benchmark, before edges are counted. Cells are written in seven vertices always:
one of fewer has its unused vertices behind the used ones, without edges and with the first operation.

The network is the benchmark's: a 3x3 stem of 128 channels, three stacks of three cells with max pooling between them,
256 and 512 channels. The number of parameters equals the benchmark's table. Which of several concatenated vertices gets
a channel that is left over depends on their order, so isomorphic cells may differ by some parameters.

Deviation: max pooling of odd sizes between stacks rounds up, so that images of any size pass.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, near
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Shared, Space

SPEC = Spec(
    "nasbench101",
    "sartor.spaces.nasbench101:nasbench101",
    summary="one cell, up to seven vertices and nine edges, three operations (423,624 architectures)",
    citation="Ying et al. 2019, arXiv:1902.09635",
)

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_EDGES = 9
NUM_VERTICES = 7
EDGES = tuple((x, y) for y in range(NUM_VERTICES) for x in range(y))
"""(source, target) of each edge, in order."""
_LAST = NUM_VERTICES - 1
_NUM_INNER = NUM_VERTICES - 2
_FIRST_IN = tuple(y * (y - 1) // 2 for y in range(NUM_VERTICES))
"""Position of the first edge into each vertex."""
_EDGE_KEYS = tuple(f"cell.edges.{i}" for i in range(len(EDGES)))
_OPERATION_KEYS = tuple(f"cell.operations.{i}" for i in range(_NUM_INNER))
_edges_of, _operations_of = itemgetter(*_EDGE_KEYS), itemgetter(*_OPERATION_KEYS)
_EDGE_BITS = tuple(1 << i for i in range(len(EDGES)))
_CODE_OF = {name: code for code, name in enumerate(OPERATIONS)}
_LOW_BITS = 11
_FORBIDDEN = 1 << 60
"""Added to the key of a numbering in which an edge goes backward."""

Integers = npt.NDArray[np.int64]


def nasbench101(channels: int, classes: int, width: int = 128, cells_per_stack: int = 3) -> Space:
    """Returns the space.

    Args:
        channels: Of the image.
        classes: Number of logits.
        width: Channels of the first stack; 128 in the benchmark.
        cells_per_stack: 3 in the benchmark; every cell of a network is the same.
    """
    from sartor.nets import MatrixCell, MatrixCellNet, MaxPool, conv_bn_relu

    options = (partial(conv_bn_relu, kernel=3), partial(conv_bn_relu, kernel=1), partial(MaxPool, kernel=3))
    operations: list[Any] = [OneOf(**dict(zip(OPERATIONS, options, strict=True))) for _ in range(_NUM_INNER)]
    edges: list[Any] = [OneOf(0, 1) for _ in EDGES]
    cell: Any = Shared("cell", partial(MatrixCell, edges=edges, operations=operations))
    stacks = [[cell] * cells_per_stack] * 3
    return Space(partial(MatrixCellNet, channels, classes, stacks=stacks, width=width), graph=graph).where(is_cell)


def hand_designed(space: Space) -> Architecture:
    """Returns the benchmark's ResNet-like cell: two 3x3 convolutions and a projected shortcut."""
    wiring = [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    return space.architecture(from_matrix(wiring, [OPERATIONS[0]] * 2))


def wired() -> Space:
    """Returns the same architectures without networks, so that nothing loads torch."""
    operations = [OneOf(*OPERATIONS) for _ in range(_NUM_INNER)]
    cell = {"edges": [OneOf(0, 1) for _ in EDGES], "operations": operations}
    return Space({"cell": cell}, graph=graph).where(is_cell)


# --- one cell, as bits of edges and a list of operations


def _read(architecture: Mapping[str, Any]) -> tuple[int, list[int]]:
    values = dict(architecture.items())
    edges = sum(itertools.compress(_EDGE_BITS, _edges_of(values)))
    return edges, [_CODE_OF[name] for name in _operations_of(values)]


def _write(edges: int, operations: Sequence[int]) -> Architecture:
    values: dict[str, Any] = {key: edges >> i & 1 for i, key in enumerate(_EDGE_KEYS)}
    return Architecture(values | {key: OPERATIONS[code] for key, code in zip(_OPERATION_KEYS, operations, strict=True)})


def _pruned(edges: int, operations: Sequence[int]) -> tuple[int, int, list[int]] | None:
    """Returns the number of used inner vertices, and the cell with these in front; None without a path."""
    used = _used(edges)
    if used is None:
        return None
    vertices, moved = used
    inner = [operations[vertex - 1] for vertex in vertices]
    return len(inner), moved, inner + [0] * (_NUM_INNER - len(inner))


@lru_cache(2**16)
def _used(edges: int) -> tuple[list[int], int] | None:
    """Returns the inner vertices on a path from input to output, and the edges once these are in front, or None."""
    sources = [edges >> _FIRST_IN[y] & (1 << y) - 1 for y in range(NUM_VERTICES)]
    reached, used = 1, 1 << _LAST
    for y in range(1, NUM_VERTICES):
        reached |= bool(sources[y] & reached) << y
    for y in range(_LAST, 0, -1):
        used |= sources[y] if used >> y & 1 else 0
    kept = [x for x in range(NUM_VERTICES) if reached & used & 1 << x]
    if _LAST not in kept or kept[0] != 0:
        return None
    at = [*range(len(kept) - 1), _LAST]
    moved = sum(
        (sources[y] >> x & 1) << (_FIRST_IN[at[j]] + at[i]) for j, y in enumerate(kept) for i, x in enumerate(kept[:j])
    )
    return kept[1:-1], moved


def is_cell(architecture: Architecture) -> bool:
    """Returns whether a path leads from input to output and at most nine edges are left once the cell is pruned."""
    used = _used(_read(architecture)[0])
    return used is not None and used[1].bit_count() <= MAX_EDGES


def key(architecture: Mapping[str, Any]) -> int:
    """Returns a number that is equal for isomorphic cells, and for those alone.

    Raises:
        InputError: No path leads from input to output.
    """
    pruned = _pruned(*_read(architecture))
    if pruned is None:
        raise InputError("no path leads from the input of the cell to its output")
    num_inner, edges, operations = pruned
    low, high, order = _numberings(num_inner)
    numbered = low[edges & (1 << _LOW_BITS) - 1] + high[edges >> _LOW_BITS] + order[_digits(operations)]
    return int(numbered.min()) + (num_inner << 40)


def keys(num_inner: int, edges: Integers, operations: Integers) -> Integers:
    """Returns `key` of many pruned cells: the smallest numbering of the inner vertices, shape ``[n]``.

    Args:
        num_inner: Inner vertices of each.
        edges: Bit i is set when edge i of `EDGES` is there; used inner vertices in front, ``[n]``.
        operations: Positions in `OPERATIONS` as five digits of base 3, vertex 1 most significant, ``[n]``.
    """
    low, high, order = _numberings(num_inner)
    smallest = np.full(len(edges), _FORBIDDEN)
    lower, upper = edges & (1 << _LOW_BITS) - 1, edges >> _LOW_BITS
    for first, second, third in zip(low.T.copy(), high.T.copy(), order.T.copy(), strict=True):
        np.minimum(smallest, first[lower] + second[upper] + third[operations], out=smallest)
    return smallest + (num_inner << 40)


def _digits(operations: Sequence[int]) -> int:
    total = 0
    for code in operations:
        total = total * 3 + code
    return total


@cache
def _numberings(num_inner: int) -> tuple[Integers, Integers, Integers]:
    """Returns what each value of the edges' lower bits, of their upper bits and of the operations becomes in each
    numbering, ``[values, numberings]``."""
    low, high, order = [], [], []
    for numbers in itertools.permutations(range(1, num_inner + 1)):
        at = [0, *numbers, *range(num_inner + 1, NUM_VERTICES)]
        moved = [1 << (_FIRST_IN[at[y]] + at[x]) if at[x] < at[y] else _FORBIDDEN for x, y in EDGES]
        low.append(_sums(moved[:_LOW_BITS]))
        high.append(_sums(moved[_LOW_BITS:]))
        places = [3 ** (_LAST - 1 - at[vertex]) for vertex in range(1, _LAST)]
        digits = np.array(list(itertools.product(range(3), repeat=_NUM_INNER)))
        order.append((digits @ np.array(places)) << len(EDGES))
    return np.stack(low, 1), np.stack(high, 1), np.stack(order, 1)


def _sums(values: Sequence[int]) -> Integers:
    """Returns the union of ``values`` over each set of bits."""
    sums = np.zeros(1, np.int64)
    for value in values:
        sums = np.concatenate([sums, sums | value])
    return sums


def representative(architecture: Mapping[str, Any]) -> Architecture:
    """Returns the cell that stands for those isomorphic to it: pruned, in its smallest numbering.

    Raises:
        InputError: No path leads from input to output.
    """
    smallest = key(architecture)
    edges, operations = smallest & (1 << len(EDGES)) - 1, smallest >> len(EDGES) & 255
    return _write(edges, [operations // 3 ** (_NUM_INNER - 1 - i) % 3 for i in range(_NUM_INNER)])


# --- as others write it


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the cell with its vertices as nodes; what lies on no path to the output is left out."""
    labels = ("input", *(str(architecture[key]) for key in _OPERATION_KEYS), "output")
    return Graph(labels, tuple(pair for pair, key in zip(EDGES, _EDGE_KEYS, strict=True) if architecture[key])).live()


def from_matrix(matrix: Sequence[Sequence[int]], operations: Sequence[str]) -> Architecture:
    """Reads the benchmark's form: an upper triangular matrix of 2 to 7 vertices, and the names of the inner ones.

    Raises:
        InputError: Not of that form, an unknown operation (with the near name), or no path from input to output.
    """
    wiring = np.asarray(matrix)
    size = len(operations) + 2
    if not 2 <= size <= NUM_VERTICES or wiring.shape != (size, size) or np.tril(wiring).any():
        raise InputError(
            f"expected an upper triangular matrix of 2 to {NUM_VERTICES} vertices and an operation for each but the "
            f"ends, got shape {wiring.shape} and {len(operations)} operations"
        )
    for name in operations:
        if name not in OPERATIONS:
            raise InputError(f"unknown operation {name!r}{near(name, OPERATIONS)}")
    at = [*range(size - 1), _LAST]
    edges = sum(1 << (_FIRST_IN[at[y]] + at[x]) for y in range(size) for x in range(y) if wiring[x, y])
    codes = [OPERATIONS.index(name) for name in operations]
    pruned = _pruned(edges, codes + [0] * (_NUM_INNER - len(codes)))
    if pruned is None:
        raise InputError("no path leads from the input of the cell to its output")
    return _write(*pruned[1:])


def to_matrix(architecture: Mapping[str, Any]) -> tuple[list[list[int]], list[str]]:
    """Returns the pruned cell in the benchmark's form, `from_matrix`'s.

    Raises:
        InputError: No path leads from input to output.
    """
    pruned = _pruned(*_read(architecture))
    if pruned is None:
        raise InputError("no path leads from the input of the cell to its output")
    num_inner, edges, operations = pruned
    at = [*range(num_inner + 1), _LAST]
    matrix = [[edges >> (_FIRST_IN[y] + x) & 1 if x < y else 0 for y in at] for x in at]
    return matrix, [OPERATIONS[code] for code in operations[:num_inner]]


def cell_hash(architecture: Mapping[str, Any]) -> str:
    """Returns the benchmark's own hash of the pruned cell, 32 hexadecimal digits, equal for isomorphic cells."""
    matrix, operations = to_matrix(architecture)
    vertices = range(len(matrix))
    marks = [-1, *(OPERATIONS.index(name) for name in operations), -2]
    ins = [[x for x in vertices if matrix[x][y]] for y in vertices]
    outs = [[y for y in vertices if matrix[x][y]] for x in vertices]
    hashes = [_md5(str((len(outs[v]), len(ins[v]), marks[v]))) for v in vertices]
    for _ in vertices:
        hashes = [
            _md5(
                "|".join(
                    ("".join(sorted(hashes[w] for w in ins[v])), "".join(sorted(hashes[w] for w in outs[v])), hashes[v])
                )
            )
            for v in vertices
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
