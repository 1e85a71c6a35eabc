"""The additive model behind its encoding: a row in, logits or a number out, and the terms that it is the sum of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sartor.nets.additive import NeuralAdditive
from sartor.nets.piecewise import PiecewiseLinear, quantile_edges
from sartor.tasks.tables.data import FOLDS
from sartor.tasks.tables.preprocess import Feature

CLIPPED = 0.005
"""Share at each end that a single bin leaves out: one outlier would squeeze all other values."""


class Encoder(nn.Module):
    """A row to vectors of one width a feature: numbers piecewise linear, categories one-hot, missing values zero.

    Args:
        features: Of the row, in order.
        x: Training rows, float32 ``(n, features)``, NaN where missing: the edges are their quantiles.
        bins: Most bins of a number.
        width: Of the encoding, at least ``bins`` and the most levels of a category.
    """

    category: Tensor
    levels: Tensor

    def __init__(self, features: Sequence[Feature], x: np.ndarray, bins: int, width: int) -> None:
        super().__init__()
        edges = [np.array([0.0, 1.0]) if f.is_category else self._edges(x[:, i], bins) for i, f in enumerate(features)]
        self.piecewise = PiecewiseLinear(edges)
        self.width = width
        category = torch.tensor([feature.is_category for feature in features])
        self.register_buffer("category", category[:, None, None])
        self.register_buffer("levels", torch.arange(width, dtype=torch.float32))

    @staticmethod
    def _edges(column: np.ndarray, bins: int) -> np.ndarray:
        values = column[~np.isnan(column)].astype(np.float64)
        if bins == 1:
            ends = np.unique(np.quantile(values, (CLIPPED, 1 - CLIPPED)))
            values = ends if len(ends) > 1 else values
        edges = quantile_edges(values, bins)
        return edges if len(edges) > 1 else edges[0] + np.array([-0.5, 0.5])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Takes ``(n, features)``, returns ``(features, n, width)`` and what is present, 0 or 1, ``(features, n)``."""
        absent = torch.isnan(x)
        values = torch.where(absent, torch.zeros_like(x), x).t()
        present = 1.0 - absent.to(x.dtype).t()
        numbers = self.piecewise(values)
        short = self.width - numbers.shape[-1]
        if short > 0:
            numbers = torch.nn.functional.pad(numbers, (0, short))
        one_hot = torch.eq(values[:, :, None], self.levels).to(x.dtype)
        return torch.where(self.category, one_hot, numbers), present


class Additive(nn.Module):
    """A neural additive model to deploy: ``output = bias + sum of terms``, the mean over an ensemble.

    Args:
        encoder: Of rows.
        network: The ensemble of additive models.
        pairs: Features of each pair term, as many as the network has.
        used: Which members have which pair, bool ``(pairs, members)``.
        offset: Added to the output, ``(outputs,)``: what the sum starts from.
        scale: Of the terms: the target's deviation, 1 for classes.
        two_classes: One output is the log-odds of the second class; two logits are given.
    """

    first: Tensor
    second: Tensor
    used: Tensor
    offset: Tensor

    def __init__(
        self,
        encoder: Encoder,
        network: NeuralAdditive,
        pairs: Sequence[tuple[int, int]],
        used: np.ndarray,
        *,
        offset: Sequence[float],
        scale: float,
        two_classes: bool,
    ) -> None:
        super().__init__()
        self.encoder, self.network, self.scale, self.two_classes = encoder, network, scale, two_classes
        self.register_buffer("first", torch.tensor([i for i, _ in pairs], dtype=torch.int64))
        self.register_buffer("second", torch.tensor([j for _, j in pairs], dtype=torch.int64))
        # All members have the terms of single features.
        own = torch.ones(len(network.missing) - len(pairs), network.members)
        self.register_buffer("used", torch.cat((own, torch.from_numpy(used).float())))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))

    def terms(self, x: Tensor) -> Tensor:
        """Returns the terms of each member before scaling, ``(terms, members, n, outputs)``."""
        encoded, present = self.encoder(x)
        # Without pairs nothing is left out, and the product would be for nothing.
        used = self.used if len(self.first) else None
        terms: Tensor = self.network(encoded, present, self.first, self.second, used)
        return terms

    def scores(self, terms: Tensor) -> Tensor:
        """Returns the sums of each member before scaling, ``(members, n, outputs)``."""
        return terms.sum(0) + self.network.bias + self.offset / self.scale

    def forward(self, x: Tensor, folds: Tensor | None = None) -> Tensor:
        """Returns logits ``(n, classes)``, or numbers in the target's unit, ``(n, 1)``.

        Args:
            x: float32 ``(n, features)``: numbers, positions of categories, NaN where missing.
            folds: Of training rows, int64 ``(n, partitions)``: only members that have not learnt from a row answer it.
        """
        scores = self.scores(self.terms(x))
        if folds is None:
            score = scores.mean(0) * self.scale
        else:
            asked = left_out(self.network.members, folds)[..., None].to(scores.dtype)
            score = (scores * asked).sum(0) / asked.sum(0) * self.scale
        return torch.cat((torch.zeros_like(score), score), 1) if self.two_classes else score


def left_out(members: int, folds: Tensor) -> Tensor:
    """Returns which members do not learn from which training rows, bool ``(members, n)``.

    As many members as there are folds leave out one each; more begin again with the folds of another partition, fewer
    leave out several. So each row is left out by at least one member, and never by all of two or more.

    Args:
        members: At least 2.
        folds: Of the rows in each partition, int64 ``(n, partitions)``, 0 .. FOLDS - 1.
    """
    member = torch.arange(members, device=folds.device)
    each = min(members, FOLDS)
    partition = (member // each) % folds.shape[1]
    return torch.eq(folds[:, partition].t() % each, (member % each)[:, None])
