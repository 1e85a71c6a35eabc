"""How far one score can be trusted to order networks as another does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEW = 10
"""Below this many networks a rank correlation is given with its chance and no further judgement."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of two scores of the same networks.

    Attributes:
        n: Number of networks that have both.
        kendall: Kendall's tau-b in [-1, 1], or None where it is undefined (fewer than 2, or a constant score).
        spearman: Spearman's rho in [-1, 1], or None where it is undefined.
        chance: Probability that unrelated scores agree or disagree at least as strongly by tau, or None.
        shift: Mean of second minus first; NaN without networks.
        words: What this allows to say.
    """

    n: int
    kendall: float | None
    spearman: float | None
    chance: float | None
    shift: float
    words: str


def agreement(
    first: Sequence[float], second: Sequence[float], names: tuple[str, str] = ("first", "second")
) -> Agreement:
    """Compares two scores, each of shape ``(n,)``; pairs with a value that is not finite are left out.

    Kendall 1938 (tau-b, Kendall 1945, for ties) and Spearman 1904, both as in SciPy.
    """
    pairs = np.array([(a, b) for a, b in zip(first, second, strict=True) if math.isfinite(a) and math.isfinite(b)])
    n = len(pairs)
    if n == 0:
        return Agreement(0, None, None, None, math.nan, "No network has both scores yet.")
    shift = float(np.mean(pairs[:, 1] - pairs[:, 0]))
    if n == 1:
        words = "Only one network has both scores: there is no order to compare."
        return Agreement(1, None, None, None, shift, words)
    constant = [name for name, values in zip(names, pairs.T, strict=True) if np.ptp(values) == 0]
    if constant:
        subject = f"The {' and the '.join(constant)} score{' is' if len(constant) == 1 else 's are'}"
        words = f"{subject} the same for all {n} networks: rank correlation is undefined."
        return Agreement(n, None, None, None, shift, words)
    tau = stats.kendalltau(pairs[:, 0], pairs[:, 1])
    kendall, chance = float(tau.statistic), float(tau.pvalue)
    spearman = float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    return Agreement(n, kendall, spearman, chance, shift, _words(n, kendall, chance, names[0]))


def _words(n: int, kendall: float, chance: float, first: str) -> str:
    if n == 2:
        return "Two networks are in either the same or the opposite order: this says nothing about the rest."
    share = (1 + kendall) / 2
    pairs = "All pairs are in the same order." if kendall == 1 else f"About {share:.0%} of the pairs agree in order."
    if chance > 0.05:
        unproven = f"unrelated scores would look at least this strongly related with probability {chance:.2f}"
        return f"{pairs} With {n} networks, {unproven}: take the order as unproven."
    if n < FEW:
        return f"{pairs} Few networks, yet unrelated scores would look like this only with probability {chance:.2g}."
    if kendall < 0:
        return f"{pairs} The order is reversed: do not trust the {first} score."
    strength = "well" if kendall >= 0.7 else "roughly" if kendall >= 0.4 else "weakly"
    return f"{pairs} The {first} score orders the networks {strength}."
