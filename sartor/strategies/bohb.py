"""BOHB (Falkner, Klein and Hutter 2018, arXiv:1807.01774): Hyperband whose architectures a model proposes.

The model is a Parzen estimator of the highest fidelity that has enough results, so that short trainings lead it at
first and long ones as soon as there are some; a third of the proposals stay random. Deviations:

- Densities are those of `sartor.strategies.tpe`, one a choice and along the tree of conditions, instead of one of many
  dimensions that fills inactive choices in at random; several objectives and limits are therefore carried too.
- Hyperband is asynchronous (`sartor.strategies.hyperband`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._fresh import check_at_least
from sartor.strategies.hyperband import Hyperband
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "bohb",
    "sartor.strategies.bohb:Bohb",
    "Hyperband with a Parzen estimator of the highest fidelity that has enough results",
    citation="Falkner et al. 2018, arXiv:1807.01774",
    needs="Trainings that can be short, at several fidelities.",
    when="When trainings can be short and there are dozens or more of them, enough for a model.",
    promotes=True,
)

_NUM_CANDIDATES = 64
"""The paper's."""


class Bohb:
    """Runs brackets of successive halving over architectures that a model proposes.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; a bracket begins at each.
        seed: Same seed and results, same proposals.
        initial: Proposed first, at the lowest fidelity.
        eta: One in so many of a rung is promoted.
        num_results: Results that a fidelity needs to be modelled.
        random_share: Share of the proposals that are random.

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
        eta: int = 3,
        num_results: int = 10,
        random_share: float = 1 / 3,
    ) -> None:
        check_at_least("num_results", num_results, 2)
        options = {"num_initial": num_results, "random_share": random_share, "num_candidates": _NUM_CANDIDATES}
        self._hyperband = Hyperband(
            space, goals, fidelities, seed=seed, initial=initial, sampler="tpe", sampler_options=options, eta=eta
        )

    def ask(self, n: int) -> list[Proposal]:
        return self._hyperband.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        self._hyperband.tell(trials)

    def state_dict(self) -> dict[str, Any]:
        return {"hyperband": self._hyperband.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._hyperband.load_state_dict(state["hyperband"])
