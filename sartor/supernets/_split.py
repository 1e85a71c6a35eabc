"""Several supernets of one space, each for some options of a few choices."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sartor.space import Architecture, Space


class SplitSupernet(nn.Module):
    """One supernet until it is split, then one for each combination of values of some choices.

    Args:
        space: Whose architectures.
        choices: Key -> values, of choices that every architecture has.
        part: Entry of a dict space.
        seed: Of the initial weights.
    """

    is_split: Tensor

    def __init__(
        self, space: Space, choices: Mapping[str, Sequence[Any]], *, part: str | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.keys = tuple(choices)
        self.whole = space.supernet(part, seed=seed)
        combinations = list(itertools.product(*choices.values()))
        shared = {id(space): space}
        self.parts = nn.ModuleList(copy.deepcopy(self.whole, dict(shared)) for _ in combinations)
        self._number = {values: number for number, values in enumerate(combinations)}
        self.register_buffer("is_split", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def split(self) -> None:
        """Copies the weights of the one supernet to the several, once."""
        if self.is_split:
            return
        for part in self.parts:
            part.load_state_dict(self.whole.state_dict())
        self.is_split.fill_(True)

    def _of(self, arch: Mapping[str, Any]) -> Any:
        return self.parts[self._number[tuple(arch[key] for key in self.keys)]] if self.is_split else self.whole

    def network(self, arch: Architecture) -> nn.Module:
        """See `Supernet.network`."""
        network: nn.Module = self._of(arch).network(arch)
        return network

    def child(self, arch: Mapping[str, Any]) -> nn.Module:
        """See `Supernet.child`."""
        network: nn.Module = self._of(arch).child(arch)
        return network
