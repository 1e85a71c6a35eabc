"""One player's optimiser: its rate, its gradients' norm, and whether they are finite before it steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sartor.errors import DivergedError
from sartor.training.recipe import Recipe

_FUSED_DEVICES = ("cpu", "cuda")
_TINY = 1e-6


def make_optimizer(recipe: Recipe, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the optimiser of a recipe; what has fewer than two dimensions (biases, normalisation) is not decayed.

    Fused where torch has it (five times faster than its loop for small networks on a CPU).
    """
    groups: list[dict[str, Any]] = []
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    if recipe.weight_decay and decayed and others:
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    else:
        groups = [{"params": list(parameters), "weight_decay": recipe.weight_decay if decayed else 0.0}]
    fused = _can_fuse(parameters)
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=fused)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate, weight_decay=decay, fused=fused)
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(
        groups, lr=rate, momentum=recipe.momentum, nesterov=nesterov, weight_decay=decay, fused=fused
    )


def _can_fuse(parameters: Sequence[nn.Parameter]) -> bool:
    return all(p.dtype.is_floating_point and p.device.type in _FUSED_DEVICES for p in parameters)


class Player:
    """One optimiser of the loop.

    On a CPU each loss and gradient norm is looked at before the step. On an accelerator that would wait for the
    device at every step, so the step is made void there when either is not finite (``found_inf``), and the first
    such step is looked up when the loop has to wait for the device anyway: before it reports, validates or saves.
    """

    def __init__(
        self, name: str, recipe: Recipe, parameters: Sequence[nn.Parameter], every: int, *, deferred: bool | None = None
    ) -> None:
        self.name, self.recipe, self.every = name, recipe, every
        self.parameters = list(parameters)
        self.optimizer = make_optimizer(recipe, self.parameters)
        device = self.parameters[0].device
        on_accelerator = device.type != "cpu" and _can_fuse(self.parameters)
        self._deferred = on_accelerator if deferred is None else deferred
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=device) if self._deferred else None

    def set_rate(self, share: float) -> float:
        """Sets the rate to a share of the recipe's peak; returns it."""
        rate = self.recipe.learning_rate * share
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def step(self, loss: torch.Tensor, index: int) -> None:
        """Clips the gradients, takes the step and drops the gradients.

        Args:
            loss: Detached scalar, checked together with the gradients.
            index: Of the step, for the message.

        Raises:
            DivergedError: the loss or the gradients' norm is not finite; the weights are as they were.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if not gradients:
            raise ValueError(f"step {index}: the loss of player {self.name!r} reaches none of its parameters")
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if self._first_bad is None:
            self._step_checked(gradients, norm.item(), loss.item(), index)
        else:
            self._step_deferred(gradients, norm, loss, index)
        for parameter in self.parameters:
            parameter.grad = None

    def _step_checked(self, gradients: list[torch.Tensor], norm: float, loss: float, index: int) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"step {index}, player {self.name!r}: loss {loss:g}, gradient norm {norm:g}; the step was not taken."
                " Try a lower recipe.learning_rate"
            )
        clip = self.recipe.clip_norm
        if clip is not None and norm > clip:
            torch._foreach_mul_(gradients, clip / (norm + _TINY))
        self.optimizer.step()

    def _step_deferred(self, gradients: list[torch.Tensor], norm: torch.Tensor, loss: torch.Tensor, index: int) -> None:
        assert self._first_bad is not None
        bad = ~(torch.isfinite(norm) & torch.isfinite(loss))
        self._first_bad.copy_(torch.where(bad & (self._first_bad < 0), index, self._first_bad))
        if self.recipe.clip_norm is not None:
            share = (self.recipe.clip_norm / (norm + _TINY)).clamp(max=1.0)
            torch._foreach_mul_(gradients, share)
        # The protocol of torch.amp.GradScaler with fused optimisers: a step with found_inf = 1 changes nothing.
        self.optimizer.grad_scale = None  # type: ignore[attr-defined]
        self.optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
        self.optimizer.step()

    def check(self) -> None:
        """Waits for the device and raises if a step since the last check was void.

        Raises:
            DivergedError: names the first step whose loss or gradient was not finite.
        """
        if self._first_bad is not None and (first := int(self._first_bad.item())) >= 0:
            raise DivergedError(
                f"step {first}, player {self.name!r}: the loss or its gradient was not finite; the step was not taken."
                " Try a lower recipe.learning_rate"
            )
