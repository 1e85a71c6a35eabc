"""Warm start by training-free scores (Abdelfattah et al. 2021, arXiv:2101.08134, section 5) of any strategy.

Many candidates are scored without training, and the search begins with the best of them. Deviation: of the best, those
that differ most are taken instead of the very best, which are often nearly the same and tell a model little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.contracts import Strategy
from sartor.errors import InputError
from sartor.goals import Goals
from sartor.registry import Spec, find
from sartor.space import Architecture, Space
from sartor.strategies._features import Features
from sartor.strategies._fresh import check_at_least
from sartor.strategies._levels import farthest_first
from sartor.trials import Fidelity

SPEC = Spec(
    "warm-start",
    "sartor.strategies.warm_start:warm_start",
    "another strategy, begun with the architectures that training-free scores call best",
    citation="Abdelfattah et al. 2021, arXiv:2101.08134",
    needs="A function of architectures that scores them without training, given from Python.",
    when="When such scores follow accuracy and the strategy makes no use of scores itself.",
)

Array = npt.NDArray[np.float64]
Scores = Callable[[Sequence[Architecture]], Array]
"""Architectures to scores, ``[n]``, higher is better."""
Costs = Callable[[Sequence[Architecture]], Mapping[str, Array]]
"""Architectures to figures that are known without training, ``[n]`` each, by name, in canonical units."""

_POOL = 5
"""So many times more candidates than are taken are good enough to be."""
_POOL_SHARE = 0.1
"""But no more than this share of all."""


def warm_start(
    space: Space,
    goals: Goals,
    fidelities: Sequence[Fidelity],
    *,
    seed: int = 0,
    initial: Sequence[Architecture] = (),
    scores: Scores | None = None,
    costs: Costs | None = None,
    strategy: str = "evolution",
    strategy_options: Mapping[str, Any] | None = None,
    num_start: int = 10,
    num_candidates: int = 2_000,
) -> Strategy:
    """Returns a strategy that proposes the best candidates by training-free scores first.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the strategy chooses.
        seed: Same seed, scores and results, same proposals.
        initial: Proposed before the candidates.
        scores: Must be given.
        costs: Figures that are limited, as far as they are known without training: candidates beyond a limit come
            last, the farthest beyond at the end. Without it limits show only in the trials.
        strategy: Name of the one that goes on from there.
        strategy_options: Its keyword arguments.
        num_start: Candidates taken.
        num_candidates: Scored: all architectures of a space of up to so many, else as many drawn.

    Raises:
        InputError: No scores; not one finite score an architecture; an unknown strategy, or ``warm-start`` itself.

    Example:
        >>> from sartor.goals import Objective
        >>> from sartor.space import OneOf
        >>> space = Space({"depth": OneOf(1, 2, 3, 4), "width": OneOf(8, 16)})
        >>> begun = warm_start(
        ...     space,
        ...     Goals((Objective("accuracy"),)),
        ...     [Fidelity(9)],
        ...     scores=lambda found: np.array([a["depth"] * a["width"] for a in found]),
        ...     num_start=1,
        ... )
        >>> begun.ask(1)[0].architecture
        Architecture({'depth': 4, 'width': 16})
    """
    check_at_least("num_start", num_start, 1)
    check_at_least("num_candidates", num_candidates, 1)
    if scores is None:
        raise InputError(
            "warm-start needs scores: a function that gives each of the architectures a number, from Python;"
            " sartor search --promising N begins any strategy with the best by training-free scores"
        )
    if strategy == SPEC.name:
        raise InputError(f"warm-start begins another strategy, not {strategy!r}: e.g. evolution")
    kind = find("strategies", strategy).load()
    candidates = _candidates(space, np.random.default_rng([seed, 15]), num_candidates)
    chosen = _chosen(space, candidates, *_ranked(candidates, goals, scores, costs), num_start)
    begun: Strategy = kind(space, goals, fidelities, seed=seed, initial=[*initial, *chosen], **(strategy_options or {}))
    return begun


def _candidates(space: Space, rng: np.random.Generator, num: int) -> list[Architecture]:
    """Returns all architectures of a small space, else some, one of each class that is known to be one network."""
    features = Features(space)
    if 0 < len(features.listed) <= num:
        return list(features.listed.values())
    found: dict[str, Architecture] = {}
    for architecture in space.sample_choices(rng, num):
        found.setdefault(features.key(architecture), architecture)
    return list(found.values())


def _ranked(
    candidates: Sequence[Architecture], goals: Goals, scores: Scores, costs: Costs | None
) -> tuple[list[int], int]:
    """Returns the positions of the candidates, best first: limits before scores; and how many meet the limits."""
    values = np.asarray(scores(candidates), np.float64)
    if values.shape != (len(candidates),) or not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(
            f"expected {len(candidates)} finite scores, [{len(candidates)}], got {values.shape}, {bad} not finite"
        )
    excess = np.zeros(len(candidates))
    if costs is not None:
        known = {name: np.asarray(each, np.float64) for name, each in costs(candidates).items()}
        for name, each in known.items():
            if each.shape != (len(candidates),):
                raise InputError(
                    f"expected {len(candidates)} figures of {name!r}, [{len(candidates)}], got {each.shape}"
                )
        excess = np.array([goals.excess({n: float(each[i]) for n, each in known.items()}) for i in range(len(excess))])
    order: list[int] = np.lexsort((-values, excess)).tolist()
    return order, int((excess <= 0).sum())


def _chosen(
    space: Space, candidates: Sequence[Architecture], order: Sequence[int], num_within: int, num: int
) -> list[Architecture]:
    """Returns the best, then of the pool of good ones always the farthest from those taken."""
    ordered = [candidates[i] for i in order]
    return diverse(space, ordered[: max(num, num_within)], num, len(order))


def diverse(space: Space, ordered: Sequence[Architecture], num: int, num_all: int) -> list[Architecture]:
    """Returns the first, then of the pool of good ones always the farthest from those taken, choice by choice.

    Args:
        space: Of the architectures.
        ordered: Best first.
        num: How many are taken.
        num_all: Of which ``ordered`` are the best: the pool is a tenth of them at most.
    """
    pool = ordered[: max(num, min(_POOL * num, int(_POOL_SHARE * num_all)))]
    if not pool:
        return []
    vectors = np.asarray(space.encode(pool), np.float64)
    return [pool[i] for i in farthest_first(vectors, 0, num)]
