"""Outputs of a served network used again for inputs that come again, or nearly, watched for what that costs in quality.

An input whose bytes are those of an earlier one gets its output without computing. Inputs that are only alike are used
for one another when a person asks for it (``threshold``), and only where a gate of theirs agrees: no similarity of
embeddings separates inputs of the same meaning from others ("from Rome to Paris" and its reverse are alike). Some of
these hits are computed all the same and compared; when the error is above the budget with confidence, near matches are
switched off for good, and the statistics say so.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sartor.errors import InputError

Embed = Callable[[tuple[Any, ...]], Tensor]
Gate = Callable[[tuple[Any, ...], tuple[Any, ...]], bool]
Distance = Callable[[Any, Any], float]

_CONFIDENCE = 1.645
"""Of one side, 95%: so many standard errors above the budget switch near matches off."""
_FEWEST_AUDITS = 10
_DRIFT_RATE = 0.02
"""Of the running means that show drift."""


@dataclass(frozen=True)
class Statistics:
    """What a cache did so far.

    Attributes:
        asked: Calls.
        exact: Answered by an equal input.
        near: Answered by a similar one.
        audited: Near matches that were computed all the same.
        error: Mean distance between what these would have got and what was right; NaN before the first.
        similarity: Running mean of how like the nearest kept input the calls were; NaN without near matches.
        evicted: Entries that went for age or room.
        entries, bytes: Kept now.
        near_matches: Whether similar inputs are used now.
        why_off: Why they are not, where they were.
    """

    asked: int
    exact: int
    near: int
    audited: int
    error: float
    similarity: float
    evicted: int
    entries: int
    bytes: int
    near_matches: bool
    why_off: str

    @property
    def hit_rate(self) -> float:
        """Share of the calls that were answered without computing, 0..1."""
        return (self.exact + self.near - self.audited) / self.asked if self.asked else 0.0


@dataclass
class _Entry:
    inputs: tuple[Any, ...]
    output: Any
    embedding: Tensor | None
    bytes: int
    made: float


class ReuseCache:
    """A function, such as a network in eval mode, with a memory. Safe to call from several threads.

    Args:
        function: Called with the inputs; the same inputs must give the same output.
        max_bytes: Of what is kept: inputs, outputs and embeddings. The entry unused longest goes first.
        max_age_s: Entries older than this are not used; None for no limit.
        threshold: Cosine of embeddings from which inputs are taken for one another, up to 1; None for equal ones only.
        embed: Maps inputs to a vector; the first input itself, flat, when None.
        gate: Must agree to a near match (of numbers, order, names); needed where there is a threshold.
        quality_budget: Largest mean distance of outputs that near matches may cost.
        distance: Of two outputs, at least 0; by default the share of rows whose largest entry is another, for
            tensors of two dimensions, else the relative difference.
        audit_every: One in so many near matches is computed all the same.
        clock: Seconds; for tests.

    Raises:
        InputError: a threshold without a gate, or numbers that make no sense.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        max_bytes: int = 64 * 2**20,
        max_age_s: float | None = None,
        threshold: float | None = None,
        embed: Embed | None = None,
        gate: Gate | None = None,
        quality_budget: float = 0.01,
        distance: Distance | None = None,
        audit_every: int = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_bytes < 1 or audit_every < 1 or (max_age_s is not None and max_age_s <= 0) or quality_budget < 0:
            raise InputError(
                "expected max_bytes and audit_every of at least 1, max_age_s above 0 and quality_budget of at least 0,"
                f" got {max_bytes}, {audit_every}, {max_age_s}, {quality_budget}"
            )
        if threshold is not None and not 0 < threshold <= 1:
            raise InputError(f"expected a threshold above 0 and up to 1, got {threshold}")
        if (threshold is None) != (gate is None):
            raise InputError(
                "near matches need both a threshold and a gate: similarity alone takes 'from Rome to Paris' for its"
                " reverse"
            )
        self._function, self._max_bytes, self._max_age_s = function, max_bytes, max_age_s
        self._threshold, self._gate = threshold, gate
        self._embed: Embed = _flat if embed is None else embed
        self._budget, self._distance = quality_budget, _difference if distance is None else distance
        self._audit_every, self._clock = audit_every, clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._asked = self._exact = self._near = self._evicted = self._bytes = 0
        self._errors: list[float] = []
        self._similarity = math.nan
        self._why_off = ""

    def __call__(self, *inputs: Any) -> Any:
        """Returns the function's output for the inputs, or what is used for it."""
        key = _key(inputs)
        with self._lock:
            self._asked += 1
            entry = self._fresh(key)
            if entry is not None:
                self._exact += 1
                self._entries.move_to_end(key)
                return entry.output
            near = self._threshold is not None and not self._why_off
        embedding = _unit(self._embed(inputs)) if near else None
        match = None
        if embedding is not None:
            with self._lock:
                match = self._nearest(embedding)
        if match is not None:
            assert self._gate is not None
            # The person's gate may be slow, and is asked outside of the lock.
            if not self._gate(inputs, match.inputs):
                match = None
        audited = False
        if match is not None:
            with self._lock:
                self._near += 1
                audited = self._near % self._audit_every == 0
            if not audited:
                return match.output
        output = self._function(*inputs)
        with self._lock:
            if audited:
                assert match is not None
                self._audit(self._distance(match.output, output))
            self._keep(key, inputs, output, embedding)
        return output

    def statistics(self) -> Statistics:
        """Returns what the cache did so far."""
        with self._lock:
            num = len(self._errors)
            return Statistics(
                asked=self._asked, exact=self._exact, near=self._near, audited=num,
                error=sum(self._errors) / num if num else math.nan, similarity=self._similarity,
                evicted=self._evicted, entries=len(self._entries), bytes=self._bytes,
                near_matches=self._threshold is not None and not self._why_off, why_off=self._why_off,
            )  # fmt: skip

    def clear(self) -> None:
        """Forgets all entries, as when the function changed; counts stay."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    # --- under the lock

    def _fresh(self, key: bytes) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and self._max_age_s is not None and self._clock() - entry.made > self._max_age_s:
            self._drop(key)
            return None
        return entry

    def _nearest(self, embedding: Tensor) -> _Entry | None:
        kept = [(key, entry) for key, entry in self._entries.items() if entry.embedding is not None]
        kept = [(key, entry) for key, entry in kept if self._fresh(key) is not None]
        if not kept:
            return None
        similarity = torch.stack([entry.embedding for _, entry in kept if entry.embedding is not None]) @ embedding
        best = int(similarity.argmax())
        found = float(similarity[best])
        before = found if math.isnan(self._similarity) else self._similarity
        self._similarity = before + _DRIFT_RATE * (found - before)
        assert self._threshold is not None
        if found < self._threshold:
            return None
        self._entries.move_to_end(kept[best][0])
        return kept[best][1]

    def _audit(self, error: float) -> None:
        self._errors.append(error)
        num = len(self._errors)
        if num < _FEWEST_AUDITS:
            return
        mean = sum(self._errors) / num
        deviation = math.sqrt(sum((each - mean) ** 2 for each in self._errors) / (num - 1))
        if mean - _CONFIDENCE * deviation / math.sqrt(num) > self._budget:
            self._why_off = (
                f"{num} audited near matches were off by {mean:.3g} on the mean, more than the budget of"
                f" {self._budget:g} with 95% confidence"
            )

    def _keep(self, key: bytes, inputs: tuple[Any, ...], output: Any, embedding: Tensor | None) -> None:
        size = _size(inputs) + _size(output) + (0 if embedding is None else _size(embedding))
        if size > self._max_bytes:
            return
        if key in self._entries:
            self._drop(key, evicted=False)
        self._entries[key] = _Entry(inputs, output, embedding, size, self._clock())
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes, *, evicted: bool = True) -> None:
        self._bytes -= self._entries.pop(key).bytes
        self._evicted += evicted


def _key(value: Any) -> bytes:
    """Returns a digest that is equal for equal inputs alone."""
    digest = hashlib.sha256()

    def feed(part: Any) -> None:
        if isinstance(part, Tensor):
            array = part.detach().cpu().contiguous()
            digest.update(f"tensor {array.dtype} {tuple(array.shape)} ".encode())
            digest.update(array.view(torch.uint8).numpy().tobytes() if array.numel() and array.dim() else
                          array.reshape(1).view(torch.uint8).numpy().tobytes() if array.numel() else b"")  # fmt: skip
        elif isinstance(part, (list, tuple)):
            digest.update(f"{type(part).__name__} {len(part)} ".encode())
            for each in part:
                feed(each)
        elif isinstance(part, (str, int, float, bool, bytes)) or part is None:
            text = repr(part).encode()
            digest.update(f"{type(part).__name__} {len(text)} ".encode() + text)
        else:
            raise InputError(
                f"a {type(part).__name__} is no input that can be compared: expected tensors, text, numbers"
            )

    feed(value)
    return digest.digest()


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return len(value) if isinstance(value, (str, bytes)) else 8


def _flat(inputs: tuple[Any, ...]) -> Tensor:
    if not inputs or not isinstance(inputs[0], Tensor):
        raise InputError("expected a tensor as first input, or embed, which maps inputs to a vector")
    return inputs[0].detach().float().flatten()


def _unit(vector: Tensor) -> Tensor:
    flat: Tensor = vector.detach().float().flatten().cpu()
    unit: Tensor = flat / flat.norm().clamp_min(1e-12)
    return unit


def _difference(kept: Any, right: Any) -> float:
    if not (isinstance(kept, Tensor) and isinstance(right, Tensor)):
        raise InputError("outputs are no tensors: say by distance how far apart two are")
    if kept.shape != right.shape:
        return math.inf
    if kept.dim() == 2:
        return float((kept.argmax(1) != right.argmax(1)).float().mean())
    return float((kept - right).norm() / right.norm().clamp_min(1e-12))
