"""Single path one-shot: one random path a step.

Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling", arXiv:1904.00420. Every choice
is drawn uniformly among its options, under the constraints of the space, or all architectures alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from sartor.errors import InputError
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Space, Supernet
    from sartor.training import Learner, Recipe, Step

SPEC = Spec(
    "one-shot",
    "sartor.supernets.one_shot:OneShot",
    summary="one random path a step",
    citation="Guo et al. 2020, arXiv:1904.00420",
    when="the least to train; any space",
)


class OneShot:
    """Trains random architectures of a supernet, each with the weights that all share.

    Args:
        space: Whose architectures.
        inputs: Not needed.
        part: Entry of a dict space.
        seed: Of the initial weights.
        paths: Architectures a step, whose gradients are averaged.
        sampling: Uniform over the options of each ``choices``, or over all ``architectures``, which trains what lies
            deep more often: most architectures are deep.

    Raises:
        InputError: no paths, or another way of sampling.
    """

    def __init__(
        self,
        space: Space,
        inputs: Any = None,
        *,
        part: str | None = None,
        seed: int = 0,
        paths: int = 1,
        sampling: Literal["choices", "architectures"] = "choices",
    ) -> None:
        if paths < 1 or sampling not in ("choices", "architectures"):
            raise InputError(
                f"expected at least 1 path a step and sampling of choices or architectures, got {paths} and {sampling}"
            )
        self.space, self.paths, self.sampling = space, paths, sampling
        self.module: Supernet = space.supernet(part, seed=seed)

    @property
    def weights(self) -> Supernet:
        return self.module

    def draw(self, step: Step) -> Iterable[tuple[Architecture, nn.Module]]:
        for _ in range(self.paths):
            of_all = self.sampling == "architectures"
            architecture = self.space.sample(step.numpy) if of_all else self.space.sample_choices(step.numpy)
            yield architecture, self.module.network(architecture)

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe

    def learner(self, inner: Learner) -> Learner:
        return inner
