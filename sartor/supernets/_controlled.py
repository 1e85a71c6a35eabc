"""A supernet with a controller that writes its paths, and how the two learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.space._walk import Walk
from sartor.strategies._controller import Controller
from sartor.supernets._halves import Halves
from sartor.training import Learner

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.training import Step

_TRIES = 32
"""Sequences written before a random architecture is taken, where predicates on whole architectures reject."""


class ControlledSupernet(nn.Module):
    """Shared weights and the controller of their paths."""

    def __init__(self, space: Space, *, part: str | None, seed: int, hidden: int) -> None:
        super().__init__()
        self.supernet = space.supernet(part, seed=seed)
        self.walk = Walk(space)
        self.controller = Controller(self.walk, "lstm", seed, hidden)

    def written(self, rng: np.random.Generator) -> Architecture:
        """Returns an architecture that the controller writes."""
        if self.walk.num_tokens:
            for made in self.controller.sample(_TRIES, rng).architectures(rng):
                if made is not None:
                    return made
        return self.supernet.space.sample_choices(rng)


class ControllerLearner(Learner):
    """Trains the weights on one half of the data by the task's loss, the controller on the other by policy gradient.

    Args:
        inner: The task's.
        module: What is trained.
        entropy: Weight of the entropy.
        decay: Of the moving average of the rewards and of their square.
        every: Steps between those of the controller.
    """

    mean: Tensor
    square: Tensor

    def __init__(
        self, inner: Learner, module: ControlledSupernet, *, entropy: float, decay: float, every: int
    ) -> None:
        super().__init__()
        self.inner = inner
        self.entropy, self.decay = entropy, decay
        self.every = {**inner.every, "controller": every}
        self._halves = Halves()
        self._module = [module]  # in a list: it is not a part of the learner
        self.register_buffer("mean", torch.full((), torch.nan))
        self.register_buffer("square", torch.zeros(()))

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        (own,) = self._module
        return {**self.inner.players(own.supernet), "controller": list(own.controller.parameters())}

    def plays(self, player: str, index: int, total: int) -> bool:
        return player == "controller" or self.inner.plays(player, index, total)

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        first, second = self._halves.of(data)
        return self.inner.batch(network, second if step.player == "controller" else first, step)

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        if step.player != "controller":
            return self.inner.loss(network, batch, step)
        assert step.architecture is not None
        with torch.no_grad():
            reward = -self.inner.loss(network, batch, step).detach()
        (own,) = self._module
        log, entropy = own.controller.log_probability(own.walk.tokens([step.architecture]))
        return -(self._advantage(reward) * log + self.entropy * entropy).mean()

    @torch.no_grad()
    def _advantage(self, reward: Tensor) -> Tensor:
        """Returns how much better than usual a reward is, in deviations, and counts it among the usual."""
        if torch.isnan(self.mean):
            self.mean.copy_(reward)
        apart = reward - self.mean
        self.square.lerp_(apart.square(), 1 - self.decay)
        self.mean.lerp_(reward, 1 - self.decay)
        return apart / (self.square.sqrt() + 1e-6)

    def after(self, network: nn.Module, step: Step) -> None:
        self.inner.after(network, step)
