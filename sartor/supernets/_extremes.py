"""What the largest and the smallest architecture of a space are, and which values of a choice make a network larger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.errors import SpaceError
from sartor.space._vary import by_size

if TYPE_CHECKING:
    from sartor.space import Architecture, Label, Space

_MAX_COUNTED = 32
"""Values without an order of which each is counted; of more none is."""
_FORCED = 1e3
"""Score of a value that is to be had whatever else must change."""
_LEAST = 1e-3
"""What each value scores beside its effect: an active choice is more than none, a larger number more than a smaller."""


@dataclass(frozen=True)
class Extremes:
    """The ends of a space.

    Attributes:
        largest, smallest: The architectures with the largest and the smallest sum of scores, under the constraints.
        scores: Key -> value -> how much larger the value makes the network, positive. Float ranges are left out.
    """

    largest: Architecture
    smallest: Architecture
    scores: Mapping[str, Mapping[Label, float]]

    def ordered(self, key: str) -> list[Label]:
        """Returns the values of a choice, those that make the largest networks first."""
        scores = self.scores[key]
        return sorted(scores, key=lambda value: -scores[value])


def extremes(space: Space, log_cost: Callable[[Architecture], float]) -> Extremes:
    """Returns the ends of a space, exact under its constraints, for scores that add up over choices.

    Numbers are ordered by size, other values by what architectures with them cost, the rest being as large as it can
    be. Whether a larger number costs more is asked too: a stride does not. Of choices that change no cost (a resolution
    beside the network) the larger number is the larger.

    Args:
        space: Whose ends.
        log_cost: Logarithm of what an architecture costs, such as `network_cost`; asked a few times for each choice.

    Raises:
        SpaceError: The space is too large for an exact answer under predicates on whole architectures.
    """
    values = {key: space.values(key) for key in space.keys if not _is_range(space, key)}
    wishes = {key: dict(zip(own, by_size(own).tolist(), strict=True)) for key, own in values.items()}
    known: dict[Architecture, float] = {}

    def effect(key: str, value: Label) -> float | None:
        """Returns the logarithm of the cost of a large network with the value, or None when none may have it."""
        architecture = space.argmax({**wishes, key: {value: _FORCED}})
        if architecture.get(key) != value:
            return None
        if architecture not in known:
            known[architecture] = log_cost(architecture)
        return known[architecture]

    scores: dict[str, dict[Label, float]] = {}
    for key, wish in wishes.items():
        if any(wish.values()):
            ranked = sorted(wish, key=lambda value: wish[value])
            ends = [found for value in (ranked[0], ranked[-1]) if (found := effect(key, value)) is not None]
            change = ends[1] - ends[0] if len(ends) == 2 else 0.0
            scores[key] = {
                value: abs(change) * (wish[value] if change >= 0 else 1 - wish[value]) + _LEAST * (1 + wish[value])
                for value in wish
            }
        else:
            effects = {value: effect(key, value) if len(wish) <= _MAX_COUNTED else None for value in wish}
            least = min((each for each in effects.values() if each is not None), default=0.0)
            scores[key] = {value: (least if each is None else each) - least + _LEAST for value, each in effects.items()}
    negative = {key: {value: -score for value, score in own.items()} for key, own in scores.items()}
    return Extremes(space.argmax(scores), space.argmax(negative), scores)


def _is_range(space: Space, key: str) -> bool:
    """Whether a choice is a range of floats, whose two ends are all the values it tells of."""
    return any(space._compiled.slots[index].kind == "number" for index in space._compiled.by_key[key])


def network_cost(
    space: Space, inputs: Sequence[Any] | None = None, part: str | None = None
) -> Callable[[Architecture], float]:
    """Returns a function that gives the logarithm of a network's multiply-accumulates, and a little of its parameters'.

    Args:
        space: Builds the networks.
        inputs: Example inputs of them; without, parameters alone are counted.
        part: Entry of a dict space, as for `Space.build`.

    The function raises `SpaceError` for a space that builds no module.
    """
    from sartor.devices.counts import Counts, num_params

    counts = Counts()

    def log_cost(architecture: Architecture) -> float:
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            network = space.build(architecture, part)
        if not isinstance(network, nn.Module):
            raise SpaceError(f"shared weights need a space that builds a module, this one builds {network!r}")
        params = math.log1p(num_params(network))
        if inputs is None:
            return params
        return math.log1p(counts.count(network, tuple(inputs))["macs"].value) + _LEAST * params

    return log_cost
