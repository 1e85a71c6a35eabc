"""Halves of the train part: weights learn from one, what chooses architectures from the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from sartor.data import Rows
from sartor.errors import InputError


class Halves:
    """Two fixed random halves of the rows it is given, made once."""

    def __init__(self) -> None:
        self._made: tuple[Any, tuple[Rows, Rows]] | None = None

    def of(self, data: Any) -> tuple[Rows, Rows]:
        """Returns the halves; equal rows give equal halves in every process.

        Raises:
            InputError: The data are not rows, or fewer than two.
        """
        if self._made is None or self._made[0] is not data:
            if not isinstance(data, Rows) or len(data) < 2:
                raise InputError(
                    "choosing architectures on half of the train part needs sartor.data.Rows of at least 2 rows, got "
                    f"{type(data).__name__}"
                )
            order = np.random.default_rng(0).permutation(len(data))
            first, second = (np.sort(order[part :: 2]) for part in (0, 1))
            self._made = data, (Rows(**data.take(first)), Rows(**data.take(second)))
        return self._made[1]
