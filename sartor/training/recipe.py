"""How a network is trained: plain values, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sartor.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    The rate warms up, stays on a constant trunk, and cools down linearly: a promotion continues the trunk, a score is
    taken after a cooldown branch (Hägele et al. 2024, arXiv:2405.18392). ``cosine`` is offered for single trainings.

    Attributes:
        optimizer: Which optimiser.
        learning_rate: Peak rate.
        weight_decay: Decoupled for AdamW; not applied to biases and normalisation.
        momentum: For SGD, with Nesterov.
        batch_size: Rows a step.
        warmup: Share of the longest training spent rising to the peak rate.
        cooldown: Share of a training spent falling to zero.
        schedule: Shape of the rate.
        accumulate: Micro-batches a step.
        clip_norm: Largest gradient norm, or None.
        ema_decay: Decay of the averaged weights that are evaluated, or None.
        precision: ``auto`` is bfloat16 autocast where the accelerator has it, else float32.
        label_smoothing: Share of the label's weight spread over all classes, for tasks with classes.
        players: Player name -> fields that differ for it.
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    batch_size: int = 64
    warmup: float = 0.05
    cooldown: float = 0.3
    schedule: Literal["trapezoid", "cosine", "constant"] = "trapezoid"
    accumulate: int = 1
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    label_smoothing: float = 0.0
    players: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.accumulate < 1:
            raise InputError(f"batch_size and accumulate must be at least 1, got {self.batch_size}, {self.accumulate}")
        if not 0 <= self.warmup <= 1 or not 0 <= self.cooldown <= 1:
            raise InputError(f"warmup and cooldown are shares between 0 and 1, got {self.warmup}, {self.cooldown}")
