"""All that learns or remembers beside the network while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor.training.step import Step

Loss = Callable[[nn.Module, Any, Step], torch.Tensor]


def to_device(batch: Any, device: torch.device) -> Any:
    """Returns the batch with numeric arrays as tensors on ``device``, inside dicts, lists and tuples too."""
    if isinstance(batch, torch.Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, np.ndarray):
        return torch.from_numpy(batch).to(device, non_blocking=True) if batch.dtype.kind in "biufc" else batch
    if isinstance(batch, Mapping):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        values = [to_device(value, device) for value in batch]
        if isinstance(batch, list):
            return values
        return type(batch)(*values) if hasattr(batch, "_fields") else tuple(values)
    return batch


class Learner(nn.Module):
    """All that learns or remembers beside the network: discriminators, codebooks, baselines, grids, environments.

    Its parameters and buffers are saved with the network's, and only while training: what inference needs is a buffer
    of the network, what only the loss needs is the learner's. The default wraps a task's loss.

    Example:
        >>> learner = Learner(lambda network, batch, step: network(batch["x"]).square().mean())

    Attributes:
        every: Player -> it steps once in so many steps; 1 for players not named.
    """

    every: Mapping[str, int] = MappingProxyType({})

    def __init__(self, loss: Loss | None = None) -> None:
        super().__init__()
        self._loss = loss

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        """Returns player -> the parameters its optimiser updates, in the order in which they step.

        Args:
            module: The subject's module.
        """
        return {"network": [*module.parameters(), *self.parameters()]}

    def plays(self, player: str, index: int, total: int) -> bool:
        """Returns whether a player takes its turn at step ``index`` of ``total``, of those that ``every`` leaves it."""
        return True

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        """Returns what ``loss`` reads, drawn from ``data``, as a function of ``step`` and the network's weights.

        The default takes the next rows of ``data`` (``sartor.data.Rows``) to the network's device.
        """
        return to_device(data.batch(step.recipe.batch_size, step.seed, step.draw), step.device)

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        """Returns a scalar that ``step.player`` minimises."""
        if self._loss is None:
            raise NotImplementedError(f"{type(self).__name__} must define loss, or be given one")
        return self._loss(network, batch, step)

    def after(self, network: nn.Module, step: Step) -> None:
        """Is called without gradients when all players of a step have stepped, e.g. to move a codebook."""
