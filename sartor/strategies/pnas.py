"""Progressive search, PNAS (Liu et al. 2018, "Progressive neural architecture search", arXiv:1712.00559).

From simple to complex: a beam of trained architectures is extended in all ways, a predictor trained on what is simple
ranks the more complex extensions, and the best of them are trained and are the next beam. The paper's complexity is the
number of blocks in a cell; of any space it is the number of choices that differ from the simplest architecture, that of
all first options. Levels are so many that the last one may have all choices changed; after it the search goes on by
mutations of the best.

Deviations: an ensemble of perceptrons over choices predicts (the paper's has five too, of an LSTM or perceptrons over
mean embeddings); a level's extensions are drawn, as a step changes several choices. What all such strategies have in
common here, several objectives and limits among it, is in `sartor.strategies._guided`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._acquisition import mean
from sartor.strategies._fresh import check_at_least
from sartor.strategies._guided import Guided, MakeCandidates, Parents, mutated
from sartor.trials import Fidelity

SPEC = Spec(
    "pnas",
    "sartor.strategies.pnas:pnas",
    "from simple architectures to complex ones, a predictor choosing what is extended",
    citation="Liu et al. 2018, arXiv:1712.00559",
    needs="First options that are the simplest; some seconds a level to train its networks.",
    when="When simple architectures are cheap to train and good parts of them stay good in complex ones.",
)
_NUM_DRAWN = 256
"""Architectures that tell how complex they come."""
_MAX_LISTED = 10_000
_NUM_TRIES = 8
"""Mutations of which one is to differ in a choice more."""


def pnas(
    space: Space,
    goals: Goals,
    fidelities: Sequence[Fidelity],
    *,
    seed: int = 0,
    initial: Sequence[Architecture] = (),
    num_levels: int = 5,
    beam: int = 20,
    num_candidates: int = 500,
) -> Guided:
    """Returns the strategy.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first, before the simplest.
        num_levels: At most; a space of few choices has as many levels as choices.
        beam: Architectures trained a level.
        num_candidates: Extensions a level that the predictor ranks.

    Raises:
        InputError: An option is too small.
    """
    check_at_least("num_levels", num_levels, 1)
    check_at_least("beam", beam, 2)
    check_at_least("num_candidates", num_candidates, 1)
    from sartor.estimators.predictors.ensemble import Ensemble

    levels = _Levels(space, num_levels)
    rng = np.random.default_rng([seed, 19, 1])
    simple = dict.fromkeys([levels.simplest, *(levels.extended([levels.simplest], 1, rng) for _ in range(4 * beam))])
    begun = [*initial, *list(simple)[:beam]]
    return Guided(
        space,
        goals,
        fidelities,
        seed=seed,
        stream=19,
        initial=begun,
        num_initial=2,
        batch_size=beam,
        predictor=lambda seed: Ensemble(space, seed),
        candidates=_extensions(space, levels, beam, num_candidates),
        acquisition=mean,
    )


class _Levels:
    """What is simple in a space, and how it is extended.

    Attributes:
        simplest: The architecture of all first options, or the nearest that the constraints allow.
        num: Levels.
        step: Choices changed from one to the next.
    """

    def __init__(self, space: Space, most: int) -> None:
        self._space = space
        self._first = {key: space.values(key)[0] for key in space.keys if key not in space.continuous}
        drawn = space.sample_choices(np.random.default_rng(0), _NUM_DRAWN)
        self.simplest = min(drawn, key=self.complexity)
        while True:
            around = itertools.islice(space.neighbours(self.simplest), _MAX_LISTED)
            simpler = min(around, key=self.complexity, default=self.simplest)
            if self.complexity(simpler) >= self.complexity(self.simplest):
                break
            self.simplest = simpler
        self._most = max(map(self.complexity, drawn))
        self.step = max(1, math.ceil(self._most / most))
        self.num = max(1, math.ceil(self._most / self.step))

    def complexity(self, architecture: Architecture) -> int:
        """Returns how many choices are not the first option; numbers of ranges do not count."""
        return sum(value != self._first[key] for key, value in architecture.items() if key in self._first)

    def extended(self, beam: Sequence[Architecture], level: int, rng: np.random.Generator) -> Architecture:
        """Returns one of the beam with more choices changed, as many as the level has."""
        made = beam[int(rng.integers(len(beam)))]
        wanted = min(level * self.step, self._most)
        for _ in range(_NUM_TRIES * self.step):
            if self.complexity(made) >= wanted:
                break
            tried = self._space.mutate(made, rng)
            if self.complexity(tried) > self.complexity(made):
                made = tried
        return made


def _extensions(space: Space, levels: _Levels, beam: int, num: int) -> MakeCandidates:
    after = mutated(space, beam, num)

    def make(parents: Parents, batch: int, rng: np.random.Generator) -> Sequence[Architecture]:
        level = batch + 2
        if level > levels.num:
            return after(parents, batch, rng)
        # The latest level that was trained; initial ones may be of any.
        below = [a for a in parents if levels.complexity(a) <= (level - 1) * levels.step][:beam] or parents[:beam]
        return [levels.extended(below, level, rng) for _ in range(num)]

    return make
