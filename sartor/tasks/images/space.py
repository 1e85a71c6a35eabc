"""The ready-made spaces, fitted to a data set of images."""

from __future__ import annotations

from sartor.space import Architecture, Space
from sartor.spaces import mbconv, nasbench201, resnet_like
from sartor.tasks.images.options import SpaceName
from sartor.tasks.images.preprocess import Form

CELL_WIDTH = 8
CELLS_PER_STAGE = 1
"""NAS-Bench-201's cells see full resolution: its own 16 channels and 5 cells a stage cost 35 times as much."""


def make_space(name: SpaceName, form: Form, num_classes: int) -> Space:
    """Returns the space of that name for images of that form: it builds networks that give logits."""
    if name == "nasbench201":
        return nasbench201.nasbench201(form.channels, num_classes, CELL_WIDTH, CELLS_PER_STAGE)
    size = (form.height, form.width)
    if name == "resnet-like":
        return resnet_like.resnet_like(form.channels, num_classes, size)
    return mbconv.mbconv(form.channels, num_classes, size)


def hand_designed(name: SpaceName, space: Space) -> Architecture:
    """Returns the architecture that a person would have taken from the space of that name."""
    if name == "nasbench201":
        return nasbench201.hand_designed(space)
    return resnet_like.hand_designed(space) if name == "resnet-like" else mbconv.hand_designed(space)
