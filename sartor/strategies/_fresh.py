"""Which architectures a strategy has proposed, and how it finds one that it has not."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.space import Architecture, Space

LogChance = Callable[[Sequence[Architecture]], npt.NDArray[np.float64]]
"""Architectures to the logarithms of their chances, shape ``(n,)``."""
Over = Literal["choices", "architectures"]
"""Uniform over each active choice, or over all architectures (most of which are large)."""

NUM_TRIES = 24
"""Variations of one architecture made before it is given up as surrounded by known ones."""
NUM_MADE = 12
"""Variations made of which one is drawn by its chance to meet the limits."""
NUM_RANDOM = 48
"""The same for random architectures, of which far fewer do."""
NUM_DRAWS = 64
"""Uniform draws, all known, after which the space is so nearly exhausted that the rest is enumerated."""


def from_text(space: Space, text: str) -> Architecture:
    """Returns the architecture of ``space`` whose JSON a strategy kept."""
    return space.architecture(Architecture.from_json(text))


class Fresh:
    """The architectures of a space that have not been proposed.

    Args:
        space: Where they come from.
        rng: Owned by the strategy, which also saves it.
        initial: Proposed first, in this order.

    Attributes:
        log_chance: When set, several are made at a time and one is drawn by its chance; the strategy sets it to the
            chance that the limits hold.

    Raises:
        InputError: an initial architecture is not in the space.
    """

    def __init__(self, space: Space, rng: np.random.Generator, initial: Iterable[Architecture] = ()) -> None:
        self.space, self.rng = space, rng
        self.log_chance: LogChance | None = None
        first = [space.architecture(architecture) for architecture in initial]
        self._initial = list(dict.fromkeys(first))
        self._at = 0
        self._known: dict[str, None] = {}
        self.exhausted = False

    def __len__(self) -> int:
        """Returns how many have been taken."""
        return len(self._known)

    def __contains__(self, architecture: Architecture) -> bool:
        """Whether it has been taken."""
        return self.digest(architecture) in self._known

    @staticmethod
    def digest(architecture: Architecture) -> str:
        # 64 bits, so that the state of a search of thousands stays small; python's own hash differs between processes.
        return hashlib.blake2b(architecture.to_json().encode(), digest_size=8).hexdigest()

    def take(self, architecture: Architecture) -> bool:
        """Marks an architecture as proposed; returns whether it was not before."""
        digest = self.digest(architecture)
        if digest in self._known:
            return False
        self._known[digest] = None
        return True

    @property
    def has_initial(self) -> bool:
        """Whether some of the initial architectures have not been proposed."""
        return self._at < len(self._initial)

    def drawn(self, over: Over = "choices") -> Architecture | None:
        """Returns the next initial architecture, then random ones; None when all of the space were proposed."""
        space, rng = self.space, self.rng
        while self.has_initial:
            self._at += 1
            if self.take(architecture := self._initial[self._at - 1]):
                return architecture
        if self.exhausted:
            return None
        if over == "choices":
            for _ in range(NUM_TRIES):
                if self.take(architecture := self.likely(partial(space.sample_choices, rng), NUM_RANDOM)):
                    return architecture
        for _ in range(NUM_DRAWS):
            if self.take(architecture := space.sample(rng)):
                return architecture
        # Uniform draws found nothing new, so hardly more architectures exist than are known.
        listed = () if space.continuous else itertools.islice(space, 4 * len(self._known) + 4096)
        rest = [architecture for architecture in listed if architecture not in self]
        if not rest:
            self.exhausted = True
            return None
        architecture = rest[int(rng.integers(len(rest)))]
        self.take(architecture)
        return architecture

    def varied(self, vary: Callable[[], Architecture]) -> Architecture | None:
        """Returns what ``vary`` makes once that is new; a random one when it never is; None when none is left."""
        if self.exhausted:
            return None
        for _ in range(NUM_TRIES):
            if self.take(architecture := self.likely(vary)):
                return architecture
        return self.drawn()

    def likely(self, make: Callable[[], Architecture], num: int = NUM_MADE) -> Architecture:
        """Returns one of ``num`` that ``make`` makes, drawn by its chance."""
        if self.log_chance is None:
            return make()
        made = [make() for _ in range(num)]
        log_chance = self.log_chance(made)
        chance = np.exp(log_chance - log_chance.max())
        return made[int(self.rng.choice(len(made), p=chance / chance.sum()))]

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self.rng.bit_generator.state,
            "initial": [architecture.to_json() for architecture in self._initial],
            "at": self._at,
            "known": list(self._known),
            "exhausted": self.exhausted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self._initial = [from_text(self.space, text) for text in state["initial"]]
        self._at, self.exhausted = state["at"], state["exhausted"]
        self._known = dict.fromkeys(state["known"])


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises `InputError` when an option is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
