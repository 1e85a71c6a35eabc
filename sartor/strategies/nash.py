"""Hill climbing by network morphisms (Elsken, Metzen and Hutter 2017, "Simple and Efficient Architecture Search for
Convolutional Neural Networks", NASH, arXiv:1711.04528).

From a small trained network a number of larger ones are made by a few random morphisms each, which compute the same at
the start (`sartor.compress.morphism`); each is trained for a short time from there; the best of them, if it is better,
is the next to grow. So a network of the tenth generation has had ten short trainings, and none was begun afresh.

Each trial is one cycle of the paper's cosine annealing with restarts where the recipe's schedule is ``cosine``; the
default trapezoid rises and falls once a trial likewise.

Deviations:

- Morphisms are changes of a choice that may only grow: numbers rise (not those of float ranges, which are no sizes),
  what is switched on stays, other options are tried. A change that cannot be made exactly (a pooling into a
  convolution) fails before any training, and is not tried again.
- The next generation begins when a better child is known and enough have been asked, not when all are told, so that
  slots do not stand idle.
- When nothing larger is left, or ``patience`` generations brought nothing, a new climb begins from a random small
  network, trained from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._costs import CostModel
from sartor.strategies._fidelity import ascending
from sartor.strategies._fresh import Fresh, check_at_least
from sartor.strategies._standing import Standing, standing
from sartor.trials import Fidelity, Proposal, Trial

SPEC = Spec(
    "nash",
    "sartor.strategies.nash:Nash",
    "hill climbing by network morphisms: children start with their parent's weights",
    citation="Elsken et al. 2017, arXiv:1711.04528",
    needs="Trainings, kept on disk; a space in which architectures contain others (widths, kernels, depths).",
    when="When trainings are long and a few epochs on top of a trained network tell which growth helps.",
    promotes=True,
    inherits=True,
)

_START = -1
_NUM_SMALL = 32
"""Random architectures of which a climb starts from the smallest."""
_NUM_TRIES = 48
"""Variations tried until one only grows."""
_MAX_SHRUNK = 500
"""Neighbours looked through for a smaller one."""
_MAX_LISTED = 20_000
"""Neighbours looked through when random ones are no longer new."""
_REFUSED = "UnsupportedNetworkError"


class Nash:
    """Climbs on the primary objective, limits first.

    Args:
        space: Where architectures come from.
        goals: The primary objective and the limits are read.
        fidelities: Ascending; the first is what each trial is trained on top of its parent, so that all compare.
        seed: Same seed and results, same proposals.
        initial: Proposed first, from scratch; the climb starts from the best.
        num_children: Of a generation; 8 in the paper.
        num_morphisms: Of a child, at most; 5 in the paper.
        patience: Generations without improvement after which a climb ends.

    Raises:
        InputError: an option is below 1.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        fidelities: Sequence[Fidelity],
        *,
        seed: int = 0,
        initial: Sequence[Architecture] = (),
        num_children: int = 8,
        num_morphisms: int = 3,
        patience: int = 2,
    ) -> None:
        check_at_least("num_children", num_children, 1)
        check_at_least("num_morphisms", num_morphisms, 1)
        check_at_least("patience", patience, 1)
        self._space, self._goals, self._fidelity = space, goals, ascending(fidelities)[0]
        self._num_children, self._num_morphisms, self._patience = num_children, num_morphisms, patience
        self._fresh = Fresh(space, np.random.default_rng([seed, 19]), initial)
        self._costs = CostModel(space, goals)
        if goals.limits:
            self._fresh.log_chance = self._costs.log_feasible
        self._parent: tuple[int, Standing] | None = None
        """Trial number, and how it stands."""
        self._best: tuple[int, Standing] | None = None
        """Of the parent's children, where it is better."""
        self._asked = 0
        """Children of this generation that were not refused."""
        self._failures = 0
        """Generations of this climb without improvement."""
        self._waiting: dict[str, int] = {}
        """Digest of what was asked and not told -> trial number of its parent."""
        self._refused: list[list[str]] = []
        """Changes that cannot be made together."""
        self._starts: list[tuple[int, Standing]] = []

    # ---- asking

    def ask(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < n:
            if self._parent is not None and self._asked >= self._num_children:
                if self._best is None and self._parent[0] in self._waiting.values():
                    break
                self._advance()
                continue
            child = None if self._parent is None else self._child(self._parent[1].architecture)
            if child is not None and self._parent is not None:
                self._asked += 1
                self._waiting[Fresh.digest(child)] = self._parent[0]
                proposals.append(Proposal(child, self._fidelity, continues=self._parent[0]))
                continue
            if self._parent is not None:
                if self._parent[0] in self._waiting.values():
                    break
                self._end_or_advance()
                continue
            if not self._fresh.has_initial and _START in self._waiting.values():
                break
            if not self._fresh.has_initial and self._starts:
                self._begin()
                continue
            start = self._start()
            if start is None:
                break
            self._waiting[Fresh.digest(start)] = _START
            proposals.append(Proposal(start, self._fidelity))
        return proposals

    def _start(self) -> Architecture | None:
        """Returns the next given architecture, then a small one; None when none is left."""
        if self._fresh.has_initial:
            return self._fresh.drawn()
        rng = self._fresh.rng
        drawn = [self._space.sample_choices(rng) for _ in range(_NUM_SMALL)]
        new = [architecture for architecture in drawn if architecture not in self._fresh]
        if not new:
            return self._fresh.drawn()
        smallest = min(new, key=self._size)
        if not len(self._fresh):
            # Later climbs begin elsewhere.
            smallest = self._shrunk(smallest)
        self._fresh.take(smallest)
        return smallest

    def _shrunk(self, architecture: Architecture) -> Architecture:
        """Returns what always the smallest neighbour leads to."""
        size = self._size(architecture)
        while True:
            near = list(islice(self._space.neighbours(architecture), _MAX_SHRUNK))
            smaller = min(near, key=self._size, default=architecture)
            if not self._size(smaller) < size:
                return architecture
            architecture, size = smaller, self._size(smaller)

    def _size(self, architecture: Architecture) -> float:
        """Returns how large an architecture is, by the ranks of its numbers."""
        ranks = []
        for key, value in architecture.items():
            if isinstance(value, (int, float)):
                values = sorted(v for v in self._space.values(key) if isinstance(v, (int, float)))
                ranks.append(sum(v < value for v in values) / max(1, len(values) - 1))
        return float(sum(ranks))

    def _child(self, parent: Architecture) -> Architecture | None:
        """Returns a new architecture that a few changes make of the parent, all of which grow; None when none is."""
        if self._fresh.exhausted:
            return None
        if not self._space.continuous and next(iter(self._space.neighbours(parent)), None) is None:
            return None
        rng = self._fresh.rng
        for _ in range(_NUM_TRIES):
            child = self._fresh.likely(partial(self._grown, parent, int(rng.integers(1, self._num_morphisms + 1))))
            if self._may_grow(parent, child) and self._fresh.take(child):
                return child
        rest = [
            neighbour
            for neighbour in islice(self._space.neighbours(parent), _MAX_LISTED)
            if neighbour not in self._fresh and self._may_grow(parent, neighbour)
        ]
        if not rest:
            return None
        child = rest[int(rng.integers(len(rest)))]
        self._fresh.take(child)
        return child

    def _grown(self, parent: Architecture, num: int) -> Architecture:
        child, rng = parent, self._fresh.rng
        for _ in range(num):
            for _ in range(_NUM_TRIES):
                larger = self._space.mutate(child, rng)
                if self._may_grow(child, larger):
                    child = larger
                    break
        return child

    def _may_grow(self, small: Architecture, large: Architecture) -> bool:
        """Whether a morphism may lead from one architecture to another, as far as their choices tell."""
        for key, value in small.items():
            if key not in large:
                # A choice below an option that was given up for another.
                continue
            other = large[key]
            if other == value:
                continue
            listed = value in self._space.values(key) and other in self._space.values(key)
            numbers = isinstance(value, (int, float)) and isinstance(other, (int, float))
            if listed and numbers and other < value:
                return False
        made = set(_changes(small, large))
        return bool(made or small != large) and not any(made.issuperset(refused) for refused in self._refused)

    # ---- results

    def _end_or_advance(self) -> None:
        if self._best is not None:
            self._advance()
        else:
            self._end()

    def _advance(self) -> None:
        """Makes the best child the next parent; without one, counts a generation that brought nothing."""
        if self._best is not None:
            self._parent, self._failures = self._best, 0
        else:
            self._failures += 1
        self._best, self._asked = None, 0
        if self._failures >= self._patience:
            self._end()

    def _end(self) -> None:
        self._parent, self._best, self._asked, self._failures = None, None, 0, 0

    def _begin(self) -> None:
        best = min(range(len(self._starts)), key=lambda i: self._starts[i][1].key)
        self._parent = self._starts[best]
        self._starts = []
        self._best, self._asked, self._failures = None, 0, 0

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.proposal.fidelity != self._fidelity:
                continue
            self._fresh.take(trial.architecture)
            self._costs.tell(trial)
            origin = self._waiting.pop(Fresh.digest(trial.architecture), _START)
            result = standing(trial, self._goals)
            if origin == _START:
                if result is not None and trial.state == "complete":
                    self._starts.append((trial.number, result))
                continue
            parent = self._parent
            if parent is None or parent[0] != origin:
                continue
            if trial.state == "failed" and (trial.failure or "").startswith(_REFUSED):
                # It cost no training: another is tried in its place.
                self._asked -= 1
                self._refuse(parent[1].architecture, trial.architecture)
            better = result is not None and result.key < (self._best or parent)[1].key
            if result is not None and better and trial.state == "complete":
                self._best = (trial.number, result)

    def _refuse(self, parent: Architecture, child: Architecture) -> None:
        """Remembers changes that cannot be made: the one that is of no number where there is one, else all together."""
        made = _changes(parent, child)
        others = [change for change, is_number in made.items() if not is_number]
        refused = others if len(others) == 1 else sorted(made)
        if refused and refused not in self._refused:
            self._refused.append(refused)

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": self._fresh.state_dict(),
            "costs": self._costs.state_dict(),
            "parent": _to_json(self._parent),
            "best": _to_json(self._best),
            "asked": self._asked,
            "failures": self._failures,
            "waiting": dict(self._waiting),
            "refused": [list(changes) for changes in self._refused],
            "starts": [_to_json(start) for start in self._starts],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fresh.load_state_dict(state["fresh"])
        self._costs.load_state_dict(state["costs"])
        self._parent, self._best = self._from_json(state["parent"]), self._from_json(state["best"])
        self._asked, self._failures = state["asked"], state["failures"]
        self._waiting, self._refused = dict(state["waiting"]), [list(changes) for changes in state["refused"]]
        self._starts = [start for each in state["starts"] if (start := self._from_json(each)) is not None]

    def _from_json(self, value: Sequence[Any] | None) -> tuple[int, Standing] | None:
        return None if value is None else (value[0], Standing.from_json(self._space, value[1]))


def _to_json(of: tuple[int, Standing] | None) -> list[Any] | None:
    return None if of is None else [of[0], of[1].to_json()]


def _changes(small: Architecture, large: Architecture) -> dict[str, bool]:
    """Returns what differs of the choices that both have, and whether it is a number."""
    return {
        f"{key}: {small[key]!r} to {large[key]!r}": isinstance(small[key], (int, float))
        for key in small
        if key in large and small[key] != large[key]
    }
