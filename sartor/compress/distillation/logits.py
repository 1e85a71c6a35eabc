"""Softened class probabilities.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531: the cross-entropy with
the teacher's probabilities at a temperature, times its square, so that gradients keep their size. Written as a
Kullback-Leibler divergence, which differs by a constant and is 0 where both agree.
"""

from __future__ import annotations

from torch import Tensor

from sartor.compress.distillation.terms import Seen, Term
from sartor.errors import InputError
from sartor.supernets._distilling import distance


class Logits(Term):
    """The divergence from the teacher's softened probabilities.

    Args:
        temperature: Above 0; 1 keeps probabilities as they are, 2 to 8 shows which wrong classes are near.
        weight: Of the term.

    Raises:
        InputError: a temperature that is not positive.
    """

    def __init__(self, temperature: float = 4.0, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        if not 0 < temperature < float("inf"):
            raise InputError(f"temperature: expected a finite number above 0, got {temperature:g}")
        self.temperature = temperature

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        return distance([student.logits], [(teacher.logits, -1)], self.temperature)
