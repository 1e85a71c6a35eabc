"""Layer-adaptive magnitude: how much of a layer a weight is among those that are no smaller.

Lee, Park, Mo, Ahn & Shin 2021, "Layer-adaptive Sparsity for the Magnitude-Based Pruning", arXiv:2010.07611. Magnitudes
of different layers are hardly comparable, since normalisation takes their scale out and weight decay and the optimiser
draw all layers to much the same one: by magnitude alone a stem of 288 weights loses the same share as a layer of
147,456. Over the sum of what is no smaller, the largest weight of each layer has score 1, so that no layer is emptied
and small layers keep more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sartor.compress.sparsity.weights import weights_of


def lamp(module: nn.Module, *, skip: Sequence[str] = ()) -> dict[str, Tensor]:
    """Returns the score of each weight, 0..1, for ``global_masks``; within a layer the order is that of magnitude.

    Raises:
        InputError: see `weights_of`.
        UnsupportedNetworkError: there are no weights.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(3, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -1.0, 2.0]]))
        >>> [round(score, 3) for score in lamp(layer)["weight"][0].tolist()]
        [1.0, 0.071, 0.308]
    """
    return {name: layer_adaptive(weight) for name, weight in weights_of(module, skip=skip).items()}


def layer_adaptive(weight: Tensor) -> Tensor:
    """Returns the scores of one layer's weights: squares over the sum of squares that are no smaller (equation 4)."""
    squares = weight.detach().double().square().flatten()
    order = squares.argsort(descending=True)
    ordered = squares[order]
    scores = torch.empty_like(squares)
    scores[order] = ordered / ordered.cumsum(0).clamp_min(torch.finfo(squares.dtype).tiny)
    return scores.view_as(weight).to(weight.dtype)
