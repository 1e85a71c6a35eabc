"""BigNAS: the largest, the smallest and random networks of one store, trained so that none is trained again.

Yu et al. 2020, "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models", arXiv:2003.11142. Each
step trains the largest network on labels, and the smallest and some random ones on what the largest says of the same
batch: the sandwich rule and in-place distillation of Yu and Huang 2019, "Universally Slimmable Networks and Improved
Training Techniques", arXiv:1903.05134. What is found is extracted with its weights, its normalisations calibrated.

Deviations: losses are averaged over the networks of a step instead of added. Only the largest is regularised, as in
the paper, but by what the networks and the recipe have: dropout layers of torch, and those of its attention, are silent
in all others, and label smoothing is part of the loss on labels; a network's noise of another kind stays. Weight decay
acts once a step on the whole store, which is the largest network's weights. Rate and its schedule are the recipe's,
without the constant end of the paper's decay; initialisation is the networks' own (most begin residual branches at
zero, as the paper does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Space, Supernet
    from sartor.training import Learner, Recipe, Step

SPEC = Spec(
    "bignas",
    "sartor.supernets.bignas:BigNAS",
    summary="largest, smallest and random networks a step; the largest teaches the others; no retraining",
    citation="Yu et al. 2020, arXiv:2003.11142",
    when="many networks of one training are wanted, for many devices or limits",
)


class BigNAS:
    """Trains the largest, the smallest and random architectures of a supernet, the largest teaching the others.

    Args:
        space: Whose architectures.
        inputs: Example inputs of its networks, by whose cost the largest and the smallest are found; without them by
            parameters alone.
        part: Entry of a dict space.
        seed: Of the initial weights.
        num_random: Random architectures a step.
        temperature: Of the distillation.

    Raises:
        InputError: a negative number of random architectures.
    """

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any] | None = None,
        *,
        part: str | None = None,
        seed: int = 0,
        num_random: int = 2,
        temperature: float = 1.0,
    ) -> None:
        from sartor.supernets._extremes import extremes, network_cost

        if num_random < 0:
            raise InputError(f"expected at least 0 random architectures a step, got {num_random}")
        ends = extremes(space, network_cost(space, inputs, part))
        self.space, self.num_random, self.temperature = space, num_random, temperature
        self.largest, self.smallest = ends.largest, ends.smallest
        self.weights: Supernet = space.supernet(part, examples=(ends.largest, ends.smallest), seed=seed)
        self.module: nn.Module = self.weights

    def draw(self, step: Step) -> Iterable[tuple[Architecture, nn.Module]]:
        drawn = self.space.sample_choices(step.numpy, self.num_random)
        for architecture in dict.fromkeys([self.largest, self.smallest, *drawn]):
            yield architecture, self.weights.network(architecture)

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe

    def learner(self, inner: Learner) -> Learner:
        from sartor.supernets._distilling import Distilling

        return Distilling(inner, temperature=self.temperature)
