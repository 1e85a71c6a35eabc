"""A finite-domain constraint network and bucket elimination over it (Dechter 1999, doi:10.1016/S0004-3702(99)00059-4).

Variables take codes ``0 .. domain - 1``; a factor says which combinations of some of them are allowed. Summing
variables out in turn gives the exact number of solutions; walking the same tables back gives exact uniform samples, the
list of all solutions without dead ends, and, with maxima for sums, the best solution.

A subtree of the elimination with few solutions is tabulated: drawing from it is then one table look-up for all its
variables, because uniform over solutions means uniform over the subtree's rows given what is above it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Codes: TypeAlias = npt.NDArray[np.intp]
_Floats: TypeAlias = npt.NDArray[np.float64]

BLOCK_ROWS = 1 << 15
"""Rows of one tabulated block: small enough for a processor's second-level cache."""
MAX_TABLE = 1 << 24
"""Most entries of a table in elimination (128 MiB)."""
_FEW = 64
_MAX_TABLE_LOG = math.log(MAX_TABLE)
_INT64_LIMIT = 61.0 * math.log(2.0)


class TooCoupledError(Exception):
    """The factors couple so many variables that no elimination order known here has small tables."""

    def __init__(self, variables: list[int], size: float) -> None:
        super().__init__(f"a table of {size:.3g} entries over {len(variables)} variables")
        self.variables, self.size = variables, size


@dataclass(frozen=True, eq=False)
class Factor:
    """Which codes of ``scope`` are allowed together: ``table[c0, c1, ...]``, one axis per variable."""

    scope: tuple[int, ...]
    table: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bucket:
    """What was known of a variable when it was summed out.

    Attributes:
        variable: Which one.
        scope: Variables it depends on, last eliminated first.
        table: Number of completions below, ``[*scope, variable]``, divided by ``exp(scale)``.
        children: Variables whose message came here.
        message_log: Largest logarithm of the number of completions over rows; -inf when there are none.
    """

    variable: int
    scope: tuple[int, ...]
    table: _Floats
    children: tuple[int, ...]
    scale: float
    message_log: float


@dataclass(frozen=True, eq=False)
class Block:
    """All solutions of some variables for each row of ``scope``: rows ``offsets[r]:offsets[r + 1]`` of ``codes``."""

    scope: tuple[int, ...]
    variables: tuple[int, ...]
    offsets: Codes
    codes: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Single:
    """One variable drawn given ``scope``, by the alias method (Walker 1977, doi:10.1145/355744.355749).

    Attributes:
        codes: What is drawn, by position in the tables below.
        threshold: ``[rows of scope, positions]``.
        alias: Position taken at or above the threshold.
        allowed: Which positions have solutions below.
    """

    scope: tuple[int, ...]
    variable: int
    codes: npt.NDArray[np.int32]
    threshold: _Floats
    alias: npt.NDArray[np.int32]
    allowed: npt.NDArray[np.bool_]


Step: TypeAlias = Block | Single


class Network:
    """Variables, factors, and what elimination says about them.

    Args:
        domains: Number of codes of each variable.
        factors: Constraints; a variable may have several.

    Raises:
        TooCoupledError: Elimination would need a table of more than `MAX_TABLE` entries.
    """

    def __init__(self, domains: Sequence[int], factors: Sequence[Factor]) -> None:
        self.domains = list(domains)
        self.order = _greedy_order(self.domains, factors)
        self._position = [0] * len(self.domains)
        for position, variable in enumerate(self.order):
            self._position[variable] = position
        self.factors = [self._sorted(factor) for factor in factors]

    def _sorted(self, factor: Factor) -> Factor:
        axes = sorted(range(len(factor.scope)), key=lambda axis: -self._position[factor.scope[axis]])
        if axes == list(range(len(axes))):
            return factor
        return Factor(tuple(factor.scope[axis] for axis in axes), factor.table.transpose(axes))

    # ---- elimination

    def _initial(self, unary: Mapping[int, _Floats] | None = None) -> list[list[tuple[tuple[int, ...], Any, int]]]:
        """Returns for each variable the tables in whose scope it is the first to go: ``(scope, table, from)``."""
        waiting: list[list[tuple[tuple[int, ...], Any, int]]] = [[] for _ in self.domains]
        for factor in self.factors:
            waiting[factor.scope[-1]].append((factor.scope, factor.table, -1))
        for variable, table in (unary or {}).items():
            waiting[variable].append(((variable,), table, -1))
        return waiting

    def _scope(self, variable: int, tables: list[tuple[tuple[int, ...], Any, int]]) -> tuple[int, ...]:
        if len(tables) == 1:
            return tables[0][0]
        found = {variable}.union(*(scope for scope, _, _ in tables))
        return tuple(sorted(found, key=self._position.__getitem__, reverse=True))

    def _aligned(self, scope: tuple[int, ...], own: tuple[int, ...], table: Any) -> Any:
        if own == scope:
            return table
        held = set(own)
        return table.reshape([self.domains[v] if v in held else 1 for v in scope])

    @cached_property
    def buckets(self) -> dict[int, Bucket]:
        """One per variable, in the order of elimination."""
        waiting = self._initial()
        scales: dict[int, float] = {}
        buckets: dict[int, Bucket] = {}
        for variable in self.order:
            tables = waiting[variable]
            scope = self._scope(variable, tables) if tables else (variable,)
            shape = [self.domains[v] for v in scope]
            product = np.ones(shape)
            scale = 0.0
            for own, table, source in tables:
                product *= self._aligned(scope, own, table)
                scale += scales[source] if source >= 0 else 0.0
            message = product.sum(-1)
            largest = float(message.max())
            log = scale + math.log(largest) if largest > 0 else -math.inf
            children = tuple(source for _, _, source in tables if source >= 0)
            buckets[variable] = Bucket(variable, scope[:-1], product, children, scale, log)
            if len(scope) > 1:
                if largest > 0:
                    message = message / largest
                    scale += math.log(largest)
                scales[variable] = scale
                waiting[scope[-2]].append((scope[:-1], message, variable))
        return buckets

    @cached_property
    def is_satisfiable(self) -> bool:
        return all(bucket.message_log > -math.inf for bucket in self.buckets.values())

    @cached_property
    def log_count(self) -> float:
        """Natural logarithm of the number of solutions."""
        return sum(bucket.message_log for bucket in self.buckets.values() if not bucket.scope)

    def count(self) -> int:
        """Returns the number of solutions, exactly."""
        waiting = self._initial()
        below = [math.log(size) for size in self.domains]  # of the largest number of completions, at most
        total = 1
        for variable in self.order:
            tables = waiting[variable]
            scope = self._scope(variable, tables) if tables else (variable,)
            below[variable] += sum(below[source] for _, _, source in tables if source >= 0)
            exact: Any = np.int64 if below[variable] < _INT64_LIMIT else object
            product: Any = np.ones([self.domains[v] for v in scope], dtype=np.int64).astype(exact, copy=False)
            for own, table, _ in tables:
                aligned = self._aligned(scope, own, table)
                if exact is object and aligned.dtype == bool:
                    aligned = aligned.astype(np.int64)
                product = product * aligned.astype(exact, copy=False)
            message = product.sum(-1)
            if len(scope) > 1:
                waiting[scope[-2]].append((scope[:-1], message, variable))
            else:
                total *= int(message)
        return total

    def best(self, scores: Mapping[int, _Floats]) -> tuple[list[int], float] | None:
        """Returns the solution with the largest sum of ``scores[variable][code]``, or None when there is none.

        Ties go to smaller codes.
        """
        waiting = self._initial()
        for factors in waiting:
            factors[:] = [(scope, np.where(table, 0.0, -np.inf), source) for scope, table, source in factors]
        for variable, table in scores.items():
            waiting[variable].append(((variable,), np.asarray(table, np.float64), -1))
        trail: list[tuple[int, tuple[int, ...], Any]] = []
        total = 0.0
        for variable in self.order:
            tables = waiting[variable]
            scope = self._scope(variable, tables) if tables else (variable,)
            product = np.zeros([self.domains[v] for v in scope])
            for own, table, _ in tables:
                product = product + self._aligned(scope, own, table)
            trail.append((variable, scope[:-1], product))
            message = product.max(-1)
            if len(scope) > 1:
                waiting[scope[-2]].append((scope[:-1], message, variable))
            else:
                total += float(message)
        if total == -math.inf:
            return None
        codes = [0] * len(self.domains)
        for variable, above, product in reversed(trail):
            codes[variable] = int(product[tuple(codes[v] for v in above)].argmax())
        return codes, total

    # ---- drawing and listing

    @cached_property
    def steps(self) -> list[Step]:
        """How solutions are drawn: variables one by one above, tabulated blocks below.

        Raises:
            ValueError: There are no solutions.
        """
        if not self.is_satisfiable:
            raise ValueError("no solution")
        buckets = self.buckets
        singles: list[Step] = []
        groups: dict[tuple[int, ...], list[Block]] = {}
        for variable in reversed(self.order):
            bucket = buckets[variable]
            above = bucket.scope[-1] if bucket.scope else None
            if above is not None and above not in self._split:
                continue  # inside the block of a variable above
            if variable in self._split:
                singles.append(_alias(bucket))
            else:
                groups.setdefault(bucket.scope, []).append(self._tabulate(variable))
        for scope, blocks in groups.items():
            blocks.sort(key=lambda block: min(block.variables))
            singles.extend(_merged(scope, blocks))
        return singles

    @cached_property
    def _split(self) -> set[int]:
        """Variables drawn one by one: above too many completions to tabulate. Those that decide nothing never are."""
        heavy: set[int] = set()
        split: set[int] = set()
        for variable in self.order:
            bucket = self.buckets[variable]
            if bucket.message_log == -math.inf:
                continue
            rows = math.exp(min(bucket.scale, 700.0)) * float(bucket.table.sum())
            if rows > BLOCK_ROWS or any(child in heavy for child in bucket.children):
                heavy.add(variable)
                if bucket.children:
                    split.add(variable)
        return split

    def _tabulate(self, variable: int) -> Block:
        bucket = self.buckets[variable]
        rows, own = np.nonzero(bucket.table.reshape(-1, self.domains[variable]) > 0)
        known: dict[int, npt.NDArray[Any]] = {variable: own}
        if bucket.scope:
            known.update(zip(bucket.scope, np.unravel_index(rows, bucket.table.shape[:-1]), strict=True))
        shape = dict(zip((*bucket.scope, variable), bucket.table.shape, strict=True))
        variables: list[int] = [variable]
        columns: list[npt.NDArray[Any]] = [own]
        for child in sorted(bucket.children):
            block = self._tabulate(child)
            at = np.zeros(len(rows), np.intp)
            for v in block.scope:
                at = at * shape[v] + known[v]
            repeat, index = _expand(block, at)
            rows = rows[repeat]
            known = {v: codes[repeat] for v, codes in known.items()}
            columns = [codes[repeat] for codes in columns] + list(block.codes[index].T)
            variables += block.variables
        total_rows = int(np.prod(bucket.table.shape[:-1], dtype=np.intp))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=total_rows))]).astype(np.intp)
        return Block(bucket.scope, tuple(variables), offsets, np.stack(columns, 1).astype(np.int32))

    def row_index(self, scope: tuple[int, ...], codes: Mapping[int, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Returns the row of ``scope``'s table for each column of ``codes``."""
        at: npt.NDArray[Any] = codes[scope[0]]
        for variable in scope[1:]:
            at = at * self.domains[variable] + codes[variable]
        return at

    def solutions(self, chunk: int = 1 << 16) -> Iterator[dict[int, npt.NDArray[Any]]]:
        """Yields all solutions, about ``chunk`` at a time, as variable -> codes; without dead ends."""
        if not self.is_satisfiable:
            return
        steps = self.steps

        def extend(known: dict[int, npt.NDArray[Any]], size: int, depth: int) -> Iterator[dict[int, npt.NDArray[Any]]]:
            if depth == len(steps):
                yield known
                return
            step = steps[depth]
            at = self.row_index(step.scope, known) if step.scope else np.zeros(size, np.intp)
            # Rows are extended few enough at a time that what they become fits into a chunk.
            counts = np.diff(step.offsets)[at] if isinstance(step, Block) else step.allowed.sum(1)[at]
            ends = np.cumsum(counts)
            start = 0
            while start < size:
                done = int(ends[start - 1]) if start else 0
                stop = max(int(np.searchsorted(ends, done + chunk, side="right")), start + 1)
                if isinstance(step, Block):
                    repeat, index = _expand(step, at[start:stop])
                    made = dict(zip(step.variables, step.codes[index].T, strict=True))
                else:
                    repeat, positions = np.nonzero(step.allowed[at[start:stop]])
                    made = {step.variable: step.codes[positions]}
                repeat += start
                for first in range(0, len(repeat), chunk):
                    part = slice(first, first + chunk)
                    kept = repeat[part]
                    frame = {variable: codes[kept] for variable, codes in known.items()}
                    frame.update((variable, codes[part]) for variable, codes in made.items())
                    yield from extend(frame, len(kept), depth + 1)
                start = stop

        yield from extend({}, 1, 0)


def _expand(block: Block, at: npt.NDArray[Any]) -> tuple[Codes, Codes]:
    """Returns, for every solution of ``block`` in each row ``at``, which element of ``at`` and which of its codes."""
    first = block.offsets[at]
    counts = block.offsets[at + 1] - first
    repeat = np.repeat(np.arange(len(at)), counts)
    start = np.cumsum(counts) - counts
    return repeat, first[repeat] + np.arange(len(repeat)) - start[repeat]


def _merged(scope: tuple[int, ...], blocks: list[Block]) -> list[Block]:
    """Joins blocks under one scope into products of at most `BLOCK_ROWS` rows: fewer look-ups a sample."""
    merged: list[Block] = []
    for block in blocks:
        if merged:
            last = merged[-1]
            counts = np.diff(last.offsets) * np.diff(block.offsets)
            if int(counts.sum()) <= BLOCK_ROWS:
                rows = np.repeat(np.arange(len(counts)), np.diff(last.offsets))
                repeat, index = _expand(block, rows)
                codes = np.concatenate([last.codes[repeat], block.codes[index]], 1)
                offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
                merged[-1] = Block(scope, last.variables + block.variables, offsets, codes)
                continue
        merged.append(block)
    return merged


def _alias(bucket: Bucket) -> Single:
    weights = bucket.table.reshape(-1, bucket.table.shape[-1])
    used = np.flatnonzero(weights.any(0))
    weights = np.ascontiguousarray(weights[:, used])
    width = len(used)
    totals = weights.sum(1, keepdims=True)
    scaled = np.divide(weights * width, totals, out=np.ones_like(weights), where=totals > 0)
    threshold = np.ones_like(scaled)
    alias = np.tile(np.arange(width, dtype=np.int32), (len(scaled), 1))
    uneven = np.flatnonzero(np.abs(scaled - 1.0).max(1) > 1e-12)
    if width <= _FEW:
        _fill_together(scaled, threshold, alias, uneven)
    else:
        for row in uneven.tolist():
            _fill(scaled[row].tolist(), threshold[row], alias[row])
    # Rounding may leave a position just short of 1 with nothing to fill it: never let it yield a forbidden code.
    forbidden = (weights == 0.0) & (totals > 0)
    wrong = forbidden & ((threshold > 0.0) | np.take_along_axis(forbidden, alias.astype(np.intp), 1))
    rows, positions = np.nonzero(wrong)
    threshold[rows, positions] = 0.0
    alias[rows, positions] = weights[rows].argmax(1)
    return Single(bucket.scope, bucket.variable, used.astype(np.int32), threshold, alias, weights > 0)


def _fill(rest: list[float], threshold: _Floats, alias: npt.NDArray[np.int32]) -> None:
    """Fills one row's tables in time linear in its positions (Vose 1991, doi:10.1109/32.92917)."""
    small = [k for k, share in enumerate(rest) if share < 1.0]
    large = [k for k, share in enumerate(rest) if share >= 1.0]
    while small and large:
        low, high = small.pop(), large[-1]
        threshold[low], alias[low] = rest[low], high
        rest[high] -= 1.0 - rest[low]
        if rest[high] < 1.0:
            small.append(large.pop())


def _fill_together(scaled: _Floats, threshold: _Floats, alias: npt.NDArray[np.int32], rows: Codes) -> None:
    """Fills many rows of few positions at once: in each round a row's least full position takes from its fullest."""
    rest = scaled[rows]
    open_ = np.ones_like(rest, bool)
    every = np.arange(len(rows))
    for _ in range(rest.shape[1] - 1):
        low = np.where(open_, rest, np.inf).argmin(1)
        open_[every, low] = False
        high = np.where(open_, rest, -np.inf).argmax(1)
        short = np.minimum(rest[every, low], 1.0)
        threshold[rows, low] = short
        alias[rows, low] = high
        rest[every, high] -= 1.0 - short


def _greedy_order(domains: Sequence[int], factors: Sequence[Factor]) -> list[int]:
    """Returns an elimination order: the variable whose table is smallest first, later variables first among equals."""
    near: list[set[int]] = [set() for _ in domains]
    for factor in factors:
        for variable in factor.scope:
            near[variable].update(factor.scope)
    for variable, around in enumerate(near):
        around.discard(variable)
    logs = [math.log(size) if size > 1 else 0.0 for size in domains]

    def cost(variable: int) -> float:
        return round(logs[variable] + sum(logs[v] for v in near[variable]), 9)

    costs = [cost(variable) for variable in range(len(domains))]
    heap = [(each, -variable) for variable, each in enumerate(costs)]
    heapq.heapify(heap)
    order: list[int] = []
    done = [False] * len(domains)
    while heap:
        known, negative = heapq.heappop(heap)
        variable = -negative
        if done[variable] or known != costs[variable]:
            continue
        if known > _MAX_TABLE_LOG:
            raise TooCoupledError(sorted({variable, *near[variable]}), math.exp(min(known, 700.0)))
        done[variable] = True
        order.append(variable)
        around = near[variable]
        for other in around:
            near[other] |= around
            near[other] -= {other, variable}
        for other in around:
            updated = cost(other)
            if updated != costs[other]:
                costs[other] = updated
                heapq.heappush(heap, (updated, -other))
    return order
