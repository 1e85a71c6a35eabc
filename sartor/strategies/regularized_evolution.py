"""Regularised (aging) evolution (Real, Aggarwal, Huang and Le 2019, arXiv:1802.01548).

Parents win a tournament among a sample of the population; a child is a mutation; the oldest dies, not the worst, so
that an architecture that was lucky once does not stay. Deviations, all for few evaluations under limits:

- Limits: feasible before infeasible, then by excess (constraint domination, Deb et al. 2002). An infeasible child takes
  no feasible one's place: it fills the population only while too few are feasible.
- Several objectives: each tournament draws a weight and compares by the augmented Chebyshev sum of the normalised
  losses (ParEGO, Knowles 2006, doi:10.1109/TEVC.2005.851274), every other one by the primary objective alone, since the
  best network within the limits is what is asked for most.
- A trial promoted to a higher fidelity replaces what its architecture scored at a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from sartor.errors import InputError, near
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._costs import CostModel
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least
from sartor.strategies._standing import Standing, standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "evolution",
    "sartor.strategies.regularized_evolution:RegularizedEvolution",
    "regularised (aging) evolution, limits first, over all objectives",
    citation="Real et al. 2019, arXiv:1802.01548",
    needs="Nothing but results.",
    when="When hundreds of cheap evaluations or more are to be had, and a model would take longer than they do.",
)

Compared = Literal["all", "primary"]
_AUGMENTATION = 0.05
"""Share of the plain weighted sum in a Chebyshev sum, which breaks its ties (Knowles 2006)."""


class RegularizedEvolution:
    """Evolves a population by tournaments and aging.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first, and part of the initial population.
        population_size: Architectures that can be parents.
        sample_size: Of a tournament.
        num_initial: Random architectures before the first child.
        objectives: Whether tournaments compare ``all`` objectives or the ``primary`` alone.

    Raises:
        InputError: a size is too small, a tournament larger than the population, unknown ``objectives``.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        population_size: int = 32,
        sample_size: int = 8,
        num_initial: int = 16,
        objectives: Compared = "all",
    ) -> None:
        check_at_least("population_size", population_size, 2)
        check_at_least("sample_size", sample_size, 1)
        if sample_size > population_size:
            raise InputError(
                f"a tournament of sample_size {sample_size} needs a population at least as large,"
                f" got population_size {population_size}"
            )
        check_at_least("num_initial", num_initial, 1)
        if objectives not in get_args(Compared):
            known = near(objectives, get_args(Compared))
            raise InputError(f"evolution compares all objectives or the primary, not {objectives!r}{known}")
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._population_size, self._sample_size, self._num_initial = population_size, sample_size, num_initial
        self._compares_all = objectives == "all" and len(goals.objectives) > 1
        self._fresh = Fresh(space, np.random.default_rng([seed, 3]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._feasible: list[Standing] = []
        """In order of age, oldest first."""
        self._infeasible: list[Standing] = []
        """In order of violation, least first."""
        self._num_children = 0

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            population = self._population()
            if self._fresh.has_initial or len(self._fresh) < self._num_initial or not population:
                architecture = self._fresh.drawn()
            else:
                parent = self._winner(population)
                architecture = self._fresh.varied(partial(self._space.mutate, parent, self._fresh.rng))
                self._num_children += 1
            if architecture is None:
                break
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._fresh.take(trial.architecture)
            self._costs.tell(trial)
            result = standing(trial, self._goals)
            if result is None:
                continue
            if result.amount > self._fidelity.amount:
                self._replace(result)
            elif result.feasible:
                self._feasible.append(result)
                del self._feasible[: -self._population_size]
            else:
                self._infeasible.append(result)
                self._infeasible.sort(key=lambda s: s.violation)
                del self._infeasible[self._population_size :]

    def _replace(self, promoted: Standing) -> None:
        for i, known in enumerate(self._feasible):
            if known.architecture == promoted.architecture:
                self._feasible[i] = promoted

    def _population(self) -> list[Standing]:
        return self._feasible + self._infeasible[: self._population_size - len(self._feasible)]

    def _winner(self, population: Sequence[Standing]) -> Architecture:
        rng = self._fresh.rng
        size = min(self._sample_size, len(population))
        sample: list[Standing] = [population[i] for i in rng.choice(len(population), size, replace=False).tolist()]
        feasible = [s for s in sample if s.feasible]
        if not feasible:
            return min(sample, key=lambda s: s.key).architecture
        if not self._compares_all or self._num_children % 2 == 0:
            return min(feasible, key=lambda s: s.key).architecture
        losses = np.array([s.losses for s in self._feasible])
        low, high = losses.min(0), losses.max(0)
        weights = rng.dirichlet(np.ones(losses.shape[1]))
        scaled = weights * (np.array([s.losses for s in feasible]) - low) / np.where(high > low, high - low, 1.0)
        return feasible[int(np.argmin(scaled.max(1) + _AUGMENTATION * scaled.sum(1)))].architecture

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "feasible": [s.to_json() for s in self._feasible],
            "infeasible": [s.to_json() for s in self._infeasible],
            "num_children": self._num_children,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._feasible = [Standing.from_json(self._space, s) for s in state["feasible"]]
        self._infeasible = [Standing.from_json(self._space, s) for s in state["infeasible"]]
        self._num_children = state["num_children"]
