"""A search that a person steers while it runs: like this one, not that one, only these values.

Any strategy can be steered, because nothing but what it is told and where it may look is changed:

- A like or a dislike is told as accuracy: trials count as better or worse the more choices they share with what was
  liked or disliked, a full match by two standard deviations of what was trained so far.
- To narrow is to search the part of the space that has the values, from then on.

The strategy is begun anew at each act and told again all that was finished. The front and the report show what was
measured, not what was told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sartor.contracts import Strategy
from sartor.errors import InputError, SpaceError, near
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.strategies._fresh import Fresh, from_text
from sartor.strategies._narrow import is_among, narrowed
from sartor.trials import Fidelity, Figure, Proposal, Trial, derive_seed

ActKind = Literal["like", "dislike", "narrow", "clear"]
Make = Callable[[Space, int, Sequence[Architecture]], Strategy]
"""Space, seed and initial architectures to a strategy."""

_NEAR = 0.4
"""Share of choices changed at which a like counts a third."""
_WORTH = 2.0
"""What a like of the very architecture is worth, in standard deviations of the primary metric."""
_NUM_TRIES = 200
"""Proposals that were made already and are passed over, before the space counts as exhausted."""


@dataclass(frozen=True)
class Act:
    """What a person said.

    Attributes:
        kind: ``clear`` takes all earlier ones back.
        value: Of a like or dislike the architecture; of ``narrow`` each key's values.
    """

    kind: ActKind
    value: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in get_args(ActKind):
            raise InputError(f"no act is called {self.kind!r}{near(str(self.kind), get_args(ActKind))}")

    @property
    def words(self) -> str:
        """Says it in words."""
        if self.kind == "clear":
            return "earlier likes, dislikes and narrowings are taken back"
        if self.kind == "narrow":
            kept = "; ".join(f"{key} is {' or '.join(map(str, values))}" for key, values in self.value.items())
            return f"narrowed to {kept}"
        return f"{self.kind}s {', '.join(f'{key}={value}' for key, value in self.value.items())}"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "value": dict(self.value)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Act:
        return cls(value["kind"], value["value"])


def check_acts(space: Space, acts: Sequence[Act]) -> None:
    """Checks that a space can be steered so.

    Args:
        space: That is searched.
        acts: All of them, earlier ones first.

    Raises:
        InputError: An architecture or a value is not in the space, or nothing would be left of it.
    """
    for act in acts:
        if act.kind in ("like", "dislike") and not space.contains(act.value):
            raise InputError(f"only an architecture of the space can be {act.kind}d, not {dict(act.value)}")
        if act.kind == "narrow":
            _check_values(space, act.value)
    kept = [act for act in standing(acts) if act.kind == "narrow"]
    if kept:
        try:
            left_of(space, kept).sample(np.random.default_rng(0))
        except SpaceError as error:
            raise InputError(f"nothing is left of the space: {'; '.join(act.words for act in kept)}") from error


def _check_values(space: Space, values: Mapping[str, Sequence[Any]]) -> None:
    for key, wanted in values.items():
        if key not in space.keys or key in space.continuous:
            known = [name for name in space.keys if name not in space.continuous]
            raise InputError(f"no choice has the key {key!r}{near(key, known)}")
        labels = space.values(key)
        for value in wanted:
            if not any(map(is_among([value]), labels)):
                raise InputError(f"{key} has the values {', '.join(map(str, labels))}, not {value!r}")


def standing(acts: Sequence[Act]) -> Sequence[Act]:
    """Returns the acts since the last that took back all before."""
    cleared = [i for i, act in enumerate(acts) if act.kind == "clear"]
    return acts[cleared[-1] + 1 :] if cleared else acts


def left_of(space: Space, acts: Sequence[Act]) -> Space:
    """Returns the part of the space that is left by acts that narrow it."""
    for act in acts:
        if act.kind == "narrow":
            space = narrowed(space, act.value)
    return space


class Steered:
    """A strategy, and what a person says between its proposals.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        make: Makes the strategy, anew at each act.
        seed: Same seed, results and acts, same proposals.
        initial: Proposed first.
        heard: Returns all acts that are to be heeded before the next proposal, earlier ones first, by the number of
            proposals made; always the same ones for a number.
    """

    def __init__(
        self,
        space: Space,
        goals: Goals,
        make: Make,
        *,
        seed: int,
        initial: Sequence[Architecture] = (),
        heard: Callable[[int], Sequence[Act]] = lambda num_asked: (),
    ) -> None:
        self._space, self._goals, self._make, self._seed, self._heard = space, goals, make, seed, heard
        self._inner = make(space, seed, initial)
        self._searched = space
        self._acts: list[Act] = []
        self._asked: list[tuple[str, float, int]] = []
        """Digest, fidelity and replicate of each proposal."""
        self._told: list[Trial] = []
        self._likes: list[tuple[float, Architecture]] = []
        """1 or -1, and of what."""
        self._unit = 0.0
        """What a full match with a like is worth, in the primary metric."""

    def ask(self, n: int) -> list[Proposal]:
        self._heed()
        proposals: list[Proposal] = []
        known = set(self._asked) if self._acts else set()
        for _ in range(_NUM_TRIES):
            if len(proposals) == n:
                break
            new = self._inner.ask(1)
            if not new:
                break
            key = (Fresh.digest(new[0].architecture), new[0].fidelity.amount, new[0].replicate)
            # Begun anew, the strategy does not know what is on its way.
            if key not in known:
                proposals += new
                self._asked.append(key)
        return proposals

    def tell(self, trials: Sequence[Trial]) -> None:
        self._told += trials
        self._inner.tell(self._seen(trials))

    def _heed(self) -> None:
        """Begins the strategy anew when there are acts that it does not know."""
        acts = self._heard(len(self._asked))
        if len(acts) > len(self._acts):
            self._acts = list(acts)
            self._begin()
            self._inner.tell(self._seen(self._told))

    def _begin(self) -> None:
        acts = standing(self._acts)
        values = [trial.metrics.get(self._goals.primary.name, np.nan) for trial in self._told]
        finite = [value for value in values if np.isfinite(value)]
        self._unit = _WORTH * float(np.std(finite)) if finite else 0.0
        signs = {"like": 1.0, "dislike": -1.0}
        self._likes = [(signs[a.kind], self._space.architecture(a.value)) for a in acts if a.kind in signs]
        self._searched = left_of(self._space, acts)
        self._inner = self._make(self._searched, derive_seed(self._seed, "steer", len(self._acts)), ())

    def _seen(self, trials: Sequence[Trial]) -> list[Trial]:
        """Returns the trials as the strategy is told of them: in the space searched, liked ones better."""
        if not self._acts:
            return list(trials)
        name, sign = self._goals.primary.name, 1.0 if self._goals.primary.direction == "max" else -1.0
        seen = []
        for trial in trials:
            if not self._searched.contains(trial.architecture):
                continue
            if name in trial.metrics and self._likes:
                value = trial.metrics[name] + sign * self._unit * _liking(trial.architecture, self._likes)
                trial = dataclasses.replace(trial, metrics={**trial.metrics, name: value})
            seen.append(trial)
        return seen

    # --- state

    def state_dict(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "inner": self._inner.state_dict(),
            "acts": [act.to_json() for act in self._acts],
            "asked": [list(key) for key in self._asked],
            "told": [_to_json(trial) for trial in self._told],
            "unit": self._unit,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seed = state["seed"]
        self._acts = [Act.from_json(act) for act in state["acts"]]
        self._told = [_from_json(self._space, trial) for trial in state["told"]]
        if self._acts:
            self._begin()
        self._asked = [(digest, amount, replicate) for digest, amount, replicate in state["asked"]]
        self._unit = state["unit"]
        self._inner.load_state_dict(state["inner"])


def _liking(architecture: Architecture, likes: Sequence[tuple[float, Architecture]]) -> float:
    """Returns from -1 to 1: how near the architecture is to what was liked, and far from what was disliked."""
    total = 0.0
    for sign, other in likes:
        keys = {**architecture, **other}
        changed = sum(architecture.get(key) != other.get(key) for key in keys) / max(1, len(keys))
        total += sign * float(np.exp(-changed / _NEAR))
    return min(1.0, max(-1.0, total))


def _to_json(trial: Trial) -> list[Any]:
    proposal = trial.proposal
    fidelity = [proposal.fidelity.amount, proposal.fidelity.unit, proposal.continues, proposal.replicate]
    costs = {name: [figure.value, figure.unit] for name, figure in trial.costs.items()}
    # What is not finite has no JSON.
    metrics = {name: value if np.isfinite(value) else None for name, value in trial.metrics.items()}
    return [trial.number, trial.architecture.to_json(), fidelity, trial.state, metrics, costs]


def _from_json(space: Space, value: Sequence[Any]) -> Trial:
    number, text, (amount, unit, continues, replicate), state, metrics, costs = value
    proposal = Proposal(from_text(space, text), Fidelity(amount, unit), continues, replicate)
    read = {name: float("nan") if value is None else value for name, value in metrics.items()}
    trial = Trial(number, proposal, 0, state, read)
    trial.costs = {name: Figure(number, unit) for name, (number, unit) in costs.items()}
    return trial
