"""Learning from rewards without gradients: evolution strategies (Salimans et al. 2017, arXiv:1703.03864).

Networks around the current one act, in pairs that differ from it by the same amount in opposite directions, all of them
in the same episodes; it moves towards those that got more. Only ranks count, so that no return outweighs the others.
The network and its memory may be anything: nothing flows back through an episode. Deviation: Adam as everywhere here,
and fewer networks at once, as they act one after another.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sartor.tasks.control.data import Part
from sartor.tasks.control.environments import Environment
from sartor.tasks.control.network import Policy, standardised
from sartor.training import Learner, Step

GENERATIONS = 100
"""Of a full training."""
PAIRS, EPISODES = 8, 2
"""Networks of a generation, half of them opposite to the others, and episodes that each acts in."""
DISTANCE = 0.1
"""Standard deviation of what is added to each weight."""


class Evolution(Learner):
    """A generation a step: the loss has the gradient that evolution strategies estimate, and is minus the mean return.

    Args:
        environment: To act in.
        mean, spread: Of observations.
        reward_spread: By which returns are divided in the loss.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, environment: Environment, mean: Tensor, spread: Tensor, reward_spread: float) -> None:
        super().__init__()
        self.environment, self.reward_spread = environment, reward_spread
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def batch(self, network: nn.Module, data: Part, step: Step) -> dict[str, Tensor]:
        """Returns ``direction``, in which returns rise, a number for each weight, and ``mean_return`` of all."""
        assert isinstance(network, Policy)
        with torch.no_grad():
            center = parameters_to_vector(network.parameters())
            drawn = torch.randn(PAIRS, len(center), generator=step.torch).to(center)
            members = [copy.deepcopy(network) for _ in range(2 * PAIRS)]
            for member, moved in zip(members, torch.cat((drawn, -drawn)), strict=True):
                vector_to_parameters(center + DISTANCE * moved, member.parameters())
            returns = self._returns(members, step.numpy.integers(2**31, size=EPISODES))
        ranks = np.empty(len(members))
        ranks[np.argsort(returns, kind="stable")] = np.linspace(-0.5, 0.5, len(members))
        gain = torch.from_numpy(ranks[:PAIRS] - ranks[PAIRS:]).to(drawn)
        mean_return = torch.tensor(float(returns.mean()) / self.reward_spread, device=center.device)
        return {"direction": gain @ drawn / (2 * PAIRS * DISTANCE), "mean_return": mean_return}

    def _returns(self, members: list[Policy], seeds: np.ndarray) -> np.ndarray:
        """Returns what each network gets in the mean of the same episodes."""
        states = [torch.zeros(len(seeds), member.state_size, device=self.mean.device) for member in members]

        def act(observation: np.ndarray) -> np.ndarray:
            seen = standardised(torch.from_numpy(observation).to(self.mean.device), self.mean, self.spread)
            found = []
            for i, (member, x) in enumerate(zip(members, seen.chunk(len(members)), strict=True)):
                outputs, states[i] = member.step(x, states[i])
                found.append(outputs)
            return self.environment.actions.of(torch.cat(found).cpu().numpy())

        episodes = self.environment.roll_out(act, np.tile(seeds, len(members)))
        total: np.ndarray = episodes.returns.reshape(len(members), len(seeds)).mean(1)
        return total

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        rise = parameters_to_vector(network.parameters()) @ batch["direction"]
        loss: Tensor = rise.detach() - rise - batch["mean_return"]
        return loss
