"""Rungs of successive halving, and the promotions that they hold (Li et al. 2020, arXiv:1810.05934).

With several objectives the top of a rung is its first non-domination levels, and of the level that is cut, the points
that spread best (Schmucker et al. 2021, arXiv:2106.12639). Every other promotion is by the primary objective alone,
since the best network within the limits is asked for most: else cheap networks take most of the long trainings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sartor.errors import InputError
from sartor.registry import find
from sartor.space import Space
from sartor.strategies._levels import Levels, spread
from sartor.strategies._standing import Standing
from sartor.trials import Fidelity, Proposal


class Ladder:
    """A rung for each fidelity.

    Args:
        fidelities: Ascending.
        num_objectives: Of each result.
        eta: One in so many of a rung is promoted.
    """

    def __init__(self, fidelities: Sequence[Fidelity], num_objectives: int, eta: int) -> None:
        self.fidelities = tuple(fidelities)
        self._num_objectives, self._eta = num_objectives, eta
        self._rungs = [Rung(num_objectives) for _ in self.fidelities]

    def add(self, fidelity: Fidelity, number: int, result: Standing) -> None:
        """Adds the feasible result of a trial; one of a fidelity without a rung is left out."""
        if fidelity in self.fidelities:
            self._rungs[self.fidelities.index(fidelity)].add(number, result)

    def promotion(self) -> Proposal | None:
        """Returns the promotion to the highest rung for which there is one."""
        for below in reversed(range(len(self._rungs) - 1)):
            rung = self._rungs[below]
            position = rung.promotable(self._eta)
            if position is not None:
                rung.promoted.add(position)
                number, result = rung.entries[position]
                return Proposal(result.architecture, self.fidelities[below + 1], continues=number)
        return None

    def state_dict(self) -> list[Any]:
        return [rung.state_dict() for rung in self._rungs]

    def load_state_dict(self, space: Space, state: Sequence[Any]) -> None:
        self._rungs = [Rung.from_state(space, self._num_objectives, rung) for rung in state]


def sampler_of(name: str, sampler: str) -> Any:
    """Returns the class of the sampler of strategy ``name``.

    Raises:
        InputError: unknown, or it promotes itself.
    """
    spec = find("strategies", sampler)
    if spec.promotes:
        raise InputError(f"{name} needs a strategy that proposes new architectures, not {sampler!r}: e.g. evolution")
    return spec.load()


class Rung:
    """Feasible results of one fidelity, and which of them were promoted."""

    def __init__(self, num_objectives: int) -> None:
        self.entries: list[tuple[int, Standing]] = []
        """Trial number and standing, in the order told."""
        self.promoted: set[int] = set()
        self._levels = Levels(num_objectives)
        self._settled = False
        """Whether nothing has come in since the last time that there was nothing to promote."""

    def add(self, number: int, result: Standing) -> None:
        self.entries.append((number, result))
        self._levels.add(result.losses)
        self._settled = False

    def promotable(self, eta: int) -> int | None:
        """Returns the position of the best entry that is in the top ``1 / eta`` and not promoted, or None."""
        if self._settled:
            return None
        for i in itertools.islice(self._ordered(), len(self.entries) // eta):
            if i not in self.promoted:
                return i
        self._settled = True
        return None

    def _ordered(self) -> Iterator[int]:
        """Yields positions, best first: by turns by levels and by the primary objective, each once."""
        by_primary: list[int] = np.argsort(self._levels.losses[:, 0], kind="stable").tolist()
        taken: set[int] = set()
        for turn in zip(self._by_levels(), by_primary, strict=True):
            for i in turn:
                if i not in taken:
                    taken.add(i)
                    yield i

    def _by_levels(self) -> Iterator[int]:
        for level in self._levels.members:
            yield from (level[i] for i in spread(self._levels.losses[level]))

    def state_dict(self) -> dict[str, Any]:
        return {
            "entries": [[number, result.to_json()] for number, result in self.entries],
            "promoted": sorted(self.promoted),
        }

    @classmethod
    def from_state(cls, space: Space, num_objectives: int, state: Mapping[str, Any]) -> Rung:
        rung = cls(num_objectives)
        for number, result in state["entries"]:
            rung.add(number, Standing.from_json(space, result))
        rung.promoted = set(state["promoted"])
        return rung
