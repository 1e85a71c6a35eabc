"""Many small networks trained at once, each on its own share of the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]

_BATCH = 64


@dataclass(frozen=True)
class Training:
    """How the networks are trained.

    Attributes:
        hidden: Widths of the hidden layers.
        steps: Of AdamW on at most 64 values each.
        learning_rate: At first; falls to 0 as a cosine.
        weight_decay: Of AdamW.
    """

    hidden: tuple[int, ...] = (64, 64)
    steps: int = 250
    learning_rate: float = 0.02
    weight_decay: float = 0.5


def folds(n: int, num_folds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Returns the fold of each of ``n`` values, ``[n]``: equally large, at random."""
    return rng.permutation(np.arange(n) % num_folds)


class Committee:
    """Perceptrons with the same layers and different weights, as one batched network.

    Args:
        inputs: ``[n, k]``.
        targets: ``[n]``, of mean 0 and variance 1 about.
        shares: Weight of each value in the loss of each network, ``[num_networks, n]``; each row has some.
        training: How.
        seed: Draws weights and batches.
    """

    def __init__(self, inputs: Array, targets: Array, shares: Array, training: Training, seed: int) -> None:
        import torch

        from sartor._threads import one_thread

        generator = torch.Generator().manual_seed(seed)
        sizes = (inputs.shape[1], *training.hidden, 1)
        self._layers: list[torch.Tensor] = []
        for before, after in zip(sizes, sizes[1:], strict=False):
            scale = (2 / max(before, 1)) ** 0.5
            weights = torch.randn(len(shares), before, after, generator=generator) * scale
            self._layers += [weights.requires_grad_(), torch.zeros(len(shares), 1, after, requires_grad=True)]
        optimizer = torch.optim.AdamW(self._layers, training.learning_rate, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
        x, y, s = (torch.as_tensor(array, dtype=torch.float32) for array in (inputs, targets, shares))
        with one_thread():
            for _ in range(training.steps):
                if len(x) > _BATCH:
                    rows = torch.randperm(len(x), generator=generator)[:_BATCH]
                    own, wanted, weight = x[rows], y[rows], s[:, rows]
                else:
                    own, wanted, weight = x, y, s
                errors = (self._forward(own) - wanted) ** 2
                loss = ((errors * weight).sum(1) / weight.sum(1).clamp(min=1e-9)).sum()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()

    def _forward(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        hidden = inputs.expand(len(self._layers[0]), *inputs.shape)
        for i in range(0, len(self._layers), 2):
            hidden = torch.baddbmm(self._layers[i + 1], hidden, self._layers[i])
            if i + 2 < len(self._layers):
                hidden = torch.nn.functional.silu(hidden)
        return hidden[..., 0]

    def predict(self, inputs: Array) -> Array:
        """Returns what each network says, ``[num_networks, n]``."""
        import torch

        from sartor._threads import one_thread

        x = torch.as_tensor(inputs, dtype=torch.float32)
        with torch.no_grad(), one_thread():
            parts = [self._forward(part).double().numpy() for part in torch.split(x, 4096)]
        return np.concatenate(parts, 1) if parts else np.zeros((len(self._layers[0]), 0))


def left_out(own: npt.NDArray[np.int64], num_folds: int, copies: int) -> Array:
    """Returns the shares of networks that leave one fold out each, ``[num_folds * copies, n]``, fold by fold."""
    kept: Sequence[Array] = [(own != fold).astype(np.float64) for fold in range(num_folds)]
    return np.repeat(np.stack(kept), copies, axis=0)
