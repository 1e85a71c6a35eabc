"""A recorded run explained: its space is made anew from its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sartor.errors import InputError, near
from sartor.explain._importance import Importance, importance
from sartor.explain._shared import SharedByBest, shared_by_best
from sartor.goals import Goals, Objective

if TYPE_CHECKING:
    from sartor.runs import Record


@dataclass(frozen=True)
class Explanation:
    """What mattered in a search, for each of its objectives, and what its best architectures share."""

    run: str
    figures: tuple[Importance, ...]
    shared: SharedByBest


def explain_run(record: Record, run_id: str, objectives: Sequence[str] = ()) -> Explanation:
    """Returns what mattered in a recorded search.

    Args:
        record: Where it is.
        run_id: The search; it may still be going on.
        objectives: Metrics or costs to explain; by default the search's objectives.

    Raises:
        RecordError: no such run.
        InputError: it is no search; no trial has the figure; the space is not the one that was searched.
    """
    from sartor.engine import open_task

    run = record.run(run_id)
    if not {"objectives", "limits", "task", "space"} <= set(run.config):
        raise InputError(f"{run.id} is no search of architectures (its kind is {run.kind}): nothing to explain")
    goals = Goals.of_config(run.config)
    trials = record.trials(run.id)
    directions = {o.name: o for o in goals.objectives}
    known = sorted({name for t in trials for name in t.values})
    for name in objectives:
        if name not in known and name not in directions:
            raise InputError(f"no trial of {run.id} has {name!r}{near(name, known)}")
    wanted = [directions.get(name, Objective(name, "min")) for name in objectives] or goals.objectives
    space = open_task(run.config["task"]).space()
    if space.fingerprint != run.config["space"]:
        raise InputError(
            f"the space of {run.id} is {run.config['space']}, but its task now has {space.fingerprint}: explain it"
            " with the version and options that searched it"
        )
    figures = tuple(importance(space, trials, objective, seed=run.seed) for objective in wanted)
    return Explanation(run.id, figures, shared_by_best(space, trials, goals, seed=run.seed))
