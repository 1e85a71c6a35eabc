"""Sets of channels that can only go together: a union-find over numbered places of tensors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Ids = npt.NDArray[np.int64]

FIXED = 0
"""Label of what cannot go."""
ANY = -1
"""Label of an element of a uniform constant, which fits whatever stands beside it."""


class Units:
    """Labels, which are joined to units: what has one root stays or goes together. 0 is the unit that stays."""

    def __init__(self) -> None:
        self._count = 1
        self._pairs: list[Ids] = []
        self._num_joined = 0
        self._roots: Ids = np.zeros(1, np.int64)
        self._reasons: dict[int, str] = {}

    def new(self, count: int) -> Ids:
        """Returns new labels, ``[count]``."""
        labels = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return labels

    def roots(self, labels: Ids) -> Ids:
        """Returns the unit of each label: its smallest label, so that what is joined to 0 is 0. ``ANY`` stays."""
        if len(self._pairs) > self._num_joined or len(self._roots) < self._count:
            grown = np.arange(self._count, dtype=np.int64)
            grown[: len(self._roots)] = self._roots
            self._roots = _joined(self._count, [np.stack((np.arange(self._count), grown)),
                                                *self._pairs[self._num_joined :]])
            self._num_joined = len(self._pairs)
        return np.where(labels >= 0, self._roots[np.maximum(labels, 0)], labels)

    def union(self, left: Ids, right: Ids) -> None:
        """Joins labels pairwise; ``ANY`` joins nothing."""
        left, right = np.broadcast_arrays(left, right)
        # Where both are only looked at again and again, one look is enough.
        where = tuple(
            slice(1) if a == b == 0 else slice(None) for a, b in zip(left.strides, right.strides, strict=True)
        )
        left, right = left[where].ravel(), right[where].ravel()
        met = (left >= 0) & (right >= 0) & (left != right)
        if met.any():
            both = np.unique(left[met] * self._count + right[met])
            self._pairs.append(np.stack(np.divmod(both, self._count)))

    def fix(self, labels: Ids, reason: str) -> None:
        """Lets labels stay, and keeps why."""
        kept = np.unique(labels[labels > 0])
        if len(kept):
            for label in kept.tolist():
                self._reasons.setdefault(label, reason)
            self._pairs.append(np.stack((kept, np.zeros_like(kept))))

    def reason(self, labels: Ids) -> str:
        """Returns why labels stay: the reason given for one that they are joined to."""
        own = [pairs[:, (pairs != FIXED).all(0)] for pairs in self._pairs]
        component = _joined(self._count, own)
        wanted = set(component[labels[labels > 0]].tolist())
        found = [text for label, text in self._reasons.items() if int(component[label]) in wanted]
        return found[0] if found else "it stands beside something whose size cannot change"


def _joined(count: int, pairs: list[Ids]) -> Ids:
    """Returns the smallest label of each label's component."""
    left, right = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    number, component = connected_components(graph, directed=False)
    smallest = np.full(number, count, np.int64)
    np.minimum.at(smallest, component, np.arange(count))
    return np.asarray(smallest[component], np.int64)
