"""A controller trained by REINFORCE (Zoph and Le 2017, "Neural architecture search with RL", arXiv:1611.01578).

The controller writes architectures token by token, and each told trial moves it along the gradient of its logarithm of
probability, times how much its reward exceeds a moving average of rewards (Williams 1992, doi:10.1007/BF00992696),
plus a bonus for entropy. Any space and its constraints: tokens that cannot be completed are masked.

Deviations: proposals are fresh, so that samples of what is known are left out; the body may be a Transformer; rewards
are ranks with soft limits (`sartor.strategies._reward`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._policy import Batch, Body, Policy
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "reinforce",
    "sartor.strategies.reinforce:Reinforce",
    "a recurrent or Transformer controller trained by policy gradient, for many cheap evaluations",
    citation="Zoph and Le 2017, arXiv:1611.01578",
    needs="A hundred results or more before it has learned much; one number to reward by.",
    when="When many cheap evaluations are to be had, and a network that writes good architectures is wanted.",
)


class Reinforce:
    """Proposes samples of a controller that learns from their rewards.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits, scalarised.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        controller: Body of the network, ``lstm`` or ``transformer``.
        hidden: Its width.
        learning_rate: Of Adam.
        entropy: Weight of the mean entropy of a token, natural logarithms.
        decay: Of the baseline, a moving average of rewards.
        batch_size: Trials told from which it learns at once.

    Raises:
        InputError: Unknown body, or an option that makes no sense.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        controller: Body = "lstm",
        hidden: int = 64,
        learning_rate: float = 0.01,
        entropy: float = 0.1,
        decay: float = 0.9,
        batch_size: int = 4,
    ) -> None:
        self._policy = Policy(
            space,
            goals,
            fidelities,
            seed=seed,
            stream=8,
            initial=initial,
            controller=controller,
            hidden=hidden,
            learning_rate=learning_rate,
            batch_size=batch_size,
            decay=decay,
        )
        self._entropy = entropy

    def ask(self, n: int) -> list[Proposal]:
        return self._policy.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        for batch in self._policy.told(trials):
            self._learn(batch)

    def _learn(self, batch: Batch) -> None:
        import torch

        from sartor._threads import one_thread

        with one_thread():
            logs, entropies = self._policy.controller.log_probability(batch.tokens)
            advantages = torch.tensor(batch.advantages, dtype=torch.float32)
            self._policy.learner.step(-(advantages * logs).mean() - self._entropy * entropies.mean())

    def state_dict(self) -> dict[str, Any]:
        return self._policy.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._policy.load_state_dict(state)
