"""Labelled pictures in memory, whatever file they came from."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sartor.data import PART_WORDS
from sartor.errors import DataError, near
from sartor.tasks.images.preprocess import Form

TRAIN, VALIDATION, TEST, UNASSIGNED = 0, 1, 2, -1
PART_NAMES = ("train", "validation", "test")
_PART_WORDS = {word: PART_NAMES.index(part) for word, part in PART_WORDS.items()}

MAX_SIDE = 64
"""Largest side chosen for a person who does not choose: a search trains many networks."""
MIN_SIDE = 8


@dataclass(frozen=True)
class Labelled:
    """Pictures of one form with their labels.

    Attributes:
        pixels: uint8, shape ``(n, channels, height, width)``.
        labels: int64, shape ``(n,)``: positions in ``classes``.
        parts: int8, shape ``(n,)``: the part that the data give each, or ``UNASSIGNED``.
        classes: Names.
        form: Of the pictures.
        notes: Counted warnings.
    """

    pixels: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    classes: tuple[str, ...]
    form: Form
    notes: tuple[str, ...] = ()


def part_word(name: str) -> int | None:
    """Returns the part that a folder's or a split's name stands for, or None."""
    return _PART_WORDS.get(name.strip().lower())


def part_of_word(name: str, where: str) -> int:
    """Returns the part that a split's name stands for.

    Raises:
        DataError: for none; the message has the near name.
    """
    part = part_word(name)
    if part is None:
        raise DataError(f"{where}: unknown split {name!r}{near(name.lower(), _PART_WORDS)}")
    return part


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Returns a key that sorts ``2`` before ``10``."""
    pieces = re.split(r"(\d+)", name)
    return tuple((0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces if piece)


def encode_labels(names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns labels as positions (int64) in the naturally sorted class names, and these."""
    classes = tuple(sorted(set(names), key=natural))
    position = {name: i for i, name in enumerate(classes)}
    return np.fromiter((position[name] for name in names), np.int64, len(names)), classes


def check_classes(classes: Sequence[str], where: str) -> None:
    """Raises a ``DataError`` when there are fewer than two classes."""
    if len(classes) < 2:
        raise DataError(
            f"{where}: expected images of at least two classes, got {len(classes)}"
            f"{f' ({classes[0]!r})' if classes else ''}: put the images of each class in a folder of its own, or give"
            " each its label"
        )


def choose_size(sizes: np.ndarray, size: int | None) -> tuple[int, int]:
    """Returns the (height, width) to bring images to.

    Args:
        sizes: (height, width) of each image, shape ``(n, 2)``.
        size: Side of a square, or None: the images' own when they agree, else the median of their longer sides as a
            square; at most 64 pixels a side, the aspect kept.
    """
    if size is not None:
        return size, size
    if (sizes == sizes[0]).all():
        height, width = (int(side) for side in sizes[0])
        scale = min(1.0, MAX_SIDE / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))
    side = min(MAX_SIDE, max(MIN_SIDE, math.floor(np.median(sizes.max(1)))))
    return side, side


def all_grey(pixels: np.ndarray) -> bool:
    """Whether RGB pixels, shape ``(n, 3, height, width)``, have no colour."""
    # Most colour data show it at once: comparing everything costs a pass over memory.
    for chunk in np.array_split(pixels, max(1, len(pixels) // 1024)):
        if not (np.array_equal(chunk[:, 0], chunk[:, 1]) and np.array_equal(chunk[:, 0], chunk[:, 2])):
            return False
    return True


def deep_scale(largest: int) -> int:
    """Returns what is white in images of more than 8 bits: the least 2^k - 1, k from 8 to 16, that holds them all."""
    return (1 << min(16, max(8, int(largest).bit_length()))) - 1
