"""Network slimming: channels whose batch normalisation scales them to little go first.

Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", arXiv:1708.06519, without its
sparsity-inducing training: scales are taken as they are trained. Groups without a scale of their own take the mean of
all, so that they are neither spared nor chosen.
"""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sartor.compress.pruning.structure import Scores, Structure
from sartor.errors import UnsupportedNetworkError


def batch_norm_scale(structure: Structure) -> Scores:
    """Returns the mean magnitude of the scales of each unit, ``[num_units]``.

    Raises:
        UnsupportedNetworkError: no unit has a normalisation with a scale.
    """
    parts = dict(structure.network.named_modules())
    total, count = np.zeros(structure.num_units), np.zeros(structure.num_units)
    for slot in structure.slots:
        path, _, own = slot.name.rpartition(".")
        if own == "weight" and isinstance(parts[path], (_NormBase, nn.GroupNorm)):
            weight = structure.network.get_parameter(slot.name).detach()
            total += structure.per_unit(slot, weight.abs())
            count += np.bincount(slot.units[slot.units >= 0], minlength=structure.num_units)
    known = count > 0
    if not known.any():
        raise UnsupportedNetworkError(
            "bn-scale looks at the scales of normalisations behind channels, and this network has none: take taylor"
        )
    scores = np.full(structure.num_units, float((total[known] / count[known]).mean()))
    scores[known] = total[known] / count[known]
    return scores
