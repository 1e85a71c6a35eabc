"""An architecture of any space as a sequence of tokens, and which tokens can follow: for networks that write them.

Tokens are the variables of the constraint network in reverse order of elimination. In this order the tables of the
elimination say exactly which codes have a completion (adaptive consistency, Dechter and Pearl 1987,
doi:10.1016/0004-3702(87)90002-6), so that a sequence of allowed tokens never meets a dead end. A choice of many values
(a subset, an order) takes several tokens, the digits of its code; a number of a float range takes one, of equal bins.

Predicates on whole architectures are not known before the end: `Walk.architectures` gives None where they reject.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sartor.errors import SpaceError
from sartor.space import _vary
from sartor.space._architecture import Architecture
from sartor.space._network import Network

if TYPE_CHECKING:
    from sartor.space._space import Space

Tokens: TypeAlias = npt.NDArray[np.int64]
_Bools: TypeAlias = npt.NDArray[np.bool_]

NUM_BINS = 16
"""Values of a float range's token."""
_MAX_VALUES = 64
"""Values of one token; a choice of more takes several."""
_RADIX = 32


@dataclass(frozen=True, eq=False)
class _Decision:
    """A variable and its tokens.

    Attributes:
        variable: Of the network.
        scope: Variables decided before that say which codes are allowed.
        radices: Number of values of each token; none when the scope leaves one code.
        allowed: For each token ``[rows of scope * values of the tokens before, values]``.
        only: Code by row of scope, for a variable without tokens.
        binned: Whether another token follows with the number's bin.
    """

    variable: int
    scope: tuple[int, ...]
    radices: tuple[int, ...]
    allowed: tuple[_Bools, ...]
    only: Tokens
    binned: bool


class Walk:
    """The sequences of tokens that are architectures of a space.

    Args:
        space: Whose architectures.

    Raises:
        SpaceError: No architecture satisfies the constraints, or they couple too many choices.

    Attributes:
        sizes: Number of values of each token, ``num_tokens`` of them; every sequence has all tokens.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._network: Network = space._rules.network
        if not self._network.is_satisfiable:
            raise SpaceError("no architecture satisfies the constraints: " + space._constraint_names())
        self._decisions = [self._decision(variable) for variable in reversed(self._network.order)]
        sizes: list[int] = []
        for decision in self._decisions:
            sizes += [*decision.radices, *([NUM_BINS] if decision.binned else [])]
        self.sizes: tuple[int, ...] = tuple(sizes)

    def _decision(self, variable: int) -> _Decision:
        bucket = self._network.buckets[variable]
        size = self._network.domains[variable]
        table = bucket.table.reshape(-1, size) > 0
        slots = self.space._compiled.slots
        binned = variable < len(slots) and slots[variable].kind == "number"
        binned = binned and slots[variable].key not in self.space._rules.fixed
        if table.sum(1).max() <= 1:
            return _Decision(variable, bucket.scope, (), (), table.argmax(1), binned)
        radices: list[int] = []
        left = size
        while left > _MAX_VALUES:
            radices.insert(0, _RADIX)
            left = math.ceil(left / _RADIX)
        radices.insert(0, left)
        padded = np.zeros((len(table), math.prod(radices)), bool)
        padded[:, :size] = table
        allowed: list[_Bools] = []
        for i in range(len(radices)):
            before = len(table) * math.prod(radices[:i])
            allowed.append(np.logical_or.reduce(padded.reshape(before, radices[i], -1), axis=2))
        return _Decision(variable, bucket.scope, tuple(radices), tuple(allowed), np.zeros(0, np.int64), binned)

    @property
    def num_tokens(self) -> int:
        return len(self.sizes)

    def begin(self, n: int) -> Prefixes:
        """Returns ``n`` sequences without tokens yet."""
        return Prefixes(self, n)

    def allowed(self, tokens: Tokens) -> tuple[_Bools, _Bools]:
        """Returns what could have followed each prefix of ``tokens`` (``[n, num_tokens]``), and which rows are valid.

        Returns:
            ``[n, num_tokens, max(sizes)]`` and ``[n]``. Behind a token that is not allowed, what follows is undefined.
        """
        prefixes = self.begin(len(tokens))
        found = np.zeros((len(tokens), self.num_tokens, max(self.sizes, default=0)), bool)
        for at in range(self.num_tokens):
            own = prefixes.allowed()
            found[:, at, : own.shape[1]] = own
            prefixes.append(tokens[:, at])
        return found, prefixes.valid

    def tokens(self, architectures: Sequence[Mapping[str, Any]]) -> Tokens:
        """Returns the sequences of architectures of the space, ``[n, num_tokens]``."""
        slots = self.space._compiled.slots
        parsed = [self.space._parse(architecture) for architecture in architectures]
        codes = np.array([codes for codes, _ in parsed], np.int64).reshape(len(parsed), len(slots))
        known: dict[int, Tokens] = {
            index: np.where(codes[:, index] < 0, slot.num_values, codes[:, index]) for index, slot in enumerate(slots)
        }
        for helper in range(len(slots), len(self._network.domains)):
            known[helper] = self._helper(helper, known, len(parsed))
        columns: list[Tokens] = []
        for decision in self._decisions:
            left = known[decision.variable]
            for i in range(len(decision.radices)):
                below = math.prod(decision.radices[i + 1 :])
                columns.append(left // below)
                left = left % below
            if decision.binned:
                node = slots[decision.variable].node
                shares = [
                    node.share(numbers[decision.variable]) if decision.variable in numbers else 0.0
                    for _, numbers in parsed
                ]
                columns.append(np.clip((np.array(shares) * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1))
        return np.stack(columns, 1) if columns else np.zeros((len(parsed), 0), np.int64)

    def _helper(self, helper: int, known: Mapping[int, Tokens], n: int) -> Tokens:
        """Returns the codes of a helper variable, which the variables known before it determine."""
        possible = np.ones((n, self._network.domains[helper]), bool)
        for factor in self._network.factors:
            if helper in factor.scope and all(v in known or v == helper for v in factor.scope):
                last = np.moveaxis(factor.table, factor.scope.index(helper), -1)
                possible &= last[tuple(known[v] for v in factor.scope if v != helper)]
        found: Tokens = possible.argmax(1)
        return found

    def architectures(self, tokens: Tokens, rng: np.random.Generator) -> list[Architecture | None]:
        """Returns what valid sequences stand for; None where a predicate on whole architectures rejects it.

        Args:
            tokens: ``[n, num_tokens]``, every row valid.
            rng: Draws the number within a bin.
        """
        prefixes = self.begin(len(tokens))
        for at in range(self.num_tokens):
            prefixes.append(tokens[:, at])
        return prefixes.architectures(rng)


class Prefixes:
    """Sequences being written, all equally long.

    Attributes:
        valid: Which have had allowed tokens alone, ``[n]``.
    """

    def __init__(self, walk: Walk, n: int) -> None:
        self._walk = walk
        self.valid: _Bools = np.ones(n, bool)
        self._known: dict[int, Tokens] = {}
        self._bins: dict[int, Tokens] = {}
        self._at = 0
        """Position among the decisions."""
        self._digit = 0
        self._rows: Tokens = np.zeros(n, np.int64)
        """Row of the next token's table."""
        self._advance()

    def _advance(self) -> None:
        """Decides what has no token, up to the next that has one."""
        decisions, domains = self._walk._decisions, self._walk._network.domains
        while self._at < len(decisions):
            decision = decisions[self._at]
            self._rows = np.zeros(len(self.valid), np.int64)
            for variable in decision.scope:
                self._rows = self._rows * domains[variable] + self._known[variable]
            if decision.radices:
                return
            self._known[decision.variable] = decision.only[self._rows]
            if decision.binned:
                return
            self._at += 1

    def allowed(self) -> _Bools:
        """Returns which values the next token can have, ``[n, its size]``."""
        decision = self._walk._decisions[self._at]
        if self._digit < len(decision.radices):
            found: _Bools = decision.allowed[self._digit][self._rows]
            return found
        bins = np.ones((len(self.valid), NUM_BINS), bool)
        bins[self._known[decision.variable] != 0, 1:] = False
        return bins

    def append(self, tokens: Tokens) -> None:
        """Adds a token to each, ``[n]``."""
        decision = self._walk._decisions[self._at]
        self.valid = self.valid & self.allowed()[np.arange(len(tokens)), tokens]
        if self._digit < len(decision.radices):
            self._rows = self._rows * decision.radices[self._digit] + tokens
            self._digit += 1
            if self._digit < len(decision.radices):
                return
            codes = self._rows % math.prod(decision.radices)
            # Digits of an invalid sequence may be beyond the last code.
            self._known[decision.variable] = np.minimum(codes, self._walk._network.domains[decision.variable] - 1)
            if decision.binned:
                return
        else:
            self._bins[decision.variable] = tokens
        self._at, self._digit = self._at + 1, 0
        self._advance()

    def architectures(self, rng: np.random.Generator) -> list[Architecture | None]:
        """See `Walk.architectures`."""
        space = self._walk.space
        slots = space._compiled.slots
        columns = [self._known[index] for index in range(len(slots))]
        made: list[Architecture | None] = []
        for row in range(len(self.valid)):
            codes = [
                -1 if (code := int(column[row])) >= slot.num_values else code
                for slot, column in zip(slots, columns, strict=True)
            ]
            numbers = {
                index: slots[index].node.value((int(bins[row]) + rng.random()) / NUM_BINS)
                for index, bins in self._bins.items()
                if codes[index] >= 0
            }
            made.append(_vary._finish(space, codes, numbers, rng))
        return made
