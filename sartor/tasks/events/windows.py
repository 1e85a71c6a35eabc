"""Sequences of events as padded arrays, each with the window in which it was watched. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sartor.errors import DataError


@dataclass(frozen=True)
class Sequences:
    """Sequences of events, filled up to one length.

    Times count from the beginning of each sequence's window, in which the likelihood is taken; events before it, at
    negative times, are history that is known.

    Attributes:
        time: float64 ``(n, length)``, ascending; the window's end where there is no event.
        type: int64 ``(n, length)``, 0 where there is no event.
        present: bool ``(n, length)``: where an event is; from the left.
        origin: float64 ``(n,)``: where the history begins, at most 0.
        end: float64 ``(n,)``: of the window, above 0.
    """

    time: np.ndarray
    type: np.ndarray
    present: np.ndarray
    origin: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.end)

    @property
    def scored(self) -> np.ndarray:
        """Where an event of the window is, bool ``(n, length)``: after its beginning, history left out."""
        return self.present & (self.time > 0)

    def take(self, index: np.ndarray) -> Sequences:
        """Returns some of the sequences."""
        return Sequences(self.time[index], self.type[index], self.present[index], self.origin[index], self.end[index])


def padded(times: Sequence[np.ndarray], types: Sequence[np.ndarray], origin: np.ndarray, end: np.ndarray) -> Sequences:
    """Returns sequences of any lengths as one.

    Raises:
        DataError: no sequence has an event in its window.
    """
    length = max((len(each) for each in times), default=0)
    if not length:
        raise DataError("no sequence has an event: expected some")
    time = np.repeat(np.asarray(end, np.float64)[:, None], length, 1)
    kind = np.zeros((len(times), length), np.int64)
    present = np.zeros((len(times), length), bool)
    for row, (moments, labels) in enumerate(zip(times, types, strict=True)):
        time[row, : len(moments)] = moments
        kind[row, : len(moments)] = labels
        present[row, : len(moments)] = True
    return Sequences(time, kind, present, np.asarray(origin, np.float64), np.asarray(end, np.float64))
