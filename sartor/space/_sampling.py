"""Uniform draws of code rows from a network's steps.

Rows are put together in 64-bit words: what a block contributes to a word is one look-up for all its variables and one
"or", whatever the number of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.space._network import Network, Single

CodeRows = npt.NDArray[np.signedinteger[Any]]
_Words = npt.NDArray[np.uint64]
_WORD_BYTES = 8


@dataclass(frozen=True, eq=False)
class _Step:
    """One look-up: an index is drawn (in a row of ``scope``), and words are read at it.

    Attributes:
        scope: Variables drawn before that decide the row.
        first: First index of each row.
        counts: Number of indices of each row.
        words: Number of the word -> its part by index.
        single: The variable that is drawn on its own instead, by alias; then indices are positions of its codes.
    """

    scope: tuple[int, ...]
    first: npt.NDArray[np.intp]
    counts: npt.NDArray[np.float64]
    words: tuple[tuple[int, _Words], ...]
    single: Single | None


class Sampler:
    """Draws rows of codes, uniformly over the solutions of ``network``.

    Args:
        network: What is drawn from.
        columns: Variable -> column of the rows; variables without one are drawn where needed and not shown.
        num_values: Number of codes of each variable that mean active; others are shown as -1.
        dtype: Of the rows.

    Raises:
        ValueError: There are no solutions.
    """

    def __init__(
        self, network: Network, columns: Mapping[int, int], num_values: Sequence[int], dtype: npt.DTypeLike
    ) -> None:
        self.network, self.width, self.dtype = network, len(columns), np.dtype(dtype)
        self._num_words = -(-self.width * self.dtype.itemsize // _WORD_BYTES)
        self._steps: list[_Step] = []
        none = np.zeros(1, np.intp), np.ones(1)
        for step in network.steps:
            if isinstance(step, Single):
                words = self._words(step.codes[:, None], [step.variable], columns, num_values)
                self._steps.append(_Step(step.scope, *none, words, step))
            else:
                words = self._words(step.codes, step.variables, columns, num_values)
                counts = np.diff(step.offsets).astype(np.float64)
                self._steps.append(_Step(step.scope, step.offsets[:-1], counts, words, None))

    def _words(
        self,
        codes: npt.NDArray[np.int32],
        variables: Sequence[int],
        columns: Mapping[int, int],
        num_values: Sequence[int],
    ) -> tuple[tuple[int, _Words], ...]:
        rows = np.zeros((len(codes), self._num_words * _WORD_BYTES // self.dtype.itemsize), self.dtype)
        touched: set[int] = set()
        for axis, variable in enumerate(variables):
            if variable in columns:
                own = codes[:, axis]
                rows[:, columns[variable]] = np.where(own >= num_values[variable], -1, own)
                touched.add(columns[variable] * self.dtype.itemsize // _WORD_BYTES)
        packed = rows.view(np.uint64)
        return tuple((word, np.ascontiguousarray(packed[:, word])) for word in sorted(touched))

    def draw(self, n: int, rng: np.random.Generator) -> CodeRows:
        """Returns ``n`` rows, ``[n, columns]``, contiguous along columns."""
        rows = np.empty((n, self._num_words), np.uint64)
        written = [False] * self._num_words
        known: dict[int, npt.NDArray[Any]] = {}
        for step in self._steps:
            if step.single is not None:
                index = self._alias(step.single, n, rng, known)
                known[step.single.variable] = step.single.codes[index]
            elif not step.scope:
                index = rng.integers(0, int(step.counts[0]), n)
            else:
                at = self.network.row_index(step.scope, known)
                index = step.first[at] + (rng.random(n) * step.counts[at]).astype(np.intp)
            for word, parts in step.words:
                if written[word]:
                    rows[:, word] |= parts[index]
                else:
                    rows[:, word] = parts[index]
                    written[word] = True
        return rows.view(self.dtype)[:, : self.width]

    def draw_one(self, rng: np.random.Generator) -> bytes:
        """Returns one row as bytes, faster than `draw` of one."""
        random = rng.random
        words = [0] * self._num_words
        known: dict[int, int] = {}
        for step in self._steps:
            at = 0
            for variable in step.scope:
                at = at * self.network.domains[variable] + known[variable]
            if step.single is not None:
                single = step.single
                width = single.threshold.shape[1]
                share = random() * width
                index = int(share)
                if share - index >= single.threshold.item(at, index):
                    index = single.alias.item(at, index)
                known[single.variable] = single.codes.item(index)
            else:
                index = step.first.item(at) + int(random() * step.counts.item(at))
            for word, parts in step.words:
                words[word] |= parts.item(index)
        row = np.array(words, np.uint64).tobytes()
        return row[: self.width * self.dtype.itemsize]

    def _alias(
        self, step: Single, n: int, rng: np.random.Generator, known: Mapping[int, npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        width = step.threshold.shape[1]
        share = rng.random(n) * width
        code = share.astype(np.intp)
        share -= code
        at = code
        if step.scope:
            at = self.network.row_index(step.scope, known) * width + code
        drawn: npt.NDArray[Any] = np.where(share < step.threshold.ravel()[at], code, step.alias.ravel()[at])
        return drawn
