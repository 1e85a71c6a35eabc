"""Where a training stands: everything that continuing it needs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


def copied(value: Any) -> Any:
    """Returns a deep copy that shares nothing with ``value``, its tensors detached and on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item) for item in value)
    return copy.deepcopy(value)


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands; its tensors are copies on the CPU, so it may be kept while training goes on.

    Attributes:
        step: Steps done.
        module: State dict of the subject's module.
        learner: State dict of the learner.
        optimizers: Player -> state dict of its optimiser.
        averaged: Name -> averaged parameter or buffer, or None without averaging.
    """

    step: int
    module: dict[str, Any]
    learner: dict[str, Any]
    optimizers: dict[str, Any]
    averaged: dict[str, torch.Tensor] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns a plain dict that ``torch.save`` writes and ``torch.load(weights_only=True)`` reads."""
        return {
            "step": self.step,
            "module": self.module,
            "learner": self.learner,
            "optimizers": self.optimizers,
            "averaged": self.averaged,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TrainingState:
        return cls(**value)
