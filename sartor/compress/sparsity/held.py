"""Zeros that stay zero while a network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.around import Around
from sartor.compress.sparsity.masks import Masks, apply, fitting
from sartor.training import Learner, Step


class Held(Around):
    """A learner under which the weights that masks removed stay zero.

    Their gradients are zero too, so that they count neither for clipping nor in what the optimiser remembers. The
    masks are saved with the learner's state.

    Args:
        inner: The task's learner, or another.
        masks: Of parameters of the module that is trained.
    """

    def __init__(self, inner: Learner, masks: Masks) -> None:
        super().__init__(inner)
        self._names = tuple(masks)
        for i, mask in enumerate(masks.values()):
            self.register_buffer(f"mask_{i}", mask.detach().clone())
        self._weights: dict[str, nn.Parameter] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def masks(self) -> dict[str, Tensor]:
        """As they are now."""
        return {name: self.get_buffer(f"mask_{i}") for i, name in enumerate(self._names)}

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        """Returns the inner learner's.

        Raises:
            InputError: the masks do not fit the module.
        """
        self._weights = fitting(module, self.masks)
        apply(module, self.masks)
        return super().players(module)

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        self._release()  # those of a loss that did not reach their weight
        loss = super().loss(network, batch, step)
        masks = self.masks
        for name, weight in self._weights.items():
            if weight.requires_grad:
                hook = weight.register_hook(partial(torch.mul, masks[name]))  # type: ignore[no-untyped-call]
                self._hooks.append(hook)
        return loss

    def after(self, network: nn.Module, step: Step) -> None:
        self._release()
        super().after(network, step)
        masks = self.masks
        for name, weight in self._weights.items():
            weight.mul_(masks[name])

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
