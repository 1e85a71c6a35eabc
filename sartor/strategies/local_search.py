"""Local search (White, Nolen and Savani 2021, "Exploring the loss landscape in NAS", arXiv:2005.02960).

From the best of a few random architectures, neighbours are evaluated; the first better one becomes the centre ("query
until lower" of the paper's appendix, which spends less than evaluating whole neighbourhoods); when none is better the
climb ends and another begins. While the last results of a climb are awaited, starts of the next are evaluated.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._costs import CostModel
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import NUM_TRIES, Fresh, check_at_least, from_text
from sartor.strategies._standing import Standing, standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "local-search",
    "sartor.strategies.local_search:LocalSearch",
    "hill climbing over neighbours with restarts, on the first objective",
    citation="White, Nolen and Savani 2021, arXiv:2005.02960",
    needs="Nothing but results.",
    when="When the space is small and there is one objective.",
)

_START = -1
"""Climb number of what is evaluated to start a climb from."""
_MAX_LISTED = 200_000
"""Neighbours looked through for new ones; a choice among half a million combinations has more."""


class LocalSearch:
    """Climbs on the primary objective, limits first.

    Args:
        space: Where architectures come from.
        goals: The primary objective and the limits are read.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first, and counted among the starts.
        num_initial: Random architectures of which the first climb starts from the best.
        patience: Evaluations without improvement after which a climb ends although neighbours are left (numbers of
            float ranges have no last neighbour).

    Raises:
        InputError: an option is below 1.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        num_initial: int = 8,
        patience: int = 128,
    ) -> None:
        check_at_least("num_initial", num_initial, 1)
        check_at_least("patience", patience, 1)
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._num_initial, self._patience = num_initial, patience
        self._fresh = Fresh(space, np.random.default_rng([seed, 2]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._climb = 0
        self._centre: Standing | None = None
        self._failures = 0
        self._left: list[Architecture] | None = None
        """Neighbours that are left once random ones are no longer new; None before that."""
        self._waiting: dict[str, int] = {}
        """Digest of what was asked and not told -> its climb."""
        self._starts: list[Standing] = []

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture, climb = self._neighbour(), self._climb
            if architecture is None:
                if self._centre is not None and self._climb not in self._waiting.values():
                    self._centre = None
                    self._begin()
                    if self._centre is not None:
                        continue
                architecture, climb = self._fresh.drawn(), _START
            if architecture is None:
                if self._centre is None and self._starts:
                    self._start()
                    continue
                break
            self._waiting[Fresh.digest(architecture)] = climb
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.proposal.fidelity != self._fidelity:
                continue
            self._fresh.take(trial.architecture)
            self._costs.tell(trial)
            climb = self._waiting.pop(Fresh.digest(trial.architecture), _START)
            result = standing(trial, self._goals)
            if climb == _START:
                if result is not None:
                    self._starts.append(result)
            elif climb == self._climb and self._centre is not None:
                if result is not None and result.key < self._centre.key:
                    self._centre, self._failures, self._left = result, 0, None
                else:
                    self._failures += 1
        self._begin()

    def _begin(self) -> None:
        """Starts a climb when there is none and enough starts are known."""
        needed = self._num_initial if self._climb == 0 else 1
        if self._centre is None and len(self._starts) >= needed and not self._fresh.has_initial:
            self._start()

    def _start(self) -> None:
        best = min(range(len(self._starts)), key=lambda i: self._starts[i].key)
        self._centre = self._starts[best]
        self._starts = [] if self._climb == 0 else self._starts[:best] + self._starts[best + 1 :]
        self._climb, self._failures, self._left = self._climb + 1, 0, None

    def _neighbour(self) -> Architecture | None:
        """Returns a neighbour of the centre that was not proposed, or None when the climb has come to its end."""
        if self._centre is None or self._failures >= self._patience or self._fresh.exhausted:
            return None
        centre, rng = self._centre.architecture, self._fresh.rng
        if self._left is None:
            for _ in range(NUM_TRIES):
                if self._fresh.take(architecture := self._fresh.likely(partial(self._space.mutate, centre, rng))):
                    return architecture
            listed = itertools.islice(self._space.neighbours(centre), _MAX_LISTED)
            rest = [architecture for architecture in listed if architecture not in self._fresh]
            self._left = [rest[i] for i in rng.permutation(len(rest)).tolist()]
        while self._left:
            if self._fresh.take(architecture := self._left.pop()):
                return architecture
        return None

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "climb": self._climb,
            "centre": None if self._centre is None else self._centre.to_json(),
            "failures": self._failures,
            "left": None if self._left is None else [architecture.to_json() for architecture in self._left],
            "waiting": dict(self._waiting),
            "starts": [start.to_json() for start in self._starts],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        centre, left = state["centre"], state["left"]
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._climb, self._failures = state["climb"], state["failures"]
        self._centre = None if centre is None else Standing.from_json(self._space, centre)
        self._left = None if left is None else [from_text(self._space, text) for text in left]
        self._waiting = dict(state["waiting"])
        self._starts = [Standing.from_json(self._space, start) for start in state["starts"]]
