"""What a term of distillation sees, and is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError


class Pair(NamedTuple):
    """A layer of the student and the layer of the teacher that it learns from, by module names."""

    student: str
    teacher: str


@dataclass(frozen=True)
class Seen:
    """What a network gave for a batch.

    Attributes:
        logits: ``(n, classes)``, or any shape with the classes last.
        features: Module name -> its output.
    """

    logits: Tensor
    features: Mapping[str, Tensor]


class Term(nn.Module):
    """A loss between what student and teacher gave; its parameters, if any, are trained with the student.

    Args:
        pairs: The layers that it looks at.
        weight: Of the term in the sum.

    Raises:
        InputError: a weight that is negative or not finite.
    """

    def __init__(self, pairs: tuple[Pair, ...] = (), weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= weight < float("inf"):
            raise InputError(f"weight: expected a finite number of at least 0, got {weight:g}")
        self.pairs, self.weight = tuple(pairs), weight

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        """Returns a scalar, without the weight; the teacher's tensors have no gradient."""
        raise NotImplementedError


def as_map(features: Tensor, name: str) -> Tensor:
    """Returns features as a map ``(n, channels, height, width)``.

    Tokens ``(n, tokens, dim)`` become a square, without the first where one is too many (a class token), or a row
    where they make none; vectors ``(n, dim)`` become a single place.

    Raises:
        InputError: other shapes.
    """
    if features.ndim == 4:
        return features
    if features.ndim == 3:
        num = features.shape[1]
        side = math.isqrt(num)
        if side * side != num and math.isqrt(num - 1) ** 2 == num - 1:
            features, side, num = features[:, 1:], math.isqrt(num - 1), num - 1
        height = side if side * side == num else 1
        return features.transpose(1, 2).reshape(len(features), -1, height, num // height)
    if features.ndim == 2:
        return features[:, :, None, None]
    raise InputError(
        f"{name}: expected maps (n, channels, height, width), tokens (n, tokens, dim) or vectors (n, dim), got shape"
        f" {tuple(features.shape)}"
    )


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two maps at the smaller height and width of both, by averages."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    return functional.adaptive_avg_pool2d(first, size), functional.adaptive_avg_pool2d(second, size)
