"""Once-for-All: the largest network first, then ever smaller ones inside of it, which the largest teaches.

Cai et al. 2020, "Once-for-All: Train One Network and Specialize it for Efficient Deployment", arXiv:1908.09791.
Progressive shrinking: at first the largest network alone is trained; then its choices open in phases, kernels, depths,
expansions (and heads), widths, each value by value from the largest on, while resolutions are open throughout. From the
second phase on, every network learns from labels and from a frozen copy of the largest one as it was when its phase
ended.

Deviations: any space, whose choices are told apart by their keys (`default_phases`); one training with one schedule of
the rate instead of one for each phase; phases of equal length after the first (the paper's last take longest), in whose
first half values open (in the paper's first sixth); the teacher sees images at the largest resolution. A smaller kernel
is the middle of the larger one, without the paper's transformation matrices, and channels are not sorted by importance
before widths open: both belong to one kind of layer, and a store of windows serves all.
"""

from __future__ import annotations

import bisect
import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError, near
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Label, Space, Supernet
    from sartor.training import Learner, Recipe, Step

SPEC = Spec(
    "once-for-all",
    "sartor.supernets.once_for_all:OnceForAll",
    summary="the largest network first, then smaller ones by phases of kernels, depths, widths; a frozen teacher",
    citation="Cai et al. 2020, arXiv:1908.09791",
    when="small networks drag the largest one down when all are trained at once",
)

LARGEST_SHARE = 0.3
"""Of the training, spent on the largest network alone (180 of the paper's 605 epochs)."""
OPENING_SHARE = 0.5
"""Of a phase, within which the values of its choices open one by one."""
THROUGHOUT = "resolution"
"""Choices whose key ends in a name with this are open from the beginning."""
GROUPS = (("kernel",), ("depth", "times"), ("expand", "ratio", "heads"), ("width", "dim"))
"""What the names of choices hold, by phase; other choices open with kernels, as they leave shapes alone most often."""

Phase = tuple[str, float]
"""A key or glob, and the share of the training after which the choices that match it open."""


def default_phases(keys: Sequence[str]) -> list[Phase]:
    """Returns when each choice opens, by the last part of its key; groups without a choice have no phase.

    Example:
        >>> default_phases(["data.resolution", "blocks.0.kernel", "stage1.depth"])
        [('blocks.0.kernel', 0.3), ('stage1.depth', 0.65)]
    """
    groups: list[list[str]] = [[] for _ in GROUPS]
    for key in keys:
        name = key.rpartition(".")[2].lower()
        if THROUGHOUT not in name:
            found = (number for number, words in enumerate(GROUPS) if any(word in name for word in words))
            groups[next(found, 0)].append(key)
    used = [group for group in groups if group]
    length = (1 - LARGEST_SHARE) / max(1, len(used))
    return [(key, round(LARGEST_SHARE + number * length, 9)) for number, group in enumerate(used) for key in group]


class OnceForAll:
    """Trains the largest architecture of a supernet, then random ones among ever smaller.

    Args:
        space: Whose architectures.
        inputs: Example inputs of its networks, by whose cost values are ordered; without them by parameters alone.
        part: Entry of a dict space.
        seed: Of the initial weights.
        phases: When which choices open; the first that matches a key counts, and choices that none matches are open
            throughout. `default_phases` when None.
        paths: Random architectures a step.
        distillation: Weight of learning from the largest network, beside labels; 0 for none.
        temperature: Of the distillation.

    Raises:
        InputError: no paths; phases that match nothing, begin at 0 or do not ascend.
    """

    def __init__(
        self,
        space: Space,
        inputs: Sequence[Any] | None = None,
        *,
        part: str | None = None,
        seed: int = 0,
        phases: Sequence[Phase] | None = None,
        paths: int = 1,
        distillation: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        from sartor.supernets._extremes import extremes, network_cost

        if paths < 1:
            raise InputError(f"expected at least 1 path a step, got {paths}")
        self.space, self.paths = space, paths
        self.distillation, self.temperature = distillation, temperature
        self.phases = tuple(default_phases(space.keys) if phases is None else phases)
        _check(self.phases, space.keys)
        ends = extremes(space, network_cost(space, inputs, part))
        self.largest = ends.largest
        self._first: dict[str, Label] = {}
        """Key of a choice that opens in a phase -> the value that it has from the beginning."""
        self._openings: list[tuple[float, str, Label]] = []
        for key in ends.scores:
            start = next((start for pattern, start in self.phases if fnmatch.fnmatchcase(key, pattern)), None)
            if start is None:
                continue
            ordered = ends.ordered(key)
            first = ends.largest.get(key, ordered[0])
            self._first[key] = first
            closed = [value for value in ordered if value != first]
            end = min((each for _, each in self.phases if each > start), default=1.0)
            for number, value in enumerate(closed):
                at = start + OPENING_SHARE * (end - start) * number / len(closed)
                self._openings.append((at, key, value))
        self._openings.sort(key=lambda opening: opening[0])
        self._now: tuple[int, Space] | None = None
        self.weights: Supernet = space.supernet(part, examples=(ends.largest, ends.smallest), seed=seed)
        self.module: nn.Module = self.weights

    def open_space(self, fraction: float) -> Space:
        """Returns the space of what may be drawn when a share of the training is done."""
        num_open = bisect.bisect_right(self._openings, fraction, key=lambda opening: opening[0])
        if self._now is None or self._now[0] != num_open:
            values = {key: {first} for key, first in self._first.items()}
            for _, key, value in self._openings[:num_open]:
                values[key].add(value)
            space = self.space
            for key, some in values.items():
                if len(some) < len(self.space.values(key)):
                    space = space.where(frozenset(some).__contains__, key, name=f"open values of {key}")
            self._now = num_open, space
        return self._now[1]

    def draw(self, step: Step) -> Iterable[tuple[Architecture, nn.Module]]:
        space = self.open_space(step.fraction)
        for architecture in dict.fromkeys(space.sample_choices(step.numpy, self.paths)):
            yield architecture, self.weights.network(architecture)

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe

    def learner(self, inner: Learner) -> Learner:
        from sartor.supernets._distilling import Distilling, Teacher

        if not self.distillation or not self.phases:
            return inner
        start = min(start for _, start in self.phases)
        teacher = Teacher(lambda: self.weights.child(self.largest), self.largest, start)
        return Distilling(inner, teacher, temperature=self.temperature, weight=self.distillation)


def _check(phases: Sequence[Phase], keys: Sequence[str]) -> None:
    starts = [start for _, start in phases]
    if starts != sorted(starts) or not all(0 < start < 1 for start in starts):
        raise InputError(f"expected phases that begin between 0 and 1, in order, got {list(phases)}")
    for pattern, _ in phases:
        if not any(fnmatch.fnmatchcase(key, pattern) for key in keys):
            raise InputError(f"a phase names {pattern!r}, which matches no choice{near(pattern, keys)}")
