"""NSGA-II (Deb, Pratap, Agarwal and Meyarivan 2002, doi:10.1109/4235.996017), with its constraint domination.

Generations follow the results told: when as many children as the population holds have been told, the next parents are
chosen from both. Children may be asked for at any time, so that nothing waits for the slowest of a generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sartor.errors import InputError
from sartor.front import crowding_distance
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._costs import CostModel
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least
from sartor.strategies._standing import Standing, constrained_ranks, standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "nsga2",
    "sartor.strategies.nsga2:NSGA2",
    "NSGA-II: non-dominated sorting and crowding, limits first",
    citation="Deb et al. 2002, doi:10.1109/4235.996017",
    needs="Nothing but results.",
    when="When the whole front is wanted and hundreds of trials are to be had.",
)


class NSGA2:
    """Evolves a population towards the front.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first, and part of the initial population.
        population_size: Parents, and children of a generation.
        crossover: Probability that a child has two parents.

    Each choice of a child is mutated with probability one over their number; a child like a known one once more.

    Raises:
        InputError: an option is out of its range.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        population_size: int = 20,
        crossover: float = 0.9,
    ) -> None:
        check_at_least("population_size", population_size, 2)
        if not 0 <= crossover <= 1:
            raise InputError(f"crossover is a probability between 0 and 1, got {crossover}")
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._population_size, self._crossover = population_size, crossover
        self._fresh = Fresh(space, np.random.default_rng([seed, 4]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._parents: list[Standing] = []
        """Best first, by rank and crowding."""
        self._children: list[Standing] = []
        self._order: list[tuple[int, float]] = []

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            if self._fresh.has_initial or not self._parents:
                architecture = self._fresh.drawn()
            else:
                architecture = self._fresh.varied(self._child)
            if architecture is None:
                break
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.proposal.fidelity != self._fidelity:
                continue
            self._fresh.take(trial.architecture)
            self._costs.tell(trial)
            result = standing(trial, self._goals)
            if result is None:
                continue
            self._children.append(result)
            if len(self._children) == self._population_size:
                self._parents = self._survivors(self._parents + self._children)
                self._children = []

    def _survivors(self, candidates: list[Standing]) -> list[Standing]:
        ranks = constrained_ranks(candidates)
        crowding = np.zeros(len(candidates))
        for rank in np.unique(ranks).tolist():
            members = np.flatnonzero(ranks == rank)
            if candidates[members[0]].feasible:
                crowding[members] = crowding_distance([candidates[i].losses for i in members])
        order = np.lexsort((-crowding, ranks))[: self._population_size].tolist()
        self._order = [(int(ranks[i]), float(-crowding[i])) for i in order]
        return [candidates[i] for i in order]

    def _winner(self) -> Architecture:
        """Returns the better of two parents by rank, then crowding."""
        first, second = self._fresh.rng.integers(len(self._parents), size=2).tolist()
        best: int = min(first, second, key=lambda i: self._order[i])
        return self._parents[best].architecture

    def _child(self) -> Architecture:
        rng, child = self._fresh.rng, self._winner()
        if rng.random() < self._crossover:
            child = self._space.crossover(child, self._winner(), rng)
        for _ in range(int(rng.binomial(len(child), 1.0 / max(1, len(child))))):
            child = self._space.mutate(child, rng)
        return child if child not in self._fresh else self._space.mutate(child, rng)

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "parents": [s.to_json() for s in self._parents],
            "order": [[rank, _finite(crowding)] for rank, crowding in self._order],
            "children": [s.to_json() for s in self._children],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._parents = [Standing.from_json(self._space, s) for s in state["parents"]]
        self._order = [(rank, -np.inf if crowding is None else crowding) for rank, crowding in state["order"]]
        self._children = [Standing.from_json(self._space, s) for s in state["children"]]


def _finite(crowding: float) -> float | None:
    """Returns a negated crowding distance as JSON has it: infinity as null."""
    return None if np.isinf(crowding) else crowding
