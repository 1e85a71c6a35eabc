"""Magnitude: the smallest weights matter least.

Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", arXiv:1506.02626.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sartor.compress.sparsity.weights import weights_of


def magnitude(module: nn.Module, *, skip: Sequence[str] = ()) -> dict[str, Tensor]:
    """Returns the absolute value of each weight as its score.

    Raises:
        InputError: see `weights_of`.
        UnsupportedNetworkError: there are no weights.

    Example:
        >>> from torch import nn
        >>> from sartor.compress.sparsity.masks import local_masks, pruned, sparsity_of
        >>> network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> masks = local_masks(magnitude(network), 0.5)
        >>> smaller = pruned(network, masks)
        >>> sparsity_of(masks)
        0.5
    """
    return {name: weight.detach().abs() for name, weight in weights_of(module, skip=skip).items()}
