"""DARTS: weights and logits of all alternatives by turns, on different halves of the data.

Liu et al. 2019, "DARTS: Differentiable Architecture Search", arXiv:1806.09055. An alternative is weighted by the
softmax of its choice's logits. Of first order the logits descend the loss on the second half at the weights as they
are; of second order at the weights after one more step on the first half, whose dependence on the logits is followed
by the paper's finite difference (equations 7 and 8).

A node of a cell keeps the inputs whose best operation, ``none`` left out, has the largest probability; this is
`Space.argmax` of the probabilities over a `Subset`.

Deviations: the logits' learning rate follows the schedule of the weights'; the virtual step has neither momentum nor
weight decay (the paper's equations, not its code).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._differentiable import AbstractDifferentiable

if TYPE_CHECKING:
    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label
    from sartor.training import Learner, Step

SPEC = Spec(
    "darts",
    "sartor.supernets.darts:Darts",
    summary="softmax over all alternatives",
    citation="Liu et al. 2019, arXiv:1806.09055",
    when="the reference; watch it for collapse",
)


class Darts(AbstractDifferentiable):
    """Trains a softmax over alternatives.

    Args:
        space: Of cells, or any other.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        order: 1, or 2, which takes about four times as long.
        xi: Learning rate of the virtual step of the second order; in the paper that of the weights.
        excluded: Values that are never derived.

    Raises:
        InputError: An order but 1 and 2, a rate of 0 or less.
    """

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        order: Literal[1, 2] = 1,
        xi: float = 0.025,
        excluded: Sequence[Label] = ("none",),
    ) -> None:
        if order not in (1, 2) or not xi > 0:
            raise InputError(f"expected the order 1 or 2 and a rate xi above 0, got {order} and {xi}")
        super().__init__([space], inputs, part=part, seed=seed, excluded=excluded, normalises=True)
        self.order, self.xi = order, xi

    def weights(self, step: Step) -> Weights:
        return self.probabilities()

    def learner(self, inner: Learner) -> Learner:
        if self.order == 1:
            return super().learner(inner)
        from sartor.supernets._unrolled import Unrolled

        return Unrolled(self, inner, self.share, self.xi)
