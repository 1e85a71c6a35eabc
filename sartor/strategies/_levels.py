"""Non-domination levels kept up to date as points come in, without sorting all of them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Levels:
    """Levels of non-dominated sorting, by efficient non-domination level update (Li et al. 2017).

    A new point goes to the first level of which no member dominates it; the members it dominates go one level down,
    where they push others down in turn. Reference: doi:10.1109/TCYB.2016.2621008.

    Args:
        num_objectives: Columns of losses.

    Example:
        >>> levels = Levels(2)
        >>> for losses in ((1.0, 1.0), (0.0, 2.0), (0.0, 0.5)):
        ...     levels.add(losses)
        >>> levels.members
        [[2], [0, 1]]
    """

    def __init__(self, num_objectives: int) -> None:
        self._losses: npt.NDArray[np.float64] = np.empty((16, num_objectives))
        self._num = 0
        self.members: list[list[int]] = []
        """Positions of the points of each level, the front first."""

    def __len__(self) -> int:
        return self._num

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """All points in the order added, shape ``(num_points, num_objectives)``."""
        return self._losses[: self._num]

    def add(self, losses: Sequence[float]) -> None:
        """Adds a point; its position is the number of those before it."""
        if self._num == len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty_like(self._losses)])
        self._losses[self._num] = losses
        moving, level = [self._num], self._first_free(self._losses[self._num])
        self._num += 1
        while moving:
            if level == len(self.members):
                self.members.append(moving)
                return
            here = self.members[level]
            beaten = self._beaten(here, moving)
            self.members[level] = sorted([i for i, lost in zip(here, beaten, strict=True) if not lost] + moving)
            moving = [i for i, lost in zip(here, beaten, strict=True) if lost]
            level += 1

    def _first_free(self, point: npt.NDArray[np.float64]) -> int:
        """Returns the first level of which no member dominates the point, by bisection: after it too none does."""
        low, high = 0, len(self.members)
        while low < high:
            middle = (low + high) // 2
            members = self._losses[self.members[middle]]
            if ((members <= point).all(1) & (members < point).any(1)).any():
                low = middle + 1
            else:
                high = middle
        return low

    def _beaten(self, here: list[int], moving: list[int]) -> list[bool]:
        """Returns which of ``here`` one of ``moving`` dominates."""
        old, new = self._losses[here], self._losses[moving][:, None]
        dominated: npt.NDArray[np.bool_] = np.logical_and((new <= old).all(-1), (new < old).any(-1))
        return [bool(column.any()) for column in dominated.T]


def spread(losses: npt.NDArray[np.float64]) -> list[int]:
    """Returns the order of an epsilon-net: the best in the first objective, then always the farthest from those taken.

    Args:
        losses: Points of one level, shape ``(num_points, num_objectives)``.
    """
    span = np.ptp(losses, axis=0)
    first = int(np.lexsort(losses.T[::-1])[0])
    return farthest_first(losses / np.where(span > 0, span, 1.0), first, len(losses))


def farthest_first(points: npt.NDArray[np.float64], first: int, num: int) -> list[int]:
    """Returns the positions of up to ``num`` points, ``[n, d]``: the first, then always the farthest from those taken.

    Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5.
    """
    order = [first]
    distance = np.linalg.norm(points - points[first], axis=1)
    distance[first] = -1.0
    while len(order) < min(num, len(points)):
        farthest = int(distance.argmax())
        order.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(points - points[farthest], axis=1))
        distance[farthest] = -1.0
    return order
