"""Which choices mattered: functional ANOVA of a random forest.

Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance", ICML. The variance
that a forest sees in a figure over the whole space is split into what each choice does on its own and what pairs do
beyond that. Means over the space are exact (`Boxes`); the variance of the forest itself, by which they are divided, is
over uniform samples of the space. Deviations: the parts are of the mean of all trees, not the mean of each tree's
parts, as a single tree's noise counts as variance; a conditional choice is judged where it is active, and its effect
weighs as much as it is active; intervals by little bags (Sexton and Laake 2009, doi:10.1016/j.csda.2008.08.007): trees
come in groups that share a bootstrap sample of the architectures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from sartor.errors import MissingExtraError
from sartor.explain._boxes import Boxes
from sartor.explain._columns import Column, Floats, Ints, columns_of, ordered
from sartor.goals import Objective
from sartor.space import Space
from sartor.trials import Trial

MIN_ARCHITECTURES = 10
"""With fewer, a bootstrap sample is a handful of points and a split of them says nothing."""
NUM_GROUPS = 40
TREES_A_GROUP = 4
NUM_SAMPLES = 2048
"""Uniform samples of the space: probabilities of levels to about 0.01, the variance to about 3%."""
MIN_LEAF = 2
MAX_LEAVES = 250
FEATURES_A_SPLIT = 2 / 3
MAX_PAIRED = 10
"""Columns whose pairs are looked at: those that the trees gained most by."""
MAX_CELLS = 1024
Z = 1.6449
"""Of a 90% interval."""


@dataclass(frozen=True)
class Effect:
    """The mean of the figure over all architectures of the space with one value of a choice.

    Attributes:
        value: The value, as text.
        mean: In the figure's unit, as the forest expects it.
        low: End of the 90% interval of how far it is from the mean of all values of the choice.
        high: Other end.
        num_trials: Trials that had it.
    """

    value: str
    mean: float
    low: float
    high: float
    num_trials: int


@dataclass(frozen=True)
class ChoiceImportance:
    """The share of the variance over the space that one choice is responsible for on its own, in [0, 1].

    Attributes:
        name: Key of the choice; with the item for subsets and orders that are read item by item.
        share: The share; ``low`` and ``high`` are its 90% interval.
        active: Share of the space in which the choice is active.
        effects: One a value, in order.
    """

    name: str
    share: float
    low: float
    high: float
    active: float
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Interaction:
    """What two choices do together beyond what each does alone, as a share of the variance."""

    names: tuple[str, str]
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """A figure explained.

    Attributes:
        objective: Which figure.
        num_trials: Trials that have it.
        num_architectures: Different ones among them.
        r2: Of trials that the trees had not seen; 1 is perfect, 0 no better than their mean; None where undefined.
        rank_correlation: Spearman's, likewise.
        choices: Largest share first; empty when there is nothing to tell.
        interactions: Likewise, the strongest pairs.
        fidelities: Those compared, as text; the fidelity is a feature of the forest and averaged over as the trials
            are distributed, and what it does itself is left out of the variance.
        words: How far this can be trusted, or why there is nothing.
    """

    objective: str
    num_trials: int
    num_architectures: int
    r2: float | None
    rank_correlation: float | None
    choices: tuple[ChoiceImportance, ...]
    interactions: tuple[Interaction, ...]
    fidelities: tuple[str, ...]
    words: str


def importance(space: Space, trials: Sequence[Trial], objective: Objective, *, seed: int = 0) -> Importance:
    """Returns how much of a figure's variance over a space each choice is responsible for.

    Args:
        space: Of the trials.
        trials: In any state; those that have the figure count, infeasible ones with a counted or measured cost too.
        objective: A metric or a cost.
        seed: Same seed, same result.

    Raises:
        MissingExtraError: scikit-learn or SciPy is not installed.
    """
    name = objective.name
    used = [t for t in trials if name in t.values and math.isfinite(t.values[name]) and t.state != "failed"]
    is_cost = any(name in t.costs for t in used)
    if is_cost:
        # A cost does not depend on how long a network was trained: one figure an architecture.
        used = list({t.architecture: t for t in reversed(used)}.values())[::-1]
    distinct = {a: i for i, a in enumerate(dict.fromkeys(t.architecture for t in used))}
    fidelities = [] if is_cost else sorted({t.proposal.fidelity for t in used})
    said = tuple(f"{round(f.amount, 2):g} {f.unit}" for f in fidelities)

    def nothing(words: str) -> Importance:
        return Importance(name, len(used), len(distinct), None, None, (), (), said, words)

    if not used:
        failed = sum(t.state == "failed" for t in trials)
        why = f": all {failed} failed" if failed and failed == len(trials) else ""
        return nothing(f"No trial has {name!r}{why}.")
    if len(distinct) < MIN_ARCHITECTURES:
        return nothing(
            f"{len(distinct)} architecture{'s have' if len(distinct) > 1 else ' has'} {name!r}: too few to tell choices"
            f" apart, at least {MIN_ARCHITECTURES} are needed."
        )
    values = np.array([t.values[name] for t in used], np.float64)
    if np.ptp(values) == 0:
        return nothing(f"{name!r} is the same for all {len(distinct)} architectures: no choice mattered.")
    rng = np.random.default_rng(seed)
    samples = space.sample(rng, NUM_SAMPLES)
    columns = columns_of(space, [*(t.architecture for t in used), *samples])
    if not columns:
        return nothing("All architectures of the space are the same: there is no choice.")
    bags = np.array([distinct[t.architecture] for t in used], np.intp)
    forest = _Forest(columns, _fidelity(fidelities, used), values, bags, seed)
    r2, rank = forest.skill()
    if forest.total <= 0:
        return nothing(f"No choice was seen to change {name!r} over {len(distinct)} architectures.")
    choices = sorted((forest.choice(k) for k in range(len(columns))), key=lambda c: (-c.share, c.name))
    pairs = sorted(forest.interactions(), key=lambda p: (-p.share, p.names))
    words = _words(len(distinct), r2, rank)
    return Importance(name, len(used), len(distinct), r2, rank, tuple(choices), tuple(pairs), said, words)


def _fidelity(fidelities: Sequence[Any], used: Sequence[Trial]) -> Column | None:
    if len(fidelities) < 2:
        return None
    at = {fidelity: i for i, fidelity in enumerate(fidelities)}
    return ordered("fidelity", [str(f) for f in fidelities], np.array([at[t.proposal.fidelity] for t in used], np.intp))


def _words(num: int, r2: float | None, rank: float | None) -> str:
    if r2 is None:
        return f"With {num} architectures nothing is left to check the forest on: take the order as a hint."
    known = f"On architectures that its trees had not seen the forest explains {max(r2, 0.0):.0%} of the variance"
    if rank is not None:
        known += f" (rank correlation {rank:.2f})"
    if r2 <= 0.05:
        return f"{known}: it learned next to nothing that holds beyond these {num}, so the shares mean little."
    if r2 < 0.5:
        return f"{known}: weak ground, take the order of the choices as a hint."
    return f"{known}: read each share with its interval." if r2 < 0.8 else f"{known}."


class _Forest:
    """Groups of trees, each group on a bootstrap sample of its own."""

    def __init__(
        self, columns: Sequence[Column], fidelity: Column | None, values: Floats, bags: Ints, seed: int
    ) -> None:
        try:
            from sklearn.tree import DecisionTreeRegressor
        except ModuleNotFoundError as error:
            if error.name != "sklearn":
                raise
            raise MissingExtraError("explaining a search", "scikit-learn", "explain") from error

        self._values, self._bags, self._num = values, bags, len(columns)
        every = [*columns, *([fidelity] if fidelity is not None else [])]
        self._columns = every
        num = len(values)
        drawn = np.stack([column.levels[num:] for column in columns], 1)
        levels = np.stack([column.levels[:num] for column in every], 1)
        self._levels = levels
        weights: dict[int, Floats] = {}
        if fidelity is not None:
            counts = np.bincount(fidelity.levels, minlength=fidelity.num_levels)
            weights[self._num] = np.append(counts / counts.sum(), 0.0)
            drawn = np.column_stack([drawn, np.zeros(len(drawn), np.intp)])
        features = self._features(levels)
        rng = np.random.default_rng([seed, 1])
        num_bags = int(bags.max()) + 1
        least = max(MIN_LEAF, num // MAX_LEAVES)
        groups, gains = [], np.zeros(features.shape[1])
        self._unseen_sum, self._unseen_num = np.zeros(num), np.zeros(num)
        for _ in range(NUM_GROUPS):
            times = np.bincount(rng.integers(num_bags, size=num_bags), minlength=num_bags)
            rows = np.repeat(np.arange(num), times[bags])
            trees = [
                DecisionTreeRegressor(
                    min_samples_leaf=least, max_features=FEATURES_A_SPLIT, random_state=int(rng.integers(2**31))
                ).fit(features[rows], values[rows])
                for _ in range(TREES_A_GROUP)
            ]
            unseen = np.flatnonzero(times[bags] == 0)
            if len(unseen):
                self._unseen_sum[unseen] += _predict(trees, features[unseen])
                self._unseen_num[unseen] += 1
            gains += sum(tree.feature_importances_ for tree in trees)
            groups.append(trees)
        self.boxes = Boxes(every, groups, drawn, weights)
        owner = np.array([k for k, column in enumerate(every) for _ in column.features])
        self._gains = np.bincount(owner, weights=gains, minlength=len(every))[: self._num]
        self.group_totals, self.total = self._totals(groups, drawn, weights)

    def _features(self, levels: Ints) -> Floats:
        return np.concatenate(
            [column.features[:, own].T for column, own in zip(self._columns, levels.T, strict=True)], axis=1
        )

    def _totals(self, groups: Sequence[Sequence[Any]], drawn: Ints, weights: dict[int, Floats]) -> tuple[Floats, float]:
        """Returns the variance over the space of each group's prediction and of the mean of all."""
        predicted = np.zeros((len(groups), len(drawn)))
        shares = weights[self._num][:-1].tolist() if weights else [1.0]
        for level, share in enumerate(shares):
            rows = drawn.copy()
            if weights:
                rows[:, self._num] = level
            features = self._features(rows)
            predicted += share * np.stack([_predict(trees, features) for trees in groups])
        return predicted.var(1), float(predicted.mean(0).var())

    def skill(self) -> tuple[float | None, float | None]:
        """Returns R^2 and rank correlation on what was out of bag."""
        from scipy import stats

        seen = self._unseen_num > 0
        truth, guess = self._values[seen], self._unseen_sum[seen] / self._unseen_num[seen]
        if len(truth) < 3 or np.ptp(truth) == 0:
            return None, None
        r2 = 1 - float(((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
        rank = None if np.ptp(guess) == 0 else float(stats.spearmanr(truth, guess).statistic)
        return r2, rank

    def _interval(self, whole: float, groups: Floats) -> tuple[float, float, float]:
        """Returns the share and its interval; groups of another total are compared as shares of their own."""
        shares = groups / np.where(self.group_totals > 0, self.group_totals, 1.0)
        share = min(1.0, whole / self.total)
        wide = Z * float(shares.std(ddof=1))
        return share, max(0.0, share - wide), min(1.0, share + wide)

    def choice(self, k: int) -> ChoiceImportance:
        column = self._columns[k]
        joint = self.boxes.joint(k)
        active = float(joint.sum())
        means = self.boxes.means(k)
        mean = means.mean(0)
        counts = np.bincount(self._levels[:, k] + 1, minlength=column.num_levels + 1)[1:]

        def variance(rows: Floats) -> Floats:
            centre = rows @ joint / max(active, 1e-300)
            return np.asarray(((rows - centre[..., None]) ** 2) @ joint)

        share, low, high = self._interval(float(variance(mean[None])[0]), variance(means))
        # Around the mean of the group: what values differ by is known better than where all of them lie.
        spread = Z * (means - (means @ joint / max(active, 1e-300))[:, None]).std(0, ddof=1)
        effects = tuple(
            Effect(label, float(m), float(m - s), float(m + s), int(count))
            for label, m, s, count, weight in zip(column.labels, mean, spread, counts, joint, strict=True)
            if weight > 0
        )
        return ChoiceImportance(column.name, share, low, high, active, effects)

    def interactions(self) -> list[Interaction]:
        order = sorted(range(self._num), key=lambda k: (-self._gains[k], k))[:MAX_PAIRED]
        found = []
        for i, j in combinations(sorted(order), 2):
            if self._columns[i].num_levels * self._columns[j].num_levels > MAX_CELLS:
                continue
            joint = self.boxes.joint(i, j)
            if not joint.any():
                continue
            left = _beyond_sum(joint)
            means = self.boxes.means(i, j).reshape(NUM_GROUPS, -1)
            whole = float(((left @ means.mean(0)) ** 2).sum())
            share, low, high = self._interval(whole, ((means @ left.T) ** 2).sum(1))
            found.append(Interaction((self._columns[i].name, self._columns[j].name), share, low, high))
        return found


def _predict(trees: Sequence[Any], features: Floats) -> Floats:
    # The trees themselves, as validating the same features for each of them takes longer than predicting.
    plain = features.astype(np.float32)
    return np.asarray(np.mean([tree.tree_.predict(plain)[:, 0] for tree in trees], axis=0))


def _beyond_sum(joint: Floats) -> Floats:
    """Returns the matrix that leaves of a table (flat) what no sum of a row's and a column's effect explains.

    The rest is weighted by the roots of ``joint``, so that its sum of squares is a variance.
    """
    rows, columns = joint.shape
    root = np.sqrt(joint.ravel())
    design = np.concatenate([np.repeat(np.eye(rows), columns, axis=0), np.tile(np.eye(columns), (rows, 1))], axis=1)
    weighted = design * root[:, None]
    return np.asarray((np.eye(len(root)) - weighted @ np.linalg.pinv(weighted)) * root)
