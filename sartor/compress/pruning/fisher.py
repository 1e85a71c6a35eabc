"""Fisher: what the loss would change by, to second order, if a channel were gone.

Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher pruning", arXiv:1801.05787; Liu et al. 2021,
"Group Fisher Pruning for Practical Network Compression", arXiv:2108.00708: half the mean over single rows of the
squared derivative of the loss by the channel's gate: the Hessian by the gate, where the network is trained to its data.
Channels that can only go together have one gate, as in Liu et al.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sartor.compress.pruning.structure import Scores, Structure
from sartor.compress.pruning.taylor import Loss, gate_gradients
from sartor.errors import InputError


def fisher(structure: Structure, rows: Iterable[Any], loss: Loss) -> Scores:
    """Returns half the mean of the squared gate derivative over single rows, ``[num_units]``.

    Args:
        structure: Of the network.
        rows: Batches of one row each.
        loss: Of the network and a batch.

    Raises:
        DataError: a loss is not finite.
        InputError: no rows.
    """
    total, count = np.zeros(structure.num_units), 0
    for row in rows:
        total += gate_gradients(structure, row, loss) ** 2
        count += 1
    if not count:
        raise InputError("expected at least one row to score channels on, got none")
    return total / (2 * count)
