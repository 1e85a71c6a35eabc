"""Which pairs of features interact: FAST on the residuals of an additive model (Lou et al. 2013, KDD, section 3).

For each pair, the residuals are fitted by one constant in each quadrant around a cut of both features; the best cut's
gain in squared error ranks the pair. Deviations: cuts are at quantiles; the residuals are of gradient boosting on
binned single features (the additive part of GA2M); heredity in its weak form: at least one feature of a pair matters
alone (Hao and Zhang 2014); each member of an ensemble ranks pairs by the rows that it learns from, so that the rows
which score it have had no say.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

NUM_BINS = 16
"""Bins of a feature in the test of pairs."""
MAIN_BINS = 64
"""Bins of a feature in the additive model."""
NUM_ROUNDS = 30
LEARNING_RATE = 0.5
PRIOR_ROWS = 2.0
"""Rows' worth of zero that a bin's step is shrunk by."""
HEIRS = 0.5
"""Share of the features, those that matter most alone, of which a pair needs one."""
FEW_FEATURES = 12
"""Up to so many features, all pairs are tested."""
MAX_ROWS = 20_000
"""Rows that are looked at, drawn evenly."""


def rank_pairs(x: np.ndarray, y: np.ndarray, num_classes: int) -> list[tuple[int, int]]:
    """Returns pairs of features, those whose interaction explains most of what single features leave first.

    Args:
        x: float ``(n, features)``, NaN where missing.
        y: Numbers, or classes 0 .. num_classes - 1, ``(n,)``.
        num_classes: 0 for numbers.
    """
    if len(y) > MAX_ROWS:
        rows = np.linspace(0, len(y) - 1, MAX_ROWS).astype(np.int64)
        x, y = x[rows], y[rows]
    fine = np.stack([binned(column, MAIN_BINS) for column in x.T], 1)
    residuals, strength = additive_residuals(fine, y, num_classes)
    coarse = np.stack([binned(column, NUM_BINS) for column in x.T], 1)
    num = x.shape[1]
    heirs = set(range(num))
    if num > FEW_FEATURES:
        heirs = set(np.argsort(-strength, kind="stable")[: max(2, round(HEIRS * num))].tolist())
    pairs = [(i, j) for i, j in combinations(range(num), 2) if i in heirs or j in heirs]
    gains = [interaction_gain(coarse[:, i], coarse[:, j], residuals) for i, j in pairs]
    return [pairs[k] for k in np.argsort(-np.array(gains), kind="stable").tolist()]


def agreed_pairs(rankings: Sequence[Sequence[tuple[int, int]]], num: int) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Returns the pairs that most members of an ensemble rank among their first, and who has which.

    Args:
        rankings: Of each member, its strongest pair first.
        num: Pairs to return; a member has those of them that are among its own first ``num``.

    Returns:
        The pairs, and bool ``(num, members)``. Each pair is some member's.
    """
    votes: dict[tuple[int, int], list[int]] = {}
    for ranking in rankings:
        for place, pair in enumerate(ranking[:num]):
            count, late = votes.get(pair, (0, 0))
            votes[pair] = [count + 1, late + place]
    pairs = sorted(votes, key=lambda pair: (-votes[pair][0], votes[pair][1], pair))[:num]
    first = [set(ranking[:num]) for ranking in rankings]
    return pairs, np.array([[pair in own for own in first] for pair in pairs], bool).reshape(len(pairs), len(first))


def binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Returns the bin of each value by quantiles, int64 ``(n,)``: 0 where missing, else 1 .. bins."""
    known = ~np.isnan(values)
    different = np.unique(values[known])
    if len(different) > bins:
        different = np.unique(np.quantile(values[known], np.linspace(0, 1, bins + 1)[1:]))
    codes = np.searchsorted(different, np.where(known, values, 0.0)) + 1
    return np.where(known, np.minimum(codes, bins), 0)


def additive_residuals(codes: np.ndarray, y: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Fits an additive model by cyclic gradient boosting on bins.

    Args:
        codes: Bins, int64 ``(n, features)``.
        y: Numbers or classes.
        num_classes: 0 for numbers.

    Returns:
        The residuals, float64 ``(n, outputs)`` (of two classes, one output), and the variance of each feature's term,
        ``(features,)``.
    """
    n, num = codes.shape
    if num_classes:
        wanted = np.eye(num_classes)[y][:, 1:] if num_classes == 2 else np.eye(num_classes)[y]
    else:
        wanted = ((y - y.mean()) / (y.std() or 1.0))[:, None]
    outputs = wanted.shape[1]
    # The mean is fitted before: rates of classes as log-odds.
    share = wanted.mean(0)
    if num_classes:
        # A class may be absent from the rows of a member.
        share = share.clip(0.5 / n, 1 - 0.5 / n)
    if num_classes == 2:
        score = np.tile(np.log(share / (1 - share)), (n, 1))
    else:
        score = np.tile(np.log(share) if num_classes else share, (n, 1))
    tables = np.zeros((num, int(codes.max()) + 1, outputs))
    counts = [np.bincount(column, minlength=tables.shape[1]) for column in codes.T]
    for _ in range(NUM_ROUNDS):
        for i in range(num):
            residual, curvature = _gradient(wanted, score, num_classes)
            for k in range(outputs):
                total = np.bincount(codes[:, i], residual[:, k], minlength=tables.shape[1])
                if num_classes:
                    weight = np.bincount(codes[:, i], curvature[:, k], minlength=tables.shape[1])
                else:
                    weight = counts[i]
                step = LEARNING_RATE * total / (weight + PRIOR_ROWS)
                tables[i, :, k] += step
                score[:, k] += step[codes[:, i]]
    strength = np.array([tables[i][codes[:, i]].var(0).sum() for i in range(num)])
    return _gradient(wanted, score, num_classes)[0], strength


def _gradient(wanted: np.ndarray, score: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    if not num_classes:
        return wanted - score, np.ones_like(score)
    if num_classes == 2:
        p = 1 / (1 + np.exp(-score))
    else:
        shifted = np.exp(score - score.max(1, keepdims=True))
        p = shifted / shifted.sum(1, keepdims=True)
    return wanted - p, p * (1 - p)


def interaction_gain(first: np.ndarray, second: np.ndarray, residuals: np.ndarray) -> float:
    """Returns by how much the best four quadrants lower the squared error of the residuals.

    Args:
        first, second: Bins of two features, int64 ``(n,)``, 0 where missing: such rows are not looked at.
        residuals: float64 ``(n, outputs)``.
    """
    known = (first > 0) & (second > 0)
    a, b = first[known] - 1, second[known] - 1
    shape = (int(a.max(initial=0)) + 1, int(b.max(initial=0)) + 1)
    if min(shape) < 2:
        return 0.0
    flat = a * shape[1] + b
    size = shape[0] * shape[1]

    def quadrants(weights: np.ndarray | None) -> np.ndarray:
        table = np.bincount(flat, weights, minlength=size).reshape(shape).cumsum(0).cumsum(1)
        low, left, below, all_ = table[:-1, :-1], table[:-1, -1:], table[-1:, :-1], table[-1, -1]
        return np.stack(np.broadcast_arrays(low, left - low, below - low, all_ - left - below + low))

    rows = np.maximum(quadrants(None), 1.0)
    total = np.zeros(rows.shape[1:])
    for k in range(residuals.shape[1]):
        weights = residuals[known, k]
        total += (quadrants(weights) ** 2 / rows).sum(0) - weights.sum() ** 2 / max(1, len(weights))
    return float(total.max())
