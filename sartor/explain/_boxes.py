"""Exact means of regression trees over parts of a space, read off the boxes of their leaves.

Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance" (ICML, algorithm
2): a leaf is a box, so the mean of a tree with some choices held is a sum over leaves of its value times the product,
choice by choice, of the probability of what the leaf allows. Deviation: where a choice decides whether another one is
active, the probabilities of the other are those given the choice, so that no mean is taken over architectures that
cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.explain._columns import Column, Floats, Ints

_EXPECTED = 10.0
"""A level and an activity that never meet, though chance would have brought them together this often, exclude each
other."""


class Boxes:
    """The leaves of groups of trees.

    Args:
        columns: What the trees' features are of, features in order.
        groups: scikit-learn trees (``.tree_``), the same number in each group.
        drawn: Level of each of the space's uniform samples, -1 where inactive, ``[n, columns]``.
        weights: Column -> probabilities of its levels (inactive last), where samples do not tell.
    """

    def __init__(
        self, columns: Sequence[Column], groups: Sequence[Sequence[Any]], drawn: Ints, weights: Mapping[int, Floats]
    ) -> None:
        self._columns, self._drawn, self._weights = columns, drawn, weights
        sizes = [column.num_levels + 1 for column in columns]
        ends = np.cumsum(sizes)
        self._at = [slice(end - size, end) for end, size in zip(ends.tolist(), sizes, strict=True)]
        owner = [k for k, column in enumerate(columns) for _ in column.features]
        features = [row for column in columns for row in column.features]
        masks: list[npt.NDArray[np.bool_]] = []
        values, starts = [], []
        for trees in groups:
            starts.append(sum(len(mask) for mask in masks))
            for tree in trees:
                mask, value = self._leaves(tree, owner, features, int(ends[-1]))
                masks.append(mask)
                values.append(value / len(trees))
        self._starts = np.array(starts)
        allowed = np.concatenate(masks).astype(np.float64)
        self._parts = [np.ascontiguousarray(allowed[:, at]) for at in self._at]
        self._values = np.concatenate(values)
        self._shares = [self._share(k) for k in range(len(columns))]
        self._inside = np.stack([own @ p for own, p in zip(self._parts, self._shares, strict=True)])
        self.coupled = self._find_coupled()

    def _leaves(self, tree: Any, owner: Sequence[int], features: Sequence[Floats], width: int) -> tuple[Any, Floats]:
        nodes = tree.tree_
        allowed = np.ones((nodes.node_count, width), bool)
        for node in np.flatnonzero(nodes.children_left >= 0).tolist():
            feature = nodes.feature[node]
            left, right, at = nodes.children_left[node], nodes.children_right[node], self._at[owner[feature]]
            below = features[feature] <= nodes.threshold[node]
            allowed[left] = allowed[right] = allowed[node]
            allowed[left, at] &= below
            allowed[right, at] &= ~below
        leaf = nodes.children_left < 0
        return allowed[leaf], nodes.value[leaf, 0, 0]

    def _share(self, k: int) -> Floats:
        """Returns the probabilities of a column's levels, inactive last."""
        if k in self._weights:
            return self._weights[k]
        return self._shares_given(k, np.ones((len(self._drawn), 1), bool))[:, 0]

    def _shares_given(self, k: int, rows: npt.NDArray[np.bool_]) -> Floats:
        """Returns the probabilities of a column's levels among each choice of samples, ``[levels, choices]``."""
        size = self._columns[k].num_levels + 1
        at = np.eye(size)[self._drawn[:, k] % size]
        counts = at.T @ rows
        return np.asarray(counts / np.maximum(counts.sum(0), 1.0))

    def _find_coupled(self) -> npt.NDArray[np.bool_]:
        """Returns which columns exclude levels or activity of one another, ``[columns, columns]``."""
        num = len(self._columns)
        coupled = np.zeros((num, num), bool)
        active = self._drawn >= 0
        conditional = [k for k in range(num) if k not in self._weights and not active[:, k].all()]
        for i in range(num):
            if i in self._weights:
                continue
            size = self._columns[i].num_levels + 1
            own = self._drawn[:, i] % size
            total = np.bincount(own, minlength=size)
            for k in conditional:
                on = np.bincount(own, weights=active[:, k], minlength=size)
                rate = active[:, k].mean()
                never = ((on == 0) & (total * rate >= _EXPECTED)) | ((on == total) & (total * (1 - rate) >= _EXPECTED))
                if k != i and never.any():
                    coupled[i, k] = coupled[k, i] = True
        return coupled

    def joint(self, *held: int) -> Floats:
        """Returns how probable each combination of active levels of the columns is; sums to where all are active."""
        sizes = [self._columns[k].num_levels for k in held]
        if len(held) == 1 or not self.coupled[held[0], held[1]]:
            out = np.ones(())
            for k in held:
                out = np.multiply.outer(out, self._shares[k][:-1])
            return out
        rows = self._drawn[:, list(held)]
        rows = rows[(rows >= 0).all(1)]
        counts = np.bincount(np.ravel_multi_index(tuple(rows.T), sizes), minlength=int(np.prod(sizes)))
        return (counts / len(self._drawn)).reshape(sizes)

    def means(self, *held: int) -> Floats:
        """Returns the mean of each group at each combination of active levels, ``[groups, levels, ...]``."""
        sizes = [self._columns[k].num_levels for k in held]
        near = [k for k in range(len(self._columns)) if k not in held and self.coupled[list(held), k].any()]
        rest = [k for k in range(len(self._columns)) if k not in held and k not in near]
        weight = self._values * self._inside[rest].prod(0)
        if not near:
            inside = weight[:, None]
            for k in held:
                allowed = self._parts[k][:, :-1]
                inside = (inside[:, :, None] * allowed[:, None, :]).reshape(len(weight), -1)
            return np.add.reduceat(inside, self._starts).reshape(-1, *sizes)
        cells: list[tuple[int, ...]] = list(np.ndindex(*sizes))
        inside = np.repeat(weight[:, None], len(cells), 1)
        for i, k in enumerate(held):
            inside *= self._parts[k][:, [cell[i] for cell in cells]]
        meets = [self._drawn[:, k, None] == np.array([cell[i] for cell in cells]) for i, k in enumerate(held)]
        for k in near:
            given = [rows for i, rows in zip(held, meets, strict=True) if self.coupled[i, k]]
            inside *= self._parts[k] @ self._shares_given(k, np.logical_and.reduce(given))
        return np.add.reduceat(inside, self._starts).reshape(-1, *sizes)
