"""One rank of several training-free scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

AGGREGATE = "aggregate"
"""What it is called beside the scores that it is made of."""
INGREDIENTS = ("az-expressivity", "growth", "logsynflow", "naswot")
"""Of Sartor's own: how rich features are and become, how much flows, how well samples are told apart."""


def aggregate(
    columns: Mapping[str, Sequence[float] | npt.NDArray[np.float64]], names: Sequence[str] = INGREDIENTS
) -> npt.NDArray[np.float64]:
    """Returns the sum of the logarithms of the ranks by each score, from minus infinity (dead) to 0 (best), ``[n]``.

    A rank is the share of the architectures that are not better; ties share theirs. One bad score counts for more than
    one good one, as in AZ-NAS (Lee and Ham 2024, arXiv:2403.19232). What a score calls dead is dead.

    Args:
        columns: Scores by the proxies' names, ``[n]`` each, higher is better.
        names: Of those that count.

    Raises:
        KeyError: One of them is missing.
    """
    from scipy.stats import rankdata

    found = [np.asarray(columns[name], np.float64) for name in names]
    total = np.zeros(len(found[0]))
    for column in found:
        dead = ~(column > -math.inf)
        total += np.where(dead, -math.inf, np.log(rankdata(np.where(dead, -math.inf, column)) / len(column)))
    return total
