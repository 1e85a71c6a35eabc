"""L1: a penalty that draws weights to zero, so that removing the smallest costs less.

Tibshirani 1996, "Regression Shrinkage and Selection via the Lasso"; Han et al. 2015, arXiv:1506.02626, compare it with
L2 before magnitude pruning. The penalty is part of the loss, so weights come near zero and seldom reach it: remove the
smallest afterwards (``magnitude``, or ``below``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.around import Around
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError
from sartor.training import Learner, Step


class L1(Around):
    """A learner whose first player also minimises the sum of absolute weights.

    Args:
        inner: The task's learner, or another.
        strength: Of the penalty: loss for each unit of absolute weight; 1e-6 to 1e-4 for networks of 1e5 weights.
        skip: Layers to leave alone.

    Raises:
        InputError: a strength that is negative or not finite.
    """

    def __init__(self, inner: Learner, strength: float, *, skip: Sequence[str] = ()) -> None:
        if not 0 <= strength < float("inf"):
            raise InputError(f"strength: expected a finite number of at least 0, got {strength:g}")
        super().__init__(inner)
        self.strength, self.skip = strength, tuple(skip)
        self._weights: list[nn.Parameter] = []
        self._player: str | None = None

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        self._weights = list(weights_of(module, skip=self.skip).values())
        players = super().players(module)
        self._player = next(iter(players), None)
        return players

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        loss = super().loss(network, batch, step)
        if step.player != self._player:
            return loss
        return loss + self.strength * torch.stack([weight.abs().sum() for weight in self._weights]).sum()


def below(module: nn.Module, threshold: float, *, skip: Sequence[str] = ()) -> dict[str, Tensor]:
    """Returns masks that remove weights whose absolute value is below ``threshold``.

    Raises:
        InputError: a threshold that is negative or not finite.
    """
    if not 0 <= threshold < float("inf"):
        raise InputError(f"threshold: expected a finite number of at least 0, got {threshold:g}")
    return {name: weight.detach().abs() >= threshold for name, weight in weights_of(module, skip=skip).items()}
