"""An exponential moving average of a network's weights (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach() for named in (module.named_parameters(), module.named_buffers()) for name, tensor in named
    }


def put(module: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Copies named values into the parameters and buffers of ``module``."""
    for name, tensor in _tensors(module).items():
        tensor.copy_(values[name])


class Average:
    """Averages of a module's floating-point parameters and buffers; other buffers are copied.

    The weight of the past after step ``s`` is ``min(decay, (1 + s) / (10 + s))``, so that the first weights are soon
    forgotten (the warm start of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.values = {name: tensor.clone() for name, tensor in _tensors(module).items()}
        self._has_buffers = next(module.buffers(), None) is not None
        self._live, self._mean, self._others = self._paired()

    def _paired(self) -> tuple[list[torch.Tensor], list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        live, mean, others = [], [], []
        for name, tensor in _tensors(self.module).items():
            if tensor.dtype.is_floating_point:
                live.append(tensor)
                mean.append(self.values[name])
            else:
                others.append((self.values[name], tensor))
        return live, mean, others

    def update(self, step: int) -> None:
        """Moves the averages toward the weights after ``step`` (from 0)."""
        if self._has_buffers:  # a module may put another tensor in a buffer's place
            self._live, self._mean, self._others = self._paired()
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._mean, self._live, 1.0 - decay)
        for mean, live in self._others:
            mean.copy_(live)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the module has the averaged weights."""
        kept = {name: tensor.clone() for name, tensor in _tensors(self.module).items()}
        put(self.module, self.values)
        try:
            yield
        finally:
            put(self.module, kept)
