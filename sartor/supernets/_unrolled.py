"""The second-order gradient of DARTS (Liu et al. 2019, arXiv:1806.09055, equations 7 and 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from sartor.supernets._differentiable import ARCHITECTURE, NETWORK
from sartor.supernets._relaxed import Search
from sartor.training import Step

if TYPE_CHECKING:
    from sartor.supernets.darts import Darts
    from sartor.training import Learner

RADIUS = 0.01
"""Length of the step by which weights are moved in the finite difference; the paper's."""


def unrolled_gradient(
    train: Callable[[], Tensor],
    validation: Callable[[], Tensor],
    weights: Sequence[Tensor],
    logits: Sequence[Tensor],
    xi: float,
) -> tuple[Tensor, list[Tensor]]:
    """Returns the validation loss after a virtual step of the weights, and its gradient with respect to the logits.

    Args:
        train: The loss that the weights minimise; called three times, at different weights.
        validation: The loss that the logits minimise.
        weights: Leaves; moved meanwhile, and put back.
        logits: Leaves.
        xi: Learning rate of the virtual step.
    """
    before = [weight.detach().clone() for weight in weights]

    def moved(directions: Sequence[Tensor], length: float) -> None:
        with torch.no_grad():
            for weight, start, direction in zip(weights, before, directions, strict=True):
                weight.copy_(start + length * direction)

    def gradients(loss: Tensor, of: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, of, materialize_grads=True)

    try:
        moved(gradients(train(), weights), -xi)
        value = validation()
        both = gradients(value, [*logits, *weights])
        direct, ahead = both[: len(logits)], both[len(logits) :]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(ahead))))
        if norm == 0:
            return value.detach(), list(direct)
        length = RADIUS / norm
        moved(ahead, length)
        plus = gradients(train(), logits)
        moved(ahead, -length)
        minus = gradients(train(), logits)
    finally:
        moved(before, 0.0)
    return value.detach(), [
        own - xi * (up - down) / (2 * length) for own, up, down in zip(direct, plus, minus, strict=True)
    ]


class _Both(NamedTuple):
    validation: Any
    train: Any


class Unrolled(Search):
    """The learner of the second order.

    Args:
        method, inner, share: See ``Search``.
        xi: Learning rate of the virtual step.
    """

    def __init__(self, method: Darts, inner: Learner, share: float, xi: float) -> None:
        super().__init__(method, inner, share)
        self.xi = xi

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        """Returns for the logits their batch, and the one with which the weights step next."""
        batch = super().batch(network, data, step)
        if step.player != ARCHITECTURE:
            return batch
        return _Both(batch, super().batch(network, data, _ahead(step)))

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        """Returns for the logits the loss after the virtual step, with the gradient by finite difference."""
        if step.player != ARCHITECTURE:
            return super().loss(network, batch, step)

        def evaluated(part: Any, step: Step) -> Tensor:
            # The same random numbers at each evaluation, or their differences would be noise.
            torch.manual_seed(step.default_seed)
            self.method.module.bound = self.method.weights(step)
            return self.inner.loss(network, part, step)

        value, gradients = unrolled_gradient(
            lambda: evaluated(batch.train, _ahead(step)),
            lambda: evaluated(batch.validation, step),
            [weight for weight in self.players(network)[NETWORK] if weight.requires_grad],
            list(self.method.module.rows),
            self.xi,
        )
        linear = torch.stack(
            [(row * own).sum() for row, own in zip(self.method.module.rows, gradients, strict=True)]
        ).sum()
        return value + linear - linear.detach()


def _ahead(step: Step) -> Step:
    """Returns the weights' turn at the step that follows."""
    return Step(
        step.index + 1, step.total, step.seed, step.recipe, player=NETWORK, micro=step.micro, device=step.device
    )
