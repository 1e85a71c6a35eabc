"""Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar 2018, arXiv:1603.06560) around another strategy.

Successive halving trusts short trainings. Hyperband hedges: bracket ``s`` begins at the fidelity ``s``, so that the
last one trains to the end from the start, and brackets are given numbers of architectures that cost about the same.
As Sartor is used, that is:

- Asynchronous: each bracket promotes as ASHA does (Li et al. 2020, arXiv:1810.05934), whenever something may be, and
  a new architecture goes to the bracket that is furthest behind its share, so that no worker waits.
- The fidelities are those given, whatever their ratios.
- Each bracket has a strategy of its own to propose architectures (the sampler), which is told all results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sartor.contracts import Strategy
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._fidelity import ascending
from sartor.strategies._fresh import Fresh, check_at_least
from sartor.strategies._rungs import Ladder, sampler_of
from sartor.strategies._standing import standing
from sartor.trials import Fidelity, Proposal, Trial, derive_seed

SPEC = Spec(
    "hyperband",
    "sartor.strategies.hyperband:Hyperband",
    "successive halving from several fidelities at once, around another strategy",
    citation="Li et al. 2018, arXiv:1603.06560",
    needs="Trainings that can be short, at several fidelities; another strategy proposes.",
    when="When nobody knows how far short trainings can be trusted.",
    promotes=True,
)


class Hyperband:
    """Runs brackets of successive halving side by side.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; a bracket begins at each.
        seed: Same seed and results, same proposals.
        initial: Proposed first, at the lowest fidelity.
        sampler: Name of the strategy that proposes new architectures.
        sampler_options: Its keyword arguments.
        eta: One in so many of a rung is promoted.

    Raises:
        InputError: ``eta`` below 2, unknown sampler, or a sampler that promotes itself.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        sampler: str = "random",
        sampler_options: Mapping[str, Any] | None = None,
        eta: int = 3,
    ) -> None:
        check_at_least("eta", eta, 2)
        self._space, self._goals, self._fidelities = space, goals, ascending(fidelities)
        kind = sampler_of("hyperband", sampler)
        num = len(self._fidelities)
        self._shares = [math.ceil(num / (num - s) * eta ** (num - 1 - s)) for s in range(num)]
        """Architectures of each bracket in one round (algorithm 1)."""
        self._samplers: list[Strategy] = [
            kind(
                space,
                goals,
                self._fidelities[s : s + 1],
                seed=derive_seed(seed, s) if s else seed,
                initial=() if s else initial,
                **(sampler_options or {}),
            )
            for s in range(num)
        ]
        self._ladders = [Ladder(self._fidelities[s:], len(goals.objectives), eta) for s in range(num)]
        self._bracket_of: dict[str, int] = {}
        """By digest of the architecture."""
        self._num_initial = len(dict.fromkeys(initial))
        self._num_begun = [0] * num
        """Architectures of each bracket."""

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            proposal = self._promotion() or self._new()
            if proposal is None:
                break
            proposals.append(proposal)
        return proposals

    def _promotion(self) -> Proposal | None:
        """Returns a promotion of the bracket that begins highest among those that have one."""
        for ladder in reversed(self._ladders):
            proposal = ladder.promotion()
            if proposal is not None:
                return proposal
        return None

    def _new(self) -> Proposal | None:
        """Returns an architecture that no bracket has, for the one furthest behind; None when none is left."""
        order = sorted(range(len(self._shares)), key=lambda s: (self._num_begun[s] + 1) / self._shares[s])
        if self._num_begun[0] < self._num_initial:
            order = [0, *order[: order.index(0)], *order[order.index(0) + 1 :]]
        for bracket in order:
            while new := self._samplers[bracket].ask(1):
                if self._begin(new[0].architecture, bracket):
                    return new[0]
        return None

    def _begin(self, architecture: Architecture, bracket: int) -> bool:
        """Puts an architecture into a bracket; returns whether it was in none."""
        digest = Fresh.digest(architecture)
        if digest in self._bracket_of:
            return False
        self._bracket_of[digest] = bracket
        self._num_begun[bracket] += 1
        return True

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            fidelity = trial.proposal.fidelity
            if fidelity in self._fidelities:
                # What somebody else proposed belongs to the bracket that begins there.
                self._begin(trial.architecture, self._fidelities.index(fidelity))
            result = standing(trial, self._goals)
            bracket = self._bracket_of.get(Fresh.digest(trial.architecture))
            if result is not None and result.feasible and bracket is not None:
                self._ladders[bracket].add(fidelity, trial.number, result)
        for sampler in self._samplers:
            sampler.tell(trials)

    def state_dict(self) -> dict[str, Any]:
        return {
            "samplers": [sampler.state_dict() for sampler in self._samplers],
            "ladders": [ladder.state_dict() for ladder in self._ladders],
            "bracket_of": dict(self._bracket_of),
            "num_initial": self._num_initial,
            "num_begun": list(self._num_begun),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for sampler, own in zip(self._samplers, state["samplers"], strict=True):
            sampler.load_state_dict(own)
        for ladder, rungs in zip(self._ladders, state["ladders"], strict=True):
            ladder.load_state_dict(self._space, rungs)
        self._bracket_of = dict(state["bracket_of"])
        self._num_initial, self._num_begun = state["num_initial"], list(state["num_begun"])
