"""FairNAS: every option of every choice is trained equally often.

Chu et al. 2021, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture Search",
arXiv:1907.01845. Strict fairness: a step takes as many architectures as a choice has options, drawn without replacement
within each choice, and updates the weights once with the gradients of all.

Deviations: the gradients are averaged over the paths, not summed, so that a learning rate means the same for any number
of paths. Choices with fewer options than the largest are gone through again, so each option has its turn equally often
over steps; an option that constraints forbid beside the others gives way to the nearest legal architecture.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import InputError
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Space, Supernet
    from sartor.training import Learner, Recipe, Step

SPEC = Spec(
    "fairnas",
    "sartor.supernets.fairnas:FairNas",
    summary="every option of every choice once a step",
    citation="Chu et al. 2021, arXiv:1907.01845",
    when="options that learn at different speeds; a step costs as many passes as a choice has options",
)

_MOST_PATHS = 16
"""Options of the largest choice up to which they all have their turn in one step."""


class FairNas:
    """Trains in each step as many architectures as the largest choice has options, each option equally often.

    Args:
        space: Whose architectures.
        inputs: Not needed.
        part: Entry of a dict space.
        seed: Of the initial weights.
        paths: Architectures a step; by default as many as the largest choice has options, at most 16.

    Raises:
        InputError: no paths.
    """

    def __init__(
        self, space: Space, inputs: Any = None, *, part: str | None = None, seed: int = 0, paths: int | None = None
    ) -> None:
        from sartor.space._choices import Choices

        if paths is not None and paths < 1:
            raise InputError(f"expected at least 1 path a step, got {paths}")
        self.module: Supernet = space.supernet(part, seed=seed)
        self._choices = Choices(space)
        self._space = space
        sizes = [len(column.domain) for column in self._choices.columns if column.kind != "number"]
        self.paths = paths or min(max(sizes, default=1), _MOST_PATHS)

    @property
    def weights(self) -> Supernet:
        return self.module

    def draw(self, step: Step) -> Iterable[tuple[Architecture, nn.Module]]:
        for architecture in self.sample(step.numpy):
            yield architecture, self.module.network(architecture)

    def sample(self, rng: np.random.Generator) -> list[Architecture]:
        """Returns the architectures of one step."""
        values = np.empty((self.paths, len(self._choices.columns)))
        for column, choice in enumerate(self._choices.columns):
            if choice.kind == "number":
                values[:, column] = rng.random(self.paths)
                continue
            size = len(choice.domain)
            turns = -(-self.paths // size)
            values[:, column] = np.concatenate([rng.permutation(size) for _ in range(turns)])[: self.paths]
        found = [self._choices.make(row, rng, repair=True) for row in values.tolist()]
        # None: a predicate on whole architectures rejects it.
        return [self._space.sample_choices(rng) if made is None else made for made in found]

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe

    def learner(self, inner: Learner) -> Learner:
        return inner
