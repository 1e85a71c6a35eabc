"""What the best architectures share: values and paths that they have more often than the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sartor.errors import MissingExtraError
from sartor.explain._columns import columns_of
from sartor.front import domination_ranks
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.trials import Fidelity, Trial

BEST_SHARE = 0.1
MIN_BEST = 3
NUM_SAMPLES = 2048
NUM_GRAPHS = 512
"""Uniform samples whose graphs are read: slower than their values."""
MAX_MOTIFS = 300
RARE = 0.05
"""A motif in fewer of the evaluated than this, or in all but that many, tells nothing and would weaken every test."""


@dataclass(frozen=True)
class Shared:
    """A value or motif and how often it occurs.

    Attributes:
        what: ``key = value``; for motifs a label, two that follow one another, or a whole path.
        kind: Which of the two.
        best: Share of the best architectures that have it.
        evaluated: Share of all evaluated ones.
        space: Share of uniform samples of the space.
        chance: Probability that as many of as many drawn at random from the evaluated would have it (hypergeometric,
            exact), corrected for the number of tests by Holm 1979.
    """

    what: str
    kind: Literal["value", "motif"]
    best: float
    evaluated: float
    space: float
    chance: float


@dataclass(frozen=True)
class SharedByBest:
    """What the best share.

    Attributes:
        num_best: Architectures called best.
        num_evaluated: Architectures they are compared with, themselves included.
        num_tests: That ``chance`` is corrected for.
        rows: The least likely by chance first; only what the best have more often.
        words: Who the best are, or why there are none.
    """

    num_best: int
    num_evaluated: int
    num_tests: int
    rows: tuple[Shared, ...]
    words: str


def best_of(trials: Sequence[Trial], goals: Goals) -> tuple[list[Architecture], list[Architecture]]:
    """Returns the best architectures and all evaluated ones, each best first.

    An architecture counts by its trial of the highest fidelity. Order: within the limits, then the higher fidelity,
    then fronts of all objectives one after another, then the primary objective. The best are the first tenth, at
    least three.
    """
    last: dict[Architecture, Trial] = {}
    for trial in sorted(trials, key=lambda t: (-t.proposal.fidelity.amount, t.number)):
        known = trial.state == "complete" and all(o.name in trial.values for o in goals.objectives)
        if known and np.isfinite(goals.losses(trial)).all():
            last.setdefault(trial.architecture, trial)
    groups: dict[tuple[bool, Fidelity], list[Trial]] = {}
    for trial in last.values():
        groups.setdefault((bool(goals.broken(trial.values)), trial.proposal.fidelity), []).append(trial)
    ordered: list[Architecture] = []
    num_within = 0
    for (broken, _), group in sorted(groups.items(), key=lambda item: (item[0][0], -item[0][1].amount)):
        losses = np.array([goals.losses(trial) for trial in group])
        ranks = domination_ranks(losses)
        order = sorted(range(len(group)), key=lambda i: (ranks[i], losses[i, 0], group[i].number))
        ordered += [group[i].architecture for i in order]
        num_within += 0 if broken else len(group)
    num = min(num_within, max(MIN_BEST, math.ceil(BEST_SHARE * len(ordered))))
    return ordered[:num], ordered


def shared_by_best(space: Space, trials: Sequence[Trial], goals: Goals, *, seed: int = 0) -> SharedByBest:
    """Returns which values and motifs the best architectures have more often than all evaluated ones.

    Args:
        space: Of the trials.
        trials: In any state; complete ones count.
        goals: Say what is best.
        seed: Of the samples of the space.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        if error.name != "scipy":
            raise
        raise MissingExtraError("explaining a search", "scipy", "explain") from error

    best, evaluated = best_of(trials, goals)
    if len(best) < MIN_BEST or len(best) * 2 > len(evaluated):
        limits = " within the limits" if goals.limits else ""
        words = f"{len(evaluated)} complete architecture{'' if len(evaluated) == 1 else 's'}, {len(best)} of them best"
        return SharedByBest(len(best), len(evaluated), 0, (), f"{words}{limits}: too few to compare the best with.")
    samples = space.sample(np.random.default_rng(seed), NUM_SAMPLES)
    has = [*_values(space, evaluated, samples), *_motifs(space, evaluated, samples[:NUM_GRAPHS])]
    num, total = len(best), len(evaluated)
    tested = []
    for what, kind, own, drawn in has:
        among, within = int(own.sum()), int(own[:num].sum())
        if 0 < among < total:
            chance = float(stats.hypergeom.sf(within - 1, total, among, num))
            tested.append((chance, Shared(what, kind, within / num, among / total, float(drawn.mean()), chance)))
    tested.sort(key=lambda item: item[0])
    rows, floor = [], 0.0
    for i, (chance, row) in enumerate(tested):
        floor = max(floor, min(1.0, chance * (len(tested) - i)))
        if row.best > row.evaluated:
            rows.append(Shared(row.what, row.kind, row.best, row.evaluated, row.space, floor))
    what = f"highest {goals.primary.name}" if goals.primary.direction == "max" else f"lowest {goals.primary.name}"
    if len(goals.objectives) > 1:
        what = "front after front of " + " and ".join(o.name for o in goals.objectives)
    # Of what is equally likely, plain values come before paths, then what sets the best apart most.
    rows.sort(key=lambda row: (row.chance, row.kind != "value", row.evaluated - row.best))
    words = f"The best are {num} of {total} evaluated architectures: {what}, at the highest fidelity first."
    return SharedByBest(num, total, len(tested), tuple(rows), words)


_Bools = npt.NDArray[np.bool_]
_Has = tuple[str, Literal["value", "motif"], _Bools, _Bools]


def _values(space: Space, evaluated: Sequence[Architecture], samples: Sequence[Architecture]) -> Iterator[_Has]:
    num = len(evaluated)
    for column in columns_of(space, [*evaluated, *samples]):
        for level, label in enumerate(column.labels):
            own = column.levels == level
            yield f"{column.name} = {label}", "value", own[:num], own[num:]


def _motifs(space: Space, evaluated: Sequence[Architecture], samples: Sequence[Architecture]) -> Iterator[_Has]:
    found = [_motifs_of(space, a) for a in evaluated]
    drawn = [_motifs_of(space, a) for a in samples]
    counts: dict[str, int] = {}
    for motifs in found:
        for motif in sorted(motifs):
            counts[motif] = counts.get(motif, 0) + 1
    num = len(evaluated)
    telling = [m for m, count in counts.items() if RARE * num <= count <= (1 - RARE) * num]
    telling.sort(key=lambda m: (abs(2 * counts[m] - num), m))
    for motif in telling[:MAX_MOTIFS]:
        own = np.array([motif in motifs for motifs in found])
        yield motif, "motif", own, np.array([motif in motifs for motifs in drawn])


def _motifs_of(space: Space, architecture: Architecture) -> frozenset[str]:
    """Returns labels, two that follow one another, and whole paths, of what lies between input and output."""
    found: set[str] = set()
    for path in space.graph(architecture).live().paths():
        found.update(f"has {label}" for label in path)
        found.update(f"{one} → {next_}" for one, next_ in zip(path, path[1:], strict=False))
        found.add(f"path {' → '.join(path) or 'straight to the output'}")
    return frozenset(found)
