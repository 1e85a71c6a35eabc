"""The update rules, and a player's turn: norm of its gradients, check that they are finite, step.

The rules are torch's functional ones. Making a ``torch.optim.Optimizer`` imports all of torch._dynamo, 2 s in each
worker process and more than a small training takes; their state would also share tensors with what is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from sartor.errors import DivergedError
from sartor.training.recipe import Recipe

_FUSED_DEVICES = ("cpu", "cuda")
_BETA2, _EPS = 0.999, 1e-8
_TINY = 1e-6


class _Group:
    """Parameters with one weight decay, and the tensors their rule remembers."""

    def __init__(self, recipe: Recipe, parameters: Sequence[nn.Parameter], decay: float, fused: bool) -> None:
        self.recipe, self.parameters, self.decay, self.fused = recipe, list(parameters), decay, fused
        self._adaptive = recipe.optimizer != "sgd"
        self._remembers = self._adaptive or recipe.momentum > 0
        self.first = [torch.zeros_like(parameter) for parameter in parameters] if self._remembers else []
        self.second = [torch.zeros_like(parameter) for parameter in parameters] if self._adaptive else []
        step_device = parameters[0].device if fused else torch.device("cpu")
        self.steps = [torch.zeros((), device=step_device) for _ in parameters] if self._adaptive else []

    def step(self, rate: float, void: torch.Tensor | None) -> None:
        """Updates the parameters that have a gradient; a ``void`` of 1 makes the fused rules change nothing."""
        chosen = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not chosen:
            return
        everything = len(chosen) == len(self.parameters)

        def of(values: list[Any]) -> list[Any]:
            return values if everything else [values[i] for i in chosen]

        parameters = of(self.parameters)
        gradients = [parameter.grad for parameter in parameters]
        common: dict[str, Any] = {
            "foreach": not self.fused, "fused": self.fused, "found_inf": void, "lr": rate,
            "weight_decay": self.decay, "maximize": False,
        }  # fmt: skip
        if self._adaptive:
            rule = adamw if self.recipe.optimizer == "adamw" else adam
            rule(
                parameters, gradients, of(self.first), of(self.second), [], of(self.steps), amsgrad=False,
                has_complex=any(torch.is_complex(p) for p in parameters) if not self.fused else False,
                beta1=self.recipe.beta1, beta2=_BETA2, eps=_EPS, **common,
            )  # fmt: skip
            return
        momentum = self.recipe.momentum
        # A buffer of zeros is torch's first step too: without dampening it becomes the gradient.
        buffers = of(self.first) if self._remembers else [None] * len(parameters)
        sgd(parameters, gradients, buffers, momentum=momentum, dampening=0.0, nesterov=momentum > 0, **common)

    def tensors(self) -> list[torch.Tensor]:
        return [*self.first, *self.second, *self.steps]


class Rule:
    """The optimiser of a recipe; what has fewer than two dimensions (biases, normalisation) is not decayed.

    Fused where torch has it: five times faster than its loop for small networks on a CPU.
    """

    def __init__(self, recipe: Recipe, parameters: Sequence[nn.Parameter]) -> None:
        self.fused = all(p.dtype.is_floating_point and p.device.type in _FUSED_DEVICES for p in parameters)
        decayed = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim <= 1]
        if recipe.weight_decay == 0:
            decayed, others = [], list(parameters)
        self._kind = recipe.optimizer
        self._groups = [
            _Group(recipe, group, decay, self.fused)
            for group, decay in ((decayed, recipe.weight_decay), (others, 0.0))
            if group
        ]

    @torch.no_grad()
    def step(self, rate: float, void: torch.Tensor | None = None) -> None:
        """Takes a step at a learning rate; see ``_Group.step`` for ``void``."""
        for group in self._groups:
            group.step(rate, void)

    def state_dict(self) -> dict[str, Any]:
        """Returns the live tensors: copy what is to be kept."""
        return {"kind": self._kind, "groups": [group.tensors() for group in self._groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copies the tensors of a state.

        Raises:
            ValueError: the state is of another rule or of other parameters.
        """
        ours = [group.tensors() for group in self._groups]
        theirs = state["groups"]
        shapes = [[[tuple(tensor.shape) for tensor in group] for group in groups] for groups in (ours, theirs)]
        if state["kind"] != self._kind or shapes[0] != shapes[1]:
            raise ValueError(f"expected the state of {self._kind} for these parameters, got one of {state['kind']}")
        for our_group, their_group in zip(ours, theirs, strict=True):
            for our, their in zip(our_group, their_group, strict=True):
                our.copy_(their)


class Player:
    """One optimiser of the loop.

    On a CPU each loss and gradient norm is looked at before the step. On an accelerator that would wait for the
    device at every step, so the step is made void there when either is not finite, and the first such step is looked
    up when the loop has to wait for the device anyway: before it reports, validates or saves.
    """

    def __init__(
        self, name: str, recipe: Recipe, parameters: Sequence[nn.Parameter], every: int, *, deferred: bool | None = None
    ) -> None:
        self.name, self.recipe, self.every = name, recipe, every
        self.parameters = list(parameters)
        self.rule = Rule(recipe, self.parameters)
        device = self.parameters[0].device
        if deferred is None:
            deferred = device.type != "cpu" and self.rule.fused
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=device) if deferred else None

    def step(self, loss: torch.Tensor, share: float, index: int) -> float:
        """Clips the gradients, takes the step and drops the gradients; returns the rate.

        Args:
            loss: Detached scalar, checked together with the gradients.
            share: Of the recipe's peak rate.
            index: Of the step, for the message.

        Raises:
            DivergedError: the loss or the gradients' norm is not finite; the weights are as they were.
            ValueError: the loss reached none of the parameters.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if not gradients:
            raise ValueError(f"step {index}: the loss of player {self.name!r} reaches none of its parameters")
        rate = self.recipe.learning_rate * share
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if self._first_bad is None:
            self._clip_checked(gradients, norm.item(), loss.item(), index)
            self.rule.step(rate)
        else:
            bad = ~(torch.isfinite(norm) & torch.isfinite(loss))
            self._first_bad.copy_(torch.where(bad & (self._first_bad < 0), index, self._first_bad))
            if self.recipe.clip_norm is not None:
                torch._foreach_mul_(gradients, (self.recipe.clip_norm / (norm + _TINY)).clamp(max=1.0))
            self.rule.step(rate, bad.to(torch.float32))
        for parameter in self.parameters:
            parameter.grad = None
        return rate

    def _clip_checked(self, gradients: list[torch.Tensor], norm: float, loss: float, index: int) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"step {index}, player {self.name!r}: loss {loss:g}, gradient norm {norm:g}; the step was not taken."
                " Try a lower recipe.learning_rate"
            )
        clip = self.recipe.clip_norm
        if clip is not None and norm > clip:
            torch._foreach_mul_(gradients, clip / (norm + _TINY))

    def check(self) -> None:
        """Waits for the device and raises if a step was void.

        Raises:
            DivergedError: names the first step whose loss or gradient was not finite.
        """
        if self._first_bad is not None and (first := int(self._first_bad.item())) >= 0:
            raise DivergedError(
                f"step {first}, player {self.name!r}: the loss or its gradient was not finite; the step was not taken."
                " Try a lower recipe.learning_rate"
            )
