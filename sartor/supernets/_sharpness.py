"""A search that measures how sharp its validation loss is (Zela et al. 2020, arXiv:1909.09656)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sartor.supernets._differentiable import ARCHITECTURE
from sartor.supernets._relaxed import Search
from sartor.supernets.collapse import dominant_eigenvalue
from sartor.training import Step

if TYPE_CHECKING:
    from sartor.supernets.darts_es import DartsEs
    from sartor.training import Learner


class Watching(Search):
    """Tells its method the largest eigenvalue when that is due, on the logits' batch."""

    def __init__(self, method: DartsEs, inner: Learner, share: float) -> None:
        super().__init__(method, inner, share)
        self._watched = method

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        if step.player == ARCHITECTURE and step.micro == 0 and self._watched.is_due(step.index):
            self._watched.told(eigenvalue(self, network, batch, step))
            torch.manual_seed(step.default_seed)  # as if nothing had been measured
        return super().loss(network, batch, step)


def eigenvalue(search: Search, network: nn.Module, batch: Any, step: Step) -> float:
    """Returns the largest eigenvalue of the Hessian of the logits' loss on a batch, at the weights as they are.

    Args:
        search: With a task's learner inside.
        network: The relaxed one.
        batch: What the task's loss reads.
        step: The turn of the logits; its random numbers are used, but none of its own stream is taken.
    """
    again = Step(
        step.index, step.total, step.seed, step.recipe, player=step.player, micro=step.micro, device=step.device
    )
    relaxed = search.method.module
    before = relaxed.bound
    relaxed.bound = search.method.weights(again)
    try:
        return dominant_eigenvalue(lambda: search.inner.loss(network, batch, again), list(relaxed.rows))
    finally:
        relaxed.bound = before
