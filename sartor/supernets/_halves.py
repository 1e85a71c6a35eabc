"""Two parts of the train part: weights learn from one, what chooses architectures from the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from sartor.data import Rows
from sartor.errors import InputError


class Halves:
    """Two fixed random parts of the rows it is given, made once.

    Args:
        share: Of the rows, in the first part.

    Raises:
        InputError: A share outside (0, 1).
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 < share < 1:
            raise InputError(f"expected a share of the rows between 0 and 1 for the weights, got {share}")
        self.share = share
        self._made: tuple[Any, int, tuple[Rows, Rows]] | None = None

    def of(self, data: Any, seed: int = 0) -> tuple[Rows, Rows]:
        """Returns the parts; equal rows and seeds give equal parts in every process.

        Raises:
            InputError: The data are not rows, or too few.
        """
        if self._made is None or self._made[0] is not data or self._made[1] != seed:
            if not isinstance(data, Rows) or len(data) < 2:
                raise InputError(
                    "choosing architectures on a part of the train part needs sartor.data.Rows of at least 2 rows, got "
                    f"{type(data).__name__}"
                )
            size = min(max(1, round(self.share * len(data))), len(data) - 1)
            order = np.random.default_rng(seed).permutation(len(data))
            first, second = np.sort(order[:size]), np.sort(order[size:])
            self._made = data, seed, (Rows(**data.take(first)), Rows(**data.take(second)))
        return self._made[2]
