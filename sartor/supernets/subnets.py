"""Networks out of shared weights: the best found under each of several limits, extracted without training.

Evolution over inherited scores within limits (Guo et al. 2020, arXiv:1904.00420, section 3.4; Cai et al. 2020,
arXiv:1908.09791, section 3.3, which predicts scores where here each network is calibrated and run). One evolution a set
of limits, all of which are told of every network that one of them had scored: ten sets cost little more than one.

Deviations: the evolution is that of `sartor.strategies.nsga2` with one objective (the best of parents and children
live on); networks are compared on a fixed random part of the validation rows, and the best of each set on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor._start import NUM_DESCENTS, NUM_SAMPLES, closest_message
from sartor.contracts import Candidate, Device
from sartor.data import Rows, Splits
from sartor.devices.counts import Counts
from sartor.errors import DivergedError, InputError, near
from sartor.goals import Goals, Limit, Objective
from sartor.strategies.nsga2 import NSGA2
from sartor.supernets import INHERITED
from sartor.trials import Figure, Proposal, Trial, derive_seed

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Space
    from sartor.supernets._method import SharedWeights
    from sartor.task import Task

NUM_INITIAL = 4
"""Networks within its limits, the nearest to them, with which a set's evolution begins."""
NUM_FINALISTS = 3
"""Networks of a set of limits that are compared on all validation rows."""
POPULATION = 16
MOST_MISSES = 40
"""Proposals in a row beyond its limits after which a set's evolution ends."""


@dataclass(frozen=True)
class Served:
    """What was found for one set of limits.

    Attributes:
        limits: The set.
        architecture: The best within them, or None.
        network: Its network in eval mode, with a copy of its weights, normalisations calibrated; or None.
        metrics: Of the network, on the validation part; empty without one.
        costs: Figures of all devices; empty without a network.
        unmet: Why there is none, with what came closest; empty when there is one.
    """

    limits: tuple[Limit, ...]
    architecture: Architecture | None
    network: nn.Module | None
    metrics: Mapping[str, float]
    costs: Mapping[str, Figure]
    unmet: str = ""


@dataclass(frozen=True)
class Scored:
    """A network was scored.

    Attributes:
        architecture: Which.
        metrics: On the part of the validation rows.
        number: Networks scored so far.
        evaluations: Networks that will be scored at most.
    """

    architecture: Architecture
    metrics: Mapping[str, float]
    number: int
    evaluations: int


def serve(
    task: Task,
    space: Space,
    weights: SharedWeights,
    splits: Splits,
    limit_sets: Sequence[Sequence[Limit]],
    *,
    devices: Sequence[Device],
    primary: str | None = None,
    evaluations: int = 100,
    num_rows: int = 1_000,
    num_batches: int | None = None,
    seed: int = 0,
    on_event: Callable[[Scored], None] | None = None,
) -> list[Served]:
    """Returns the best network found for each set of limits, in their order.

    Args:
        task: What the networks are for.
        space: Of the weights.
        weights: Trained, of all architectures.
        splits: Statistics of normalisations are estimated on ``train``, networks scored on ``validation``.
        limit_sets: Each is met by one of the networks returned.
        devices: Give the limited figures.
        primary: Metric that decides; the task's own when None.
        evaluations: Networks scored, over all sets.
        num_rows: Validation rows on which networks are compared first, where the part is `sartor.data.Rows`.
        num_batches: For the statistics; as `sartor.estimators.inherited` has it when None.
        seed: Of the evolution, the part of the rows and the batches.
        on_event: Is told of each network that was scored.

    Raises:
        InputError: no evaluations; a limit on a figure that no device gives; a metric that the task lacks.
    """
    if evaluations < 1 or num_rows < 1:
        raise InputError(f"expected at least 1 evaluation on at least 1 row, got {evaluations} on {num_rows}")
    primary = task.primary if primary is None else primary
    if primary not in task.metrics:
        raise InputError(f"the task has no metric {primary!r}{near(primary, task.metrics)}")
    objective = Objective(primary, task.metrics[primary].direction)
    search = _Search(task, space, weights, splits, devices, objective, limit_sets, num_rows, num_batches, seed)
    search.run(evaluations, on_event)
    return search.served()


class _Evolution:
    """The evolution for one set of limits."""

    def __init__(self, space: Space, goals: Goals, initial: Sequence[Architecture], seed: int) -> None:
        self.goals = goals
        self.strategy = NSGA2(space, goals, (INHERITED,), seed=seed, initial=initial, population_size=POPULATION)
        self.misses = 0
        self.is_over = False


class _Search:
    """All evolutions, and what is known of architectures whoever asked."""

    def __init__(
        self,
        task: Task,
        space: Space,
        weights: SharedWeights,
        splits: Splits,
        devices: Sequence[Device],
        objective: Objective,
        limit_sets: Sequence[Sequence[Limit]],
        num_rows: int,
        num_batches: int | None,
        seed: int,
    ) -> None:
        from sartor.estimators.inherited import NUM_CALIBRATION_BATCHES, Inherited

        self._task, self._space, self._splits = task, space, splits
        self._objective, self._seed = objective, seed
        self._all_goals = [Goals((objective,), tuple(limits)) for limits in limit_sets]
        self._costs = _Costs(task, space, devices, {limit.name for goals in self._all_goals for limit in goals.limits})
        batches = NUM_CALIBRATION_BATCHES if num_batches is None else num_batches
        compared_on = _some(splits.validation, num_rows, seed)
        self._is_whole = compared_on is splits.validation
        self._scorer = Inherited(task, weights, splits.train, compared_on, num_batches=batches, seed=seed)
        self._scores: dict[Architecture, Mapping[str, float]] = {}
        self._failed: set[Architecture] = set()
        self._unmet: dict[int, str] = {}
        self._evolutions = self._begun()

    def _begun(self) -> dict[int, _Evolution]:
        """Returns an evolution for each set of limits that exact figures do not rule out."""
        from sartor.supernets._extremes import extremes

        ends = extremes(self._space, self._costs.log_cost)
        rng = np.random.default_rng([self._seed, 0x5E4])
        drawn = [ends.smallest, ends.largest, *self._space.sample_choices(rng, NUM_SAMPLES)]
        begun = {}
        for number, goals in enumerate(self._all_goals):
            known = dict.fromkeys(drawn)
            best = min(known, key=lambda each: self._costs.excess(each, goals))
            for _ in range(NUM_DESCENTS):
                if self._costs.excess(best, goals) == 0:
                    break
                neighbour = self._space.mutate(best, rng)
                known[neighbour] = None
                best = min(best, neighbour, key=lambda each: self._costs.excess(each, goals))
            if self._costs.excess(best, goals) > 0:
                self._unmet[number] = closest_message(goals, self._costs.known(best), best, len(known))
                continue
            # Networks near the limit are the best of those within, most often.
            inside = [each for each in known if self._costs.excess(each, goals) == 0]
            inside.sort(key=lambda each: self._costs.nearness(each, goals), reverse=True)
            initial = inside[:NUM_INITIAL]
            begun[number] = _Evolution(self._space, goals, initial, derive_seed(self._seed, "serve", number))
        return begun

    def run(self, evaluations: int, on_event: Callable[[Scored], None] | None) -> None:
        """Lets the evolutions ask in turn until so many networks were scored, or none asks any more."""
        while any(not evolution.is_over for evolution in self._evolutions.values()):
            for evolution in self._evolutions.values():
                if len(self._scores) + len(self._failed) >= evaluations:
                    return
                if not evolution.is_over and (made := self._turn(evolution)) is not None and on_event is not None:
                    on_event(Scored(made, self._scores[made], len(self._scores), evaluations))

    def _turn(self, evolution: _Evolution) -> Architecture | None:
        """Takes one proposal; returns it when it was scored."""
        proposals = evolution.strategy.ask(1)
        if not proposals:
            evolution.is_over = True
            return None
        architecture = proposals[0].architecture
        if not self._costs.within(architecture, evolution.goals):
            evolution.strategy.tell([self._trial(architecture, "infeasible")])
            evolution.misses += 1
            evolution.is_over = evolution.misses >= MOST_MISSES
            return None
        evolution.misses = 0
        try:
            self._scores[architecture] = self._scorer.score(architecture)
        except DivergedError:
            self._failed.add(architecture)
            evolution.strategy.tell([self._trial(architecture, "failed")])
            return None
        self._costs.ask_all(architecture)
        for each in self._evolutions.values():
            each.strategy.tell([self._trial(architecture, "complete")])
        return architecture

    def _trial(self, architecture: Architecture, state: Any) -> Trial:
        metrics = dict(self._scores.get(architecture, {}))
        costs = dict(self._costs.figures(architecture))
        return Trial(len(self._scores), Proposal(architecture, INHERITED), 0, state, metrics=metrics, costs=costs)

    def served(self) -> list[Served]:
        """Returns the best of each set of limits, by its score on all rows."""
        finalists: dict[Architecture, tuple[nn.Module, Mapping[str, float]]] = {}
        for evolution in self._evolutions.values():
            inside = [each for each in self._scores if self._meets(each, evolution.goals)]
            inside.sort(key=lambda each: self._loss(self._scores[each]))
            for architecture in inside[: 1 if self._is_whole else NUM_FINALISTS]:
                if architecture not in finalists:
                    finalists[architecture] = self._extracted(architecture)
        found = []
        for number, goals in enumerate(self._all_goals):
            within = [each for each in finalists if self._meets(each, goals)]
            if number in self._unmet or not within:
                unmet = self._unmet.get(number) or self._closest(goals)
                found.append(Served(goals.limits, None, None, {}, {}, unmet))
                continue
            best = min(within, key=lambda each: self._loss(finalists[each][1]))
            network, metrics = finalists[best]
            found.append(Served(goals.limits, best, network, metrics, self._costs.of_all_devices(best)))
        return found

    def _extracted(self, architecture: Architecture) -> tuple[nn.Module, Mapping[str, float]]:
        from sartor.estimators.training import evaluate

        network = self._scorer.child(architecture)
        return network, evaluate(self._task, network, architecture, self._splits.validation)[0]

    def _meets(self, architecture: Architecture, goals: Goals) -> bool:
        return not goals.broken(self._costs.known(architecture))

    def _loss(self, metrics: Mapping[str, float]) -> float:
        return self._objective.loss(metrics[self._objective.name])

    def _closest(self, goals: Goals) -> str:
        asked = self._costs.asked(goals)
        if not asked:
            return "no network was scored"
        best = min(asked, key=lambda each: goals.excess(self._costs.known(each)))
        return closest_message(goals, self._costs.known(best), best, len(asked))


class _Costs:
    """Figures of architectures; each device is asked once for each.

    Args:
        limited: Names of the limited figures.

    Raises:
        InputError: no device gives one of them.
    """

    def __init__(self, task: Task, space: Space, devices: Sequence[Device], limited: set[str]) -> None:
        given = {name for device in devices for name in device.figures}
        for name in sorted(limited - given):
            raise InputError(f"no device gives the limited figure {name!r}{near(name, given)}")
        self._task, self._space, self._devices = task, space, tuple(devices)
        self._limited = sorted(limited)
        self._limiting = [device for device in devices if limited & set(device.figures)]
        self._figures: dict[Architecture, dict[str, dict[str, Figure]]] = {}
        self._is_exact: dict[str, bool] = {}

    def _ask(self, device: Device, architecture: Architecture) -> dict[str, Figure]:
        known = self._figures.setdefault(architecture, {})
        if device.name not in known:
            known[device.name] = dict(device.cost(Candidate(self._task, self._space, architecture)))
            exact = all(figure.kind == "exact" for figure in known[device.name].values())
            self._is_exact.setdefault(device.name, exact)
        return known[device.name]

    def _exact(self, architecture: Architecture) -> dict[str, float]:
        """Returns limited figures of the devices that count; those that measure take too long to look for limits by."""
        values: dict[str, float] = {}
        for device in self._limiting:
            if self._is_exact.get(device.name, True):
                figures = self._ask(device, architecture)
                if self._is_exact[device.name]:
                    values |= {name: figure.value for name, figure in figures.items()}
        return values

    def excess(self, architecture: Architecture, goals: Goals) -> float:
        """Returns how far beyond the limits on exact figures it is."""
        return goals.excess(self._exact(architecture))

    def nearness(self, architecture: Architecture, goals: Goals) -> float:
        """Returns the largest share of a limit that an exact figure takes."""
        values = self._exact(architecture)
        return max((values[limit.name] / limit.bound for limit in goals.limits if limit.name in values), default=0.0)

    def log_cost(self, architecture: Architecture) -> float:
        """Returns the logarithm of the first exact figure that is limited, or of the multiply-accumulates."""
        values = self._exact(architecture)
        name = next((name for name in self._limited if name in values), None)
        if name is not None:
            return math.log1p(values[name])
        return math.log1p(Counts().cost(Candidate(self._task, self._space, architecture))["macs"].value)

    def within(self, architecture: Architecture, goals: Goals) -> bool:
        """Whether it meets the limits; devices are asked in turn until one is broken."""
        for device in self._limiting:
            self._ask(device, architecture)
            if goals.broken(self.known(architecture)):
                return False
        return True

    def ask_all(self, architecture: Architecture) -> None:
        """Learns all limited figures."""
        for device in self._limiting:
            self._ask(device, architecture)

    def of_all_devices(self, architecture: Architecture) -> dict[str, Figure]:
        """Returns the figures of all devices."""
        for device in self._devices:
            self._ask(device, architecture)
        return self.figures(architecture)

    def figures(self, architecture: Architecture) -> dict[str, Figure]:
        """Returns what is known."""
        return {
            name: figure
            for figures in self._figures.get(architecture, {}).values()
            for name, figure in figures.items()
        }

    def known(self, architecture: Architecture) -> dict[str, float]:
        """Returns what is known, as plain numbers."""
        return {name: figure.value for name, figure in self.figures(architecture).items()}

    def asked(self, goals: Goals) -> list[Architecture]:
        """Returns the architectures of which every limited figure is known."""
        return [each for each in self._figures if all(limit.name in self.known(each) for limit in goals.limits)]


def _some(rows: Any, num: int, seed: int) -> Any:
    """Returns ``num`` random rows, or all where there are no more."""
    if not isinstance(rows, Rows) or len(rows) <= num:
        return rows
    index = np.random.default_rng([seed, 0x20]).permutation(len(rows))[:num]
    return Rows(**rows.take(np.sort(index)))
