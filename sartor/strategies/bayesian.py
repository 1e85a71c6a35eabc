"""Bayesian optimisation of architectures: expected improvement for one objective, random scalarisations for several.

A Gaussian process over several descriptions of an architecture (its choices, its paths where the space says how it is
wired, training-free scores where there are some) predicts each objective that has to be trained for. One objective: the
candidate of the largest expected improvement on the best mean (Jones, Schonlau and Welch 1998,
doi:10.1023/A:1008306431147; for architectures Kandasamy et al. 2018, arXiv:1802.07191). Several: each proposal draws
weights and one joint sample of the processes (Thompson sampling), and takes the best by the augmented Chebyshev sum
(Paria, Kandasamy and Poczos 2020, arXiv:1805.12168). As Sartor is used, that is:

- Limits: each limited cost has a process too (of its logarithm; every trial tells it, also the infeasible ones, which
  cost almost nothing), and candidates count by their probability of meeting all limits (Gardner et al. 2014).
- Costs that are objectives are predicted by the same processes: they are known long before accuracies are, and what is
  predicted of them is one more description of an architecture.
- Every other proposal is for the primary objective alone, since the best network within the limits is asked for most.
- Candidates are all architectures of a small space, one of each isomorphism class; of a large one mutations and
  crossovers of the best known and random ones, as in BANANAS (White et al. 2021, arXiv:1910.11858), and the best
  candidates of the proposal before.
- With successive halving an architecture counts with its highest fidelity; lower ones are lifted by the gain of those
  that were promoted, by their costs: large networks gain more from long trainings.
- With training-free scores the first architectures are drawn from the tenth of the space that these call best.
- The more results there are, the less each one says: from some hundred on, several proposals are made of one fit, which
  reads at most 256 results, so that the time of a proposal does not grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.goals import Goals, Objective
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._acquisition import log_improvement
from sartor.strategies._features import Features, Scores
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import NUM_TRIES, Fresh, check_at_least, from_text
from sartor.strategies._gaussian_process import draw
from sartor.strategies._results import Known, Results, drawn_weights, scalarised
from sartor.strategies._scored import PredictedScores, Scored
from sartor.strategies._surrogate import Surrogate, capped
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "bayesian",
    "sartor.strategies.bayesian:Bayesian",
    "Gaussian processes: expected improvement, or samples of several objectives, limits included",
    citation="Paria, Kandasamy and Poczos 2020, arXiv:1805.12168",
    needs="Nothing but results; training-free scores help where there are some.",
    when="When trainings are few and costly: it needs the fewest.",
    version=4,
    reads_scores=True,
)

Array = npt.NDArray[np.float64]
_NUM_CANDIDATES = 400
_NUM_KEPT = 150
"""Candidates that the next proposal looks at again."""
_NUM_DRAWN = 150
"""Candidates of which a joint sample is drawn: its cost grows with the cube."""
_NUM_ELITE = 12
_FEW = 150
"""Results up to which every proposal has a fit of its own, and all of a small space are candidates."""
_PER_FIT = 20
"""From there on, one proposal more of a fit for so many results."""
_OWN = 0.5
"""Share of what a result differs from its model by that is the architecture's own, not noise of its training."""
_REFIT = 1.1
"""From there on, kernel parameters are searched anew when so many times more results are there."""


class Bayesian:
    """Proposes what Gaussian processes say is best.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        num_initial: Architectures before the first that is modelled.
        scores: Training-free scores, higher better; the first architectures are drawn from the best tenth by them.
        features: Descriptions to be shared with other strategies on this space; they have scores of their own.
        scored: Training-free scores of some architectures, `Scored` or its JSON: those of others are predicted.

    Raises:
        InputError: ``num_initial`` is below 2; more than one of ``scores``, ``features`` and ``scored``.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        num_initial: int = 10,
        scores: Scores | None = None,
        features: Features | None = None,
        scored: Scored | Mapping[str, Any] | None = None,
    ) -> None:
        check_at_least("num_initial", num_initial, 2)
        if sum(each is not None for each in (scores, features, scored)) > 1:
            raise InputError("expected one of scores, features and scored: features have scores of their own")
        if scored is not None:
            predicted = PredictedScores(space, scored if isinstance(scored, Scored) else Scored.from_json(scored))
            scores = predicted if predicted.says else None
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._num_initial = num_initial
        self._features = features or Features(space, scores)
        self._fresh = Fresh(space, np.random.default_rng([seed, 5]), initial)
        self._results = Results(space, goals)
        self._costs = self._results.costs
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._asked: set[str] = set()
        """Keys of the networks proposed."""
        self._num_modelled = 0
        self._pool: list[Architecture] = []
        """The best candidates of the last fit."""
        self._waiting: list[Architecture] = []
        """Proposals of the last fit, best first."""
        self._parameters: dict[str, Array] = {}
        self._searched_at = 0

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._modelled() if self._is_ready() else self._first()
            if architecture is None:
                break
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def _is_ready(self) -> bool:
        enough = len(self._fresh) >= self._num_initial and not self._fresh.has_initial and not self._fresh.exhausted
        return enough and len(self._results) >= 2

    def _first(self) -> Architecture | None:
        """Returns an architecture before there is a model: one that the scores call good, where there are scores."""
        promising = self._features.promising
        if promising and not self._fresh.has_initial:
            rng = self._fresh.rng
            for _ in range(NUM_TRIES):
                architecture = self._fresh.likely(lambda: promising[int(rng.integers(len(promising)))])
                if self._take(architecture):
                    return architecture
        drawn = self._fresh.drawn()
        if drawn is not None:
            self._asked.add(self._features.key(drawn))
        return drawn

    def _take(self, architecture: Architecture) -> bool:
        """Marks an architecture as proposed; returns whether neither it nor the same network was before."""
        key = self._features.key(architecture)
        if key in self._asked or not self._fresh.take(architecture):
            return False
        self._asked.add(key)
        return True

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._fresh.take(trial.architecture)
            self._asked.add(self._features.key(trial.architecture))
            self._results.tell(trial)

    def recommend(self) -> Architecture:
        """Returns the trained architecture within the limits that is best in the primary objective, noise allowed for.

        One training is noisy, and what a process says of it draws on the others too; but architectures also differ in
        what no model sees. Of what a result differs from the process by, half is taken for the architecture's own.

        Raises:
            InputError: Nothing that meets the limits was trained.
        """
        from sartor.estimators.predictors.gaussian_process import GaussianProcess

        trained = self._results.within()
        if not trained:
            raise InputError("expected a complete trial within the limits, got none: nothing can be recommended")
        primary = self._goals.primary
        if primary not in self._results.learned:
            return min(trained, key=lambda known: self._costs.known(known.architecture)[primary.name]).architecture
        fitted = self._results.fitted()
        process = GaussianProcess(self._space, features=self._features.scored)
        column = self._results.learned.index(primary)
        process.fit([known.architecture for known in fitted], self._results.lifted(fitted)[:, column])
        means, _ = process.predict([known.architecture for known in trained])
        values = _OWN * self._results.lifted(trained)[:, column] + (1 - _OWN) * means
        return trained[int(values.argmin())].architecture

    # --- the model

    def _surrogate(self, objective: Objective, fitted: Sequence[Known]) -> Surrogate:
        groups = self._described(fitted)
        losses = capped(self._results.lifted(fitted)[:, self._results.learned.index(objective)])
        return Surrogate.fit(groups, losses, self._parameters.get(objective.name), search=self._searches())

    def _described(self, trained: Sequence[Known]) -> list[Array]:
        return self._with_costs(self._features.of([known.architecture for known in trained]))

    def _with_costs(self, groups: list[Array]) -> list[Array]:
        """Returns the descriptions, and the logarithms of costs as they are predicted: large networks are better."""
        predicted = [self._costs.predict(name, groups[0]) for name in self._costs.names]
        costs = [mean for mean, _ in filter(None, predicted)]
        return [*groups, np.stack(costs, 1)] if costs else groups

    def _searches(self) -> bool:
        num = len(self._results)
        return num < _FEW or num >= self._searched_at * _REFIT

    def _modelled(self) -> Architecture | None:
        """Returns the next of the last fit's proposals, or the first of a new fit."""
        while True:
            if not self._waiting:
                self._waiting = self._ranked(1 + max(0, len(self._results) - _FEW) // _PER_FIT)
                if not self._waiting:
                    return self._first()
            architecture = self._waiting.pop(0)
            if self._take(architecture):
                return architecture

    def _ranked(self, num: int) -> list[Architecture]:
        """Returns up to ``num`` networks that were not proposed, best first."""
        fitted = self._results.fitted()
        candidates, groups = self._candidates(fitted)
        if not candidates:
            return []
        surrogates = {objective.name: self._surrogate(objective, fitted) for objective in self._results.learned}
        self._parameters = {name: surrogate.parameters for name, surrogate in surrogates.items()}
        if self._searches():
            self._searched_at = len(self._results)
        chance = self._costs.log_feasible_of(groups[0])
        columns: dict[str, tuple[Array, Array]] = {}
        for name in self._costs.names:
            predicted = self._costs.predict(name, groups[0])
            if predicted is not None:
                columns[name] = predicted
        groups = self._with_costs(groups)
        for name, surrogate in surrogates.items():
            columns[name] = surrogate.marginals(groups)
        losses = self._results.losses(fitted)
        name = self._goals.primary.name
        improvement = None
        if name in surrogates:
            known, _ = surrogates[name].marginals(self._described(fitted))
            improvement = log_improvement(*columns[name], float(known.min())) + chance
        found: dict[Architecture, None] = {}
        for _ in range(num):
            self._num_modelled += 1
            weights = drawn_weights(len(self._goals.objectives), self._num_modelled, self._fresh.rng)
            if weights is None and improvement is not None:
                order = np.argsort(-improvement, kind="stable")
            else:
                order = self._by_sample(weights, columns, surrogates, groups, losses, chance)
            best = next((i for i in order.tolist() if candidates[i] not in found), None)
            if best is None:
                break
            found[candidates[best]] = None
            self._pool = [] if self._is_listed else [candidates[i] for i in order[:_NUM_KEPT].tolist()]
        return list(found)

    def _by_sample(
        self,
        weights: Array | None,
        columns: Mapping[str, tuple[Array, Array]],
        surrogates: Mapping[str, Surrogate],
        groups: Sequence[Array],
        losses: Array,
        chance: Array,
    ) -> npt.NDArray[np.intp]:
        """Returns the order of the candidates by one joint sample; only the most promising are part of it."""
        hopeful = {name: mean - deviation for name, (mean, deviation) in columns.items()}
        value = self._scalarised(hopeful, weights, losses) - chance
        kept = np.argsort(value, kind="stable")[:_NUM_DRAWN]
        sampled = {name: mean[kept] for name, (mean, _) in columns.items()}
        for name, surrogate in surrogates.items():
            sampled[name] = draw(*surrogate.joint([group[kept] for group in groups]), self._fresh.rng)
        value = self._scalarised(sampled, weights, losses) - chance[kept]
        return kept[np.argsort(value, kind="stable")]

    def _scalarised(self, columns: Mapping[str, Array], weights: Array | None, known: Array) -> Array:
        """Returns a value of each candidate, smaller is better; objectives without a column count nothing."""
        zero = np.zeros(len(next(iter(columns.values()))))
        table = np.stack([columns.get(o.name, zero) for o in self._goals.objectives], axis=1)
        return scalarised(table, weights, known)

    def _candidates(self, trained: Sequence[Known]) -> tuple[Sequence[Architecture], list[Array]]:
        """Returns networks that were not proposed, with their descriptions: all, or some near the best and random."""
        features = self._features
        if self._is_listed:
            rows = [i for i, key in enumerate(features.listed) if key not in self._asked]
            listed = list(features.listed.values())
            return [listed[i] for i in rows], [group[rows] for group in features.groups]
        found: dict[str, Architecture] = {}
        for architecture in (*self._pool, *self._varied(trained)):
            key = features.key(architecture)
            if key not in self._asked:
                found.setdefault(key, architecture)
        candidates = list(found.values())
        return candidates, features.again(candidates) if candidates else []

    @property
    def _is_listed(self) -> bool:
        """Whether all of the space are candidates."""
        return len(self._results) <= _FEW and bool(self._features.listed)

    def _varied(self, trained: Sequence[Known]) -> list[Architecture]:
        """Returns architectures near the best known and random ones, each once."""
        space, rng = self._space, self._fresh.rng
        elite = self._results.elite(trained, _NUM_ELITE)
        found: dict[Architecture, None] = {}
        for i in range(_NUM_CANDIDATES):
            if i % 4 == 0:
                made = space.sample(rng) if self._features.branches else space.sample_choices(rng)
            else:
                made = elite[int(rng.integers(len(elite)))]
                if i % 4 == 1 and len(elite) > 1:
                    made = space.crossover(made, elite[int(rng.integers(len(elite)))], rng)
                for _ in range(1 + int(rng.integers(3))):
                    made = space.mutate(made, rng)
            found[made] = None
        return list(found)

    # --- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "results": self._results.state_dict(),
            "num_modelled": self._num_modelled,
            "asked": sorted(self._asked),
            "pool": [architecture.to_json() for architecture in self._pool],
            "waiting": [architecture.to_json() for architecture in self._waiting],
            "parameters": {name: values.tolist() for name, values in self._parameters.items()},
            "searched_at": self._searched_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._results.load_state_dict(state["results"])
        self._num_modelled = state["num_modelled"]
        self._asked = set(state["asked"])
        self._waiting = [from_text(self._space, text) for text in state["waiting"]]
        self._pool = [from_text(self._space, text) for text in state["pool"]]
        self._parameters = {name: np.array(values) for name, values in state["parameters"].items()}
        self._searched_at = state["searched_at"]
