"""The continuous cache: a language model that remembers which words followed states like the present one.

Grave, Joulin and Usunier 2017, "Improving Neural Language Models with a Continuous Cache", arXiv:1612.04426. Of the
last ``size`` steps, the hidden state and the token that came next are kept; the cache's distribution is

    p_cache(w | h_t)  ~  sum over kept i of 1[x_{i+1} = w] exp(theta h_t . h_i)

and is mixed into the model's: ``p = (1 - weight) p_model + weight p_cache``. Nothing is trained. ``theta`` (the inverse
temperature) and ``weight`` depend on the size and are tuned on validation data for each size (`tune`): values that suit
a cache of 100 steps hurt one of 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sartor.errors import InputError

_CHUNK = 256
"""Steps whose products with the cache are held at once."""


def _check(size: int, theta: float, weight: float) -> None:
    if size < 1 or not (math.isfinite(theta) and theta >= 0) or not 0 <= weight < 1:
        raise InputError(
            f"expected a size of at least 1, a theta of at least 0 and a weight from 0 to below 1, got {size}, {theta},"
            f" {weight}"
        )


class ContinuousCache:
    """A cache that is filled as a sequence goes on, for one sequence at a time.

    Args:
        size: Steps that are kept, the latest ones.
        theta: Inverse temperature of the similarity, at least 0: 0 is a plain count of recent tokens.
        weight: Of the cache in the mixture, from 0 to below 1.

    Example:
        >>> cache = ContinuousCache(size=2, theta=0.0, weight=0.5)
        >>> uniform = torch.full((3,), 1 / 3)
        >>> cache.mix(uniform, torch.zeros(4)).tolist() == uniform.tolist()
        True
        >>> cache.add(torch.zeros(4), 2)
        >>> [round(value, 3) for value in cache.mix(uniform, torch.zeros(4)).tolist()]
        [0.167, 0.167, 0.667]
    """

    def __init__(self, size: int, theta: float, weight: float) -> None:
        _check(size, theta, weight)
        self.size, self.theta, self.weight = size, theta, weight
        self._states: Tensor | None = None
        self._tokens = torch.zeros(size, dtype=torch.int64)
        self._seen = 0

    def __len__(self) -> int:
        return min(self._seen, self.size)

    def add(self, hidden: Tensor, token: int) -> None:
        """Keeps a hidden state ``(d,)`` and the token that followed it; the oldest goes when the cache is full."""
        if self._states is None:
            self._states = hidden.new_zeros(self.size, len(hidden))
        place = self._seen % self.size
        self._states[place] = hidden.detach()
        self._tokens[place] = token
        self._seen += 1

    def mix(self, probabilities: Tensor, hidden: Tensor) -> Tensor:
        """Returns the mixture of the model's distribution ``(vocabulary,)`` with the cache's at a hidden state."""
        if not len(self):
            return probabilities
        assert self._states is not None
        kept = len(self)
        shares = (self.theta * (self._states[:kept] @ hidden)).softmax(0)
        own = torch.zeros_like(probabilities).index_add_(0, self._tokens[:kept], shares.to(probabilities))
        return (1 - self.weight) * probabilities + self.weight * own

    def clear(self) -> None:
        """Forgets all, where another text begins."""
        self._seen = 0


def _cache_probabilities(hidden: Tensor, targets: Tensor, size: int, thetas: Sequence[float]) -> Tensor:
    """Returns what a cache gives the true token of each step, ``(thetas, n)``; NaN where it is empty."""
    found = hidden.new_full((len(thetas), len(targets)), math.nan)
    for begin in range(1, len(targets), _CHUNK):
        end = min(begin + _CHUNK, len(targets))
        first = max(0, begin - size)
        # Step t reads the states of steps t - size to t - 1, whose next tokens are known by then.
        products = hidden[begin:end] @ hidden[first : end - 1].T
        step = torch.arange(begin, end)[:, None]
        kept = torch.arange(first, end - 1)[None, :]
        readable = (kept < step) & (kept >= step - size)
        same = targets[first : end - 1][None, :] == targets[begin:end, None]
        for number, theta in enumerate(thetas):
            shares = (theta * products).masked_fill(~readable, -math.inf).softmax(1)
            found[number, begin:end] = (shares * same).sum(1)
    return found


def _mixed(log_probabilities: Tensor, cached: Tensor, weight: float) -> Tensor:
    own = log_probabilities.exp()
    mixture = torch.where(cached.isnan(), own, (1 - weight) * own + weight * cached)
    return mixture.log()


def cached_log_likelihood(
    hidden: Tensor, targets: Tensor, log_probabilities: Tensor, *, size: int, theta: float, weight: float
) -> Tensor:
    """Returns the log-probability of each step's true token under the mixture, ``(n,)``, in nats.

    The same as `ContinuousCache` gives step by step, computed for a whole text at once.

    Args:
        hidden: State of the model at each step of a text, ``(n, d)``.
        targets: The token that followed, int64 ``(n,)``.
        log_probabilities: What the model gave that token, ``(n,)``, in nats.
        size, theta, weight: Of the cache.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a cache that cannot be.
    """
    _check(size, theta, weight)
    _check_text(hidden, targets, log_probabilities)
    cached = _cache_probabilities(hidden, targets, size, [theta])[0]
    return _mixed(log_probabilities, cached, weight)


def _check_text(hidden: Tensor, targets: Tensor, log_probabilities: Tensor) -> None:
    if hidden.dim() != 2 or targets.shape != hidden.shape[:1] or log_probabilities.shape != targets.shape:
        raise InputError(
            "expected hidden states (n, d), and n targets and log-probabilities, got"
            f" {tuple(hidden.shape)}, {tuple(targets.shape)}, {tuple(log_probabilities.shape)}"
        )
    if not bool(hidden.isfinite().all()) or not bool(log_probabilities.isfinite().all()):
        raise InputError("hidden states or log-probabilities are not finite: the model has diverged")


@dataclass(frozen=True)
class Tuned:
    """The best mixture for a size, on the text that it was tuned on.

    Attributes:
        size, theta, weight: Of the cache.
        perplexity: With it.
        before: Perplexity of the model alone.
    """

    size: int
    theta: float
    weight: float
    perplexity: float
    before: float


def tune(
    hidden: Tensor,
    targets: Tensor,
    log_probabilities: Tensor,
    *,
    sizes: Sequence[int] = (100, 500, 2000),
    thetas: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    weights: Sequence[float] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
) -> list[Tuned]:
    """Returns, for each size, the inverse temperature and weight of the lowest perplexity on a validation text.

    Args:
        hidden, targets, log_probabilities: As for `cached_log_likelihood`.
        sizes: Of caches.
        thetas: For states as long as one: they are divided by the mean square of the states' lengths.
        weights: With 0, a cache that does not help is left out.

    Raises:
        InputError: as `cached_log_likelihood`.
    """
    _check_text(hidden, targets, log_probabilities)
    scale = float(hidden.square().sum(1).mean())
    found = []
    before = float((-log_probabilities.mean()).exp())
    for size in sizes:
        scaled = [10 * theta / scale for theta in thetas]
        cached = _cache_probabilities(hidden, targets, size, scaled)
        options = []
        for theta, row in zip(scaled, cached, strict=True):
            for weight in weights:
                _check(size, theta, weight)
                options.append((float((-_mixed(log_probabilities, row, weight).mean()).exp()), theta, weight))
        perplexity, theta, weight = min(options)
        found.append(Tuned(size, theta, weight, perplexity, before))
    return found
