"""What the loop knows at one step, and the random streams derived from it."""

from __future__ import annotations

import zlib
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from sartor.training.recipe import Recipe

if TYPE_CHECKING:
    from sartor.space import Architecture

_MASK = 2**64 - 1
_OWN_STREAM = 1
_DEFAULT_STREAM = 2
CPU = torch.device("cpu")


@cache
def _player_key(player: str) -> int:
    return zlib.crc32(player.encode())


def _mixed(*parts: int) -> int:
    """Returns 64 well-mixed bits of the parts (the finaliser of splitmix64, Steele et al. 2014, after each)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ part) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 30) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


class Step:
    """One player's turn at one step of a training (one for each micro-batch when gradients are accumulated).

    Attributes:
        index: Steps done before this one.
        total: Steps of the longest training that shares this trunk.
        seed: Of the training.
        recipe: The player's own: its batch size, its rate.
        player: Whose parameters are updated.
        micro: Which micro-batch of the step, from 0.
        device: Where the network is.
        architecture: Of the network at hand; a supernet's step goes through several.
    """

    def __init__(
        self,
        index: int,
        total: int,
        seed: int,
        recipe: Recipe,
        *,
        player: str = "network",
        micro: int = 0,
        device: torch.device = CPU,
        architecture: Architecture | None = None,
    ) -> None:
        self.index, self.total, self.seed, self.recipe = index, total, seed, recipe
        self.player, self.micro, self.device, self.architecture = player, micro, device, architecture

    @property
    def fraction(self) -> float:
        """Share of the longest training done, in ``[0, 1]``."""
        return self.index / self.total

    @property
    def draw(self) -> int:
        """Number of this batch since the start: the key of the data order."""
        return self.index * self.recipe.accumulate + self.micro

    @cached_property
    def numpy(self) -> np.random.Generator:
        """A stream that is a function of (seed, draw, player); made once, so a second reader goes on with it."""
        return np.random.default_rng([self.seed, self.draw, _player_key(self.player)])

    @cached_property
    def torch(self) -> torch.Generator:
        """As ``numpy``, for torch on the CPU; another stream than the global one that dropout reads."""
        return torch.Generator().manual_seed(_mixed(self.seed, self.draw, _player_key(self.player), _OWN_STREAM))

    @property
    def default_seed(self) -> int:
        """What the loop seeds torch's global generators with before the step."""
        return _mixed(self.seed, self.draw, _player_key(self.player), _DEFAULT_STREAM)
