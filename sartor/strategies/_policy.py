"""What strategies that learn a controller share: fresh samples of it, and the rewards of what was told, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, near
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.space._walk import Tokens, Walk
from sartor.strategies._costs import CostModel
from sartor.strategies._fidelity import highest
from sartor.strategies._fresh import Fresh, check_at_least
from sartor.strategies._reward import Reward
from sartor.trials import Fidelity, Proposal, Trial

Body = Literal["lstm", "transformer"]
Array = npt.NDArray[np.float64]

_NUM_SAMPLES = 16
"""Sequences sampled at a time."""
_TEMPERATURES = (1.0, 1.0, 1.5, 2.5)
"""One for each time that all samples were known."""


@dataclass(frozen=True)
class Batch:
    """Told trials to learn from.

    Attributes:
        tokens: int64 ``[n, num_tokens]``.
        advantages: Rewards less the baseline, a moving average of rewards before them, ``[n]``.
        asked: Logarithm of each one's probability when it was asked, ``[n]``; nan where something else proposed it.
    """

    tokens: Tokens
    advantages: Array
    asked: Array


class Policy:
    """A controller that proposes architectures.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits; the rewards are those of `Reward`.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        stream: Distinguishes the strategy's random numbers from those of others with the same seed.
        initial: Proposed first.
        controller: Body of the network.
        hidden: Width of the network.
        learning_rate: Of Adam.
        batch_size: Trials told from which it learns at once.
        decay: Of the baseline.

    Raises:
        InputError: Unknown body, or an option that makes no sense.
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
        controller: Body,
        hidden: int,
        learning_rate: float,
        batch_size: int,
        decay: float,
    ) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"decay must be from 0 to below 1, got {decay}")
        if controller not in get_args(Body):
            raise InputError(f"no controller is called {controller!r}{near(str(controller), get_args(Body))}")
        check_at_least("hidden", hidden, 4)
        check_at_least("batch_size", batch_size, 1)
        if hidden % 4:
            raise InputError(f"hidden must be a multiple of 4, got {hidden}")
        if not learning_rate > 0:
            raise InputError(f"learning_rate must be above 0, got {learning_rate}")
        from sartor.strategies._controller import Controller, Learner

        self._space, self._fidelity, self._batch_size = space, highest(fidelities), batch_size
        self._fresh = Fresh(space, np.random.default_rng([seed, stream]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._reward, self._decay = Reward(goals), decay
        self._baseline: float | None = None
        self._walk = Walk(space)
        weights_seed = int(np.random.default_rng([seed, stream, 1]).integers(2**31))
        self.controller = Controller(self._walk, controller, weights_seed, hidden)
        self.learner = Learner(self.controller, learning_rate)
        self._asked: dict[str, float] = {}
        """Digest of what was asked and not told -> logarithm of its probability then."""
        self._pending: list[tuple[list[int], float | None]] = []
        """Tokens and probability when asked of the latest trials with a reward, not learned from yet."""
        self.num_rejected = 0
        """Samples that predicates on whole architectures rejected."""

    def ask(self, n: int) -> list[Proposal]:
        """Returns fresh samples, or random architectures once the controller finds none."""
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._sample()
            if architecture is None:
                architecture = self._fresh.drawn()
            if architecture is None:
                break
            proposals.append(Proposal(architecture, self._fidelity))
        return proposals

    def _sample(self) -> Architecture | None:
        if self._fresh.has_initial or self._fresh.exhausted or not self._walk.num_tokens:
            return None
        from sartor._threads import one_thread

        with one_thread():
            for temperature in _TEMPERATURES:
                prefixes = self.controller.sample(_NUM_SAMPLES, self._fresh.rng, temperature=temperature)
                made = prefixes.architectures(self._fresh.rng)
                self.num_rejected += made.count(None)
                found = [one for one in dict.fromkeys(made) if one is not None and one not in self._fresh]
                if found:
                    taken = self._fresh.likely(iter(found).__next__, len(found))
                    self._fresh.take(taken)
                    log, _ = self.controller.log_probability(self._walk.tokens([taken]))
                    self._asked[Fresh.digest(taken)] = log.item()
                    return taken
        return None

    def told(self, trials: Sequence[Trial]) -> list[Batch]:
        """Returns what is to be learned from next, once enough is there."""
        batches = []
        for trial in trials:
            self._fresh.take(trial.architecture)
            self._costs.tell(trial)
            asked = self._asked.pop(Fresh.digest(trial.architecture), None)
            if self._reward.tell(trial):
                self._pending.append((self._walk.tokens([trial.architecture])[0].tolist(), asked))
            if len(self._pending) >= self._batch_size and self._walk.num_tokens:
                rewards = self._reward.values()[-len(self._pending) :]
                asked_then = np.array([np.nan if log is None else log for _, log in self._pending])
                mean = float(rewards.mean())
                baseline = mean if self._baseline is None else self._baseline
                tokens = np.array([tokens for tokens, _ in self._pending])
                batches.append(Batch(tokens, rewards - baseline, asked_then))
                self._baseline = self._decay * baseline + (1 - self._decay) * mean
                self._pending = []
        return batches

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "reward": self._reward.state_dict(),
            "baseline": self._baseline,
            "learner": self.learner.state_dict(),
            "asked": dict(self._asked),
            "pending": [[list(tokens), asked] for tokens, asked in self._pending],
            "num_rejected": self.num_rejected,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._reward.load_state_dict(state["reward"])
        self._baseline = state["baseline"]
        self.learner.load_state_dict(state["learner"])
        self._asked = dict(state["asked"])
        self._pending = [(list(tokens), asked) for tokens, asked in state["pending"]]
        self.num_rejected = state["num_rejected"]
