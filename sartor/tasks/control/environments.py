"""Environments of gymnasium: what may be observed and done, and episodes under a policy, perhaps shifted. No torch.

Episodes are functions of their seeds: an environment is reset with its own, and what a shift draws comes from it too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from sartor.errors import DataError, InputError, MissingExtraError, near
from sartor.tasks.control.classic import classic_of
from sartor.units import listed

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MOST_STEPS = 1_000
"""Of an episode: where an environment ends none, or only later."""
Policy = Callable[[np.ndarray], np.ndarray]
"""From observations ``(n, d)`` at one time to actions, int64 ``(n,)`` or float32 ``(n, components)``."""


def gymnasium() -> ModuleType:
    """Returns the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import gymnasium as package
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise MissingExtraError("control in environments", "gymnasium", "control") from error
    module: ModuleType = package
    return module


@dataclass(frozen=True)
class Actions:
    """What may be done.

    Attributes:
        names: Of the choices, or of the components.
        low, high: Of each component, float32; None where one of some choices is made.
    """

    names: tuple[str, ...]
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    @property
    def discrete(self) -> bool:
        return self.low is None

    @property
    def middle(self) -> np.ndarray:
        assert self.low is not None and self.high is not None
        middle: np.ndarray = (self.low + self.high) / 2
        return middle

    @property
    def half(self) -> np.ndarray:
        """Half of the range of each component."""
        assert self.low is not None and self.high is not None
        half: np.ndarray = (self.high - self.low) / 2
        return half

    def of(self, outputs: np.ndarray) -> np.ndarray:
        """Returns what is done by outputs of a policy ``(n, outputs)``: scores of choices, or halves of ranges."""
        if self.discrete:
            return np.asarray(outputs.argmax(-1))
        return np.asarray(self.middle + self.half * outputs.clip(-1, 1), np.float32)

    def random(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Returns actions drawn uniformly."""
        if self.low is None or self.high is None:
            return rng.integers(len(self.names), size=n)
        return rng.uniform(self.low, self.high, (n, len(self.names))).astype(np.float32)


@dataclass(frozen=True)
class Shift:
    """How the world differs from that of the training.

    Attributes:
        name: For tables.
        noise: Standard deviation of what is added to each observation at each step, in those of the training.
        bias: Size of what is added to it throughout an episode, with a random sign, in the same unit.
        delay: Steps by which observations come late.
        physics: Whether the physics is changed; see `sartor.tasks.control.classic`.
    """

    name: str
    noise: float = 0.0
    bias: float = 0.0
    delay: int = 0
    physics: bool = False


CLEAN = Shift("as in training")


@dataclass(frozen=True)
class Episodes:
    """What happened; nothing counts where an episode has ended.

    Attributes:
        observation: float32 ``(n, steps, d)``, as the policy saw it.
        action: int64 ``(n, steps)`` or float32 ``(n, steps, components)``.
        reward: float64 ``(n, steps)``, 0 behind the end.
        alive: bool ``(n, steps)``: whether the episode had not ended.
        terminated: bool ``(n,)``: ended by itself, not by the limit of steps.
        last: float32 ``(n, d)``: what was observed behind the last step.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    alive: np.ndarray
    terminated: np.ndarray
    last: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """Sums of rewards, float64 ``(n,)``."""
        total: np.ndarray = self.reward.sum(1)
        return total


class Environment:
    """A gymnasium environment with vectors as observations.

    Args:
        name: Its id, perhaps with a module to import before a colon.
        hide: Observations withheld, by name or number, separated by commas.

    Attributes:
        names: Of the observations that are seen.
        actions: What may be done.
        num_steps: Of an episode at most.
        classic: What is known of it, or None.
        notes: What gymnasium says of it.

    Raises:
        InputError: there is no such environment, its packages are missing, its spaces are not supported, or what is to
            be hidden is not there.
        MissingExtraError: gymnasium is not installed.
    """

    def __init__(self, name: str, hide: str = "") -> None:
        self.name = name
        self.classic = classic_of(name)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            env = self._make()
        # With colours for a terminal, and once is enough.
        texts = dict.fromkeys(_COLOUR.sub("", str(each.message)).removeprefix("WARN: ") for each in said)
        self.notes = tuple(f"gymnasium says: {text}" for text in texts)
        seen = env.observation_space
        spaces = gymnasium().spaces
        if not isinstance(seen, spaces.Box) or len(seen.shape) != 1:
            raise DataError(
                f"{name} observes {_said(seen)}: expected a vector of numbers (Box of one dimension); wrap it, e.g. by"
                " gymnasium.wrappers.FlattenObservation, and register the wrapped one"
            )
        all_names = tuple(f"observation {i}" for i in range(seen.shape[0]))
        if self.classic is not None and len(self.classic.observations) == len(all_names):
            all_names = self.classic.observations
        self.num_observed = len(all_names)
        self.kept = _kept(all_names, hide)
        self.names = tuple(all_names[i] for i in self.kept)
        self.actions = _actions(name, env.action_space, self.classic.actions if self.classic else ())
        self._first_action = int(getattr(env.action_space, "start", 0))
        limit = env.spec.max_episode_steps if env.spec is not None else None
        self.num_steps = min(limit or MOST_STEPS, MOST_STEPS)
        env.close()

    def _make(self) -> Any:
        package = gymnasium()
        module, _, bare = self.name.rpartition(":")
        known = package.envs.registry
        if not module and bare not in known:
            raise DataError(f"gymnasium has no environment {bare!r}{near(bare, known)}")
        try:
            return package.make(self.name, disable_env_checker=True)
        except package.error.DependencyNotInstalled as error:
            raise DataError(f"{self.name} needs a package that is not installed: {error}") from error
        except (package.error.Error, ImportError) as error:
            raise DataError(f"gymnasium cannot make {self.name!r}: {error}") from error

    def roll_out(
        self, policy: Policy, seeds: np.ndarray, *, shift: Shift = CLEAN, scale: np.ndarray | None = None,
        everything: bool = False,
    ) -> Episodes:  # fmt: skip
        """Returns an episode for each seed, all of them side by side.

        Args:
            policy: Is given all observations of one time, those of ended episodes unchanged; it may remember.
            seeds: Of the resets.
            shift: Of the world.
            scale: Standard deviation of each observation that is seen, for shifts.
            everything: Whether the policy is given hidden observations too; they are not recorded.
        """
        n = len(seeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # told already, see notes
            envs = [self._make() for _ in range(n)]
        rngs = [np.random.default_rng([int(seed), 1]) for seed in seeds]
        if shift.physics:
            assert self.classic is not None
            for env in envs:
                self.classic.change(env.unwrapped)
        full = np.stack([env.reset(seed=int(s))[0] for env, s in zip(envs, seeds, strict=True)]).astype(np.float32)
        spread = np.zeros(self.num_observed, np.float32)
        if scale is not None:
            spread[self.kept] = scale
        bias = np.stack([shift.bias * spread * rng.choice([-1.0, 1.0], self.num_observed) for rng in rngs])
        seen: list[np.ndarray] = []
        past: list[np.ndarray] = []
        did: list[np.ndarray] = []
        got: list[np.ndarray] = []
        lived: list[np.ndarray] = []
        alive, terminated = np.ones(n, bool), np.zeros(n, bool)
        for _ in range(self.num_steps):
            shown = full + bias
            if shift.noise:
                drawn = np.stack([rng.standard_normal(self.num_observed) for rng in rngs])
                shown = shown + shift.noise * spread * drawn
            past.append(shown.astype(np.float32))
            shown = past[max(0, len(past) - 1 - shift.delay)]
            action = policy(shown if everything else shown[:, self.kept])
            reward = np.zeros(n)
            seen.append(shown[:, self.kept])
            did.append(action)
            lived.append(alive.copy())
            full = full.copy()
            for i in np.flatnonzero(alive):
                chosen = int(action[i]) + self._first_action if self.actions.discrete else action[i]
                full[i], reward[i], ended, cut, _ = envs[i].step(chosen)
                terminated[i] = ended
                alive[i] = not (ended or cut)
            got.append(reward)
            if not alive.any():
                break
        for env in envs:
            env.close()
        return Episodes(
            np.stack(seen, 1), np.stack(did, 1), np.stack(got, 1), np.stack(lived, 1), terminated, full[:, self.kept]
        )

    def random(self, seeds: np.ndarray) -> Episodes:
        """Returns episodes with actions drawn uniformly."""
        rng = np.random.default_rng([*map(int, seeds[:8]), 2])
        return self.roll_out(lambda observation: self.actions.random(len(observation), rng), seeds)

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """The worlds that networks are tried in."""
        physics = (Shift(f"physics: {self.classic.changed}", physics=True),) if self.classic is not None else ()
        return (
            CLEAN,
            Shift("noise of 0.3", noise=0.3),
            Shift("noise of 1", noise=1.0),
            Shift("bias of 0.5", bias=0.5),
            Shift("2 steps late", delay=2),
            Shift("5 steps late", delay=5),
            *physics,
        )


def by_row(control: Callable[[np.ndarray], Any], actions: Actions) -> Policy:
    """Returns the policy of a function of one observation.

    Raises:
        InputError: when used, where the function gives no action of the environment.
    """

    def policy(observation: np.ndarray) -> np.ndarray:
        given = [np.asarray(control(row)) for row in observation]
        if actions.discrete:
            if any(each.size != 1 or not 0 <= int(each.reshape(-1)[0]) < len(actions.names) for each in given):
                raise InputError(f"the expert chose {given[0]}: expected one of 0 to {len(actions.names) - 1}")
            return np.array([int(each.reshape(-1)[0]) for each in given])
        if any(each.size != len(actions.names) or not np.isfinite(each).all() for each in given):
            raise InputError(f"the expert did {given[0]}: expected {len(actions.names)} finite numbers")
        assert actions.low is not None and actions.high is not None
        done: np.ndarray = np.stack([each.reshape(-1) for each in given])
        return np.asarray(np.clip(done, actions.low, actions.high), np.float32)

    return policy


def _kept(names: tuple[str, ...], hide: str) -> np.ndarray:
    hidden = set()
    for text in listed(hide):
        if text in names:
            hidden.add(names.index(text))
        elif text.isdigit() and int(text) < len(names):
            hidden.add(int(text))
        else:
            raise InputError(f"hide: there is no observation {text!r}{near(text, names)}")
    if len(hidden) == len(names):
        raise InputError(f"hide: all {len(names)} observations are withheld, so there is nothing to act on")
    return np.array([i for i in range(len(names)) if i not in hidden], np.int64)


def _actions(name: str, space: Any, names: tuple[str, ...]) -> Actions:
    spaces = gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        num = int(space.n)
        return Actions(names if len(names) == num else tuple(f"action {i}" for i in range(num)))
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise DataError(f"{name} acts by {_said(space)}: expected one of some choices (Discrete) or a vector (Box)")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise DataError(f"{name} acts by {_said(space)}: expected bounds that are finite, to scale actions by")
    num = int(space.shape[0])
    named = names if len(names) == num else tuple(f"action {i}" for i in range(num))
    return Actions(named, space.low.astype(np.float32), space.high.astype(np.float32))


def _said(space: Any) -> str:
    return " ".join(str(space).split())
