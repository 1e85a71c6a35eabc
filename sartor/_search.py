"""The main job: search, retrain the front from scratch, test once, export, report.

Every step is recorded as it ends, so a killed search goes on where it was with ``resume=True``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sartor._environment import environment
from sartor._finish import finish_trial, trained_network
from sartor._progress import FinalistsChosen, Note, PhaseStarted, SearchDone, SearchProgress
from sartor._start import Start, closest_message, epochs_within, feasible_start, promising_start
from sartor._steering import Heard
from sartor._threads import one_thread
from sartor.contracts import Strategy
from sartor.data import Splits
from sartor.devices.named import NamedDevice, several
from sartor.engine import Engine, Problem, Progress
from sartor.errors import BudgetError, InputError, MissingExtraError, near
from sartor.front import Front
from sartor.goals import Goals, Limit, default_goals
from sartor.registry import find
from sartor.runs import FILE_NAME, Record, RunInfo
from sartor.space import Architecture, Space
from sartor.strategies._auto import AUTO, choose
from sartor.strategies._scored import Scored
from sartor.strategies._steered import Steered
from sartor.strategies.listed import Listed
from sartor.supernets import INHERITED
from sartor.task import Task
from sartor.trials import Fidelity, Proposal, Trial
from sartor.units import canonical, of_device, on_device, parse_duration_s

__all__ = ["load_task", "search", "train"]

SEARCH_SHARES = 0.5, 0.85
"""Least and greatest share of a time budget after which no new trial is asked: the rest is for the finalists."""
FIRST_SHARE = 0.65
"""The share before anything is trained, so that what the finalists will take is not known."""
RESERVE = 1.15
"""The rest of the budget over what retraining the finalists is expected to take: they are tested and exported too."""

LISTED = "listed"
"""The strategy that asks what it was given."""
TRANSFER = "transfer"
"""The strategy that learns from earlier searches."""
SCORED_SHARE = 0.1
"""Of the budget, spent on training-free scores at most."""
EVOLUTION = "nsga2"
"""The strategy by default where scores are cheap."""
_KEPT = ("initial", "scored", "command")
"""Of a search's configuration, what its beginning found out: not found out again where it goes on."""
MIN_RUNG_STEPS = 40
"""Steps of the shortest rung of successive halving: below, most networks are still at chance."""

OnEvent = Callable[[Any], None]
COUNTS = "counts"
DEFAULT_DEVICES = (COUNTS, "cpu")


def load_task(name: str, source: str | None = None, **options: Any) -> Task:
    """Returns the task of that name, e.g. ``load_task("images", "photos/", size=32)``.

    Raises:
        InputError: unknown task or option; the message names the nearest.
    """
    task: Task = find("tasks", name).load()(source, **options)
    return task


def search(
    task: Task | str,
    *,
    limits: Sequence[str | Limit] = (),
    budget: str | float | None = None,
    trials: int | None = None,
    strategy: str | None = None,
    strategy_options: Mapping[str, Any] | None = None,
    transfer: Sequence[str | Path] = (),
    promising: int = 0,
    shared_weights: str | Path | None = None,
    halving: bool = True,
    objectives: Sequence[str] = (),
    epochs: float | None = None,
    finalists: int = 5,
    seed: int = 0,
    slots: int = 4,
    workers: int | None = None,
    device: str = "cpu",
    devices: Sequence[str] = DEFAULT_DEVICES,
    out: str | Path = "sartor-out",
    resume: bool = False,
    task_name: str | None = None,
    command: str | None = None,
    on_event: OnEvent | None = None,
    alone: Architecture | None = None,
) -> Front:
    """Searches architectures for a task within limits; returns the front of retrained, tested, exported networks.

    Args:
        task: A task, or the name of a built-in one on its bundled data.
        limits: What must hold: ``"latency=1ms"``, ``"params=200k"``, ``"peak_memory=2MiB"``.
        budget: Time to spend in all, ``"10m"`` or seconds. Either this or ``trials`` is needed.
        trials: Number of evaluations of the search, promotions included.
        strategy: Name of a search strategy; ``auto``, which is the default, chooses one by budget and space, says why.
        strategy_options: Keyword arguments of the strategy.
        transfer: Earlier searches to begin with and to learn from, as folders of results or ``FOLDER:RUN``.
        promising: Architectures scored without training before the search, which begins with the best of them; 0: none.
        shared_weights: Weights that score architectures instead of trainings of their own, as the folder of results or
            ``FOLDER:RUN`` of `sartor._supernet.train_supernet`; of a differentiable method, the architecture that it
            derived is all that is retrained. By default the strategy is then ``nsga2``.
        halving: Wraps the strategy in asynchronous successive halving over epochs: a ninth, a third and all of them
            (shorter rungs are left out where they would be under 40 steps).
        objectives: Costs to trade against the primary metric; by default the first limited one, else latency.
        epochs: Length of a full training; by default from the size of the data and the budget.
        finalists: How many architectures of the front are retrained from scratch and tested (the baseline besides): the
            best in the primary metric, then those that cover most of the front with it.
        seed: Same seed, same result, whatever the number of workers.
        slots: Evaluations that the strategy may have outstanding; part of what makes a search repeatable.
        workers: Worker processes, by default one a core; 0 runs everything in this process.
        device: Where networks are trained: ``"cpu"`` or ``"cuda"``.
        devices: Cost models, as ``sartor.devices.named`` names them. Of several that give the same figure each has its
            own, ``latency@NAME``, in limits and objectives; the front is one of each (``Front.on``).
        out: Folder of results; holds the record of all runs made there.
        resume: Goes on with the latest search in ``out``; refused when its configuration has changed.
        task_name: How runs are called; by default the task's class in lower case.
        command: The command line that reproduces this, for the report.
        on_event: Called with the events of ``sartor._progress``.
        alone: Trains this architecture instead of searching, see ``train``.

    Returns:
        The front of the finalists. ``trial.metrics`` has the validation metrics and, as ``test.<name>``, those of the
        test part, which was opened once.

    Raises:
        InputError: an argument cannot be used.
        BudgetError: the budget allows no trial, or nothing meets the limits (the closest found is named).
        RecordError: the record cannot be used or the configuration changed on resume.
    """
    started = time.monotonic()
    say: OnEvent = on_event or (lambda event: None)
    if isinstance(task, str):
        task_name, task = task_name or task, load_task(task)
    if budget is None and trials is None and alone is None:
        raise InputError("expected a budget such as 10m or a number of trials, got neither")
    if trials is not None and trials < 1:
        raise InputError(f"expected at least 1 trial, got {trials}")
    if finalists < 1:
        raise InputError(f"expected at least 1 finalist, got {finalists}")
    if promising < 0:
        raise InputError(f"expected a number of promising architectures of at least 0, got {promising}")
    if workers is not None and workers < 0:
        raise InputError(f"expected a number of workers of at least 0, got {workers}")
    budget_s = None if budget is None else parse_duration_s(budget)
    named = several(devices)
    parsed = [limit if isinstance(limit, Limit) else Limit.parse(limit) for limit in limits]
    parsed = [dataclasses.replace(limit, name=_on_one(limit.name, named)) for limit in parsed]
    if len({limit.name for limit in parsed}) < len(parsed):
        raise InputError(f"a figure is limited twice: {', '.join(map(str, parsed))}")
    costs = [_on_one(canonical(name), named) for name in objectives] or _default_costs(parsed, named)
    goals = default_goals(task.primary, task.metrics[task.primary].direction, parsed, costs)
    space, name = task.space(), task_name or type(task).__name__.lower()
    folder = Path(out)
    strategy_name, why = strategy or AUTO, ""
    if alone is not None:
        if alone not in space:
            raise InputError(f"{alone.to_json()} is no architecture of the space of {name}")
        halving, strategy_name = False, LISTED
    weights = None if shared_weights is None else _weights(shared_weights, space)
    if strategy_name == AUTO and strategy_options:
        raise InputError("options of a strategy need the strategy's name, not auto")
    if weights is not None:
        halving = False
        if weights.derived is not None and (strategy_name != AUTO or transfer or promising):
            raise InputError(
                f"--shared-weights {shared_weights}: one architecture was derived, so that nothing is left to choose: "
                "leave out strategy, transfer and promising"
            )
        if strategy_name == AUTO:
            strategy_name, why = EVOLUTION, "scores by shared weights are cheap"
    if strategy_name == AUTO:
        strategy_name, why = (_reopened_strategy(folder, name), "") if resume else choose(space, trials)
    own_options = dict(strategy_options or {})
    if transfer:
        if strategy not in (None, AUTO, TRANSFER):
            raise InputError(f"transfer is a strategy of its own: leave {strategy!r} out")
        strategy_name, why = TRANSFER, f"begun with {', '.join(map(str, transfer))}"
    if strategy_name == TRANSFER:
        own_options |= _sources(folder, name, transfer, space, resume)
    strategy_version = 1 if alone is not None else find("strategies", strategy_name).version
    job = _Job(
        task=task,
        name=name,
        goals=goals,
        space=space,
        splits=task.data().check(),
        device=device,
        devices=_devices_for(goals, named),
        all_devices=named,
        workers=_workers(workers),
        slots=slots,
        seed=seed,
        finalists=finalists,
        strategy=strategy_name,
        strategy_options=own_options,
        halving=halving,
        strategy_version=strategy_version,
        promising=promising,
        weights=weights,
        alone=alone,
        notes=(f"strategy {strategy_name}: {why}",) if why and not (weights and weights.derived) else (),
        say=say,
    )
    with one_thread():
        if not resume:
            start, fidelities = _plan(job, budget_s, epochs)
            # Options that make no sense are said before anything is written.
            job.make(job.space, fidelities, job.seed, start.architectures, start.scored)
            with Record(folder) as record:
                run = _begin(job, record, start, fidelities, command)
                return _search(job, record, *run, budget_s, trials, started)
        if not (folder / FILE_NAME).exists():
            raise _nothing_to_resume(job.name, folder)
        with Record(folder) as record:
            run = _reopen(job, record, epochs)
            job.say(Note(f"going on with {run[0].id}"))
            return _search(job, record, *run, budget_s, trials, started)


def train(
    task: Task | str,
    *,
    architecture: Architecture | None = None,
    limits: Sequence[str | Limit] = (),
    epochs: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    devices: Sequence[str] = DEFAULT_DEVICES,
    out: str | Path = "sartor-out",
    resume: bool = False,
    task_name: str | None = None,
    command: str | None = None,
    on_event: OnEvent | None = None,
) -> Front:
    """Trains one architecture without a search, by default the task's baseline; tests, exports and reports it.

    It is a search over that architecture alone: looked at for a ninth of the epochs, then trained from scratch.

    Args:
        task: As for ``search``, as is all that is not named here.
        architecture: Of the task's space.

    Returns:
        The front of that one network.

    Raises:
        InputError: an argument cannot be used.
        BudgetError: it breaks a limit.
    """
    if isinstance(task, str):
        task_name, task = task_name or task, load_task(task)
    return search(
        task,
        alone=task.baseline() if architecture is None else architecture,
        limits=limits,
        epochs=epochs,
        finalists=1,
        seed=seed,
        workers=0,
        device=device,
        devices=devices,
        out=out,
        resume=resume,
        task_name=task_name,
        command=command,
        on_event=on_event,
    )


@dataclasses.dataclass(frozen=True)
class _Job:
    """A search with everything resolved."""

    task: Task
    name: str
    goals: Goals
    space: Space
    splits: Splits
    device: str
    devices: tuple[NamedDevice, ...]
    all_devices: tuple[NamedDevice, ...]
    workers: int
    slots: int
    seed: int
    finalists: int
    strategy: str
    strategy_options: dict[str, Any]
    halving: bool
    strategy_version: int
    promising: int
    weights: _Weights | None
    alone: Architecture | None
    notes: tuple[str, ...]
    say: OnEvent

    def make(
        self,
        space: Space,
        fidelities: tuple[Fidelity, ...],
        seed: int,
        initial: Sequence[Architecture],
        scored: Scored | None = None,
    ) -> Strategy:
        """Returns the strategy on a part of the space, within successive halving where it is to be."""
        if self.alone is not None:
            return Listed([Proposal(self.alone, _short(fidelities[-1]))])
        if self.weights is not None:
            fidelities = self.weights.fidelities(fidelities)
            if self.weights.derived is not None:
                return Listed([Proposal(self.weights.derived, fidelities[-1])])
        spec = find("strategies", self.strategy)
        options = self.strategy_options
        if scored is not None and spec.reads_scores:
            options = {**options, "scored": scored}
        if self.halving and not spec.promotes:
            options = {"sampler": self.strategy, "sampler_options": options}
            spec = find("strategies", "asha")
        strategy: Strategy = spec.load()(space, self.goals, fidelities, seed=seed, initial=initial, **options)
        return strategy

    def problem(self, fidelities: Sequence[Fidelity], *, final: bool) -> Problem:
        estimator = "sartor.estimators.training:Training"
        inherits = self.alone is None and find("strategies", self.strategy).inherits
        options: dict[str, Any] = {"keep": final or inherits, "device": self.device}
        if self.alone is not None and not final:
            fidelities = (_short(fidelities[-1]),)
        if self.weights is not None and not final:
            fidelities = self.weights.fidelities(fidelities)
            if self.weights.derived is None:
                estimator, options = "sartor.estimators.inherited:InheritedScores", {"weights": self.weights.place}
        return Problem(
            task=self.task.reference(),
            devices=tuple(each.reference for each in (self.all_devices if final else self.devices)),
            estimator=estimator,
            estimator_options=options,
            fidelities=tuple(fidelities),
            limits=self.goals.limits,
        )

    def _alone(self, architecture: Architecture) -> dict[str, Any]:
        return {"alone": dict(architecture), "is_other": architecture != self.task.baseline()}

    def config(self, fidelities: Sequence[Fidelity]) -> dict[str, Any]:
        sources = self.strategy_options.get("sources", [])
        return {
            "task": self.task.reference(),
            "task_name": self.name,
            "primary": self.goals.primary.name,
            "direction": self.goals.primary.direction,
            "objectives": [[o.name, o.direction] for o in self.goals.objectives],
            "limits": [[limit.name, limit.bound] for limit in self.goals.limits],
            "strategy": self.strategy,
            "strategy_options": {name: value for name, value in self.strategy_options.items() if name != "sources"},
            # What earlier searches found, so that this one does not depend on their records.
            "sources": sources,
            "strategy_version": self.strategy_version,
            "promising": self.promising,
            **({} if self.weights is None else {"shared_weights": self.weights.place, "weights": self.weights.sha256}),
            **({} if self.alone is None else self._alone(self.alone)),
            "halving": self.halving,
            "fidelities": [[f.amount, f.unit] for f in fidelities],
            "devices": [[each.label, each.target, dict(each.options)] for each in self.devices],
            "train_on": self.device,
            "space": self.space.fingerprint,
            "space_text": str(self.space),
            "data": self.splits.fingerprint,
            "describe": self.task.describe(),
            "recipe": dataclasses.asdict(self.task.recipe),
            "finalists": self.finalists,
            "seed": self.seed,
            "slots": self.slots,
        }


@dataclasses.dataclass(frozen=True)
class _Weights:
    """Shared weights that a search scores by.

    Attributes:
        place: ``FOLDER:RUN``.
        sha256: Of the file.
        derived: The one architecture of a differentiable method.
    """

    place: str
    sha256: str
    derived: Architecture | None

    def fidelities(self, full: Sequence[Fidelity]) -> tuple[Fidelity, ...]:
        """Returns those of the search: a short training of what was derived, else none at all."""
        if self.derived is not None:
            return (_short(full[-1]),)
        return (INHERITED,)


def _short(full: Fidelity) -> Fidelity:
    """Returns what one architecture is looked at with before it is trained in full."""
    return Fidelity(round(full.amount / 9, 4), full.unit)


def _weights(place: str | Path, space: Space) -> _Weights:
    from sartor._supernet import open_supernet

    supernet = open_supernet(place)
    if supernet.space.fingerprint != space.fingerprint:
        differs = "; ".join(supernet.space.diff(space))
        raise InputError(f"--shared-weights {place}: they are of another space: {differs}")
    sha256 = hashlib.sha256(supernet.file.read_bytes()).hexdigest()
    return _Weights(f"{supernet.folder.resolve()}:{supernet.run.id}", sha256, supernet.derived)


def _workers(workers: int | None) -> int:
    return (os.cpu_count() or 1) if workers is None else workers


def _devices_for(goals: Goals, named: Sequence[NamedDevice]) -> tuple[NamedDevice, ...]:
    """Returns the devices whose figures the goals need; the exact counts always, since they are all but free."""
    wanted = {o.name for o in goals.objectives} | {limit.name for limit in goals.limits}
    kept = []
    for each in named:
        figures = set(each.device.figures)
        if each.label == COUNTS or figures & wanted:
            kept.append(each)
        wanted -= figures
    wanted -= {goals.primary.name}
    if wanted:
        raise InputError(f"no device gives {', '.join(sorted(wanted))}; devices: {', '.join(e.label for e in named)}")
    return tuple(kept)


def _on_one(name: str, named: Sequence[NamedDevice]) -> str:
    """Returns the figure's name on the one device that it can be of: ``latency_ms@pi`` of several devices.

    Raises:
        InputError: several devices give it, or the device named does not.
    """
    figure, device = of_device(name)
    givers = [each.label for each in named if {figure, on_device(figure, each.label)} & set(each.device.figures)]
    if device is not None and device not in givers:
        raise InputError(f"no device {device!r} gives {figure}{near(device, givers)}")
    if device is None and len(givers) > 1:
        ways = " or ".join(on_device(figure, each) for each in givers)
        raise InputError(f"several devices give {figure}: say which, as {ways}")
    for each in named:
        if each.label == (device or (givers or [""])[0]):
            qualified = on_device(figure, each.label)
            return qualified if qualified in each.device.figures else figure
    return figure


def _default_costs(limits: Sequence[Limit], named: Sequence[NamedDevice]) -> list[str]:
    """Returns of each of several devices the first limited cost, else the first that it gives; none of one device."""
    others = [each for each in named if each.label != COUNTS]
    if len(others) < 2:
        return []
    limited = [limit.name for limit in limits]
    return [next((name for name in limited if name in e.device.figures), e.device.figures[0]) for e in others]


def _rungs(job: _Job, epochs: float) -> tuple[Fidelity, ...]:
    """Returns a ninth, a third and all of the epochs, less the rungs too short to tell networks apart."""
    from sartor.estimators.training import steps_for

    recipe = job.task.recipe_for(job.task.baseline())
    rungs = [Fidelity(round(epochs / share, 4)) for share in ((9.0, 3.0) if job.halving else ())]
    kept = [rung for rung in rungs if steps_for(rung, job.splits.train, recipe) >= MIN_RUNG_STEPS]
    return (*kept, Fidelity(round(epochs, 4)))


def _search(
    job: _Job,
    record: Record,
    run: RunInfo,
    start: Start,
    budget_s: float | None,
    trials: int | None,
    started: float,
) -> Front:
    fidelities = tuple(Fidelity(amount, unit) for amount, unit in run.config["fidelities"])
    # What an interrupted search has already spent counts.
    ends, deadline = None, None
    if budget_s is not None:
        ends = started + budget_s - run.elapsed_s
        deadline = _Deadline(job, fidelities[-1], budget_s, ends)
    what = f"searching {_count(job.space)} architectures by {job.strategy}"
    if job.alone is not None:
        what = "training one architecture"
    elif job.weights is not None and job.weights.derived is not None:
        what = "training the architecture that was derived"
    job.say(PhaseStarted(run.id, what))
    problem = job.problem(fidelities, final=False)
    engine = Engine(record, problem, workers=job.workers, slots=job.slots)
    found = engine.run(
        run,
        _strategy(job, record, run, fidelities, start),
        max_trials=trials,
        deadline=deadline,
        on_event=_Watch(job, run.id, trials, deadline),
    )
    is_search = job.alone is None and (job.weights is None or job.weights.derived is None)
    # With a time budget it may as well be that time was over.
    if is_search and budget_s is None and trials is not None and len(found) < trials:
        text = f"the search ended after {len(found)} trials: its strategy had nothing left to propose"
        if text not in [detail for _, _, detail in record.log(run.id)]:
            record.log(run.id, "note", text)
            job.say(Note(text))
    _check_found(job, run, found, budget_s)
    _say_what_agreed(job, record, run, found, start.scored)
    record.set_state(run.id, "complete")
    final_run = _retrain(job, record, run, found, fidelities[-1], ends)
    return _conclude(job, record, run, final_run, started)


def _say_what_agreed(job: _Job, record: Record, run: RunInfo, found: Sequence[Trial], scored: Scored | None) -> None:
    """Says how well what was known before the search, other searches or scores, ranked its trainings."""
    from sartor.strategies.transfer import Source, agreement, agreement_of_scores

    said = []
    if job.strategy == TRANSFER:
        sources = [Source.from_json(each) for each in job.strategy_options["sources"]]
        said = agreement(sources, found, job.goals, job.space)
    elif scored is not None:
        said = agreement_of_scores(scored, found, job.goals, job.space)
    for each in said:
        record.log(run.id, "note", each.words)
        job.say(Note(each.words))


def _count(space: Space) -> str:
    if space.continuous:
        return "uncountably many"
    try:
        count: float = space.count()
    except OverflowError:
        count = space.estimate_count(np.random.default_rng(0))
    return f"{count:,.0f}" if count < 10**7 else f"{count:.2e}"


def _strategy(job: _Job, record: Record, run: RunInfo, fidelities: tuple[Fidelity, ...], start: Start) -> Steered:
    """Returns the strategy, which a person may steer while it runs."""

    def make(space: Space, seed: int, initial: Sequence[Architecture]) -> Strategy:
        # In a part of the space an earlier search may have left too little to learn from.
        if job.strategy == TRANSFER and space is not job.space:
            return dataclasses.replace(job, strategy="bayesian", strategy_options={}).make(space, fidelities, seed, ())
        return job.make(space, fidelities, seed, initial, start.scored)

    return Steered(job.space, job.goals, make, seed=job.seed, initial=start.architectures, heard=Heard(record, run))


def _plan(job: _Job, budget_s: float | None, epochs: float | None) -> tuple[Start, tuple[Fidelity, ...]]:
    """Returns what a new search asks first and its fidelities; raises before anything is written."""
    devices = [each.device for each in job.devices]
    start = feasible_start(job.task, job.space, job.goals, devices, job.seed)
    length = epochs if epochs is not None else getattr(job.task, "epochs", job.task.default_epochs)
    if not (math.isfinite(length) and length > 0):
        raise InputError(f"expected a number of epochs above 0, got {length}")
    if job.promising:
        began = time.monotonic()
        longest_s = math.inf if budget_s is None else SCORED_SHARE * budget_s
        more = promising_start(
            job.task, job.space, job.goals, devices, job.seed, job.promising, start.architectures, longest_s
        )
        start = Start([*start.architectures, *more.architectures], (*start.notes, *more.notes), more.scored)
        budget_s = None if budget_s is None else max(0.0, budget_s - (time.monotonic() - began))
    if budget_s is not None:
        fitting = epochs_within(
            job.task, job.space, job.splits, budget_s, max(1, job.workers), job.device, length, fixed=epochs is not None
        )
        if fitting < length:
            text = f"a full training is {fitting:.3g} epochs instead of {length:g}, so that the search fits the budget"
            start = dataclasses.replace(start, notes=(*start.notes, text))
        length = fitting
    return start, _rungs(job, length)


def _begin(
    job: _Job, record: Record, start: Start, fidelities: Sequence[Fidelity], command: str | None
) -> tuple[RunInfo, Start]:
    """Starts a new run."""
    config = {
        **job.config(fidelities),
        "initial": [dict(architecture) for architecture in start.architectures],
        "command": command,
    }
    if start.scored is not None:
        config["scored"] = start.scored.to_json()
    run = record.create_run("search", job.name, config, seed=job.seed, environment=environment())
    for text in (*job.splits.notes, *start.notes, *job.notes):
        record.log(run.id, "note", text)
        job.say(Note(text))
    return run, start


def _latest_search(record: Record, name: str, alone: bool = False) -> RunInfo | None:
    """Returns the latest search of a task, or the latest training of one architecture ``alone``."""
    searches = [
        run
        for run in record.runs()
        if run.kind == "search" and run.config.get("task_name") == name and ("alone" in run.config) == alone
    ]
    return searches[-1] if searches else None


def _reopened_config(folder: Path, name: str) -> Mapping[str, Any]:
    """Returns the configuration of the search to go on with; none where there is no such search."""
    run = None
    if (folder / FILE_NAME).exists():
        with Record(folder, read_only=True) as record:
            run = _latest_search(record, name)
    return {} if run is None else run.config


def _reopened_strategy(folder: Path, name: str) -> str:
    """Returns the strategy that the search to go on with has chosen; any where there is none, as that is said later."""
    return str(_reopened_config(folder, name).get("strategy", "bayesian"))


def _sources(folder: Path, name: str, transfer: Sequence[str | Path], space: Space, resume: bool) -> Mapping[str, Any]:
    """Returns what earlier searches found, as an option: what was read when the search began, where it goes on."""
    if resume:
        return {"sources": _reopened_config(folder, name).get("sources", [])}
    from sartor._transfer import load_sources

    return {"sources": [source.to_json() for source in load_sources(transfer, space)]} if transfer else {}


def _reopen(job: _Job, record: Record, epochs: float | None) -> tuple[RunInfo, Start]:
    """Reopens the latest search of this task."""
    run = _latest_search(record, job.name, job.alone is not None)
    if run is None:
        raise _nothing_to_resume(job.name, record.out)
    recorded = tuple(Fidelity(amount, unit) for amount, unit in run.config["fidelities"])
    fidelities = recorded if epochs is None else _rungs(job, epochs)
    scored = run.config.get("scored")
    start = Start(
        [job.space.architecture(dict(value)) for value in run.config["initial"]],
        scored=None if scored is None else Scored.from_json(scored),
    )
    config = {**job.config(fidelities), **{key: run.config[key] for key in _KEPT if key in run.config}}
    return record.resume_run(run.id, config), start


def _nothing_to_resume(name: str, out: Path) -> InputError:
    return InputError(f"nothing to resume: {out} has no search of {name}; leave --resume out to start one")


class _Watch:
    """Turns the engine's events into progress: counts, and the best trial within the limits."""

    def __init__(self, job: _Job, run: str, total: int | None, deadline: _Deadline | None) -> None:
        self._job, self._run, self._total, self._deadline = job, run, total, deadline
        self._started = time.monotonic()
        self._counts = {"complete": 0, "infeasible": 0, "failed": 0}
        self._best: Trial | None = None
        self._running = ""

    def __call__(self, event: Any) -> None:
        trial = getattr(event, "trial", None)
        if isinstance(event, Progress):
            self._running = f"trial {event.trial.number} at step {event.step}"
        if isinstance(trial, Trial) and trial.state in self._counts:
            self._counts[trial.state] += 1
            primary = self._job.goals.primary
            if trial.state == "complete" and not self._job.goals.broken(trial.values):
                value = primary.loss(trial.values[primary.name])
                if self._best is None or value < primary.loss(self._best.values[primary.name]):
                    self._best = trial
        names = [o.name for o in self._job.goals.objectives]
        best = {name: self._best.values[name] for name in names} if self._best else {}
        now = time.monotonic()
        self._job.say(
            SearchProgress(
                self._run,
                sum(self._counts.values()),
                self._total,
                self._counts["infeasible"],
                self._counts["failed"],
                now - self._started,
                None if self._deadline is None else self._deadline.latest - now,
                best,
                self._running,
            )
        )


def _check_found(job: _Job, run: RunInfo, found: Sequence[Trial], budget_s: float | None) -> None:
    """Raises when the search found nothing to retrain, saying what came closest or what failed."""
    if any(t.state == "complete" and not job.goals.broken(t.values) for t in found):
        return
    failed = [t for t in found if t.state == "failed"]
    if failed and len(failed) == sum(t.state in ("failed", "complete") for t in found):
        raise BudgetError(
            f"all {len(failed)} trained networks failed, the first with: {failed[0].failure};"
            f" see sartor runs show {run.id} --trials"
        )
    beyond = [t for t in found if t.costs and job.goals.excess(t.values) > 0]
    if beyond:
        closest = min(beyond, key=lambda t: job.goals.excess(t.values))
        raise BudgetError(closest_message(job.goals, closest.values, closest.architecture, len(beyond)))
    raise BudgetError(
        f"the budget of {budget_s:g} s ended before one trial was complete: give more time, fewer --epochs or less data"
    )


def choose_finalists(found: Sequence[Trial], goals: Goals, num: int) -> list[Trial]:
    """Returns up to ``num`` trials to retrain: those that cover most of the front, then the next best by the primary.

    Args:
        found: Trials of the search, in any state.
        goals: Orders them.
        num: How many at most.
    """
    primary = goals.primary
    devices = goals.devices
    if devices:
        # Of each device's front a share; a trial may stand on several.
        fronts = [Front(found, goals.on(device)).covering(num) for device in devices]
        turns = (trial for row in itertools.zip_longest(*fronts) for trial in row if trial is not None)
        front = list({trial.number: trial for trial in turns}.values())[:num]
    else:
        front = Front(found, goals).covering(num)
    taken = {t.architecture for t in front}
    # Among the rest, scores compare only at one fidelity: the highest reached comes first.
    rest = sorted(
        (t for t in found if t.state == "complete" and not goals.broken(t.values)),
        key=lambda t: (-t.proposal.fidelity.amount, primary.loss(t.values[primary.name]), t.number),
    )
    for trial in rest:
        if len(front) == num:
            break
        if trial.architecture not in taken:
            taken.add(trial.architecture)
            front.append(trial)
    return front


def training_s(trial: Trial, found: Sequence[Trial], full: Fidelity) -> float:
    """Returns the CPU-seconds that training a trial's architecture from scratch to ``full`` is expected to take.

    0 where it was scored without training.
    """
    trained = trial.proposal.fidelity.amount
    if trial.proposal.fidelity.unit != full.unit:
        return 0.0
    if trial.proposal.continues is not None:
        earlier = found[trial.proposal.continues].proposal
        if earlier.architecture == trial.architecture:
            trained -= earlier.fidelity.amount
    return trial.usage.get("cpu_s", 0.0) / max(trained, 1e-9) * full.amount


class _Deadline:
    """When the search must end so that its finalists, as far as they are known, can be retrained in the budget."""

    def __init__(self, job: _Job, full: Fidelity, budget_s: float, ends: float) -> None:
        self._job, self._full, self._ends = job, full, ends
        self._reserves = [(1 - share) * budget_s for share in SEARCH_SHARES]
        self._num_seen = 0
        self.latest = ends - (1 - FIRST_SHARE) * budget_s
        """What was returned last."""

    def __call__(self, trials: Sequence[Trial]) -> float:
        num = sum(trial.state == "complete" for trial in trials)
        # Scores by shared weights say nothing of what a training takes: the share of the beginning stays.
        is_known = self._job.weights is None or self._job.weights.derived is not None
        if num != self._num_seen and is_known:
            most, least = self._reserves
            self._num_seen, self.latest = num, self._ends - min(max(self._retraining_s(trials), least), most)
        return self.latest

    def _retraining_s(self, trials: Sequence[Trial]) -> float:
        job = self._job
        baseline = job.task.baseline()
        chosen = choose_finalists(trials, job.goals, job.finalists)
        if baseline not in {t.architecture for t in chosen}:
            chosen += [t for t in trials if t.architecture == baseline and t.state == "complete"][:1]
        return RESERVE * sum(training_s(t, trials, self._full) for t in chosen) / max(1, job.workers)


def _affordable(
    job: _Job, found: Sequence[Trial], chosen: list[Trial], full: Fidelity, ends: float | None
) -> list[Trial]:
    """Returns as many of the chosen, best first, as the rest of the budget can retrain; at least one."""
    if ends is None:
        return chosen
    primary = job.goals.primary
    ranked = sorted(chosen, key=lambda t: primary.loss(t.values[primary.name]))
    left = (ends - time.monotonic()) * max(1, job.workers)
    kept: list[Trial] = []
    spent = 0.0
    for trial in ranked:
        spent += training_s(trial, found, full)
        if kept and spent > left:
            break
        kept.append(trial)
    return [t for t in chosen if t in kept]


def _retrain(
    job: _Job, record: Record, run: RunInfo, found: Sequence[Trial], full: Fidelity, ends: float | None
) -> RunInfo:
    """Trains the finalists and the baseline from scratch, on a seed of their own, keeping the weights."""
    earlier = [child for child in record.children(run.id) if child.kind == "final"]
    searched = {t.architecture for t in found if t.state == "complete"}
    baseline = job.task.baseline()
    config: dict[str, Any]
    if earlier and len(found) == earlier[-1].config["num_searched"]:
        config = earlier[-1].config
        final_run = record.resume_run(earlier[-1].id, config)
        numbers = tuple(config["from"])
    else:
        chosen = _affordable(job, found, choose_finalists(found, job.goals, job.finalists), full, ends)
        numbers = tuple(t.number for t in chosen)
        architectures = [t.architecture for t in chosen]
        if baseline in searched and baseline not in architectures:
            architectures.append(baseline)
        config = {
            **{k: v for k, v in run.config.items() if k not in ("initial", "strategy_options")},
            "strategy": "listed",
            "fidelities": [[full.amount, full.unit]],
            "from": list(numbers),
            "num_searched": len(found),
            "architectures": [dict(a) for a in architectures],
        }
        final_run = record.create_run(
            "final", job.name, config, seed=job.seed, environment=environment(), parent=run.id
        )
    job.say(FinalistsChosen(numbers))
    proposals = [Proposal(job.space.architecture(dict(a)), full, replicate=1) for a in config["architectures"]]
    engine = Engine(record, job.problem((full,), final=True), workers=job.workers, slots=job.slots)
    engine.run(
        final_run,
        Listed(proposals),
        max_trials=len(proposals),
        on_event=_Watch(job, final_run.id, len(proposals), None),
    )
    return final_run


def _conclude(job: _Job, record: Record, run: RunInfo, final_run: RunInfo, started: float) -> Front:
    """Tests and exports the finalists, chooses one, writes the report."""
    finals = [t for t in record.trials(final_run.id) if t.state == "complete"]
    if not finals:
        failures = "; ".join(f"{t.failure}" for t in record.trials(final_run.id)[:3])
        raise BudgetError(f"every finalist failed when retrained: {failures}")
    for i, trial in enumerate(finals):
        job.say(PhaseStarted(final_run.id, f"testing and exporting {i + 1} of {len(finals)}"))
        for note in finish_trial(record, final_run, trial, job.task, job.space, job.splits):
            record.log(run.id, "note", note)
            job.say(Note(note))
    primary = job.goals.primary
    baseline_architecture = job.task.baseline()
    within = [t for t in finals if not job.goals.broken(t.values)] or finals
    chosen = min(within, key=lambda t: (*job.goals.losses(t), t.number))
    baseline = next((t for t in finals if t.architecture == baseline_architecture), None)
    best = "highest" if primary.direction == "max" else "lowest"
    why = (
        f"{best} validation {primary.name} ({chosen.metrics[primary.name]:.4f})"
        f" of {len(within)} networks retrained from scratch within the limits"
    )
    if job.alone is not None:
        why = f"trained alone, validation {primary.name} {chosen.metrics[primary.name]:.4f}"
    elif baseline is chosen:
        why += "; it is the hand-designed baseline: the search found nothing better"
    elif baseline is not None and baseline in within:
        why += _doubt(job, record, final_run, chosen, baseline)
    record.set_result(run.id, {"chosen": chosen.number, "why": why})
    record.set_state(final_run.id, "complete")
    record.set_state(run.id, "complete")
    report = _report(job, record, run)
    files = {f.name: record.path(final_run.id) / f.path for f in record.files(final_run.id, chosen.number)}
    job.say(
        SearchDone(
            run.id,
            primary.name,
            tuple(finals),
            chosen,
            baseline,
            why,
            files.get("onnx"),
            report,
            time.monotonic() - started,
        )
    )
    return Front(finals, job.goals)


def _doubt(job: _Job, record: Record, run: RunInfo, best: Trial, baseline: Trial) -> str:
    """Returns what is to be said where the best finalist costs more and may be no better than the baseline, else "".

    The best of many is better on the examples that it was chosen by than on others. So it is doubted unless it is
    better than the baseline by more than the standard error of their difference, example by example (Breiman et al.
    1984, section 3.4.3, ask the same of a larger tree). What costs no more needs no proof.
    """
    from sartor.estimators.training import evaluate

    name = job.goals.primary.name
    metric = job.task.metrics.get(name)
    dearer = job.goals.losses(best)[1:] > job.goals.losses(baseline)[1:]
    if metric is None or metric.each is None or (len(dearer) and not dearer.any()):
        return ""
    ours, theirs = (
        evaluate(
            job.task,
            trained_network(record, run, trial, job.task, job.space),
            trial.architecture,
            job.splits.validation,
            metrics={name: metric},
        )[1]
        for trial in (best, baseline)
    )
    gain, error = metric.gain(ours, theirs)
    if gain > error:
        return ""
    return (
        f"; within one standard error of the hand-designed baseline (network {baseline.number},"
        f" {baseline.metrics[name]:.4f}), so that it may be no better"
    )


def _report(job: _Job, record: Record, run: RunInfo) -> Path | None:
    try:
        from sartor.report import write_report

        return write_report(record, run.id)
    except MissingExtraError as error:
        job.say(Note(str(error)))
        return None
