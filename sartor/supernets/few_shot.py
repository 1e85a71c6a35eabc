"""Few-shot NAS: several supernets, each for one option of a choice.

Zhao et al. 2021, "Few-Shot Neural Architecture Search", arXiv:2006.06863. One supernet is trained; then a choice is
split: a copy of the supernet goes on for each of its options, so that options which pull the same weights in different
directions no longer share them. Between one-shot (one supernet) and training every architecture alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import InputError, near
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Space
    from sartor.supernets._split import SplitSupernet
    from sartor.training import Learner, Recipe, Step

SPEC = Spec(
    "few-shot",
    "sartor.supernets.few_shot:FewShot",
    summary="one supernet, then a copy for each option of a choice",
    citation="Zhao et al. 2021, arXiv:2006.06863",
    when="one-shot ranks too poorly, and there is time and memory for several supernets",
)

_MOST_PARTS = 25
"""Supernets into which one is split at most."""


class FewShot:
    """Trains one supernet on random paths, then a copy of it for each option of some choices.

    Args:
        space: Whose architectures.
        inputs: Not needed.
        part: Entry of a dict space.
        seed: Of the initial weights.
        split: Keys of the choices to split; all combinations of their options get a supernet. By default the choice of
            at most 8 options that comes first.
        split_at: Share of the training that the one supernet has before.
        paths: Architectures a step.

    Raises:
        InputError: an unknown choice or one that may be inactive, more than 25 supernets, or a share or number that
            makes no sense.
    """

    def __init__(
        self,
        space: Space,
        inputs: Any = None,
        *,
        part: str | None = None,
        seed: int = 0,
        split: Sequence[str] = (),
        split_at: float = 0.5,
        paths: int = 1,
    ) -> None:
        from sartor.supernets._split import SplitSupernet

        if paths < 1 or not 0 <= split_at < 1:
            raise InputError(f"expected at least 1 path and split_at from 0 to below 1, got {paths}, {split_at}")
        always = _always_active(space)
        keys = tuple(split) or tuple(key for key, values in always.items() if 2 <= len(values) <= 8)[:1]
        for key in keys:
            if key not in always:
                raise InputError(f"{key!r} is no choice that every architecture has{near(key, always)}")
        if not keys:
            raise InputError("no choice of 2 to 8 options is in every architecture: name the ones to split")
        number = int(np.prod([len(always[key]) for key in keys]))
        if number > _MOST_PARTS:
            raise InputError(f"splitting {', '.join(keys)} makes {number} supernets, more than {_MOST_PARTS}")
        self._space, self.split_at, self.paths = space, split_at, paths
        self.module: SplitSupernet = SplitSupernet(space, {key: always[key] for key in keys}, part=part, seed=seed)

    @property
    def weights(self) -> SplitSupernet:
        return self.module

    def draw(self, step: Step) -> Iterable[tuple[Architecture, nn.Module]]:
        if step.fraction >= self.split_at:
            self.module.split()
        for _ in range(self.paths):
            architecture = self._space.sample_choices(step.numpy)
            yield architecture, self.module.network(architecture)

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe

    def learner(self, inner: Learner) -> Learner:
        return inner


def _always_active(space: Space) -> Mapping[str, tuple[Any, ...]]:
    """Returns key -> values of the discrete choices that every architecture has."""
    found = {}
    for key, slots in space._compiled.by_key.items():
        slot = space._compiled.slots[slots[0]]
        if len(slots) == 1 and slot.kind == "choice" and slot.when is None:
            found[key] = tuple(slot.domain)
    return found
