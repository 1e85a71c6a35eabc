"""The parts of a data set and the promise that they do not leak. No torch: columns may be arrays or tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from sartor.columns import Column
from sartor.errors import DataError, InputError, near

Part = TypeVar("Part")

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PART_WORDS = {
    "train": TRAIN, "training": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION,
    "dev": VALIDATION, "test": TEST, "testing": TEST, "holdout": TEST,
}  # fmt: skip
_GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio spread evenly over 0..1 in every stretch (Weyl), so each stretch gives its share."""


class Sealed(Generic[Part]):
    """The test part: nothing reads it until ``open`` is called, and each opening is counted.

    Search, estimators and strategies are never given it; the step that tests finalists opens it once, on the record.
    """

    def __init__(self, make: Callable[[], Part]) -> None:
        self._make = make
        self.opened = 0

    def open(self) -> Part:
        self.opened += 1
        return self._make()


def check_shares(validation: float | None, test: float, split_seed: int) -> None:
    """Refuses options by which a data set cannot be split; ``validation`` is None where no such part is drawn.

    Raises:
        InputError: shares that leave less than a tenth for training, or a negative seed.
    """
    if not ((validation is None or 0 < validation < 1) and 0 <= test < 1 and (validation or 0) + test <= 0.9):
        raise InputError(
            "validation and test are shares that leave at least a tenth for training (test may be 0),"
            f" got {validation} and {test}"
        )
    if split_seed < 0:
        raise InputError(f"split_seed: expected 0 or more, got {split_seed}")


def named_parts(split: Column) -> np.ndarray:
    """Returns the part that a column names for each row: ``train``, ``validation`` or ``test``.

    Raises:
        DataError: an unknown word, with the near one; rows without a part.
    """
    if split.missing.any():
        raise DataError(f"{int(split.missing.sum())} rows have no part in the column {split.name!r}: fill them")
    words = [label.strip().lower() for label in split.labels]
    for word in words:
        if word not in PART_WORDS:
            raise DataError(f"column {split.name!r}: unknown part {word!r}{near(word, PART_WORDS)}")
    parts: np.ndarray = np.array([PART_WORDS[word] for word in words], object)[split.values]
    return parts


def draw_parts(
    parts: np.ndarray, ids: np.ndarray, target: np.ndarray, drawn: Sequence[tuple[str, float]], seed: int
) -> None:
    """Moves ids from training to the parts that are drawn: by shares of each class, or of the range of numbers.

    Args:
        parts: Of each row; changed.
        ids: Equal for rows that must be in one part.
        target: Numbers or positions of classes.
        drawn: Names and shares.
        seed: Of the draw.

    Raises:
        DataError: an id is in two given parts, or there are too few ids.
    """
    different, first, group = np.unique(ids, return_index=True, return_inverse=True)
    _check_given(parts, different, group)
    free = parts[first] == TRAIN
    if free.sum() < 2 * (1 + len(drawn)):
        raise DataError(f"{int(free.sum())} different ids for training are too few to draw {len(drawn)} parts from")
    rng = np.random.default_rng([seed, 0x7AB1E])
    order, place = spread(np.flatnonzero(free), target[first], rng)
    low = 0.0
    chosen = parts[first].copy()
    for part, share in drawn:
        inside = (place >= low) & (place < low + share)
        if not inside.any():
            inside[rng.integers(len(inside))] = True
        chosen[order[inside]] = part
        low += share
    parts[:] = chosen[group]


def share_out(num: int, validation: float, test: float, seed: int | None) -> np.ndarray:
    """Returns the part of each of so many, at least one in each part that has a share.

    Args:
        num: How many.
        validation, test: Shares; ``test`` may be 0.
        seed: Of the draw; None: in order, the first are for training, the last for the test.
    """
    num_validation = max(1, round(validation * num))
    num_test = max(1, round(test * num)) if test else 0
    part = np.array([TRAIN] * (num - num_validation - num_test) + [VALIDATION] * num_validation + [TEST] * num_test)
    if seed is None:
        return part
    return part[np.argsort(np.random.default_rng(seed).permutation(num))]


def spread(members: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions, those of like target as neighbours, and places in 0..1 of which each stretch has its share.

    Args:
        members: Positions in ``target``.
        target: Numbers or positions of classes.
        rng: Of the draw.
    """
    order = rng.permutation(members)
    order = order[np.argsort(target[order], kind="stable")]
    return order, (np.arange(len(order)) * _GOLDEN + rng.random()) % 1.0


def _check_given(parts: np.ndarray, different: np.ndarray, group: np.ndarray) -> None:
    names = sorted(set(parts.tolist()))
    code = np.array([names.index(part) for part in parts.tolist()])
    low, high = np.full(len(different), len(names)), np.full(len(different), -1)
    np.minimum.at(low, group, code)
    np.maximum.at(high, group, code)
    both = different[low < high]
    if len(both):
        raise DataError(
            f"{len(both)} ids are in two parts that the data give: all rows of an id must be in one part, or scores"
            " tell nothing about new ids"
        )


@dataclass(frozen=True)
class Splits:
    """The parts of a data set.

    Attributes:
        train, validation: Whatever the task's learner and ``predict`` read (usually ``Rows``).
        test: Sealed, or None when the task has none.
        folds: Pairs (train, validation) for cross-validation, or empty.
        ids: Part name -> integer ids (or group ids) of what it holds; ``check`` compares them.
        fingerprint: Hash of the content and of the split, for the record.
        notes: Counted warnings for the person: class imbalance, images skipped.
    """

    train: Any
    validation: Any
    test: Sealed[Any] | None = None
    folds: Sequence[tuple[Any, Any]] = ()
    ids: Mapping[str, np.ndarray] = field(default_factory=dict)
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        make: Callable[[np.ndarray], Any],
        index: Mapping[str, np.ndarray],
        ids: np.ndarray,
        *,
        fingerprint: str,
        notes: tuple[str, ...],
    ) -> Splits:
        """Returns the splits of rows that are in one place, checked; a part without rows is none.

        Args:
            make: Gives a part for the positions of its rows.
            index: Positions of the rows of ``train``, ``validation`` and ``test``.
            ids: Of all rows.
            fingerprint: Of content and split.
            notes: Counted warnings.

        Raises:
            DataError: an id is in two parts.
        """
        held = {name: rows for name, rows in index.items() if len(rows)}
        test = held.get("test")
        return cls(
            make(held["train"]),
            make(held["validation"]),
            None if test is None else Sealed(lambda: make(test)),
            ids={name: ids[rows] for name, rows in held.items()},
            fingerprint=fingerprint,
            notes=notes,
        ).check()

    def check(self) -> Splits:
        """Returns itself when no id is in two parts.

        Raises:
            DataError: some ids are in two parts; the message names the parts and the first ids.
        """
        names = list(self.ids)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                both = np.intersect1d(self.ids[first], self.ids[second])
                if len(both):
                    raise DataError(
                        f"{len(both)} ids are in both {first} and {second}, e.g. {both[:3].tolist()}: split by group"
                    )
        return self


def _rows_of(column: Any, index: np.ndarray) -> Any:
    """Returns ``column[index]``; a tensor is indexed twice as fast by a tensor as by an array."""
    if isinstance(column, np.ndarray):
        return column[index]
    import torch  # a column that is no array is a tensor: torch is loaded already

    return column[torch.from_numpy(index)]


class Rows:
    """Map-style rows: named columns of one length, numpy arrays or torch tensors.

    A batch is a pure function of (seed, draw), so nothing has to be saved to resume.
    """

    def __init__(self, **columns: Any) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"columns must have one length, got {lengths}")
        self.columns = columns
        self._length = next(iter(lengths.values()))
        self._order: tuple[tuple[int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return self._length

    def take(self, index: Any) -> dict[str, Any]:
        """Returns the rows at ``index`` (integer array or slice), a dict of columns."""
        if isinstance(index, np.ndarray) and index.dtype == np.int64:
            return {name: _rows_of(column, index) for name, column in self.columns.items()}
        return {name: column[index] for name, column in self.columns.items()}

    def _permutation(self, seed: int, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != (seed, epoch):
            self._order = ((seed, epoch), np.random.default_rng([seed, epoch]).permutation(self._length))
        return self._order[1]

    def index(self, size: int, seed: int, draw: int) -> np.ndarray:
        """Returns the row numbers of batch ``draw``: every epoch its own permutation, the ragged end dropped."""
        size = min(size, self._length)
        per_epoch = self._length // size
        epoch, k = divmod(draw, per_epoch)
        return self._permutation(seed, epoch)[k * size : (k + 1) * size]

    def batch(self, size: int, seed: int, draw: int) -> dict[str, Any]:
        return self.take(self.index(size, seed, draw))
