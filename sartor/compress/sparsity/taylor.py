"""Taylor: what the loss would change by, to first order, if a weight were zero.

Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", arXiv:1906.10771, equation 8: the square of
gradient times weight, here for single weights (as in Lee et al. 2019, SNIP, arXiv:1810.02340) instead of filters, and
averaged over batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.calibration import Loss, gradients
from sartor.compress.sparsity.weights import weights_of


def taylor(module: nn.Module, batches: Iterable[Any], loss: Loss, *, skip: Sequence[str] = ()) -> dict[str, Tensor]:
    """Returns the mean over batches of ``(gradient * weight)**2`` as the score of each weight.

    Args:
        module: Left as it is.
        batches: What ``loss`` reads. Gradients of a trained network cancel within a large batch: 8 to 64 rows.
        loss: Of the module and a batch: a scalar.
        skip: Layers to leave alone.

    Raises:
        DataError: batches or their losses are not finite.
        InputError: no batches, the loss does not depend on a weight, or see `weights_of`.
    """
    weights = weights_of(module, skip=skip)
    scores = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights.items()}
    count = 0
    for values, found in gradients(module, weights, batches, loss):
        for score, weight, gradient in zip(scores.values(), values, found, strict=True):
            score.add_((gradient * weight.detach()).square())
        count += 1
    return {name: score / count for name, score in scores.items()}
