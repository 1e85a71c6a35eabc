"""Taylor: what the loss would change by, to first order, if a channel were gone.

Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", arXiv:1906.10771, with a gate for each
channel: the score is the squared derivative of the loss by the gate, averaged over batches. A gate's derivative is the
sum of weight times gradient over the columns that read the channel, which holds whatever lies between (normalisation,
activation, residuals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.compress.pruning.structure import Scores, Structure
from sartor.errors import DataError, InputError, UnsupportedNetworkError

Loss = Callable[[nn.Module, Any], Tensor]
"""Of a network and a batch: a scalar, the mean over the rows of the batch."""


def taylor(structure: Structure, batches: Iterable[Any], loss: Loss) -> Scores:
    """Returns the mean over batches of the squared first-order change of the loss without each unit, ``[num_units]``.

    Args:
        structure: Of the network.
        batches: What ``loss`` reads; gradients cancel within large ones, so 8 to 64 rows each.
        loss: Of the network and a batch.

    Raises:
        DataError: a loss is not finite.
        InputError: no batches.
    """
    changes = [gate_gradients(structure, batch, loss) for batch in batches]
    if not changes:
        raise InputError("expected at least one batch to score channels on, got none")
    return np.asarray(np.mean(np.square(changes), 0))


def gate_gradients(structure: Structure, batch: Any, loss: Loss) -> Scores:
    """Returns the derivative of the loss by a gate on each unit, in eval mode, ``[num_units]``.

    Raises:
        DataError: the loss is not finite.
        UnsupportedNetworkError: no weight reads a unit, so that a gate on it has no derivative there.
    """
    network = structure.network
    reads = [slot for slot in structure.slots if slot.role == "reads"]
    if not reads:
        raise UnsupportedNetworkError(
            f"{type(network).__name__} has no layer whose inputs could be fewer, so that nothing of it can be pruned by"
            " gradients"
        )
    weights = [network.get_parameter(name) for name in dict.fromkeys(slot.name for slot in reads)]
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        with torch.enable_grad():
            value = loss(network, batch)
            if not bool(torch.isfinite(value)):
                raise DataError(f"the loss on a calibration batch is {float(value)}: leave such rows out")
            found = torch.autograd.grad(value, weights, allow_unused=True)
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
    gradients = dict(zip((name for name in dict.fromkeys(slot.name for slot in reads)), found, strict=True))
    total = np.zeros(structure.num_units)
    for slot in reads:
        gradient = gradients[slot.name]
        if gradient is not None:
            total += structure.per_unit(slot, gradient * network.get_parameter(slot.name).detach())
    return total
