"""Which units go, so that a cost falls to a target: those whose loss counts least for what they cost.

Units go in blocks, so that what is left of a layer is a multiple that the runtime computes well (``runtime_multiple``).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sartor.compress.pruning.structure import Flags, Scores, Structure
from sartor.errors import BudgetError, InputError

_WIDTHS = {"AVX512": 16, "AVX2": 8}
"""Channels that kernels of ONNX Runtime take at a time, by what torch calls a processor's vector instructions."""

Cost = Callable[[Flags], float]


@dataclass(frozen=True)
class Choice:
    """Units that go.

    Attributes:
        gone: Bool, ``[num_units]``.
        cost: What is left of the cost that was counted.
        kept: Share of the scores that is left, 0..1.
    """

    gone: Flags
    cost: float
    kept: float


def choose(
    structure: Structure,
    scores: Scores,
    cost: Cost,
    target: float,
    *,
    prices: Scores | None = None,
    round_to: int = 1,
    least: float = 0.1,
) -> Choice:
    """Returns the units to remove for ``cost`` to be at most ``target``.

    Args:
        structure: Of the network.
        scores: Of each unit, higher stays, ``[num_units]``, finite.
        cost: Of the network without units.
        target: Upper bound.
        prices: What each unit costs: scores are divided by it. Without, they compare as they are.
        round_to: Units of a group that are left are a multiple of it, where the group has at least twice as many.
        least: Share of each group that stays.

    Raises:
        BudgetError: the target is below what is left when every group has its least; the message says how much.
        InputError: scores that are not finite, or numbers out of range.
    """
    if not np.isfinite(scores).all():
        raise InputError("expected finite scores of all units")
    if round_to < 1 or not 0 <= least < 1:
        raise InputError(f"expected round_to of at least 1 and least from 0 to below 1, got {round_to}, {least}")
    gone = np.zeros(structure.num_units, bool)
    queue: list[tuple[float, int, int]] = []
    blocks: list[list[np.ndarray]] = []
    for number, group in enumerate(structure.groups):
        order = group.units[np.argsort(scores[group.units], kind="stable")]
        blocks.append(_blocks(order, round_to, least))
        _push(queue, blocks[number], number, 0, scores, prices)
    now = cost(gone)
    while now > target and queue:
        _, number, block = heapq.heappop(queue)
        gone[blocks[number][block]] = True
        now = cost(gone)
        _push(queue, blocks[number], number, block + 1, scores, prices)
    if now <= target:
        now = _put_back(gone, blocks, scores, cost, target, now)
    else:
        raise BudgetError(
            f"pruning cannot bring the cost to {target:.4g}: with {least:.0%} of each layer left it is {now:.4g}"
        )
    return Choice(gone, now, kept_share(scores, gone))


def _put_back(
    gone: Flags, blocks: Sequence[Sequence[np.ndarray]], scores: Scores, cost: Cost, target: float, now: float
) -> float:
    """Puts back blocks, those worth most first, as long as the cost stays within the target; returns the cost."""
    while True:
        last = [next((b for b in reversed(own) if gone[b].all()), None) for own in blocks]
        for block in sorted((b for b in last if b is not None), key=lambda b: -float(scores[b].sum())):
            gone[block] = False
            with_it = cost(gone)
            if with_it <= target:
                now = with_it
                break
            gone[block] = True
        else:
            return now


def kept_share(scores: Scores, gone: Flags) -> float:
    """Returns the share of the scores that is left, 0..1."""
    total = float(scores.sum())
    return float(scores[~gone].sum()) / total if total > 0 else 1.0


def runtime_multiple() -> int:
    """Returns the channels that ONNX Runtime's kernels take at a time on this processor; 4 where that is not known.

    Its convolutions work on blocks of so many (``MlasNchwcGetBlockSize``): on a processor with blocks of 16, a network
    with 24 channels instead of 32 in its widest layers was measured 1.2 times slower, with 16 it was .78 of the time.
    """
    import torch

    return _WIDTHS.get(torch.backends.cpu.get_cpu_capability(), 4)


def smallest(structure: Structure, scores: Scores, round_to: int, least: float) -> Flags:
    """Returns all units that may go when each group keeps its least."""
    gone = np.zeros(structure.num_units, bool)
    for group in structure.groups:
        for block in _blocks(group.units[np.argsort(scores[group.units], kind="stable")], round_to, least):
            gone[block] = True
    return gone


def _blocks(order: np.ndarray, round_to: int, least: float) -> list[np.ndarray]:
    """Cuts units, least first, into blocks that may go one after the other."""
    size = round_to
    while size > 1 and len(order) < 2 * size:
        size //= 2
    keep = max(1, int(np.ceil(least * len(order))))
    keep = -(-keep // size) * size
    first = len(order) % size
    edges = [*([first] if first else []), *range(first + size, len(order) + 1, size)]
    edges = [edge for edge in edges if len(order) - edge >= keep]
    return [order[begin:end] for begin, end in zip([0, *edges], edges, strict=False)]


def _push(
    queue: list[tuple[float, int, int]],
    blocks: list[np.ndarray],
    number: int,
    block: int,
    scores: Scores,
    prices: Scores | None,
) -> None:
    if block < len(blocks):
        units = blocks[block]
        worth = float(scores[units].sum())
        price = float(prices[units].sum()) if prices is not None else float(len(units))
        heapq.heappush(queue, (worth / price if price > 0 else np.inf, number, block))
