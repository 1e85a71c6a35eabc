"""Gradual magnitude pruning: more zeros as training goes on, fast at first and slowly at last.

Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
arXiv:1710.01878. A weight that was removed stays removed, since it has no gradient, here as in the paper. The paper
gives each layer the same share of zeros (``scope`` "local"); layer-adaptive magnitude over all layers is offered too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sartor.compress.sparsity.held import Held
from sartor.compress.sparsity.lamp import layer_adaptive
from sartor.compress.sparsity.masks import global_masks, local_masks
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError
from sartor.training import Learner, Step

Scope = Literal["global", "local"]
Criterion = Literal["magnitude", "lamp"]


def cubic(fraction: float, initial: float, final: float) -> float:
    """Returns the sparsity after a fraction of the time of pruning (equation 1 of the paper).

    Args:
        fraction: 0..1; what lies outside is taken for the nearer end.
        initial: Sparsity at 0.
        final: Sparsity at 1.
    """
    left = 1.0 - min(1.0, max(0.0, fraction))
    return final + (initial - final) * left**3


class Gradual(Held):
    """A learner that removes the smallest weights while training.

    Args:
        inner: The task's learner, or another.
        module: What will be trained.
        sparsity: Share of the weights that is zero in the end.
        initial: Share at ``begin``.
        begin, end: Shares of the training between which weights are removed.
        interval: Steps between two removals.
        scope: Of each layer the same share (the paper's), or of all layers together.
        criterion: Which weights go; matters where ``scope`` is global.
        skip: Layers to leave alone.

    Raises:
        InputError: shares out of order or out of range.
    """

    def __init__(
        self,
        inner: Learner,
        module: nn.Module,
        *,
        sparsity: float,
        initial: float = 0.0,
        begin: float = 0.0,
        end: float = 0.7,
        interval: int = 10,
        scope: Scope = "local",
        criterion: Criterion = "magnitude",
        skip: Sequence[str] = (),
    ) -> None:
        if not 0 <= initial <= sparsity < 1:
            raise InputError(f"expected 0 <= initial <= sparsity < 1, got {initial:g} and {sparsity:g}")
        if not 0 <= begin < end <= 1 or interval < 1:
            raise InputError(
                f"expected 0 <= begin < end <= 1 and an interval of at least 1 step, got {begin:g}, {end:g}, {interval}"
            )
        weights = weights_of(module, skip=skip)
        super().__init__(inner, {name: torch.ones_like(value, dtype=torch.bool) for name, value in weights.items()})
        self.sparsity, self.initial, self.begin, self.end = sparsity, initial, begin, end
        self.interval = interval
        self._score: Callable[[Tensor], Tensor] = layer_adaptive if criterion == "lamp" else torch.abs
        self._select = global_masks if scope == "global" else local_masks

    def after(self, network: nn.Module, step: Step) -> None:
        done = (step.index + 1) / step.total
        last = step.index + 1 == round(self.end * step.total)
        if self.begin <= done <= self.end and (step.index % self.interval == 0 or last):
            self._remove(cubic((done - self.begin) / (self.end - self.begin), self.initial, self.sparsity))
        super().after(network, step)

    def _remove(self, sparsity: float) -> None:
        masks = self.masks
        scores = {name: self._score(weight.detach()) for name, weight in self._weights.items()}
        for name, mask in self._select(scores, sparsity, masks).items():
            masks[name].copy_(mask)
