"""The density of architectures that Parzen estimators of each choice make together (Bergstra et al. 2011, section 4).

A choice is estimated from the architectures in which it is active, and counts where it is active: the density follows
the tree of conditions. Every estimate is mixed with a prior that is even over the choice. By the kind of choice:

- one of several values: their shares;
- numbers, and increasing numbers to choose from: truncated normals around those observed, as wide as the distance to
  the farther neighbour;
- subsets: the share of each size, and of each item, under conditional Bernoulli sampling (Chen, Dempster and Liu 1994,
  doi:10.1093/biomet/81.3.457);
- orders: the share of each item at each position, items placed one after the other.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from sartor.space._choices import Choice, Choices, Values
from sartor.space._domains import Combinations, Orders

Array = npt.NDArray[np.float64]

_LEAST_WIDTH = 100
"""A normal is no narrower than one part of so many of the range, or of one more than there are observations."""


class _Estimate(Protocol):
    """The density of one choice."""

    def log(self, values: Array) -> Array:
        """Returns the logarithm of the density at ``values``, ``[k]``."""
        ...

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Returns ``n`` values."""
        ...


class Parzen:
    """Estimates of all choices from some architectures.

    Args:
        choices: Of the space.
        values: Observed decisions, ``[n, num_choices]``, n may be 0.
        prior: Observations that the prior of a choice adds to each of its values, or to its range of numbers.
    """

    def __init__(self, choices: Choices, values: Values, prior: float) -> None:
        self._estimates = [
            _estimate(choice, own[~np.isnan(own)], prior) for choice, own in zip(choices.columns, values.T, strict=True)
        ]

    def log(self, values: Values) -> Array:
        """Returns the logarithms of the densities of decisions, ``[k]``."""
        total = np.zeros(len(values))
        for estimate, own in zip(self._estimates, values.T, strict=True):
            active = ~np.isnan(own)
            total[active] += estimate.log(own[active])
        return total

    def draw(self, n: int, rng: np.random.Generator) -> Values:
        """Returns ``n`` decisions for all choices, as if each were active, ``[n, num_choices]``."""
        return np.array([estimate.draw(n, rng) for estimate in self._estimates]).reshape(-1, n).T


def _estimate(choice: Choice, observed: Array, prior: float) -> _Estimate:
    if choice.kind == "number":
        return _Normals(observed, prior)
    if choice.kind == "members":
        assert isinstance(choice.domain, Combinations)
        return _Members(choice.domain, observed, prior)
    if choice.kind == "order":
        assert isinstance(choice.domain, Orders)
        return _Order(choice.domain, observed, prior)
    size = len(choice.domain)
    if choice.kind == "ordered":
        edges = np.arange(size + 1) / size
        return _Shares(_Normals((observed + 0.5) / size, prior).between(edges))
    return _Shares(np.asarray(np.bincount(observed.astype(np.intp), minlength=size) + prior, np.float64))


class _Shares:
    """Values with their shares, of any sum."""

    def __init__(self, shares: Array) -> None:
        self._shares = shares / shares.sum()
        self._logs = np.log(self._shares)

    def log(self, values: Array) -> Array:
        return np.asarray(self._logs[values.astype(np.intp)])

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        found = np.searchsorted(np.cumsum(self._shares), rng.random(n), side="right")
        return np.minimum(found, len(self._shares) - 1).astype(np.float64)


class _Normals:
    """Normals truncated to 0..1, one around each value observed and a wide one in the middle: the prior."""

    def __init__(self, observed: Array, prior: float) -> None:
        from scipy.special import ndtr

        centres, counts = np.unique(observed, return_counts=True)
        gaps = np.diff(np.concatenate([[0.0], centres, [1.0]]))
        least = 1.0 / min(_LEAST_WIDTH, len(observed) + 2)
        self._centres = np.append(centres, 0.5)
        self._widths = np.append(np.clip(np.maximum(gaps[:-1], gaps[1:]), least, 1.0), 1.0)
        self._weights = np.append(counts, prior) / (len(observed) + prior)
        self._low: Array = ndtr((0.0 - self._centres) / self._widths)
        self._high: Array = ndtr((1.0 - self._centres) / self._widths)

    def log(self, values: Array) -> Array:
        z = (values[:, None] - self._centres) / self._widths
        scale = self._weights / (self._widths * np.sqrt(2 * np.pi) * (self._high - self._low))
        return np.asarray(np.log(np.maximum(np.exp(-0.5 * z**2) @ scale, 1e-300)))

    def between(self, edges: Array) -> Array:
        """Returns the shares between edges from 0 to 1."""
        from scipy.special import ndtr

        below = ndtr((edges[:, None] - self._centres) / self._widths)
        shares = np.diff(below, axis=0) @ (self._weights / (self._high - self._low))
        return np.asarray(np.maximum(shares, 1e-300))

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        from scipy.special import ndtri

        which = rng.choice(len(self._weights), n, p=self._weights)
        level = self._low[which] + rng.random(n) * (self._high[which] - self._low[which])
        return np.asarray(np.clip(self._centres[which] + self._widths[which] * ndtri(level), 0.0, 1.0))


class _Members:
    """A size, then so many items by their odds, none twice."""

    def __init__(self, domain: Combinations, observed: Array, prior: float) -> None:
        self._domain = domain
        num, sizes = len(domain.names), np.array(domain.sizes)
        table = np.zeros((len(observed), num))
        for row, code in enumerate(observed.astype(np.intp).tolist()):
            table[row, list(domain.members(code))] = 1.0
        counts = np.bincount(np.searchsorted(sizes, table.sum(1)), minlength=len(sizes))
        self._sizes = _Shares(np.asarray(counts + prior, np.float64))
        share = (table.sum(0) + prior) / (len(table) + 2 * prior)
        self._odds: Array = share / (1.0 - share)
        # Sums over the subsets of the items from each one on, by their size, of the products of their odds.
        self._sums = np.zeros((num + 1, num + 2))
        self._sums[:, 0] = 1.0
        for item in reversed(range(num)):
            later = self._sums[item + 1]
            self._sums[item, 1:] = later[1:] + self._odds[item] * later[:-1]

    def log(self, values: Array) -> Array:
        members = [list(self._domain.members(code)) for code in values.astype(np.intp).tolist()]
        at = np.array([self._domain.sizes.index(len(each)) for each in members], np.float64)
        own = [np.log(self._odds[each]).sum() - np.log(self._sums[0, len(each)]) for each in members]
        return np.asarray(self._sizes.log(at) + np.array(own))

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        return np.array([self._one(int(at), rng) for at in self._sizes.draw(n, rng)], np.float64)

    def _one(self, at: int, rng: np.random.Generator) -> int:
        left, taken = self._domain.sizes[at], []
        for item in range(len(self._odds)):
            share = self._odds[item] * self._sums[item + 1, left - 1] / self._sums[item, left] if left else 0.0
            if rng.random() < share:
                taken.append(self._domain.names[item])
                left -= 1
        code = self._domain.code(tuple(taken))
        assert code is not None
        return code


class _Order:
    """Positions filled one after the other from the items left, by their shares there."""

    def __init__(self, domain: Orders, observed: Array, prior: float) -> None:
        self._domain = domain
        size = len(domain.items)
        self._shares = np.full((size, size), prior)
        for code in observed.astype(np.intp).tolist():
            self._shares[np.arange(size), list(domain.members(code))] += 1.0

    def log(self, values: Array) -> Array:
        return np.array([self._log_one(self._domain.members(code)) for code in values.astype(np.intp).tolist()])

    def _log_one(self, order: tuple[int, ...]) -> float:
        total = 0.0
        for position, item in enumerate(order):
            total += float(np.log(self._shares[position, item] / self._shares[position, list(order[position:])].sum()))
        return total

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        return np.array([self._one(rng) for _ in range(n)], np.float64)

    def _one(self, rng: np.random.Generator) -> int:
        left, order = list(range(len(self._domain.items))), []
        for shares in self._shares:
            own = shares[left]
            order.append(left.pop(int(rng.choice(len(left), p=own / own.sum()))))
        code = self._domain.code(tuple(self._domain.items[item] for item in order))
        assert code is not None
        return code
