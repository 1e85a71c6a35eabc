"""What is to be predicted: numbers or classes, as a column has them, for all tasks that read tables. No torch."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from sartor.columns import Column
from sartor.errors import DataError, InputError, near

Purpose = Literal["auto", "regression", "classification"]

MAX_WHOLE_CLASSES = 10
"""A target of at most so many different whole numbers is taken for classes."""
MAX_CLASSES = 100
UNBALANCED = 20.0
"""Examples of the largest class over those of the smallest at which a person is told."""


def check_purpose(purpose: str) -> None:
    """Raises `InputError` where there is no such purpose."""
    if purpose not in get_args(Purpose):
        raise InputError(f"purpose: there is no {purpose!r}{near(purpose, get_args(Purpose))}")


def as_category(column: Column) -> Column:
    """Returns a column of numbers as one of categories."""
    if column.kind == "category":
        return column
    known = ~column.missing
    different, codes = np.unique(column.values[known], return_inverse=True)
    values = np.full(len(column), -1, np.int64)
    values[known] = codes
    return Column(column.name, "category", values, tuple(f"{value:g}" for value in different))


def read_target(
    column: Column, purpose: Purpose, notes: list[str], examples: str = "rows"
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Returns the target, its classes (none for numbers), and which examples have one.

    Args:
        column: Of the target, a value an example.
        purpose: What to predict.
        notes: Counted warnings are added here.
        examples: What they are called.

    Returns:
        float64 ``(n,)`` numbers, NaN where missing, or int64 positions in the classes, -1 where missing; the classes;
        bool ``(n,)``.

    Raises:
        DataError: it has one value, more than half are missing, too many classes, or does not fit the purpose.
    """
    known = ~column.missing
    num_missing = int((~known).sum())
    if num_missing:
        if num_missing > len(column) / 2:
            raise DataError(
                f"the target {column.name!r} is missing in {num_missing} of {len(column)} {examples}: more than half"
            )
        notes.append(f"{num_missing} {examples} have no target {column.name!r} and are left out")
    if column.kind == "date":
        raise DataError(f"the target {column.name!r} is of dates: expected numbers or categories")
    if purpose == "regression" and column.kind == "category":
        raise DataError(
            f"purpose regression, but the target {column.name!r} is of categories, e.g. {column.labels[:3]}"
        )
    if purpose == "auto":
        purpose = "classification" if column.kind == "category" else "regression"
        different = np.unique(column.values[known])
        whole = column.kind == "number" and bool((different == np.rint(different)).all())
        if whole and len(different) <= MAX_WHOLE_CLASSES:
            purpose = "classification"
            if len(different) > 2:
                notes.append(
                    f"the target {column.name!r} has {len(different)} different whole numbers, which are taken for"
                    " classes; --purpose regression predicts numbers"
                )
    if purpose == "regression":
        values = column.values.astype(np.float64)
        if len(np.unique(values[known])) < 2:
            raise DataError(f"the target {column.name!r} is the same in all {examples}: there is nothing to predict")
        return values, (), known
    categories = as_category(column)
    present = np.unique(categories.values[known])
    if len(present) < 2:
        raise DataError(
            f"the target {column.name!r} has one class, {categories.labels[int(present[0])]!r}: expected at least two"
            if len(present)
            else f"the target {column.name!r} has no value"
        )
    if len(present) > MAX_CLASSES:
        raise DataError(
            f"the target {column.name!r} has {len(present)} classes, e.g. {categories.labels[:3]}: at most"
            f" {MAX_CLASSES} are told apart; is it the right column, or one of numbers?"
        )
    position = np.full(len(categories.labels) + 1, -1, np.int64)
    position[present] = np.arange(len(present))
    return position[categories.values], tuple(categories.labels[i] for i in present), known


def check_training_target(
    y: np.ndarray, classes: tuple[str, ...], notes: list[str], examples: str = "rows"
) -> None:
    """Notes classes that are rare in the training part.

    Raises:
        DataError: a class has no example there, or numbers are all the same.
    """
    if not classes:
        if len(np.unique(y)) < 2:
            raise DataError(f"the target is the same in all {examples} of the training part")
        return
    counts = np.bincount(y, minlength=len(classes))
    absent = [classes[i] for i in np.flatnonzero(counts == 0)]
    if absent:
        raise DataError(
            f"the training part has no {examples} of {', '.join(map(repr, absent[:5]))}: add {examples} of these"
            f" classes, or leave their {examples} out"
        )
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[high] >= UNBALANCED * counts[low]:
        notes.append(
            f"classes are unbalanced: {classes[high]!r} has {counts[high]} training {examples}, {classes[low]!r}"
            f" {counts[low]}: look at balanced_accuracy too"
        )
