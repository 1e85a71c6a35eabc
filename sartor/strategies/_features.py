"""What a surrogate sees of an architecture: its choices, its paths, and training-free scores where there are some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sartor.contracts import Encoding
from sartor.errors import InputError
from sartor.space import Architecture, Space
from sartor.space.encodings._survey import MAX_LISTED, listed

Scores = Callable[[Sequence[Architecture]], npt.NDArray[np.float64]]
"""Architectures to training-free scores, ``[n, k]``, k >= 1, all finite; higher is better."""

_NUM_LOOKED_AT = 32
"""Architectures that tell whether a space is one of chains."""
_NUM_SCORED = 2_000
_NUM_REFERENCE = 1_000
"""Architectures whose scores say what is much."""


def branches(space: Space) -> bool:
    """Returns whether architectures are graphs of several paths, not chains: choices one by one do not say all."""
    if not space.is_wired:
        return False
    drawn = space.sample(np.random.default_rng(0), _NUM_LOOKED_AT)
    return any(len(graph.edges) >= len(graph.labels) for graph in map(space.graph, drawn))


class Features:
    """Descriptions of the architectures of a space, kept for those that were asked for.

    One may be shared by several strategies on a space.

    Args:
        space: Of the architectures.
        scores: Training-free scores, or None.
    """

    def __init__(self, space: Space, scores: Scores | None = None) -> None:
        self.space, self._scores = space, scores
        self._rows: dict[Architecture, list[npt.NDArray[np.float64]]] = {}
        self._keys: dict[Architecture, str] = {}
        self._last: tuple[dict[Architecture, int], list[npt.NDArray[np.float64]]] = {}, []

    @cached_property
    def listed(self) -> Mapping[str, Architecture]:
        """All architectures of a small space by their keys, one of each class of the same network; else none."""
        first: dict[str, Architecture] = {}
        for architecture in listed(self.space) or ():
            first.setdefault(self.key(architecture), architecture)
        return first

    @cached_property
    def groups(self) -> list[npt.NDArray[np.float64]]:
        """Descriptions of `listed`."""
        return self.describe(list(self.listed.values()))

    def key(self, architecture: Architecture) -> str:
        """Returns a text that is equal for architectures known to be the same network."""
        known = self._keys.get(architecture)
        if known is not None:
            return known
        if self.space.is_wired:
            from sartor.space.encodings._isomorphism import canonical_key

            key = canonical_key(self.space.graph(architecture).live())
        else:
            key = architecture.to_json()
        if len(self._keys) < MAX_LISTED:
            self._keys[architecture] = key
        return key

    def of(self, architectures: Sequence[Architecture]) -> list[npt.NDArray[np.float64]]:
        """Returns descriptions as `describe` does, and keeps them."""
        new = [a for a in dict.fromkeys(architectures) if a not in self._rows]
        if new:
            made = self.describe(new)
            for i, architecture in enumerate(new):
                self._rows[architecture] = [group[i] for group in made]
        rows = [self._rows[a] for a in architectures]
        return [np.stack([row[k] for row in rows]) for k in range(len(rows[0]))]

    def again(self, architectures: Sequence[Architecture]) -> list[npt.NDArray[np.float64]]:
        """Returns descriptions as `describe` does, and keeps those of the last call: many candidates come back."""
        at, groups = self._last
        new = [a for a in dict.fromkeys(architectures) if a not in at]
        if new:
            made = self.describe(new)
            num = len(groups[0]) if groups else 0
            groups = [np.concatenate(each) for each in zip(groups, made, strict=True)] if groups else made
            at = at | {a: num + i for i, a in enumerate(new)}
        rows = [at[a] for a in architectures]
        groups = [group[rows] for group in groups]
        self._last = {a: i for i, a in enumerate(architectures)}, groups
        return groups

    @cached_property
    def promising(self) -> Sequence[Architecture]:
        """The tenth of the space, or of 2,000 drawn, that the scores call best by their mean quantile; else none."""
        if self._scores is None:
            return ()
        found = list(self.listed.values()) or self.space.sample(np.random.default_rng(1), _NUM_SCORED)
        order = np.argsort(-self._scored(found).mean(1), kind="stable")
        return [found[i] for i in order[: max(1, len(found) // 10)]]

    # --- descriptions

    @cached_property
    def branches(self) -> bool:
        """See `branches`."""
        return branches(self.space)

    def describe(self, architectures: Sequence[Architecture]) -> list[npt.NDArray[np.float64]]:
        """Returns descriptions, ``[n, features]`` each; the first has the choices one by one."""
        groups = [np.asarray(self.space.encode(architectures), np.float64)]
        if self._paths is not None:
            groups.append(self._paths(architectures))
        if self._scores is not None:
            groups.append(self._scored(architectures))
        return groups

    @cached_property
    def _paths(self) -> Encoding | None:
        """Counts of paths where graphs have several; in a chain, choices one by one say all."""
        if not self.branches:
            return None
        from sartor.space.encodings.path import Path

        return Path(self.space, contract_skips=True)

    @cached_property
    def _reference(self) -> npt.NDArray[np.float64]:
        """Scores of architectures drawn once, sorted in each column."""
        drawn = self.space.sample(np.random.default_rng(0), _NUM_REFERENCE)
        return np.sort(self._raw(drawn), axis=0)

    @property
    def scored(self) -> Scores | None:
        """Scores as normal quantiles among those of architectures drawn from the space, ``[n, k]``; None without."""
        return None if self._scores is None else self._scored

    def _scored(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        from scipy.special import ndtri

        raw, reference = self._raw(architectures), self._reference
        columns = []
        for column, known in zip(raw.T, reference.T, strict=True):
            below = np.searchsorted(known, column, side="left") + np.searchsorted(known, column, side="right")
            columns.append(ndtri((below / 2 + 0.5) / (len(known) + 1)))
        return np.stack(columns, axis=1)

    def _raw(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        assert self._scores is not None
        raw = np.asarray(self._scores(architectures), np.float64)
        raw = raw[:, None] if raw.ndim == 1 else raw
        if raw.shape[0] != len(architectures) or not np.isfinite(raw).all():
            raise InputError(f"scores are finite numbers, [{len(architectures)}, k], got shape {raw.shape}")
        return raw
