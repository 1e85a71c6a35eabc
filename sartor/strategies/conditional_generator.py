"""Search by a conditional generator: a Transformer that writes architectures for a target accuracy and under limits.

An autoregressive model of architectures given what they reach, as sequences given returns in the Decision Transformer
(Chen et al. 2021, arXiv:2106.01345); that a generator guided by predictors can search is shown by AG-Net (Lukasik,
Jung and Keuper 2022, arXiv:2203.08734) and DiffusionNAG (An et al. 2024, arXiv:2305.16943). As it is used here:

- It is fitted to the space's own samples: those told, random ones, mutations of the best and its own, labelled by
  Gaussian processes for what was not told; anew whenever a third more is known.
- Asked for an accuracy beyond the best known, within the limits; a cost that is an objective is bounded anew at each
  proposal, so that all of the front is searched, and every third is for the primary objective alone.
- Of several fresh samples the best is proposed by a joint sample of the processes (Thompson sampling), times the chance
  that the limits hold.
- Masks keep every sample in the space. After each fit it also writes without masks, and what is invalid is counted.

`Generator` is of use without a search: see its example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.goals import Goals, Objective
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._costs import MAX_FITTED, CostModel, encoded
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least, from_text
from sartor.strategies._gaussian_process import GaussianProcess, draw
from sartor.strategies._generator import Generator
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "conditional-generator",
    "sartor.strategies.conditional_generator:ConditionalGenerator",
    "a Transformer that writes architectures for a target accuracy and under limits, ranked by a predictor",
    citation="An et al. 2024, arXiv:2305.16943; Lukasik, Jung and Keuper 2022, arXiv:2203.08734",
    needs="Some twenty results to begin with, and a few seconds whenever it is fitted anew.",
    when="When architectures are wanted under limits that differ from device to device, without a search for each.",
)

Array = npt.NDArray[np.float64]

_GROWTH = 1.3
"""The generator is fitted anew when so many times more is known."""
_PROCESS_GROWTH = 1.05
_NUM_ELITE = 20
_NUM_UNMASKED = 256
"""Written without masks after each fit."""
_CHUNK = 256
"""Architectures predicted at once: a process gives their covariance too."""


@dataclass
class _Known:
    """A trained architecture with its losses of the learned objectives, at the highest fidelity told."""

    architecture: Architecture
    amount: float
    losses: list[float]


class ConditionalGenerator:
    """Proposes the best of what its generator writes.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        num_initial: Random architectures before the first that is generated.
        hidden: Width of the network.
        num_steps: Steps of each fit.
        pool_size: Architectures that it is fitted to.
        num_candidates: Samples of which the best is proposed.

    Raises:
        InputError: An option that makes no sense.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        num_initial: int = 20,
        hidden: int = 64,
        num_steps: int = 300,
        pool_size: int = 800,
        num_candidates: int = 64,
    ) -> None:
        check_at_least("num_initial", num_initial, 2)
        check_at_least("num_steps", num_steps, 1)
        check_at_least("pool_size", pool_size, 32)
        check_at_least("num_candidates", num_candidates, 1)
        self._space, self._goals, self._fidelity = space, goals, highest(fidelities)
        self._num_initial, self._num_steps = num_initial, num_steps
        self._pool_size, self._num_candidates = pool_size, num_candidates
        self._fresh = Fresh(space, np.random.default_rng([seed, 10]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._learned = [o for o in goals.objectives if o.name not in self._costs.names]
        named = {o.name for o in goals.objectives}
        limited = [Objective(limit.name, "min") for limit in goals.limits if limit.name not in named]
        self.generator = Generator(space, [*goals.objectives, *dict.fromkeys(limited)], seed=seed, hidden=hidden)
        self._known: dict[str, _Known] = {}
        """By digest, in the order first told."""
        self._processes: tuple[int, list[GaussianProcess]] | None = None
        self._next_fit = num_initial
        """Number known from which the generator is fitted anew."""
        self._num_modelled = 0

    @property
    def num_generated(self) -> int:
        """Architectures that the generator wrote without masks."""
        return self.generator.num_generated

    @property
    def num_invalid(self) -> int:
        """How many of these were none of the space."""
        return self.generator.num_invalid

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._best_candidate() if self._is_ready() else None
            if architecture is None:
                architecture = self._fresh.drawn()
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
                kept = [
                    float(loss) for loss, o in zip(losses, self._goals.objectives, strict=True) if o in self._learned
                ]
                amount = trial.proposal.fidelity.amount
                before = self._known.get(digest := Fresh.digest(trial.architecture))
                if before is None:
                    self._known[digest] = _Known(self._space.architecture(trial.architecture), amount, kept)
                elif amount >= before.amount:
                    before.amount, before.losses = amount, kept
                    # Others may have been fitted with what was known of it before.
                    self._processes = None

    # --- the predictor

    def _fitted_processes(self) -> list[GaussianProcess]:
        """Returns a process of each learned objective: a function of what is known, so that a restored one is equal."""
        num = 2
        while max(num + 1, int(num * _PROCESS_GROWTH)) <= len(self._known):
            num = max(num + 1, int(num * _PROCESS_GROWTH))
        if self._processes is None or self._processes[0] != num:
            used = list(self._known.values())[:num][-MAX_FITTED:]
            inputs = encoded(self._space, [known.architecture for known in used])
            targets = np.array([known.losses for known in used]).reshape(len(used), len(self._learned))
            self._processes = num, [GaussianProcess.fit(inputs, column) for column in targets.T]
        return self._processes[1]

    def _predicted(self, architectures: Sequence[Architecture]) -> dict[str, Array]:
        """Returns name -> value of each quantity, ``[n]``, in its own unit; a cost nothing is known of is 0."""
        values: dict[str, list[Array]] = {quantity.name: [] for quantity in self.generator.quantities}
        for start in range(0, len(architectures), _CHUNK):
            part = architectures[start : start + _CHUNK]
            inputs = encoded(self._space, part)
            for objective, process in zip(self._learned, self._fitted_processes(), strict=True):
                values[objective.name].append(_signed(objective, process.predict(inputs)[0]))
            for name in self._costs.names:
                found = self._costs.predict(name, inputs)
                logs = np.full(len(part), -np.inf) if found is None else found[0]
                known = (self._costs.known(architecture) for architecture in part)
                logs = np.array([own.get(name, log) for own, log in zip(known, logs.tolist(), strict=True)])
                values[name].append(np.exp(logs))
        joined = {name: np.concatenate(parts) for name, parts in values.items()}
        told = [self._known.get(Fresh.digest(architecture)) for architecture in architectures]
        for i, objective in enumerate(self._learned):
            for row, own in enumerate(told):
                if own is not None:
                    joined[objective.name][row] = _signed(objective, own.losses[i])
        return joined

    # --- the generator

    def _fit(self) -> None:
        pool = self._pool()
        self.generator.fit(pool, self._predicted(pool), num_steps=self._num_steps)
        self.generator.count_invalid(_NUM_UNMASKED, self._conditions(primary_alone=True))
        self._next_fit = max(len(self._known) + 1, math.ceil(len(self._known) * _GROWTH))

    def _pool(self) -> list[Architecture]:
        """Returns what is known and, up to its size, random ones, mutations of the best, and generated ones."""
        space, rng = self._space, self._fresh.rng
        known = list(self._known.values())
        pool = dict.fromkeys(each.architecture for each in known[-self._pool_size // 4 :])
        best = [each.architecture for each in sorted(known, key=lambda each: each.losses)[:_NUM_ELITE]]
        generated: list[Architecture] = []
        if self.generator.is_fitted:
            generated = self.generator.attempt(self._pool_size // 4, self._conditions(primary_alone=True))
        pool |= dict.fromkeys(generated)
        for i in range(self._pool_size - len(pool)):
            made = best[int(rng.integers(len(best)))] if i % 2 else space.sample_choices(rng)
            for _ in range(1 + int(rng.integers(3)) if i % 2 else 0):
                made = space.mutate(made, rng)
            pool[made] = None
        return list(pool)

    def _conditions(self, *, primary_alone: bool) -> dict[str, float]:
        """Returns what is asked of the generator: the primary objective beyond the best known, costs within bounds."""
        rng = self._fresh.rng
        primary = self._goals.primary
        conditions: dict[str, float] = {}
        limits = {limit.name: limit.bound for limit in self._goals.limits}
        for name in self._costs.names:
            bound = limits.get(name, math.inf)
            if not primary_alone and name != primary.name and any(o.name == name for o in self._goals.objectives):
                known = [self._costs.known(each.architecture).get(name) for each in self._known.values()]
                logs = [log for log in known if log is not None]
                if logs:
                    bound = min(bound, math.exp(float(np.quantile(logs, rng.random()))))
            if math.isfinite(bound):
                conditions[name] = bound
        if primary in self._learned:
            losses = np.array([each.losses[self._learned.index(primary)] for each in self._known.values()])
            conditions[primary.name] = float(_signed(primary, losses.min() - 0.05 * (np.median(losses) - losses.min())))
        return conditions

    def _best_candidate(self) -> Architecture | None:
        """Returns the best of the generator's fresh samples, or None when it writes none."""
        if len(self._known) >= self._next_fit or not self.generator.is_fitted:
            self._fit()
        self._num_modelled += 1
        conditions = self._conditions(primary_alone=self._num_modelled % 3 == 0)
        candidates: list[Architecture] = []
        for asked in (conditions, {}):
            # Without conditions it writes more of the space, where all that meets them is known.
            made = self.generator.attempt(self._num_candidates, asked)
            candidates = [one for one in dict.fromkeys(made) if one not in self._fresh]
            if candidates:
                break
        else:
            return None
        best = candidates[int(np.argmin(self._scores(candidates, conditions)))]
        self._fresh.take(best)
        return best

    def _scores(self, candidates: Sequence[Architecture], conditions: Mapping[str, float]) -> Array:
        """Returns a score of each, smaller is better: a sample of the primary loss, in deviations, and the limits."""
        inputs = encoded(self._space, candidates)
        primary = self._goals.primary
        if primary in self._learned:
            process = self._fitted_processes()[self._learned.index(primary)]
            scores = draw(*process.predict(inputs), self._fresh.rng) / process.std
        else:
            found = self._costs.predict(primary.name, inputs)
            scores = np.zeros(len(candidates)) if found is None else np.asarray(primary.loss(1.0) * found[0])
        scores = scores - self._costs.log_feasible(candidates)
        for name in self._costs.names:
            found = self._costs.predict(name, inputs)
            if name in conditions and found is not None:
                scores += np.maximum(found[0] - math.log(conditions[name]), 0.0) / found[1]
        return scores

    # --- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "known": [[each.architecture.to_json(), each.amount, list(each.losses)] for each in self._known.values()],
            "generator": self.generator.state_dict(),
            "next_fit": self._next_fit,
            "num_modelled": self._num_modelled,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._known = {}
        for text, amount, losses in state["known"]:
            known = _Known(from_text(self._space, text), amount, list(losses))
            self._known[Fresh.digest(known.architecture)] = known
        self._processes = None
        self.generator.load_state_dict(state["generator"])
        self._next_fit, self._num_modelled = state["next_fit"], state["num_modelled"]


def _signed(objective: Objective, losses: Any) -> Any:
    """Returns values whose losses these are."""
    return -losses if objective.direction == "max" else losses
