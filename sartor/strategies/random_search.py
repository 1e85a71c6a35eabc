"""Random search (Li and Talwalkar 2019, arXiv:1902.07638): uniform over architectures, none twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from sartor.errors import InputError, near
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, Over
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "random",
    "sartor.strategies.random_search:RandomSearch",
    "uniform sampling without repetition: the baseline",
    citation="Li and Talwalkar 2019, arXiv:1902.07638",
    needs="Nothing.",
    when="As the baseline that others must beat, or when all of a small space is to be tried.",
)


class RandomSearch:
    """Proposes random architectures.

    Args:
        space: Where they come from.
        goals: Not read.
        fidelities: Ascending; the last is used.
        seed: Same seed, same proposals.
        initial: Proposed first.
        over: Uniform over ``architectures``, most of which are large where choices are conditional, or over the
            ``choices`` of each.

    Raises:
        InputError: unknown ``over``.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        over: Over = "architectures",
    ) -> None:
        if over not in get_args(Over):
            raise InputError(f"random search is not over {over!r}{near(over, get_args(Over))}")
        self._fidelity, self._over = highest(fidelities), over
        self._fresh = Fresh(space, np.random.default_rng([seed, 1]), initial)

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._fresh.drawn(self._over)
            if architecture is None:
                break
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._fresh.take(trial.architecture)

    def state_dict(self) -> dict[str, Any]:
        return {"fresh": self._fresh.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
