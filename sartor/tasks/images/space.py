"""The ready-made spaces, fitted to a data set of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sartor.space import Architecture, Space
from sartor.spaces import darts, fabric, hierarchical, mbconv, nasbench201, once_for_all, resnet_like, transformer
from sartor.tasks.images.options import SpaceName
from sartor.tasks.images.preprocess import Form

CELL_WIDTH = 8
CELLS_PER_STAGE = 1
"""NAS-Bench-201's cells see full resolution: its own 16 channels and 5 cells a stage cost 35 times as much."""
NUM_DARTS_CELLS = 5
"""DARTS' cells see it too: its own 16 channels and 8 cells cost five times as much."""
NUM_MOTIFS, MOTIF_NODES, HIERARCHICAL_NODES = 3, 3, 4
"""Motifs of three operations in a cell of six: the paper's six of six in a cell of ten cost three times as much."""

_HAND_DESIGNED: Mapping[SpaceName, Callable[[Space], Architecture]] = {
    "mbconv": mbconv.hand_designed,
    "nasbench201": nasbench201.hand_designed,
    "resnet-like": resnet_like.hand_designed,
    "darts": darts.hand_designed,
    "transformer": transformer.hand_designed,
    "hierarchical": hierarchical.hand_designed,
    "once-for-all": once_for_all.hand_designed,
    "fabric": fabric.hand_designed,
}


def make_space(name: SpaceName, form: Form, num_classes: int) -> Space:
    """Returns the space of that name for images of that form: it builds networks that give logits."""
    channels, size = form.channels, (form.height, form.width)
    match name:
        case "mbconv":
            return mbconv.mbconv(channels, num_classes, size)
        case "nasbench201":
            return nasbench201.nasbench201(channels, num_classes, CELL_WIDTH, CELLS_PER_STAGE)
        case "resnet-like":
            return resnet_like.resnet_like(channels, num_classes, size)
        case "darts":
            return darts.darts(channels, num_classes, CELL_WIDTH, NUM_DARTS_CELLS)
        case "transformer":
            return transformer.transformer(channels, num_classes, size)
        case "hierarchical":
            return hierarchical.hierarchical(
                channels,
                num_classes,
                CELL_WIDTH,
                CELLS_PER_STAGE,
                num_motifs=NUM_MOTIFS,
                motif_nodes=MOTIF_NODES,
                cell_nodes=HIERARCHICAL_NODES,
            )
        case "once-for-all":
            return once_for_all.once_for_all(channels, num_classes, size)
        case "fabric":
            return fabric.fabric(channels, num_classes, size)


def hand_designed(name: SpaceName, space: Space) -> Architecture:
    """Returns the architecture that a person would have taken from the space of that name."""
    return _HAND_DESIGNED[name](space)
