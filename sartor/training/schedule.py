"""The learning rate as a function of the absolute step: warm-up, trunk, cooldown. No torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from sartor.errors import InputError
from sartor.training.recipe import Recipe


@dataclass(frozen=True)
class Schedule:
    """Share of the peak rate at each step.

    A trapezoid is a trunk (warm-up, then constant) that any length shares and a branch that cools down from it, so
    a longer training goes on from a shorter one's trunk and ends where it would have ended alone (Hägele et al.
    2024, arXiv:2405.18392; linear rather than 1-sqrt cooldown). A cosine depends on its length from the first step
    and has no trunk.

    Attributes:
        shape: Of the rate after the warm-up.
        total: Steps at which the training ends.
        warmup: Steps spent rising linearly; step 0 has share ``1 / warmup``.
        cooldown: Steps at the end spent falling linearly (trapezoid only); the last has share ``1 / cooldown``.
    """

    shape: Literal["trapezoid", "cosine", "constant"]
    total: int
    warmup: int = 0
    cooldown: int = 0

    def __post_init__(self) -> None:
        if self.total < 1 or self.warmup < 0 or not 0 <= self.cooldown <= self.total:
            raise InputError(
                f"expected total >= 1, warmup >= 0 and cooldown between 0 and total, got {self.total}, {self.warmup},"
                f" {self.cooldown}"
            )

    @classmethod
    def of(cls, recipe: Recipe, total: int, *, longest: int | None = None, shortest: int | None = None) -> Schedule:
        """Returns the schedule of a training of ``total`` steps.

        Args:
            recipe: Gives the shape and the shares.
            total: Steps of this training.
            longest: Steps of the longest training that shares the trunk; ``total`` when None.
            shortest: Steps of the shortest one; ``total`` when None. The warm-up takes at most half of its trunk,
                else the shortest trainings of a search would never see the peak rate.
        """
        cooldown = 0
        if recipe.schedule == "trapezoid" and recipe.cooldown > 0:
            cooldown = min(total, max(1, round(recipe.cooldown * total)))
        if recipe.schedule == "cosine":
            return cls("cosine", total, warmup=round(recipe.warmup * total))
        share = recipe.cooldown if recipe.schedule == "trapezoid" else 0.0
        shortest_trunk = (1 - share) * (shortest or total)
        warmup = min(round(recipe.warmup * (longest or total)), math.ceil(shortest_trunk / 2))
        return cls(recipe.schedule, total, warmup=warmup, cooldown=cooldown)

    @property
    def turn(self) -> int:
        """Steps of the trunk: 0 for a cosine, all of a constant rate."""
        return 0 if self.shape == "cosine" else self.total - self.cooldown

    @property
    def trunk(self) -> Schedule:
        """The same without its cooldown; undefined for a cosine."""
        return self if self.shape == "cosine" else dataclasses.replace(self, shape="constant", cooldown=0)

    def __call__(self, step: int) -> float:
        """Returns the share of the peak rate at ``step`` (from 0), in ``[0, 1]``."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.shape == "cosine":
            done = max(0, step - self.warmup) / max(1, self.total - self.warmup)
            return rise if step < self.warmup else 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        if step >= self.turn and self.cooldown:
            return rise * max(0.0, (self.total - step) / self.cooldown)
        return rise
