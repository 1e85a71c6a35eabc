"""PC-DARTS: mixes a part of the channels, and lets the edges compete apart.

Xu et al. 2020, "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", arXiv:1907.05737. One
of K channels passes the mixed operation, the others go around it (pooled where it halves the resolution), and all are
shuffled. The inputs of a node are weighted by a softmax of logits of their own (edge normalisation, equation 3): the
shares of a `Subset`. An input is kept by the product of both.

Deviations: the logits' learning rate follows the schedule of the weights'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.supernets._differentiable import NEVER, AbstractDifferentiable

if TYPE_CHECKING:
    from sartor.space import Space
    from sartor.space._mixture import Weights
    from sartor.space._nodes import Label
    from sartor.training import Step

SPEC = Spec(
    "pc-darts",
    "sartor.supernets.pc_darts:PcDarts",
    summary="mixes a part of the channels",
    citation="Xu et al. 2020, arXiv:1907.05737",
    needs="operations that wait for in_channels",
    when="cells of many operations; the least memory of the differentiable methods",
)


class PcDarts(AbstractDifferentiable):
    """Trains softmaxes over alternatives and over the inputs of nodes.

    Args:
        space: Of cells whose operations wait for ``in_channels``, which ``partial`` divides.
        inputs: Example inputs of its networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        partial: K: one of so many channels is mixed.
        warmup: Share of the training in which only the weights are trained; the paper's 15 of 50 epochs.
        excluded: Values that are never derived.

    Raises:
        InputError: K below 1; channels that it does not divide; a space without operations that wait for channels.
    """

    logits_recipe = {**AbstractDifferentiable.logits_recipe, "learning_rate": 6e-4}

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any],
        *,
        part: str | None = None,
        seed: int = 0,
        partial: int = 4,
        warmup: float = 0.3,
        excluded: Sequence[Label] = ("none",),
    ) -> None:
        from sartor.supernets._partial import PartialChannels, partially

        if partial < 1:
            raise InputError(f"expected one of at least 1 channels to be mixed, got partial={partial}")
        super().__init__(
            [space], inputs, part=part, seed=seed, excluded=excluded, warmup=warmup, normalises=True,
            around=partially(partial), has_shares=True,
        )  # fmt: skip
        if not any(isinstance(module, PartialChannels) for module in self.module.modules()):
            raise InputError("expected a space with operations that wait for in_channels, got none")

    def weights(self, step: Step) -> Weights:
        return self.probabilities()

    def scores(self) -> dict[str, dict[Label, float]]:
        """Returns the probabilities of the values, those below an item of a `Subset` times its share."""
        scores = super().scores()
        weights = self.probabilities()
        for subset, items in self.module.subsets.items():
            shares: Any = weights[subset]
            for item, share in zip(items, shares.detach().tolist(), strict=True):
                below = f"{subset}.{item}"
                for key, own in scores.items():
                    if key == below or key.startswith(f"{below}."):
                        scores[key] = {
                            value: score if score == NEVER else score * share for value, score in own.items()
                        }
        return scores
