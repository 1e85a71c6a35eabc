"""Numbers as vectors: piecewise linear encoding (Gorishniy et al. 2022, arXiv:2203.05556, section 3.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_NEVER = 1e30
"""Where a bin that is not used begins."""


class PiecewiseLinear(nn.Module):
    """Encodes each feature by how far it has passed through each of its bins: ``(x - begin) / width`` cut to 0..1.

    Deviation: values beyond the outer bins are cut there too, so that nothing is extrapolated.

    Args:
        edges: For each feature, its ascending bin edges, at least two; a feature with fewer bins than another has
            zeros behind its own.
    """

    def __init__(self, edges: list[np.ndarray]) -> None:
        super().__init__()
        width = max(len(each) for each in edges) - 1
        begin = np.full((len(edges), 1, width), _NEVER)
        scale = np.ones((len(edges), 1, width))
        for i, each in enumerate(edges):
            begin[i, 0, : len(each) - 1] = each[:-1]
            scale[i, 0, : len(each) - 1] = 1 / np.diff(each)
        self.register_buffer("begin", torch.from_numpy(begin).float())
        self.register_buffer("scale", torch.from_numpy(scale).float())

    def forward(self, x: Tensor) -> Tensor:
        """Takes finite numbers, ``(num_features, n)``, returns ``(num_features, n, bins)``."""
        return ((x[:, :, None] - self.begin) * self.scale).clamp(0, 1)


def quantile_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Returns at most ``bins + 1`` different ascending edges, each bin with about as many of the different values.

    Args:
        values: Finite numbers, shape ``(n,)``, of at least two different ones.
        bins: Most bins, at least 1.
    """
    different, counts = np.unique(values, return_counts=True)
    if len(different) <= bins + 1:
        return different
    # Half way between weighing values by how often they occur and not at all: rare ranges keep a few bins.
    weights = np.sqrt(counts)
    share = np.concatenate(([0.0], np.cumsum(weights[:-1] + weights[1:])))
    return np.unique(np.interp(np.linspace(0, share[-1], bins + 1), share, different))
