"""A controller trained by proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347).

As Zoph et al. 2018 ("Learning transferable architectures", arXiv:1707.07012) trained theirs: several epochs over a
batch of told trials, each a step up the clipped surrogate, plus a bonus for entropy. Ratios are to the probability that
a proposal had when it was asked, however late its result.

Deviations: those of `sartor.strategies.reinforce`; an architecture is one action, as its reward comes at the end; the
baseline is a moving average, and what something else proposed has the ratio 1 at the first epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor.errors import InputError
from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._fresh import check_at_least
from sartor.strategies._policy import Batch, Body, Policy
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "ppo",
    "sartor.strategies.ppo:PPO",
    "a recurrent or Transformer controller trained by proximal policy optimisation, for many cheap evaluations",
    citation="Schulman et al. 2017, arXiv:1707.06347; Zoph et al. 2018, arXiv:1707.07012",
    needs="A hundred results or more before it has learned much; one number to reward by.",
    when="As reinforce, where results come late: it corrects for how likely each was when it was asked.",
)


class PPO:
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
        clip: How far from 1 the ratio of probabilities counts.
        num_epochs: Steps on each batch.
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
        entropy: float = 0.05,
        decay: float = 0.9,
        clip: float = 0.2,
        num_epochs: int = 4,
        batch_size: int = 4,
    ) -> None:
        if not clip > 0:
            raise InputError(f"clip must be above 0, got {clip}")
        check_at_least("num_epochs", num_epochs, 1)
        self._policy = Policy(
            space,
            goals,
            fidelities,
            seed=seed,
            stream=9,
            initial=initial,
            controller=controller,
            hidden=hidden,
            learning_rate=learning_rate,
            batch_size=batch_size,
            decay=decay,
        )
        self._entropy, self._clip, self._num_epochs = entropy, clip, num_epochs

    def ask(self, n: int) -> list[Proposal]:
        return self._policy.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        for batch in self._policy.told(trials):
            self._learn(batch)

    def _learn(self, batch: Batch) -> None:
        import torch

        from sartor._threads import one_thread

        advantages = torch.tensor(batch.advantages, dtype=torch.float32)
        asked = torch.tensor(batch.asked, dtype=torch.float32)
        with one_thread():
            for _ in range(self._num_epochs):
                logs, entropies = self._policy.controller.log_probability(batch.tokens)
                asked = torch.where(asked.isnan(), logs.detach(), asked)
                ratio = (logs - asked).exp()
                clipped = ratio.clamp(1 - self._clip, 1 + self._clip)
                surrogate = torch.minimum(ratio * advantages, clipped * advantages)
                self._policy.learner.step(-surrogate.mean() - self._entropy * entropies.mean())

    def state_dict(self) -> dict[str, Any]:
        return self._policy.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._policy.load_state_dict(state)
