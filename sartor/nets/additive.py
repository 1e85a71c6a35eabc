"""Networks that are sums of small ones, each of which sees one or two features: neural additive models.

Agarwal et al. 2021 (arXiv:2004.13912) give the form, the ExU unit, feature dropout and the ensemble; pairs of features
as terms are from GA2M (Lou et al. 2013), as in NA2M. Deviations: all subnetworks, of all members of the ensemble, run
as one batched product a layer; their last layer starts at zero, so that terms start flat; a missing value has a
learnt term of its own in place of a filled-in value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Unit = Literal["relu", "silu", "exu"]
_EXU_MEAN, _EXU_STD = 3.0, 0.5
"""Of the initial weights of ExU units: the paper recommends a mean of 3 to 4 and a deviation of 0.5."""


class GroupedLinear(nn.Module):
    """Several linear layers of one shape in one product.

    Args:
        groups: Number of layers.
        in_width, out_width: Of each.
        zero: Start with weights of zero.
    """

    def __init__(self, groups: int, in_width: int, out_width: int, *, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(in_width)
        self.weight = nn.Parameter(torch.empty(groups, in_width, out_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups, 1, out_width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Takes ``(groups, n, in_width)``, returns ``(groups, n, out_width)``."""
        return torch.baddbmm(self.bias, x, self.weight)


class GroupedExU(nn.Module):
    """Several layers of exp-centred units of one shape: ``(x - b) exp(w)`` (Agarwal et al. 2021, section 2).

    Args:
        groups: Number of layers.
        in_width, out_width: Of each.
    """

    def __init__(self, groups: int, in_width: int, out_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, in_width, out_width).normal_(_EXU_MEAN, _EXU_STD))
        self.bias = nn.Parameter(torch.empty(groups, in_width, out_width).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Takes ``(groups, n, in_width)``, returns ``(groups, n, out_width)``."""
        steepness = self.weight.exp()
        # The sum over inputs of (x - b) exp(w), each unit with its own centres.
        return torch.baddbmm(-(self.bias * steepness).sum(1, keepdim=True), x, steepness)


class ShapeNetworks(nn.Module):
    """Subnetworks of one shape, one for each term and member of an ensemble, as one batched product a layer.

    Args:
        num_terms: Terms of the sum.
        in_width: Width of what each term sees.
        num_outputs: Of each subnetwork.
        units: Width of the hidden layers.
        depth: Number of hidden layers, at least 1.
        unit: ``relu``; ``silu``; ``exu``: exp-centred units capped at 1 in the first layer, ReLU behind it.
        dropout: Share of the hidden units left out in training, in ``[0, 1)``.
        members: Of the ensemble.
    """

    def __init__(
        self,
        num_terms: int,
        in_width: int,
        num_outputs: int,
        *,
        units: int,
        depth: int,
        unit: Unit,
        dropout: float,
        members: int,
    ) -> None:
        super().__init__()
        self.members, self.units, self.unit, self.dropout = members, units, unit, dropout
        # What a term sees is the same for all members, so their first layers are one wider layer.
        first = GroupedExU if unit == "exu" else GroupedLinear
        self.first = first(num_terms, in_width, members * units)
        self.hidden = nn.ModuleList(GroupedLinear(num_terms * members, units, units) for _ in range(depth - 1))
        self.last = GroupedLinear(num_terms * members, units, num_outputs, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """Takes ``(num_terms, n, in_width)``, returns ``(num_terms, members, n, num_outputs)``."""
        terms = x.shape[0]
        x = self.first(x).reshape(terms, -1, self.members, self.units).transpose(1, 2)
        x = x.reshape(terms * self.members, -1, self.units)
        x = self._activated(x.clamp(0, 1) if self.unit == "exu" else self._nonlinear(x))
        for layer in self.hidden:
            x = self._activated(self._nonlinear(layer(x)))
        x = self.last(x)
        return x.reshape(terms, self.members, -1, x.shape[-1])

    def _nonlinear(self, x: Tensor) -> Tensor:
        return functional.silu(x) if self.unit == "silu" else functional.relu(x)

    def _activated(self, x: Tensor) -> Tensor:
        if not (self.dropout and self.training):
            return x
        # Members share what is left out: drawing for each would cost more than their products.
        groups = x.reshape(-1, self.members, *x.shape[1:])
        mask = kept(self.dropout, (len(groups), 1, *x.shape[1:]), x.device)
        return (groups * mask).reshape(x.shape)


class NeuralAdditive(nn.Module):
    """An ensemble of neural additive models on encoded features: terms whose sum with a bias is the output.

    Args:
        num_features: Features, each with a term of its own.
        num_outputs: Outputs of the sum.
        bins, levels: Width of the encoding of numbers and of categories; that of a feature is the larger.
        units, depth, unit, dropout: Of the subnetworks, see ``ShapeNetworks``.
        feature_dropout: Share of the terms left out of a row's sum in training, in ``[0, 1)``.
        pairs: Terms of two features.
        pair_units: Width of the hidden layers of these.
        members: Of the ensemble.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        *,
        bins: int = 1,
        levels: int = 0,
        units: int = 32,
        depth: int = 2,
        unit: Unit = "relu",
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
        pairs: int = 0,
        pair_units: int = 32,
        members: int = 4,
    ) -> None:
        super().__init__()
        self.members, self.feature_dropout = members, feature_dropout
        self.bins, self.in_width = bins, max(bins, levels)
        self.shapes = ShapeNetworks(
            num_features, self.in_width, num_outputs,
            units=units, depth=depth, unit=unit, dropout=dropout, members=members,
        )  # fmt: skip
        self.pairs = (
            ShapeNetworks(
                pairs, 2 * self.in_width, num_outputs,
                units=pair_units, depth=depth, unit=unit, dropout=dropout, members=members,
            )
            if pairs
            else None
        )  # fmt: skip
        self.missing = nn.Parameter(torch.zeros(num_features + pairs, members, 1, num_outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, num_outputs))

    def forward(
        self, encoded: Tensor, present: Tensor, first: Tensor, second: Tensor, used: Tensor | None = None
    ) -> Tensor:
        """Returns the terms, ``(num_features + pairs, members, n, num_outputs)``; their sum and the bias is the output.

        Args:
            encoded: Features, ``(num_features, n, max(bins, levels))``.
            present: 1 where a feature is known, else 0, ``(num_features, n)``.
            first, second: Indices of the features of each pair, int64, ``(pairs,)``.
            used: 1 where a member has a term, 0 where it does without, ``(num_features + pairs, members)``; None: all.
        """
        terms: Tensor = self.shapes(encoded)
        if self.pairs is not None:
            both = torch.cat((encoded[first], encoded[second]), -1)
            terms = torch.cat((terms, self.pairs(both)))
            present = torch.cat((present, present[first] * present[second]))
        there = present[:, None, :, None]
        terms = terms * there + self.missing * (1 - there)
        if used is not None:
            terms = terms * used[:, :, None, None]
        if self.feature_dropout and self.training:
            terms = terms * kept(self.feature_dropout, (*terms.shape[:-1], 1), terms.device)
        return terms


def kept(share: float, shape: Sequence[int], device: torch.device) -> Tensor:
    """Returns factors that leave out a share and keep the mean: 0, or one over the share that is kept.

    Eight decisions are drawn at once, to 1/256: a generator's number for each made ``torch.nn.functional.dropout``
    half of a training on a CPU.

    Args:
        share: To leave out, in ``[0, 1)``; rounded to 1/256.
        shape: Of the factors.
        device: Where they are.
    """
    count = math.prod(shape)
    bound = min(255, round(share * 256))
    drawn = torch.empty(-(-count // 8), dtype=torch.int64, device=device).random_(-(2**63), None)
    factors: Tensor = (drawn.view(torch.uint8)[:count].view(*shape) >= bound).float()
    factors *= 256 / (256 - bound)
    return factors
