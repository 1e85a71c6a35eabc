"""What a person may choose of the images task. No torch: the command line reads it."""

from __future__ import annotations

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
    space: SpaceName = "mbconv"

    def __post_init__(self) -> None:
        if self.size is not None and not 4 <= self.size <= 1024:
            raise InputError(f"size: expected 4 to 1024 pixels, got {self.size}")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels: expected 1 (grey) or 3 (colour), got {self.channels}")
        check_shares(self.validation, self.test, self.split_seed)
        for name, kind in (("fit", Fit), ("augment", Augment), ("space", SpaceName)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise InputError(f"{name}: there is no {value!r}{near(str(value), known)}")
