"""Relations: distances and angles between the rows of a batch.

Park et al. 2019, "Relational Knowledge Distillation", arXiv:1904.05068, equations 5 to 9: distances divided by their
mean, cosines of the angles of all triples, Huber's loss between student and teacher. Embeddings are the means over
places of one pair of layers, or the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sartor.compress.distillation.terms import Pair, Seen, Term, as_map

_TINY = 1e-12


class Relational(Term):
    """Differences of distances and angles.

    Args:
        pair: The layers whose outputs are compared, or None for the logits.
        distance: Weight of distances (25 in the paper, for class labels).
        angle: Weight of angles (50 in the paper); their cost grows with the cube of the batch.
        weight: Of the term.
    """

    def __init__(
        self, pair: Pair | None = None, *, distance: float = 25.0, angle: float = 50.0, weight: float = 1.0
    ) -> None:
        super().__init__(() if pair is None else (pair,), weight)
        self.distance, self.angle = distance, angle

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        if self.pairs:
            pair = self.pairs[0]
            ours = as_map(student.features[pair.student], pair.student).mean((2, 3)).float()
            theirs = as_map(teacher.features[pair.teacher], pair.teacher).mean((2, 3)).float()
        else:
            ours, theirs = student.logits.flatten(0, -2).float(), teacher.logits.flatten(0, -2).float()
        total = torch.zeros((), device=ours.device)
        if self.distance:
            total = total + self.distance * functional.smooth_l1_loss(_distances(ours), _distances(theirs))
        if self.angle:
            total = total + self.angle * functional.smooth_l1_loss(_angles(ours), _angles(theirs))
        return total


def _distances(rows: Tensor) -> Tensor:
    """Returns the distances between rows over their mean, ``(n, n)``."""
    squares = (rows[:, None] - rows[None]).square().sum(2)
    # The root's gradient at zero, which the diagonal is, is not finite.
    apart = squares.clamp(min=_TINY).sqrt() * (squares > 0)
    return apart / apart.sum().clamp(min=_TINY) * (squares > 0).sum().clamp(min=1)


def _angles(rows: Tensor) -> Tensor:
    """Returns the cosines at the second row of each triple, ``(n, n, n)``."""
    directions = functional.normalize(rows[None] - rows[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
