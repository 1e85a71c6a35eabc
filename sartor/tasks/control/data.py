"""From a source to parts: demonstrations read or recorded, cut into windows, and where the scoring episodes begin."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sartor.columns import SUFFIXES, Column, column_named, read_columns
from sartor.data import TEST, TRAIN, VALIDATION, Rows, Sealed, Splits, share_out
from sartor.errors import DataError, InputError, near
from sartor.registry import located
from sartor.tasks.control.environments import Actions, Environment, Episodes, Policy, by_row
from sartor.tasks.control.options import Options
from sartor.units import listed

DEFAULT = "CartPole-v1"
FIRST_SEED = {TRAIN: 0, VALIDATION: 1_000_000, TEST: 2_000_000}
"""Of the episodes of a part; those of ``split_seed`` are so many times ``SEEDS_APART`` behind."""
SEEDS_APART = 10_000_000
NOISY_SHARE = 0.5
"""Share of recorded episodes in which the expert is disturbed, so that it is seen to recover (Laskey et al. 2017, DART,
arXiv:1703.09327); what is learnt is what it wanted to do."""
DISTURBED = 0.2
"""How often a choice, and by which standard deviation in half ranges an action, is disturbed."""
NUM_RANDOM = 20
"""Episodes of random actions, which say what a policy that knows nothing gets, and how observations vary."""
MEMORY_SHARE = 4
"""One in so many steps of a window within an episode only fills the memory, and is not scored."""
FEWEST_EPISODES = 10
BATCHES_PER_EPOCH = 24
"""Batches between two recordings of what a network does, where it learns from rewards."""


@dataclass(frozen=True)
class Demonstrations:
    """Episodes of somebody who knows how to act.

    Attributes:
        observation: float32 ``(steps, d)``, one for each episode.
        action: int64 ``(steps,)`` or float32 ``(steps, components)``, one for each.
    """

    observation: tuple[np.ndarray, ...]
    action: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.observation)

    def take(self, index: np.ndarray) -> Demonstrations:
        """Returns some of the episodes."""
        return Demonstrations(
            tuple(self.observation[int(i)] for i in index), tuple(self.action[int(i)] for i in index)
        )

    def windows(self, length: int) -> Rows:
        """Returns windows of ``length`` steps, half overlapping, as tensors.

        Columns: ``observation`` ``(n, length, d)``, ``action``, ``weight`` float32 ``(n, length)``: 0 where the episode
        has ended, or where a window that begins within an episode is still filling its memory.
        """
        import torch

        found: dict[str, list[np.ndarray]] = {"observation": [], "action": [], "weight": []}
        for observation, action in zip(self.observation, self.action, strict=True):
            for start in range(0, max(1, len(observation) - length // 2), max(1, length // 2)):
                seen, did = observation[start : start + length], action[start : start + length]
                weight = np.ones(len(seen), np.float32)
                if start:
                    weight[: length // MEMORY_SHARE] = 0
                fill = length - len(seen)
                for name, value in (("observation", seen), ("action", did), ("weight", weight)):
                    found[name].append(np.pad(value, ((0, fill), *((0, 0) for _ in value.shape[1:]))))
        return Rows(**{name: torch.from_numpy(np.stack(values)) for name, values in found.items()})


@dataclass(frozen=True)
class Part:
    """What a part holds.

    Attributes:
        windows: Of demonstrations, or None where there are none.
        seeds: Of its episodes in the environment; none where there is no environment.
        expert: Returns of the expert in them, or None where there is none.
        random: Returns of random actions.
        length: What counts as rows of an epoch.
    """

    windows: Rows | None
    seeds: np.ndarray
    expert: np.ndarray | None
    random: np.ndarray
    length: int

    def __len__(self) -> int:
        return self.length


class Source:
    """What a task learns from, read or recorded.

    Args:
        source: An environment's id, or a file of demonstrations; None for CartPole-v1.
        options: Of the task.

    Attributes:
        environment: Where policies are scored, or None.
        names: Of the observations.
        actions: What may be done.
        mean, spread: Of the observations, float32 ``(d,)``.
        reward_spread: Standard deviation of the discounted sum of rewards of random actions; 1 without an environment.
        notes: Counted warnings.

    Raises:
        DataError: the source cannot be used; the message says why and what to do.
        MissingExtraError: gymnasium is needed and not installed.
    """

    def __init__(self, source: str | None, options: Options) -> None:
        self.options = options
        source = DEFAULT if source is None else source
        self.notes: list[str] = []
        is_file = Path(source).suffix.lower() in SUFFIXES
        self._read: tuple[Demonstrations, np.ndarray] | None = None
        if is_file:
            self.environment = Environment(options.environment, options.hide) if options.environment else None
            if self.environment is None and options.learning != "imitation":
                raise InputError(f"learning by {options.learning} needs an environment: name it by environment")
            if self.environment is None and options.hide:
                raise InputError("hide is for environments: leave the columns out of observations instead")
            demonstrations, self.names, self.actions = _from_file(source, options, self.environment, self.notes)
            self._read = demonstrations, _parts(len(demonstrations), options)
        else:
            if options.environment is not None and options.environment != source:
                raise InputError(f"environment {options.environment!r} goes with a file, but the data are {source!r}")
            self.environment = Environment(source, options.hide)
            self.names, self.actions = self.environment.names, self.environment.actions
        self.notes += self.environment.notes if self.environment is not None else ()
        self._control = self._expert()
        if self._read is None and self._control is None and not options.from_rewards:
            raise DataError(
                f"there is no classical controller for {source}: give demonstrations by a file and"
                f" environment={source}, a Python function by expert=module:name, or learn by learning=reinforcement"
                " or evolution"
            )
        if self._control is None and options.learning == "dagger":
            raise InputError("learning by dagger needs an expert who acts in the environment: name it by expert")
        self.mean, self.spread, self.reward_spread = self._scales()

    def _expert(self) -> Callable[[np.ndarray], Any] | None:
        if self.options.expert is not None:
            if self.environment is None:
                raise InputError("an expert acts in an environment: name it by environment")
            control: Callable[[np.ndarray], Any] = located(
                self.options.expert, "expert", "module:function or file.py:function"
            )
            return control
        known = self.environment.classic if self.environment is not None else None
        return None if known is None else known.controller()

    def _seeds(self, part: str, num: int) -> np.ndarray:
        seeds: np.ndarray = FIRST_SEED[part] + self.options.split_seed * SEEDS_APART + np.arange(num)
        return seeds

    @cached_property
    def _recorded(self) -> Demonstrations:
        """What the expert does for training, in half of the episodes disturbed."""
        assert self.environment is not None and self._control is not None
        seeds = self._seeds(TRAIN, self.options.demonstrations)
        control = by_row(self._control, self.actions)
        rng = np.random.default_rng([self.options.split_seed, 3])
        noisy = np.arange(len(seeds)) < NOISY_SHARE * len(seeds)
        wanted: list[np.ndarray] = []

        def disturbed(observation: np.ndarray) -> np.ndarray:
            action = control(observation)
            wanted.append(action)
            other = self.actions.random(len(action), rng)
            if self.actions.discrete:
                return np.where(noisy & (rng.random(len(action)) < DISTURBED), other, action)
            noise = DISTURBED * rng.standard_normal(action.shape) * self.actions.half * noisy[:, None]
            return np.asarray(np.clip(action + noise, self.actions.low, self.actions.high), np.float32)

        episodes = self.environment.roll_out(disturbed, seeds, everything=True)
        found = demonstrated(episodes, np.stack(wanted, 1))
        single = sum(len(each) == 1 for each in found.observation)
        if single:
            self.notes.append(
                f"{single} of {len(found)} recorded episodes have a single step: nothing can be remembered there"
            )
        return found

    def _scales(self) -> tuple[np.ndarray, np.ndarray, float]:
        reward_spread = 1.0
        if self.environment is not None:
            tried = self.environment.random(self._seeds(TRAIN, NUM_RANDOM))
            total, sums = np.zeros(len(tried.reward)), []
            for step in range(tried.reward.shape[1] - 1, -1, -1):
                total = tried.reward[:, step] + self.options.discount * total
                sums.append(total[tried.alive[:, step]])
            reward_spread = max(float(np.concatenate(sums).std()), 1e-6)
        if self.options.from_rewards:
            assert self.environment is not None
            seen = tried.observation[tried.alive]
        else:
            seen = np.concatenate(self._training.observation)
        mean, spread = seen.mean(0, dtype=np.float64), seen.std(0, dtype=np.float64)
        constant = spread < 1e-6
        if constant.any():
            first = self.names[int(np.flatnonzero(constant)[0])]
            self.notes.append(f"{int(constant.sum())} observations never change, e.g. {first!r}: they tell nothing")
        spread[constant] = 1.0
        return mean.astype(np.float32), spread.astype(np.float32), reward_spread

    @cached_property
    def _training(self) -> Demonstrations:
        if self._read is not None:
            return self._read[0].take(np.flatnonzero(self._read[1] == TRAIN))
        return self._recorded

    def part(self, name: str) -> Part:
        """Returns a part: ``train``, ``validation`` or ``test``."""
        demonstrations: Demonstrations | None = None
        if self._read is not None:
            demonstrations = self._read[0].take(np.flatnonzero(self._read[1] == name))
        elif name == TRAIN and not self.options.from_rewards:
            demonstrations = self._recorded
        seeds, expert, random = np.zeros(0, np.int64), None, np.zeros(0)
        if self.environment is not None:
            seeds = self._seeds(name, self.options.evaluations if name != TRAIN else self.options.demonstrations)
            if name != TRAIN:
                random = self.environment.random(seeds).returns
                if self.expert is not None:
                    acted = self.environment.roll_out(self.expert, seeds, everything=True)
                    expert = acted.returns
                    if demonstrations is None:
                        demonstrations = demonstrated(acted, acted.action)
        windows = None if demonstrations is None else demonstrations.windows(self.options.window)
        length = len(windows) if windows is not None else 0
        return Part(windows, seeds, expert, random, length)

    def splits(self, batch_size: int) -> Splits:
        """Returns the parts; an epoch is of the windows, of a fixed number of batches where rewards teach, or of one
        generation.
        """
        train, validation = self.part(TRAIN), self.part(VALIDATION)
        batches = {"reinforcement": BATCHES_PER_EPOCH, "fine-tuning": BATCHES_PER_EPOCH, "evolution": 1}
        if self.options.learning in batches:
            length = batches[self.options.learning] * batch_size
            train = Part(train.windows, train.seeds, None, train.random, length)
        ids = {name: self._ids(name) for name in (TRAIN, VALIDATION, TEST)}
        digest = hashlib.sha256()
        for part in (train, validation):
            for column in (part.windows.columns.values() if part.windows is not None else ()):
                digest.update(np.ascontiguousarray(column.numpy()).tobytes())
            digest.update(part.random.tobytes())
        digest.update(repr({name: value.tolist() for name, value in ids.items()}).encode())
        test = Sealed(lambda: self.part(TEST)) if len(ids[TEST]) else None
        held = {name: value for name, value in ids.items() if len(value)}
        return Splits(
            train, validation, test, ids=held, fingerprint=digest.hexdigest()[:16], notes=tuple(self.notes)
        ).check()

    def _ids(self, part: str) -> np.ndarray:
        if self._read is not None:
            return np.flatnonzero(self._read[1] == part)
        return self._seeds(part, self.options.demonstrations if part == TRAIN else self.options.evaluations)

    @property
    def expert(self) -> Policy | None:
        """Who acts in the environment to be learnt from and compared with, or None; is given all observations."""
        return None if self._control is None else by_row(self._control, self.actions)

    def expert_returns(self, seeds: np.ndarray, shift: Any) -> np.ndarray | None:
        """Returns the expert's returns in a shifted world, or None where there is none."""
        expert = self.expert
        if expert is None or self.environment is None:
            return None
        # It sees what is hidden; what is seen is shifted by the network's scales.
        return self.environment.roll_out(expert, seeds, shift=shift, scale=self.spread, everything=True).returns


def demonstrated(episodes: Episodes, wanted: np.ndarray) -> Demonstrations:
    """Returns what should have been done in episodes, as long as they lived.

    Args:
        episodes: What happened.
        wanted: Actions, as those of the episodes.
    """
    lengths = episodes.alive.sum(1)
    return Demonstrations(
        tuple(seen[:length] for seen, length in zip(episodes.observation, lengths, strict=True)),
        tuple(did[:length] for did, length in zip(wanted, lengths, strict=True)),
    )


def _parts(num: int, options: Options) -> np.ndarray:
    if num < FEWEST_EPISODES:
        raise DataError(
            f"{num} episodes of demonstrations: expected at least {FEWEST_EPISODES}, so that each part has some"
        )
    return share_out(num, options.validation, options.test, options.split_seed)


# --- files


def _from_file(
    source: str, options: Options, environment: Environment | None, notes: list[str]
) -> tuple[Demonstrations, tuple[str, ...], Actions]:
    path = Path(source).name
    columns = read_columns(source, extra="control")
    episode = column_named(columns, options.episode, "episode")
    step = column_named(columns, options.step, "step")
    seen = _named(path, columns, options.observations, "observation", (options.episode, options.step))
    did = _named(path, columns, options.actions, "action", (options.episode, options.step))
    both = sorted({column.name for column in seen} & {column.name for column in did})
    if both:
        raise DataError(f"{path}: column {both[0]!r} is an observation and an action: name them apart")
    if environment is not None:
        seen = _fitting(path, seen, environment)
    for column in (step, *seen):
        if column.kind != "number":
            raise DataError(f"{path}: column {column.name!r} is of {column.kind}: expected numbers")
    actions = _actions_of(path, did, environment)
    incomplete = np.zeros(len(episode), bool)
    for column in (episode, step, *seen, *did):
        if column.missing.any():
            incomplete |= column.missing
    names, code = np.unique(episode.values, return_inverse=True)
    if incomplete.any():
        hit = np.unique(code[incomplete])
        first = int(np.flatnonzero(incomplete)[0]) + 1
        notes.append(
            f"{len(hit)} of {len(names)} episodes miss {int(incomplete.sum())} rows' values (NaN), the first in row"
            f" {first}: these episodes were left out"
        )
    observation = np.stack([column.values for column in seen], 1).astype(np.float32)
    if actions.discrete:
        action = did[0].values.astype(np.float64)
    else:
        action = np.stack([column.values for column in did], 1).astype(np.float32)
        assert actions.low is not None and actions.high is not None
        outside = ((action < actions.low - 1e-5) | (action > actions.high + 1e-5)) & ~incomplete[:, None]
        if outside.any():
            num = int(outside.any(1).sum())
            notes.append(f"{num} actions are outside of the environment's bounds: they were clipped")
        action = np.clip(action, actions.low, actions.high)
    order = np.lexsort((step.values, code))
    unsorted = int((np.diff(step.values)[np.diff(code) == 0] < 0).sum())
    if unsorted:
        notes.append(f"{unsorted} steps come before the one above them in the file: each episode was sorted by step")
    bounds = np.searchsorted(code[order], np.arange(len(names) + 1))
    kept_seen: list[np.ndarray] = []
    kept_did: list[np.ndarray] = []
    short = copies = 0
    known: set[bytes] = set()
    broken = set(code[incomplete].tolist())
    for number, name in enumerate(names):
        own = order[bounds[number] : bounds[number + 1]]
        if number in broken:
            continue
        gaps = np.diff(step.values[own])
        if len(gaps) and (gaps == 0).any():
            label = episode.labels[int(name)] if episode.kind == "category" else f"{name:g}"
            raise DataError(f"{path}: episode {label} has a step twice, {step.values[own][1:][gaps == 0][0]:g}")
        if len(own) < 2:
            short += 1
            continue
        content = observation[own].tobytes() + action[own].tobytes()
        if content in known:
            copies += 1
            continue
        known.add(content)
        kept_seen.append(observation[own])
        kept_did.append(action[own].astype(np.int64) if actions.discrete else action[own])
    if short:
        notes.append(f"{short} episodes have a single step: nothing can be remembered in them, they were left out")
    if copies:
        notes.append(f"{copies} episodes are copies of others, which would be in two parts: they were left out")
    return Demonstrations(tuple(kept_seen), tuple(kept_did)), tuple(column.name for column in seen), actions


def _named(
    path: str, columns: dict[str, Column], given: str, prefix: str, others: tuple[str, ...]
) -> list[Column]:
    if given:
        return [column_named(columns, name, prefix) for name in listed(given)]
    found = [column for name, column in columns.items() if name.lower().startswith(prefix) and name not in others]
    if not found:
        raise DataError(
            f"{path} has no column whose name begins with {prefix!r}: name them by {prefix}s=NAME,NAME; there are"
            f" {', '.join(columns)}"
        )
    return found


def _fitting(path: str, seen: list[Column], environment: Environment) -> list[Column]:
    """Returns the columns of what the environment shows."""
    if len(seen) == environment.num_observed:
        return [seen[int(i)] for i in environment.kept]
    if len(seen) == len(environment.kept):
        return seen
    raise DataError(
        f"{path} has {len(seen)} columns of observations ({', '.join(column.name for column in seen)}), but"
        f" {environment.name} observes {environment.num_observed}: name them by observations"
    )


def _actions_of(path: str, did: list[Column], environment: Environment | None) -> Actions:
    categories = [column for column in did if column.kind != "number"]
    if categories and (len(did) > 1 or categories[0].kind == "date"):
        first = categories[0]
        raise DataError(f"{path}: column {first.name!r} is of {first.kind}: expected numbers as actions")
    present = [column.values[~column.missing] for column in did]
    if environment is None:
        if categories:
            return Actions(categories[0].labels)
        whole = len(did) == 1 and np.array_equal(present[0], np.rint(present[0]))
        if whole and present[0].size and present[0].min() >= 0 and present[0].max() < MOST_CHOICES:
            return Actions(tuple(f"action {i}" for i in range(int(present[0].max()) + 1)))
        low, high = (np.array([f(values) for values in present], np.float32) for f in (np.min, np.max))
        if (low == high).any():
            raise DataError(f"{path}: column {did[int(np.argmax(low == high))].name!r} never changes: nothing to learn")
        return Actions(tuple(column.name for column in did), low, high)
    actions = environment.actions
    if actions.discrete:
        if len(did) != 1:
            raise DataError(
                f"{path} has {len(did)} columns of actions, but {environment.name} takes one choice of"
                f" {len(actions.names)}: name it by actions"
            )
        if categories:
            unknown = [label for label in categories[0].labels if label not in actions.names]
            if unknown:
                close = near(unknown[0], actions.names)
                raise DataError(f"{path}: {environment.name} has no action {unknown[0]!r}{close}")
            codes = np.array([actions.names.index(label) for label in categories[0].labels])
            did[0] = Column(did[0].name, "number", np.where(did[0].missing, np.nan, codes[did[0].values]))
            return actions
        wrong = present[0][(present[0] != np.rint(present[0])) | (present[0] < 0) | (present[0] >= len(actions.names))]
        if len(wrong):
            raise DataError(
                f"{path}: column {did[0].name!r} holds {wrong[0]:g}: {environment.name} takes the choices 0 to"
                f" {len(actions.names) - 1}"
            )
        return actions
    if len(did) != len(actions.names):
        raise DataError(
            f"{path} has {len(did)} columns of actions ({', '.join(column.name for column in did)}), but"
            f" {environment.name} takes {len(actions.names)}: name them by actions"
        )
    return actions


MOST_CHOICES = 50
"""Whole numbers below it are taken to be choices, where no environment says what actions are."""
