"""Attention transfer: where feature maps are large.

Zagoruyko & Komodakis 2017, "Paying More Attention to Attention", arXiv:1612.03928: the mean over channels of the
squared map, flattened and divided by its norm; the loss is the mean squared difference (as in the authors' code; the
paper has the norm of the difference). Maps of two sizes are brought to the smaller by averages. Needs no regressor, so
layers may have any number of channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sartor.compress.distillation.terms import Pair, Seen, Term, as_map, same_size


class AttentionTransfer(Term):
    """The squared difference of attention maps, summed over pairs.

    Args:
        pairs: The layers.
        weight: Of the term; 1,000 in the authors' code, where gradients are of a mean over places.
    """

    def __init__(self, pairs: Sequence[Pair], weight: float = 1000.0) -> None:
        super().__init__(tuple(pairs), weight)

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        total = torch.zeros((), device=student.logits.device)
        for pair in self.pairs:
            ours, theirs = same_size(
                as_map(student.features[pair.student], pair.student).square().mean(1, keepdim=True),
                as_map(teacher.features[pair.teacher], pair.teacher).square().mean(1, keepdim=True),
            )
            total = total + (_normalised(ours) - _normalised(theirs)).square().mean()
        return total


def _normalised(attention: Tensor) -> Tensor:
    return functional.normalize(attention.flatten(1).float())
