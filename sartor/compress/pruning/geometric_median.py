"""Geometric median: filters that the others can stand in for go first.

He et al. 2019, "Filter Pruning via Geometric Median for Deep Neural Networks Acceleration", arXiv:1811.00250: the
score of a filter is the sum of its distances to all filters of its layer, equation 5. Scores are over the mean of their
group.
"""

from __future__ import annotations

import numpy as np
import torch

from sartor.compress.pruning.magnitude import relative
from sartor.compress.pruning.structure import Scores, Structure


def geometric_median(structure: Structure) -> Scores:
    """Returns the sum of distances of each unit's rows to those of the others of its group, ``[num_units]``."""
    total = np.zeros(structure.num_units)
    for group in structure.groups:
        for slot in group.slots:
            if slot.role != "makes":
                continue
            weight = structure.network.get_parameter(slot.name).detach().movedim(slot.dim, 0).flatten(1)
            rows = [weight[torch.from_numpy(np.flatnonzero(slot.units == unit))].flatten() for unit in group.units]
            if len({len(row) for row in rows}) == 1:
                stacked = torch.stack(rows).double()
                total[group.units] += torch.cdist(stacked, stacked).sum(1).cpu().numpy()
    return relative(structure, total)
