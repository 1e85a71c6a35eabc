"""How a network is trained: plain values, no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sartor.errors import InputError, near

Optimizer = Literal["adamw", "adam", "sgd"]
Shape = Literal["trapezoid", "cosine", "constant"]
Precision = Literal["auto", "float32", "bfloat16"]


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
        beta1: Of Adam and AdamW: how much of the mean of the gradients is kept at a step.
        batch_size: Rows a step.
        warmup: Share of the longest training spent rising to the peak rate; at most half of the shortest one's trunk.
        cooldown: Share of a training spent falling to zero.
        schedule: Shape of the rate.
        accumulate: Micro-batches a step.
        clip_norm: Largest gradient norm, or None.
        ema_decay: Decay of the averaged weights that are evaluated, or None.
        precision: ``auto`` is bfloat16 autocast where the accelerator has it, else float32.
        patience: Validations along the way without a better one after which training ends; the weights of the best are
            scored (early stopping). None: the last weights are.
        label_smoothing: Share of the label's weight spread over all classes, for tasks with classes.
        players: Player name -> fields that differ for it.
    """

    optimizer: Optimizer = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    beta1: float = 0.9
    batch_size: int = 64
    warmup: float = 0.05
    cooldown: float = 0.3
    schedule: Shape = "trapezoid"
    accumulate: int = 1
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    precision: Precision = "auto"
    patience: int | None = None
    label_smoothing: float = 0.0
    players: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in (("optimizer", Optimizer), ("schedule", Shape), ("precision", Precision)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise InputError(f"recipe has no {name} {value!r}{near(str(value), known)}")
        if self.batch_size < 1 or self.accumulate < 1:
            raise InputError(f"batch_size and accumulate must be at least 1, got {self.batch_size}, {self.accumulate}")
        if not 0 <= self.warmup <= 1 or not 0 <= self.cooldown <= 1:
            raise InputError(f"warmup and cooldown are shares between 0 and 1, got {self.warmup}, {self.cooldown}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate >= 0 and self.weight_decay >= 0):
            raise InputError(
                "learning_rate and weight_decay must be finite and not negative,"
                f" got {self.learning_rate}, {self.weight_decay}"
            )
        if not 0 <= self.beta1 < 1:
            raise InputError(f"beta1 must be at least 0 and below 1, got {self.beta1}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"clip_norm must be above 0 or None, got {self.clip_norm}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must be at least 0 and below 1, or None, got {self.ema_decay}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience must be at least 1 or None, got {self.patience}")
        known_fields = {item.name for item in dataclasses.fields(self)} - {"players"}
        for player, own in self.players.items():
            for name in own:
                if name not in known_fields:
                    raise InputError(f"recipe of player {player!r} has no field {name!r}{near(name, known_fields)}")

    def of_player(self, player: str) -> Recipe:
        """Returns the recipe with the fields that differ for ``player`` put in."""
        own = self.players.get(player)
        return dataclasses.replace(self, players={}, **own) if own else self
