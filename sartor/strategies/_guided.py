"""Search guided by a predictor: what BANANAS, NPENAS, PNAS and NAS-BOWL have in common.

A predictor is fitted to what was trained; of candidates made from the best of it those are proposed, a batch at a time,
that an acquisition of the predictor's means and deviations ranks first. The four differ in the predictor, in how
candidates are made and in the acquisition. As Sartor is used, that is:

- Several objectives: each batch has the predictor learn one random scalarisation of all (ParEGO, Knowles 2006,
  doi:10.1109/TEVC.2005.851274); every other learns the primary objective alone.
- Limits: candidates count by their probability of meeting all of them, by the process of each cost that all strategies
  share (Gardner et al. 2014); it knows the infeasible trials too.
- Of architectures that are known to be the same network one is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sartor.contracts import Predictor
from sartor.errors import InputError
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.strategies._acquisition import Acquisition, Array
from sartor.strategies._features import Features
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least, from_text
from sartor.strategies._results import Known, Results, drawn_weights, scalarised
from sartor.trials import Fidelity, Proposal, Trial

Parents = Sequence[Architecture]
"""Trained architectures, best first."""
MakeCandidates = Callable[[Parents, int, np.random.Generator], Sequence[Architecture]]
"""Parents, the number of the batch (0 is the first), and random numbers to candidates, known ones among them or not."""


class Guided:
    """Proposes what an acquisition on a predictor ranks first.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        stream: Distinguishes the strategy's random numbers from those of others with the same seed.
        initial: Proposed first.
        num_initial: Architectures before the first that is predicted, at least 2.
        batch_size: Proposals of each fit.
        predictor: Makes it of a seed; it is fitted anew for each batch.
        candidates: Makes them.
        acquisition: Ranks them.

    Raises:
        InputError: ``num_initial`` is below 2 or ``batch_size`` below 1.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int,
        stream: int,
        initial: Sequence[Architecture],
        num_initial: int,
        batch_size: int,
        predictor: Callable[[int], Predictor],
        candidates: MakeCandidates,
        acquisition: Acquisition,
    ) -> None:
        check_at_least("num_initial", num_initial, 2)
        check_at_least("batch_size", batch_size, 1)
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._num_initial, self._batch_size = num_initial, batch_size
        self._make_predictor, self._make, self._acquisition = predictor, candidates, acquisition
        self._seed, self._predictor = seed, predictor(seed)
        self._fresh = Fresh(space, np.random.default_rng([seed, stream]), initial)
        self._results = Results(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._results.costs.log_feasible
        self._key = Features(space).key
        self._asked: set[str] = set()
        """Keys of the networks proposed."""
        self._waiting: list[Architecture] = []
        """Proposals of the last fit, best first."""
        self._num_batches = 0

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._predicted() if self._is_ready() else None
            if architecture is None:
                architecture = self._fresh.drawn()
            if architecture is None:
                break
            self._asked.add(self._key(architecture))
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._fresh.take(trial.architecture)
            self._asked.add(self._key(trial.architecture))
            self._results.tell(trial)

    def recommend(self) -> Architecture:
        """Returns the trained architecture within the limits that the predictor says is best in the primary objective.

        Raises:
            InputError: Nothing that meets the limits was trained.
        """
        within = self._results.within()
        if not within:
            raise InputError("expected a complete trial within the limits, got none: nothing can be recommended")
        trained = [known.architecture for known in within]
        if len(within) < 2:
            return trained[0]
        losses = self._fit(self._results.fitted(), None)
        means, _ = self._predictor.predict(trained)
        return trained[int(means.argmin())] if np.ptp(losses) > 0 else trained[0]

    def _is_ready(self) -> bool:
        enough = len(self._fresh) >= self._num_initial and not self._fresh.has_initial and not self._fresh.exhausted
        return enough and len(self._results) >= 2

    def _predicted(self) -> Architecture | None:
        """Returns the next of the last fit's proposals, or the first of a new fit; None when that finds nothing new."""
        for fitted in (False, True):
            if fitted:
                self._waiting = self._ranked()
            while self._waiting:
                architecture = self._waiting.pop(0)
                if self._key(architecture) not in self._asked and self._fresh.take(architecture):
                    return architecture
        return None

    def _fit(self, fitted: Sequence[Known], weights: Array | None) -> Array:
        """Fits the predictor to results by these weights; returns their values, ``[n]``, smaller is better."""
        losses = self._results.losses(fitted)
        values = scalarised(losses, weights, losses)
        self._predictor.fit([known.architecture for known in fitted], values)
        return values

    def _ranked(self) -> list[Architecture]:
        """Returns the next batch, best first."""
        rng = self._fresh.rng
        weights = drawn_weights(len(self._goals.objectives), self._num_batches, rng)
        fitted = self._results.fitted()
        values = self._fit(fitted, weights)
        ordered = [fitted[i].architecture for i in np.argsort(values, kind="stable").tolist()]
        found: dict[str, Architecture] = {}
        for architecture in self._make(ordered, self._num_batches, rng):
            key = self._key(architecture)
            if key not in self._asked and architecture not in self._fresh:
                found.setdefault(key, architecture)
        self._num_batches += 1
        candidates = list(found.values())
        if not candidates:
            return []
        means, deviations = self._predictor.predict(candidates)
        best = float(self._predictor.predict(ordered)[0].min())
        value = self._acquisition(means, np.maximum(deviations, 1e-9), best, rng)
        order = np.argsort(value - self._results.costs.log_feasible(candidates), kind="stable")
        return [candidates[i] for i in order[: self._batch_size].tolist()]

    def state_dict(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "fresh": self._fresh.state_dict(),
            "results": self._results.state_dict(),
            "asked": sorted(self._asked),
            "waiting": [architecture.to_json() for architecture in self._waiting],
            "num_batches": self._num_batches,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seed = state["seed"]
        self._predictor = self._make_predictor(self._seed)
        self._fresh.load_state_dict(state["fresh"])
        self._results.load_state_dict(state["results"])
        self._asked = set(state["asked"])
        self._waiting = [from_text(self._space, text) for text in state["waiting"]]
        self._num_batches = state["num_batches"]


def mutated(space: Space, num_parents: int, num_candidates: int, random_share: float = 0.0) -> MakeCandidates:
    """Returns what makes candidates by mutating each of the best in turn, and draws a share of them at random."""

    def make(parents: Parents, batch: int, rng: np.random.Generator) -> list[Architecture]:
        best = parents[:num_parents]
        num_drawn = int(random_share * num_candidates)
        made = [space.mutate(best[i % len(best)], rng) for i in range(num_candidates - num_drawn)]
        return [*made, *(space.sample_choices(rng, num_drawn) if num_drawn else ())]

    return make
