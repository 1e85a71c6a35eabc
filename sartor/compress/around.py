"""A learner around another: what compression adds to a task's own training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sartor.training import Learner, Step


class Around(Learner):
    """Does as the learner inside it; a method of compression changes what it needs to.

    Args:
        inner: The task's learner, or another.
    """

    def __init__(self, inner: Learner) -> None:
        super().__init__()
        self.inner, self.every = inner, inner.every

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        return self.inner.players(module)

    def plays(self, player: str, index: int, total: int) -> bool:
        return self.inner.plays(player, index, total)

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        return self.inner.batch(network, data, step)

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return self.inner.loss(network, batch, step)

    def after(self, network: nn.Module, step: Step) -> None:
        self.inner.after(network, step)
