"""How a chain of stages is fitted to the size of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sartor.errors import InputError
from sartor.space import OneOf, Repeat, Shared, Space

Value = TypeVar("Value")

FINAL_SIDE = 4
"""Places a side that the last feature map has, about: fewer starve the last stage, more only cost time."""


@dataclass(frozen=True)
class Layout:
    """Strides of a chain.

    Attributes:
        stem: Strides of the stem to choose from.
        stages: Stride of each stage's first block.
    """

    stem: tuple[int, ...]
    stages: tuple[int, ...]


def layout(image_size: int | tuple[int, int]) -> Layout:
    """Returns strides that bring an image to about 4 places a side.

    Args:
        image_size: Side, or ``(height, width)``; the shorter one decides.

    Raises:
        InputError: not positive.
    """
    shorter = min(image_size) if isinstance(image_size, tuple) else image_size
    if shorter < 1:
        raise InputError(f"expected an image size of at least 1 pixel, got {image_size}")
    halvings = max(0, round(math.log2(shorter / FINAL_SIDE)))
    if halvings <= 1:
        return Layout((1,), (2, 1, 1) if halvings else (1, 1, 1))
    # At full resolution or at half of it: the one choice that moves cost most, so it is the search's.
    stem = (1, 2) if halvings <= 4 else (2,)
    left = halvings - 1
    return Layout(stem, {1: (1, 2, 1), 2: (1, 2, 2), 3: (1, 2, 2, 2)}.get(left, (2, 2, 2, 2)))


def middle(values: Sequence[Value]) -> Value:
    """Returns the middle of sorted values, the lower of two."""
    return values[(len(values) - 1) // 2]


def shared(name: str, *options: object) -> Any:
    """Returns one choice under that name; typed as what is chosen, for ``partial`` is checked against that."""
    return Shared(name, OneOf(*options))


def chain(
    channels: int,
    classes: int,
    image_size: int | tuple[int, int],
    *,
    depths: Sequence[int],
    stem_widths: Sequence[int],
    stage_widths: Sequence[Sequence[int]],
    block: Callable[[str, Sequence[int]], Any],
) -> Space:
    """Returns the space of chains: a stem, stages whose depth is chosen, a head that gives logits.

    Args:
        channels: Of the image.
        classes: Number of logits.
        image_size: Side, or ``(height, width)``.
        depths: Blocks of a stage.
        stem_widths: Channels of the stem.
        stage_widths: Channels of each stage; as many as the size needs are used.
        block: Gives the repeated block of a stage for its name and its widths.

    Raises:
        InputError: too few ``stage_widths`` for the size.
    """
    from sartor.nets import Chain, ClassifierHead, ConvBnAct, Stage

    plan = layout(image_size)
    if len(stage_widths) < len(plan.stages):
        raise InputError(f"images of {image_size} pixels need {len(plan.stages)} stages, got widths of {stage_widths}")
    stem_stride = shared("stem.stride", *plan.stem) if len(plan.stem) > 1 else plan.stem[0]
    blocks: list[Any] = [partial(ConvBnAct, out_channels=shared("stem.width", *stem_widths), stride=stem_stride)]
    for number, (stride, widths) in enumerate(zip(plan.stages, stage_widths, strict=False), 1):
        name = f"stage{number}"
        repeated: Any = Repeat(block(name, widths), times=shared(f"{name}.depth", *depths))
        blocks.append(partial(Stage, blocks=repeated, stride=stride))
    return Space(partial(Chain, channels, blocks=blocks, head=partial(ClassifierHead, classes=classes)))
