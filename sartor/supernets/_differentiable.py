"""What the differentiable methods share: one relaxed space, logits, a learner, an architecture that is derived."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sartor.errors import InputError
from sartor.supernets.collapse import skip_share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.space import Architecture, Space
    from sartor.space._mixture import Around, Weights
    from sartor.space._nodes import Label
    from sartor.supernets._relaxed import Relaxed
    from sartor.training import Learner, Recipe, Step

NETWORK, ARCHITECTURE = "network", "architecture"
"""Players: who trains the weights, and who the logits."""
NEVER = -1.0
"""Score of a value that is not derived; those of others are above."""


class AbstractDifferentiable(ABC):
    """Trains weights and logits of a relaxed space by turns, and derives the architecture of the largest scores.

    Args:
        spaces: One for each stage, all with the same choices; the first is searched.
        inputs: Example inputs of the networks.
        part: Entry of a dict space.
        seed: Of the initial weights and logits.
        excluded: Values that are trained but never derived.
        warmup: Share of the training in which only the weights are trained.
        share: Of the train part on which the weights are trained; the logits are on the rest.
        normalises: Whether outputs of alternatives are made comparable, as in cells (`normalise_alternatives`).
        around: See `sartor.space.Mixture`.
        has_shares: Whether the items of a `Subset` have logits too.

    Attributes:
        logits_recipe: The paper's optimiser of the logits: what ``recipe`` fills in.
    """

    logits_recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 3e-4,
        "beta1": 0.5,
        "weight_decay": 1e-3,
        "clip_norm": None,
    }

    def __init__(
        self,
        spaces: Sequence[Space],
        inputs: Sequence[Any],
        *,
        part: str | None,
        seed: int,
        excluded: Sequence[Label] = (),
        warmup: float = 0.0,
        share: float = 0.5,
        normalises: bool = False,
        around: Around | None = None,
        has_shares: bool = False,
    ) -> None:
        from sartor.supernets._relaxed import Relaxed, normalise_alternatives

        if not 0 <= warmup < 1:
            raise InputError(f"expected a warm-up of a share of the training in [0, 1), got {warmup}")
        self.space, self.seed = spaces[0], seed
        self.excluded, self.warmup, self.share = tuple(excluded), warmup, share
        self.module: Relaxed = Relaxed(spaces, inputs, part, seed, around=around, has_shares=has_shares)
        self.module.at_rest = self.probabilities
        if normalises:
            normalise_alternatives(self.module)

    # --- what a method decides

    def probabilities(self) -> Weights:
        """Returns the weights of the logits as they are, without anything random: a softmax."""
        return {key: logits.softmax(0) for key, logits in self.module.logits.items()}

    @abstractmethod
    def weights(self, step: Step) -> Weights:
        """Returns the weights under which a step runs the mixture."""

    def objective(self, loss: Tensor, step: Step) -> Tensor:
        """Returns what the logits minimise, given the task's loss."""
        return loss

    def plays(self, index: int, total: int) -> bool:
        """Returns whether the logits are trained at a step."""
        return index >= self.warmup * total

    def after(self, step: Step) -> None:
        """Is called without gradients when a step is done."""
        return

    def scores(self) -> dict[str, dict[Label, float]]:
        """Returns what `Space.argmax` sums: by default the probabilities of the values."""
        weights = self.probabilities()
        return {
            key: {
                value: NEVER if value in self.excluded else score
                for value, score in zip(values, _numbers(weights[key], values), strict=True)
            }
            for key, values in self.module.choices.items()
        }

    # --- the contract

    def draw(self, step: Step) -> Iterable[tuple[Architecture | None, nn.Module]]:
        self.bind(step)
        return ((None, self.module),)

    def bind(self, step: Step) -> None:
        """Sets the weights under which the module runs; only in the logits' turn they have a gradient."""
        weights = self.weights(step)
        if step.player != ARCHITECTURE:
            weights = {key: _detached(own) for key, own in weights.items()}
        self.module.bound = weights

    def learner(self, inner: Learner) -> Learner:
        from sartor.supernets._relaxed import Search

        return Search(self, inner, self.share)

    def recipe(self, recipe: Recipe) -> Recipe:
        """Returns the recipe with the paper's optimiser for the logits, where it does not say another."""
        own = {**self.logits_recipe, **recipe.players.get(ARCHITECTURE, {})}
        return dataclasses.replace(recipe, players={**recipe.players, ARCHITECTURE: own})

    def derive(self) -> Architecture:
        """Returns the architecture with the largest sum of scores of its active choices, under the constraints.

        Choices that the mixture does not relax (other entries of a dict space) take their first value.
        """
        return self.space.argmax(self.scores())

    def indicators(self) -> Mapping[str, float]:
        return {"skip_share": skip_share(self.space, self.derive())}


def _numbers(weights: Tensor | Mapping[Label, Tensor], values: Sequence[Label]) -> list[float]:
    """Returns a number for each value, 0 where it has no weight."""
    if isinstance(weights, Mapping):
        return [float(weights[value].detach()) if value in weights else 0.0 for value in values]
    numbers: list[float] = weights.detach().tolist()
    return numbers


def _detached(weights: Tensor | Mapping[Label, Tensor]) -> Tensor | Mapping[Label, Tensor]:
    if isinstance(weights, Mapping):
        return {value: weight.detach() for value, weight in weights.items()}
    return weights.detach()
