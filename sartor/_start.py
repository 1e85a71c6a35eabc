"""What is settled before a search: can the limits be met at all, and how long a training fits the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sartor.contracts import Candidate, Device
from sartor.data import Splits
from sartor.errors import BudgetError
from sartor.goals import Goals
from sartor.space import Architecture, Space
from sartor.strategies._scored import Scored
from sartor.task import Task
from sartor.trials import Figure
from sartor.units import format_duration, format_figure

NUM_SAMPLES = 48
"""Architectures drawn, beside the baseline, to find some within the limits."""
NUM_DESCENTS = 200
"""Mutations tried towards the limits when no drawn architecture meets them."""
NUM_MEASURED = 4
"""Architectures of least excess whose slow figures (latency) are measured before the limits are called unmeetable."""
FULL_TRAININGS = 25
"""Full trainings of the baseline that a time budget should hold: about five finalists and a search of twenty."""
SETTLED_SHARE = 0.5
"""Of a training that ends when validation no longer gets better, about so much is done."""
FEWEST_TRAININGS = 6
"""As many must fit, however short: a finalist, the baseline and a search of four."""
FEWEST_STEPS = 90
"""Steps of the shortest full training that is worth a search."""
NUM_TIMED_STEPS = 12
NUM_PROMISING = 5
"""Architectures that training-free scores put at the beginning."""
_DRAWS = 4
"""So many times more architectures are drawn than are scored: some are beyond a limit."""
_COUNTED = ("macs",)
"""Scores that every network has."""
_NUM_SCORED_ON = 32
"""Examples in the batch that networks are scored on."""


@dataclass(frozen=True)
class Start:
    """Architectures that a search asks first, the baseline leading, and what the person should know.

    Attributes:
        architectures: In this order.
        notes: Sentences.
        scored: What was scored without training to find them.
    """

    architectures: Sequence[Architecture]
    notes: tuple[str, ...] = ()
    scored: Scored | None = None


def feasible_start(task: Task, space: Space, goals: Goals, devices: Sequence[Device], seed: int) -> Start:
    """Returns the baseline and, when it breaks a limit, architectures that meet the limits.

    Exact figures are computed for samples and, if none meets the limits, for a descent by mutation on the excess;
    measured ones only for the few that come closest.

    Raises:
        BudgetError: nothing found meets the limits; the message has the closest.
    """
    baseline = task.baseline()
    limited = {limit.name for limit in goals.limits}
    needed = [device for device in devices if limited & set(device.figures)]
    if not needed:
        return Start([baseline])

    def figures(device: Device, architecture: Architecture) -> dict[str, Figure]:
        return dict(device.cost(Candidate(task, space, architecture)))

    # Which devices measure shows in their figures; to count and to estimate is cheap.
    first = [figures(device, baseline) for device in needed]
    counted = [
        d for d, found in zip(needed, first, strict=True) if all(f.kind != "measured" for f in found.values())
    ]
    measured = [d for d in needed if d not in counted]
    values = {name: figure.value for found in first for name, figure in found.items()}
    if not goals.broken(values):
        return Start([baseline])

    cheap = counted or [d for d in devices if d.name == "counts"]
    rng = np.random.default_rng([seed, 0x57A27])
    seen: dict[Architecture, dict[str, float]] = {}

    def look(architecture: Architecture) -> float:
        if architecture not in seen:
            found: dict[str, float] = {}
            for device in cheap:
                found |= {name: figure.value for name, figure in figures(device, architecture).items()}
            seen[architecture] = found
        known = seen[architecture]
        # Beyond the exact limits, fewer operations are the best guide to every measured figure.
        return goals.excess(known) + (1e-12 * known.get("macs", 0.0) if measured else 0.0)

    look(baseline)
    for architecture in space.sample_choices(rng, NUM_SAMPLES):
        look(architecture)
    best = min(seen, key=look)
    if goals.excess(seen[best]) > 0 or measured:
        for _ in range(NUM_DESCENTS):
            neighbour = space.mutate(best, rng)
            if look(neighbour) < look(best):
                best = neighbour
    inside = sorted((a for a in seen if goals.excess(seen[a]) == 0), key=look)
    if not inside:
        raise BudgetError(closest_message(goals, seen[best], best, len(seen)))
    if not measured:
        kept = [inside[i] for i in sorted({int(x) for x in np.linspace(0, len(inside) - 1, 4)})]
        return Start([baseline, *kept], (f"the hand-designed baseline breaks a limit: {_text(goals, values)}",))
    kept, closest = [], (math.inf, best, values)
    for architecture in inside[:NUM_MEASURED]:
        all_values = dict(seen[architecture])
        for device in measured:
            all_values |= {name: figure.value for name, figure in figures(device, architecture).items()}
        excess = goals.excess(all_values)
        if excess == 0:
            kept.append(architecture)
            break
        closest = min(closest, (excess, architecture, all_values), key=lambda item: item[0])
    if not kept:
        raise BudgetError(closest_message(goals, closest[2], closest[1], len(seen)))
    return Start([baseline, *kept], (f"the hand-designed baseline breaks a limit: {_text(goals, values)}",))


def promising_start(
    task: Task,
    space: Space,
    goals: Goals,
    devices: Sequence[Device],
    seed: int,
    num: int,
    taken: Sequence[Architecture],
    longest_s: float = math.inf,
) -> Start:
    """Returns the architectures that training-free scores call best of ``num`` drawn ones within the exact limits.

    Of the best tenth (of few: of the best) `NUM_PROMISING` that differ most are taken, by
    `sartor.estimators.proxies.aggregate`; networks that its scores have nothing to look at are scored by their
    multiply-accumulates alone. Nothing is trained.

    Args:
        task: Its loss feeds the networks.
        space: Where architectures are drawn.
        goals: Whose limits count, as far as they are known without running the network.
        devices: Give costs.
        seed: Of the draw and of the weights.
        num: Architectures scored, at least 1.
        taken: Not returned again.
        longest_s: Seconds after which no other is scored.
    """
    from sartor.errors import UnsupportedNetworkError
    from sartor.estimators.proxies import load, score
    from sartor.estimators.proxies.aggregate import AGGREGATE, INGREDIENTS, aggregate
    from sartor.estimators.proxies.survey import fed
    from sartor.strategies.warm_start import diverse

    rng = np.random.default_rng([seed, 0x5C0])
    counting = [device for device in devices if device.name == "counts"]
    began, names = time.monotonic(), list(INGREDIENTS)
    drawn: dict[Architecture, None] = {}
    scores: list[Mapping[str, float]] = []
    for architecture in space.sample_choices(rng, _DRAWS * num):
        if len(drawn) == num or (drawn and time.monotonic() - began > longest_s):
            break
        if architecture in drawn or architecture in taken:
            continue
        candidate = Candidate(task, space, architecture, seed)
        values = {name: figure.value for device in counting for name, figure in device.cost(candidate).items()}
        if goals.broken(values):
            continue
        module, inputs = fed(task, candidate.network, architecture, _NUM_SCORED_ON, seed)
        try:
            # Networks of one space differ in what they have: all are counted, for when one lacks the rest.
            found = score(module, inputs, load(*names, *_COUNTED), seed=seed)
        except UnsupportedNetworkError:
            names = []
            found = score(module, inputs, load(*_COUNTED), seed=seed)
        drawn[architecture] = None
        scores.append(found)
    if not drawn:
        text = f"nothing was scored without training: none of {_DRAWS * num} drawn is new and within the limits"
        return Start([], (text,))
    names = names or list(_COUNTED)
    ranks = aggregate({name: [each[name] for each in scores] for name in names}, names)
    every = list(drawn)
    ordered = [every[i] for i in np.argsort(-ranks, kind="stable").tolist() if ranks[i] > -math.inf]
    if not ordered:
        text = f"the outputs of all {len(every)} architectures scored without training ignore their inputs"
        return Start([], (text,))
    best = diverse(space, ordered, min(NUM_PROMISING, len(ordered)), len(ordered))
    text = (
        f"begun with the {len(best)} best of {len(every)} architectures by {', '.join(names)}, scored without"
        f" training in {format_duration(time.monotonic() - began)}"
    )
    columns = {name: tuple(float(each[name]) for each in scores) for name in names}
    if len(names) > 1:
        columns[AGGREGATE] = tuple(ranks.tolist())
    return Start(best, (text,), Scored(tuple(map(dict, every)), columns))


def _text(goals: Goals, values: Mapping[str, float]) -> str:
    return "; ".join(
        f"{limit.name} {format_figure(limit.name, values[limit.name])} (limit {format_figure(limit.name, limit.bound)})"
        for limit in goals.broken(values)
    )


def closest_message(goals: Goals, values: Mapping[str, float], architecture: Architecture, num: int) -> str:
    """Says which limits nothing met and what came closest."""
    found = f"the closest has {_text(goals, values)}: {architecture.to_json()}"
    return f"none of {num} architectures meets the limits; {found}"


def epochs_within(
    task: Task, space: Space, splits: Splits, budget_s: float, workers: int, device: str, longest: float, *, fixed: bool
) -> float:
    """Returns the epochs of a full training such that the budget holds a whole search.

    The baseline is trained for a few steps and timed.

    Args:
        longest: Never more than this.
        fixed: The person chose the epochs: only check that the budget holds a search with them.

    Raises:
        BudgetError: the budget does not hold even the shortest search; the message says how much would.
    """
    from sartor.estimators.training import steps_for
    from sartor.training import Single, fit
    from sartor.trials import Fidelity

    candidate = Candidate(task, space, task.baseline())
    recipe = task.recipe_for(candidate.architecture)
    learner = task.learner(candidate.architecture)
    subject = Single(candidate.network, candidate.architecture)
    fit(subject, learner, splits.train, recipe, total=2, seed=0, device=device)
    began = time.perf_counter()
    fit(subject, learner, splits.train, recipe, total=NUM_TIMED_STEPS, seed=0, device=device)
    per_step = (time.perf_counter() - began) / NUM_TIMED_STEPS
    steps_an_epoch = steps_for(Fidelity(1.0), splits.train, recipe)
    if fixed:
        if (longest + longest / 9) * steps_an_epoch * per_step > budget_s:
            raise _too_small(budget_s, per_step, (longest + longest / 9) * steps_an_epoch * per_step)
        return longest
    steps = budget_s * workers / per_step
    if steps < FEWEST_TRAININGS * FEWEST_STEPS:
        raise _too_small(budget_s, per_step, FEWEST_TRAININGS * FEWEST_STEPS * per_step / workers)
    share = 1.0 if recipe.patience is None else SETTLED_SHARE
    full_steps = max(FEWEST_STEPS, steps / (share * FULL_TRAININGS))
    return float(f"{min(longest, full_steps / steps_an_epoch):.3g}")


def _too_small(budget_s: float, per_step: float, needed_s: float) -> BudgetError:
    return BudgetError(
        f"a budget of {format_duration(budget_s)} is too small: one step of the baseline takes {per_step * 1e3:.1f} ms,"
        f" so one trial and its retraining need about {format_duration(needed_s)}"
    )
