"""What a person may choose of the images task. No torch: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sartor.data import check_shares
from sartor.errors import InputError, near
from sartor.task import Task

Fit = Literal["pad", "crop", "stretch"]
Augment = Literal["auto", "none", "shift", "shift-flip"]
SpaceName = Literal[
    "mbconv", "nasbench201", "resnet-like", "darts", "transformer", "hierarchical", "once-for-all", "fabric"
]

DATA = "data"
_STANDARDS = {"none": "0:1", "imagenet": "0.485,0.456,0.406:0.229,0.224,0.225"}
"""By name; ImageNet's as its networks are published with (He et al. 2016 and after)."""


@dataclass(frozen=True)
class Options(Task.Options):
    """Options of the images task.

    Attributes:
        size: Side in pixels to which images are scaled; by default chosen from the data, at most 64.
        channels: 1 for grey, 3 for colour; by default 1 when every image is grey.
        fit: Other aspects are padded with black, cropped in the middle, or stretched.
        validation: Share of the images that scores architectures, where the data have no such part.
        test: Share of the images that is kept back to test finalists, where the data have no such part.
        split_seed: Seed of the parts that are drawn.
        leave_out_rare: Leave out classes with too few images instead of stopping.
        augment: Random changes in training: auto shifts by up to a tenth, and mirrors colour images.
        standardise: What pixels of 0 to 1 are lessened and divided by in front of the network: mean and deviation of
            the data, none, imagenet, or means:deviations such as 0.5:0.25, for a network that was trained elsewhere.
        space: Which search space.
    """

    size: int | None = None
    channels: int | None = None
    fit: Fit = "pad"
    validation: float = 0.15
    test: float = 0.15
    split_seed: int = 0
    leave_out_rare: bool = False
    augment: Augment = "auto"
    standardise: str = "data"
    space: SpaceName = "mbconv"

    def __post_init__(self) -> None:
        if self.size is not None and not 4 <= self.size <= 1024:
            raise InputError(f"size: expected 4 to 1024 pixels, got {self.size}")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels: expected 1 (grey) or 3 (colour), got {self.channels}")
        check_shares(self.validation, self.test, self.split_seed)
        statistics_of(self.standardise)
        for name, kind in (("fit", Fit), ("augment", Augment), ("space", SpaceName)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise InputError(f"{name}: there is no {value!r}{near(str(value), known)}")


def statistics_of(standardise: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns means and deviations that images are standardised by, one for each channel or one for all.

    Args:
        standardise: ``data``, for which None is returned, a name, or ``means:deviations`` with commas between channels.

    Raises:
        InputError: it is neither, or a deviation is not above 0.
    """
    if standardise == DATA:
        return None
    try:
        mean, std = (
            tuple(float(value) for value in half.split(","))
            for half in _STANDARDS.get(standardise, standardise).split(":")
        )
    except ValueError as error:
        known = (DATA, *_STANDARDS)
        raise InputError(
            f"standardise: expected {', '.join(known)}, or means:deviations such as 0.5:0.25, got {standardise!r}"
            f"{near(standardise, known)}"
        ) from error
    if len(mean) != len(std) or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise InputError(
            f"standardise: expected as many means as deviations, these above 0, got {standardise!r}"
        )
    return mean, std
