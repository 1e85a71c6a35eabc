"""Bayesian optimisation with random scalarisations (Paria, Kandasamy and Poczos 2020, arXiv:1805.12168).

Each objective has a Gaussian process; each proposal draws weights and one joint sample of the processes at many
candidates (Thompson sampling), and takes the best by the augmented Chebyshev sum. As Sartor is used, that is:

- Limits: each limited cost has a process too (of its logarithm; every trial tells it, also the infeasible ones, which
  cost almost nothing), and candidates count by their probability of meeting all limits (Gardner et al. 2014).
- Costs that are objectives are predicted by the same processes: they are known long before accuracies are.
- Every third proposal is for the primary objective alone, since the best network within the limits is asked for most.
- Candidates are mutations and crossovers of the best known, and random ones, as in BANANAS (White et al. 2021,
  arXiv:1910.11858).
- With successive halving an architecture counts with its highest fidelity; lower ones are lifted by the mean gain of
  those that were promoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.front import domination_ranks
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._costs import MAX_FITTED, CostModel, encoded
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least, from_text
from sartor.strategies._gaussian_process import GaussianProcess, draw
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "bayesian",
    "sartor.strategies.bayesian:Bayesian",
    "Gaussian processes and Thompson sampling with random scalarisations, limits included",
    citation="Paria, Kandasamy and Poczos 2020, arXiv:1805.12168",
)

Array = npt.NDArray[np.float64]
_AUGMENTATION = 0.05
_NUM_CANDIDATES = 150
_NUM_ELITE = 12


class Bayesian:
    """Proposes what a sample of the Gaussian processes says is best.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        num_initial: Random architectures before the first that is modelled.

    Raises:
        InputError: ``num_initial`` is below 2.
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
    ) -> None:
        check_at_least("num_initial", num_initial, 2)
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._num_initial = num_initial
        self._fresh = Fresh(space, np.random.default_rng([seed, 5]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._learned = [o for o in goals.objectives if o.name not in self._costs.names]
        self._known: dict[str, _Known] = {}
        """By digest, in the order first told."""
        self._num_modelled = 0

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._best_candidate() if self._is_ready() else self._fresh.drawn()
            if architecture is None:
                break
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def _is_ready(self) -> bool:
        enough = len(self._fresh) >= self._num_initial and not self._fresh.has_initial and not self._fresh.exhausted
        return enough and len(self._known) >= 2

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._fresh.take(trial.architecture)
            self._costs.tell(trial)
            if trial.state != "complete":
                continue
            losses = self._goals.losses(trial)
            if np.isfinite(losses).all():
                digest = Fresh.digest(trial.architecture)
                known = self._known.setdefault(digest, _Known(self._space.architecture(trial.architecture), {}))
                kept = [i for i, o in enumerate(self._goals.objectives) if o in self._learned]
                known.losses[trial.proposal.fidelity.amount] = losses[kept].tolist()

    # --- the model

    def _best_candidate(self) -> Architecture | None:
        """Returns the best of the candidates under one sample of the processes; a random one when all are known."""
        rng = self._fresh.rng
        self._num_modelled += 1
        trained = list(self._known.values())[-MAX_FITTED:]
        candidates = self._candidates(trained)
        inputs = encoded(self._space, candidates)
        columns: dict[str, Array] = {}
        for name in self._costs.names:
            predicted = self._costs.predict(name, inputs)
            if predicted is not None:
                columns[name] = predicted[0]
        lifted = _lifted(trained)
        known = encoded(self._space, [known.architecture for known in trained])
        for i, objective in enumerate(self._learned):
            mean, covariance = GaussianProcess.fit(known, lifted[:, i]).predict(inputs)
            columns[objective.name] = draw(mean, covariance, rng)
        scores = self._scalarised(columns, trained, lifted) - self._costs.log_feasible(candidates)
        order: list[int] = np.argsort(scores, kind="stable").tolist()
        for i in order:
            if self._fresh.take(candidates[i]):
                return candidates[i]
        return self._fresh.drawn()

    def _losses(self, trained: Sequence[_Known], lifted: Array) -> Array:
        """Returns the losses of all objectives, costs as logarithms, shape ``(num_trained, num_objectives)``."""
        at = {o.name: i for i, o in enumerate(self._learned)}
        return np.array(
            [
                [lifted[row, at[o.name]] if o.name in at else costs[o.name] for o in self._goals.objectives]
                for row, costs in enumerate(self._costs.known(known.architecture) for known in trained)
            ]
        )

    def _scalarised(self, columns: Mapping[str, Array], trained: Sequence[_Known], lifted: Array) -> Array:
        """Returns a value of each candidate, smaller is better; the worst and the best known are 1 apart."""
        rng = self._fresh.rng
        known = self._losses(trained, lifted)
        low, high = known.min(0), known.max(0)
        span = np.where(high > low, high - low, 1.0)
        objectives = self._goals.objectives
        zero = np.zeros(len(next(iter(columns.values()))))
        table = np.stack([columns.get(o.name, zero) for o in objectives], axis=1)
        scaled = (table - low) / span
        if len(objectives) == 1 or self._num_modelled % 3 == 0:
            return np.asarray(scaled[:, 0])
        weights = rng.dirichlet(np.ones(len(objectives)))
        return np.asarray((weights * scaled).max(1) + _AUGMENTATION * (weights * scaled).sum(1))

    def _candidates(self, trained: Sequence[_Known]) -> list[Architecture]:
        """Returns architectures near the best known and random ones, each once; some may be known."""
        space, rng = self._space, self._fresh.rng
        losses = self._losses(trained, _lifted(trained))
        order = np.lexsort((losses[:, 0], domination_ranks(losses)))
        by_primary = np.argsort(losses[:, 0], kind="stable")
        elite = list(dict.fromkeys([*order[:_NUM_ELITE].tolist(), *by_primary[: _NUM_ELITE // 2].tolist()]))
        found: dict[Architecture, None] = {}
        for i in range(_NUM_CANDIDATES):
            if i % 3 == 0:
                made = space.sample_choices(rng)
            else:
                made = trained[elite[int(rng.integers(len(elite)))]].architecture
                if i % 3 == 1 and len(elite) > 1:
                    made = space.crossover(made, trained[elite[int(rng.integers(len(elite)))]].architecture, rng)
                for _ in range(1 + int(rng.integers(3))):
                    made = space.mutate(made, rng)
            found[made] = None
        return list(found)

    # --- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "known": [
                [known.architecture.to_json(), [[amount, losses] for amount, losses in known.losses.items()]]
                for known in self._known.values()
            ],
            "num_modelled": self._num_modelled,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._known = {}
        for text, losses in state["known"]:
            known = _Known(from_text(self._space, text), {amount: list(each) for amount, each in losses})
            self._known[Fresh.digest(known.architecture)] = known
        self._num_modelled = state["num_modelled"]


@dataclass
class _Known:
    """What was told of a trained architecture: losses of the learned objectives by fidelity."""

    architecture: Architecture
    losses: dict[float, list[float]]


def _lifted(trained: Sequence[_Known]) -> Array:
    """Returns each architecture's losses as they would be at the highest fidelity reached by any.

    A lower fidelity is lifted by the mean difference between it and the next one over the architectures that have both.
    """
    amounts = sorted({amount for known in trained for amount in known.losses})
    width = len(next(iter(trained[0].losses.values())))
    gain = {amounts[-1]: np.zeros(width)}
    for lower, upper in reversed(list(zip(amounts, amounts[1:], strict=False))):
        pairs = [(k.losses[lower], k.losses[upper]) for k in trained if lower in k.losses and upper in k.losses]
        both = [np.subtract(above, below) for below, above in pairs]
        gain[lower] = gain[upper] + (np.mean(both, axis=0) if both else 0.0)
    return np.array([known.losses[max(known.losses)] + gain[max(known.losses)] for known in trained])

