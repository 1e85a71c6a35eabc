"""Fair DARTS: alternatives do not compete.

Chu et al. 2020, "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search", arXiv:1911.12126.
Each alternative is weighted by the sigmoid of its own logit, so that a skip connection does not win by pushing others
out; a zero-one loss drives the sigmoids away from a half (equation 6). An operation is derived when its sigmoid is
above a threshold, at most one for each choice.

Deviation: where the space prescribes how many inputs a node has (`Subset` of one size), that many are taken, be they
above the threshold or not; a `Subset` of several sizes leaves out those below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._differentiable import NEVER, AbstractDifferentiable

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label
    from sartor.training import Step

SPEC = Spec(
    "fair-darts",
    "sartor.supernets.fair_darts:FairDarts",
    summary="a sigmoid for each alternative",
    citation="Chu et al. 2020, arXiv:1911.12126",
    when="cells with skip connections",
)


class FairDarts(AbstractDifferentiable):
    """Trains a sigmoid for each alternative.

    Args:
        space: Of cells, or any other.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        zero_one: Factor of the zero-one loss.
        threshold: Sigmoid above which an operation is wanted.
        excluded: Values that are never derived.

    Raises:
        InputError: A negative factor, a threshold outside (0, 1).
    """

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        zero_one: float = 10.0,
        threshold: float = 0.85,
        excluded: Sequence[Label] = ("none",),
    ) -> None:
        if zero_one < 0 or not 0 < threshold < 1:
            raise InputError(f"expected zero_one of 0 or more and a threshold in (0, 1), got {zero_one}, {threshold}")
        super().__init__([space], inputs, part=part, seed=seed, excluded=excluded, normalises=True)
        self.zero_one, self.threshold = zero_one, threshold

    def probabilities(self) -> Weights:
        return {key: logits.sigmoid() for key, logits in self.module.logits.items()}

    def weights(self, step: Step) -> Weights:
        return self.probabilities()

    def zero_one_loss(self) -> Tensor:
        """Returns minus the mean squared distance of the sigmoids from a half, in [-0.25, 0]."""
        squares = [(logits.sigmoid() - 0.5).square() for logits in self.module.logits.values()]
        total = sum((each.sum() for each in squares[1:]), squares[0].sum())
        return -total / sum(each.numel() for each in squares)

    def objective(self, loss: Tensor, step: Step) -> Tensor:
        return loss + self.zero_one * self.zero_one_loss()

    def scores(self) -> dict[str, dict[Label, float]]:
        return {
            key: {
                value: score if score == NEVER else score - self.threshold for value, score in own.items()
            }
            for key, own in super().scores().items()
        }
