"""One feature an option: what `Space.encode` gives, as float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sartor.registry import Spec
from sartor.space import Architecture, Space

SPEC = Spec("one-hot", "sartor.space.encodings.one_hot:OneHot", "one feature an option, of every choice")


class OneHot:
    """Encodes choices one by one, whatever the space.

    Args:
        space: Whose architectures are encoded.
        seed: Not used.
    """

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self._space = space

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        return np.asarray(self._space.encode(architectures), dtype=np.float64)
