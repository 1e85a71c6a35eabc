"""Magnitude: filters with small weights go first.

Li et al. 2017, "Pruning Filters for Efficient ConvNets", arXiv:1608.08710 (L1); He et al. 2018, "Soft Filter Pruning",
arXiv:1808.06866 (L2). Scores of a group are divided by their mean, so that layers of other scale compare; of units that
several layers make (residuals) the norms are added.
"""

from __future__ import annotations

import numpy as np

from sartor.compress.pruning.structure import Scores, Structure


def l1(structure: Structure) -> Scores:
    """Returns the L1 norm of the rows that make each unit, over the mean of its group, ``[num_units]``."""
    return relative(structure, _sums(structure, 1))


def l2(structure: Structure) -> Scores:
    """Returns the L2 norm of the rows that make each unit, over the mean of its group, ``[num_units]``."""
    return relative(structure, np.sqrt(_sums(structure, 2)))


def _sums(structure: Structure, power: int) -> Scores:
    total = np.zeros(structure.num_units)
    for slot in structure.slots:
        if slot.role == "makes":
            weight = structure.network.get_parameter(slot.name).detach()
            total += structure.per_unit(slot, weight.abs() ** power)
    return total


def relative(structure: Structure, scores: Scores) -> Scores:
    """Returns scores over the mean of their group; a group of zeros keeps them."""
    found = scores.copy()
    for group in structure.groups:
        mean = scores[group.units].mean()
        found[group.units] = scores[group.units] / (mean if mean > 0 else 1.0)
    return found
