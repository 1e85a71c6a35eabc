"""Hints: the student's feature maps, through a regressor, become the teacher's.

Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550. The regressor is a 1x1 convolution for each
pair of layers, maps are brought to one size by averages, and the error is divided by the mean square of the teacher's
map, so that one weight suits all layers; in the paper it is a convolution that fits sizes, and the error is plain.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.compress.distillation.terms import Pair, Seen, Term, as_map, same_size

_TINY = 1e-6


class Hints(Term):
    """The squared error between regressed feature maps and the teacher's, relative to the teacher's mean square.

    Args:
        pairs: The layers.
        student: What the student gives for example inputs: makes the regressors' sizes.
        teacher: What the teacher gives for them.
        weight: Of the term.
        seed: Of the regressors.
    """

    def __init__(
        self, pairs: Sequence[Pair], student: Seen, teacher: Seen, *, weight: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__(tuple(pairs), weight)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.regressors = nn.ModuleList(
                nn.Conv2d(
                    as_map(student.features[pair.student], pair.student).shape[1],
                    as_map(teacher.features[pair.teacher], pair.teacher).shape[1],
                    1,
                )
                for pair in self.pairs
            )

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        total = torch.zeros((), device=student.logits.device)
        for pair, regressor in zip(self.pairs, self.regressors, strict=True):
            ours, theirs = same_size(
                as_map(student.features[pair.student], pair.student),
                as_map(teacher.features[pair.teacher], pair.teacher),
            )
            error = functional.mse_loss(regressor(ours).float(), theirs.float())
            total = total + error / (theirs.float().square().mean() + _TINY)
        return total / len(self.pairs)
