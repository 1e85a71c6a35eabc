"""What graphs are made of, as blocks of counts over which kernels are laid; each architecture is described once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sartor.space import Architecture, Graph, Space
from sartor.space.encodings._isomorphism import contracted
from sartor.space.encodings.path import path_counts
from sartor.space.encodings.weisfeiler_lehman import Subtrees

Array = npt.NDArray[np.float64]
BlockKind = Literal["paths", "subtrees", "choices"]
_MAX_REMEMBERED = 200_000
_MAX_LENGTH = 12
"""Operations of the longest path counted: longer ones are hardly shared by two architectures."""


@dataclass(frozen=True, eq=False)
class Block:
    """Vectors of which the columns that a fit has seen are written out.

    Attributes:
        seen: ``[n, k]``.
        norms: Squared lengths of the whole vectors, ``[n]``.
    """

    seen: Array
    norms: Array

    def squared(self, other: Block) -> Array:
        """Returns squared distances from vectors all of whose columns are seen, ``[n, m]``."""
        return np.maximum(self.norms[:, None] + other.norms - 2 * self.seen @ other.seen.T, 0.0)


@dataclass(frozen=True, eq=False)
class _Counts:
    items: npt.NDArray[np.int64]
    roots: Array


class _Items:
    """Numbers whatever is counted, and remembers which of it has a column."""

    def __init__(self) -> None:
        self._at: dict[object, int] = {}
        self._columns = np.empty(0, np.int64)

    def counts(self, counted: Mapping[Any, int]) -> _Counts:
        items = [self._at.setdefault(item, len(self._at)) for item in counted]
        return _Counts(np.array(items, np.int64), np.sqrt(np.array(list(counted.values()), np.float64)))

    def fit(self, described: Sequence[_Counts]) -> None:
        """Gives the items of these a column, in an order that does not depend on what was met before."""
        present = set().union(*(each.items.tolist() for each in described))
        names = sorted((str(item), number) for item, number in self._at.items() if number in present)
        self._columns = np.array([number for _, number in names], np.int64)

    def block(self, described: Sequence[_Counts]) -> Block:
        columns = np.full(len(self._at) + 1, -1)
        columns[self._columns] = np.arange(len(self._columns))
        seen = np.zeros((len(described), len(self._columns)))
        norms = np.zeros(len(described))
        if described:
            rows = np.repeat(np.arange(len(described)), [len(each.items) for each in described])
            at = columns[np.concatenate([each.items for each in described])]
            roots = np.concatenate([each.roots for each in described])
            seen[rows[at >= 0], at[at >= 0]] = roots[at >= 0]
            norms += np.bincount(rows, roots**2, len(described))
        return Block(seen, norms)


class Structure:
    """Describes the architectures of a space by paths, by subtrees, and by their choices.

    Skips are contracted and what is on no path is left out, so that architectures which compute the same are described
    the same, except by their choices. Counts enter by their roots.

    Args:
        space: Whose architectures.
        kinds: Blocks made, in this order.
    """

    def __init__(self, space: Space, kinds: Sequence[BlockKind] = ("paths", "subtrees", "choices")) -> None:
        self._space, self._kinds = space, kinds
        self._subtrees = Subtrees(1, "both")
        self._paths, self._trees = _Items(), _Items()
        self._known: dict[Architecture, tuple[_Counts, _Counts]] = {}
        self._graphs: dict[Graph, tuple[_Counts, _Counts]] = {}

    def _describe(self, architecture: Architecture) -> tuple[_Counts, _Counts]:
        graph = self._space.graph(architecture)
        if graph not in self._graphs:
            live = graph.live()
            paths: Mapping[Any, int] = path_counts(live, contract_skips=True, max_length=_MAX_LENGTH)
            trees: Mapping[Any, int] = self._subtrees.count(contracted(live))
            # A graph without a path is not the graph of the empty path.
            self._graphs[graph] = self._paths.counts(paths or {None: 1}), self._trees.counts(trees)
        return self._graphs[graph]

    def _described(self, architectures: Sequence[Architecture]) -> tuple[list[_Counts], list[_Counts]]:
        if len(self._known) > _MAX_REMEMBERED:
            self._known.clear()
            self._graphs.clear()
        found = []
        for architecture in architectures:
            known = self._known.get(architecture)
            if known is None:
                known = self._known[architecture] = self._describe(architecture)
            found.append(known)
        return [paths for paths, _ in found], [trees for _, trees in found]

    def fit(self, architectures: Sequence[Architecture]) -> list[Block]:
        """Returns the blocks of architectures, and keeps which paths and subtrees there are."""
        paths, trees = self._described(architectures)
        self._paths.fit(paths)
        self._trees.fit(trees)
        return self(architectures)

    def __call__(self, architectures: Sequence[Architecture]) -> list[Block]:
        """Returns the blocks of architectures."""
        paths, trees = self._described(architectures)
        choices = np.asarray(self._space.encode(architectures), np.float64)
        blocks: dict[BlockKind, Block] = {
            "paths": self._paths.block(paths),
            "subtrees": self._trees.block(trees),
            "choices": Block(choices, (choices**2).sum(1)),
        }
        return [blocks[kind] for kind in self._kinds]
