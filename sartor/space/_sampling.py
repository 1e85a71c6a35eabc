"""Uniform draws of code rows from a network's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.space._network import Block, Network, Single

CodeRows = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, eq=False)
class _Rows:
    """A block, its codes already as they stand in a row (-1 where inactive)."""

    scope: tuple[int, ...]
    first: npt.NDArray[np.intp]
    counts: npt.NDArray[np.int64]
    codes: CodeRows
    columns: slice | npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _One:
    """A variable drawn on its own, and its column when it has one."""

    step: Single
    column: int | None
    num_values: int


class Sampler:
    """Draws rows of codes, uniformly over the solutions of ``network``.

    Args:
        network: What is drawn from.
        columns: Variable -> column of the rows; variables without one are drawn where needed and not shown.
        num_values: Number of codes of each variable that mean active.
        dtype: Of the rows.

    Raises:
        ValueError: There are no solutions.
    """

    def __init__(
        self, network: Network, columns: Mapping[int, int], num_values: Sequence[int], dtype: npt.DTypeLike
    ) -> None:
        self.network, self.width, self.dtype = network, len(columns), np.dtype(dtype)
        self._steps: list[_Rows | _One] = []
        for step in network.steps:
            if isinstance(step, Single):
                self._steps.append(_One(step, columns.get(step.variable), num_values[step.variable]))
            else:
                self._steps.append(self._rows(step, columns, num_values))

    def _rows(self, block: Block, columns: Mapping[int, int], num_values: Sequence[int]) -> _Rows:
        shown = sorted((columns[v], axis, v) for axis, v in enumerate(block.variables) if v in columns)
        codes = np.empty((len(block.codes), len(shown)), self.dtype)
        for position, (_, axis, variable) in enumerate(shown):
            own = block.codes[:, axis]
            codes[:, position] = np.where(own >= num_values[variable], -1, own)
        at = [column for column, _, _ in shown]
        contiguous = bool(at) and at == list(range(at[0], at[0] + len(at)))
        where = slice(at[0], at[0] + len(at)) if contiguous else np.array(at, np.intp)
        return _Rows(block.scope, block.offsets[:-1], np.diff(block.offsets).astype(np.int64), codes, where)

    def draw(self, n: int, rng: np.random.Generator) -> CodeRows:
        """Returns ``n`` rows, ``[n, columns]``."""
        rows = np.empty((n, self.width), self.dtype)
        known: dict[int, npt.NDArray[Any]] = {}
        for step in self._steps:
            if isinstance(step, _Rows):
                if not step.scope:
                    index = rng.integers(0, len(step.codes), n, dtype=np.int32)
                else:
                    at = self.network.row_index(step.scope, known)
                    index = step.first[at] + (rng.random(n) * step.counts[at]).astype(np.intp)
                if step.codes.shape[1] == self.width:
                    np.take(step.codes, index, axis=0, out=rows, mode="clip")
                else:
                    rows[:, step.columns] = np.take(step.codes, index, axis=0, mode="clip")
            else:
                known[step.step.variable] = codes = self._one(step.step, n, rng, known)
                if step.column is not None:
                    rows[:, step.column] = np.where(codes >= step.num_values, -1, codes)
        return rows

    def _one(
        self, step: Single, n: int, rng: np.random.Generator, known: Mapping[int, npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        width = step.threshold.shape[1]
        share = rng.random(n) * width
        code = share.astype(np.intp)
        share -= code
        at = code
        if step.scope:
            at = self.network.row_index(step.scope, known).astype(np.intp) * width + code
        drawn: npt.NDArray[Any] = np.where(share < step.threshold.ravel()[at], code, step.alias.ravel()[at])
        return drawn
