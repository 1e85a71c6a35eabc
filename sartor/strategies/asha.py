"""Asynchronous successive halving, ASHA (Li et al. 2020, arXiv:1810.05934), around another strategy.

The other strategy (the sampler) proposes architectures at the lowest fidelity; whenever something may be promoted to
the next rung, it is, else a new architecture begins. With several objectives the top of a rung is its first
non-domination levels, and of the level that is cut, the points that spread best, starting from the best in the primary
objective (MO-ASHA with epsilon-net, Schmucker et al. 2021, arXiv:2106.12639).

Rungs hold trials within the limits alone. Levels are kept up to date as results come in (`Levels`), so that asking does
not sort the rung again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._fidelity import ascending
from sartor.strategies._fresh import check_at_least
from sartor.strategies._rungs import Ladder, sampler_of
from sartor.strategies._standing import standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "asha",
    "sartor.strategies.asha:Asha",
    "asynchronous successive halving around another strategy",
    citation="Li et al. 2020, arXiv:1810.05934; Schmucker et al. 2021, arXiv:2106.12639",
    needs="Trainings that can be short, at several fidelities; another strategy proposes.",
    when="When a short training says something of a long one: the search puts it around other strategies by itself.",
    promotes=True,
)


class Asha:
    """Promotes the best of each rung to the next fidelity.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending: the rungs.
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
        sampler: str = "evolution",
        sampler_options: Mapping[str, Any] | None = None,
        eta: int = 3,
    ) -> None:
        check_at_least("eta", eta, 2)
        rungs = ascending(fidelities)
        self._space, self._goals = space, goals
        kind = sampler_of("asha", sampler)
        self._sampler = kind(space, goals, rungs[:1], seed=seed, initial=initial, **(sampler_options or {}))
        self._ladder = Ladder(rungs, len(goals.objectives), eta)

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            proposal = self._ladder.promotion()
            if proposal is None:
                new = self._sampler.ask(1)
                if not new:
                    break
                proposal = new[0]
            proposals.append(proposal)
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            result = standing(trial, self._goals)
            if result is not None and result.feasible:
                self._ladder.add(trial.proposal.fidelity, trial.number, result)
        self._sampler.tell(trials)

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self._sampler.state_dict(), "rungs": self._ladder.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sampler.load_state_dict(state["sampler"])
        self._ladder.load_state_dict(self._space, state["rungs"])
