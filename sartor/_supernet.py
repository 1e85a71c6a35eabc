"""Shared weights on the record: train them, open them again, and find out how far their ranking can be trusted."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor._environment import environment
from sartor._progress import Note, PhaseStarted, SearchProgress
from sartor._threads import one_thread
from sartor.engine import Engine, Problem, Progress, open_task
from sartor.errors import BudgetError, ExportError, InputError, MissingExtraError, RecordError, near
from sartor.goals import Goals, Limit
from sartor.registry import find
from sartor.runs import FILE_NAME, Record, RunInfo, find_run
from sartor.space import Architecture, Space
from sartor.strategies.listed import Listed
from sartor.task import Task
from sartor.trials import Fidelity, Proposal, Trial

if TYPE_CHECKING:
    from sartor.contracts import Device
    from sartor.estimators.inherited import Inherited
    from sartor.supernets import Method
    from sartor.supernets.subnets import Scored, Served

KIND = "supernet"
"""Of a run that trained shared weights."""
TRUST_KIND = "trust"
"""Of a run that trained some of its architectures alone."""
SUBNETS_KIND = "subnets"
"""Of a run that took networks out of shared weights."""
DEVICES = ("counts", "cpu")
"""Cost models by which limits are held, the exact one first."""
_REMEDY = "sartor supernet trains some"
MIN_TRUSTED = 3
"""Architectures whose order says anything."""
NUM_RESAMPLES = 2_000
"""Of the networks, for the interval of a rank correlation."""

OnEvent = Callable[[Any], None]


@dataclass(frozen=True)
class TrainedSupernet:
    """Shared weights of a recorded run.

    Attributes:
        folder: Of results.
        run: The run.
        task, space: What the weights are for.
        method: With the trained weights.
        derived: What a differentiable method derived, else None.
        metrics: Of the run's trial: see `sartor.estimators.supernet.SupernetTraining`.
        cpu_s: What the training took.
        file: Of the weights.
    """

    folder: Path
    run: RunInfo
    task: Task
    space: Space
    method: Method
    derived: Architecture | None
    metrics: Mapping[str, float]
    cpu_s: float
    file: Path

    @property
    def place(self) -> str:
        """Folder and run, as options take them."""
        return f"{self.folder}:{self.run.id}"

    def scorer(self, *, num_batches: int | None = None) -> Inherited:
        """Returns what scores architectures by these weights.

        Raises:
            InputError: the method learned one architecture instead.
        """
        from sartor.estimators.inherited import NUM_CALIBRATION_BATCHES, Inherited
        from sartor.supernets import Differentiable, Sampled

        # Both have what is called weights.
        if isinstance(self.method, Differentiable) or not isinstance(self.method, Sampled):
            raise InputError(
                f"{self.run.id} was trained by {self.run.config['supernet']}, which derives one architecture and "
                "scores no others; take one-shot, fairnas, few-shot, once-for-all or bignas for that"
            )
        splits = self.task.data()
        batches = NUM_CALIBRATION_BATCHES if num_batches is None else num_batches
        return Inherited(
            self.task, self.method.weights, splits.train, splits.validation, num_batches=batches, seed=self.run.seed
        )


def train_supernet(
    task: Task | str,
    *,
    method: str = "one-shot",
    method_options: Mapping[str, Any] | None = None,
    epochs: float | None = None,
    seed: int = 0,
    workers: int = 1,
    ranks: int = 1,
    device: str = "cpu",
    out: str | Path = "sartor-out",
    resume: bool = False,
    task_name: str | None = None,
    command: str | None = None,
    on_event: OnEvent | None = None,
) -> TrainedSupernet:
    """Trains the weights of all architectures of a task's space at once; returns them.

    Args:
        task: A task, or the name of a built-in one on its bundled data.
        method: Name of a method of `sartor.supernets`.
        method_options: Its keyword arguments; ``costs`` also as a text, ``macs`` or ``latency@DEVICE``, of which a
            table is made: what each value of a choice adds beside the baseline's other choices.
        epochs: Length of the training; by default four times a full training of one network.
        seed: Same seed, same weights.
        workers: 1 trains in a process of its own, 0 in this one.
        ranks: Processes that share each step, which then has so many times more micro-batches.
        device: Where to train: ``"cpu"`` or ``"cuda"``.
        out: Folder of results.
        resume: Goes on with the latest interrupted training of this task in ``out``.
        task_name: How the run is called.
        command: The command line that reproduces this.
        on_event: Called with the events of ``sartor._progress``.

    Raises:
        InputError: an argument cannot be used.
        RecordError: the record cannot be used, the configuration changed on resume, or the training failed.
    """
    from sartor._search import load_task

    say: OnEvent = on_event or (lambda event: None)
    if isinstance(task, str):
        task_name, task = task_name or task, load_task(task)
    spec = find("supernets", method)
    name = task_name or type(task).__name__.lower()
    splits, space = task.data().check(), task.space()
    fidelity = _fidelity(epochs, 4 * _epochs_of(task))
    if ranks < 1:
        raise InputError(f"expected at least 1 process, got {ranks}")
    options = dict(method_options or {})
    if isinstance(options.get("costs"), str):
        takes_fixed = "fixed_cost" in inspect.signature(spec.load()).parameters
        made = _costs(task, space, options["costs"], Path(out), name, resume)
        options = {**made, **options, "costs": made["costs"]} if takes_fixed else {**options, "costs": made["costs"]}
    primary = task.metrics[task.primary]
    config = {
        "task": task.reference(),
        "task_name": name,
        "primary": task.primary,
        "direction": primary.direction,
        "objectives": [[task.primary, primary.direction]],
        "limits": [],
        "supernet": method,
        "supernet_options": options,
        "supernet_version": spec.version,
        "fidelities": [[fidelity.amount, fidelity.unit]],
        "devices": [],
        "train_on": device,
        "ranks": ranks,
        "space": space.fingerprint,
        "space_text": str(space),
        "data": splits.fingerprint,
        "recipe": dataclasses.asdict(task.recipe),
        "seed": seed,
        "slots": 1,
        "command": command,
    }
    problem = Problem(
        task=task.reference(),
        estimator="sartor.estimators.supernet:SupernetTraining",
        estimator_options={"method": method, "method_options": options, "device": device, "ranks": ranks},
        fidelities=(fidelity,),
    )
    folder = Path(out)
    with one_thread():
        notes = (*splits.notes, *_check_method(task, space, method, options, seed, ranks))
        with Record(folder) as record:
            run = _begin(record, name, config, seed, resume)
            for text in notes:
                if not resume:
                    record.log(run.id, "note", text)
                say(Note(text))
            say(PhaseStarted(run.id, f"training shared weights by {method}, {fidelity}"))
            engine = Engine(record, problem, workers=workers, slots=1)
            proposals = [Proposal(task.baseline(), fidelity)]
            found = engine.run(run, Listed(proposals), max_trials=1, on_event=_Steps(run.id, say))
            if found[0].state != "complete":
                record.set_state(run.id, "failed")
                raise RecordError(f"{run.id}: the training of the shared weights failed: {found[0].failure}")
            if "skip_share" in found[0].metrics:
                from sartor.supernets.collapse import judge

                verdict = judge(found[0].metrics["skip_share"])
                text = f"{'the search collapsed' if verdict.is_collapsed else 'no collapse'}: {verdict.why}"
                record.log(run.id, "note", text)
                say(Note(text))
            record.set_state(run.id, "complete")
            return _opened(record, record.run(run.id))


def _costs(task: Task, space: Space, text: str, folder: Path, name: str, resume: bool) -> dict[str, Any]:
    """Returns the table of ``costs`` that ``macs``, ``latency@DEVICE`` and the like stand for, and the ``fixed_cost``.

    The latter is of what is not chosen; latencies are in microseconds.

    Measured ones differ from one time to the next: a training that is resumed keeps those that it began with.
    """
    from sartor.contracts import Candidate
    from sartor.devices.counts import Counts
    from sartor.devices.named import find_device
    from sartor.supernets._costs import table_of
    from sartor.units import canonical

    if resume and (folder / FILE_NAME).exists():
        with Record(folder, read_only=True) as record:
            earlier = [run for run in record.runs() if run.kind == KIND and run.config["task_name"] == name]
        kept = earlier[-1].config["supernet_options"] if earlier else {}
        if isinstance(kept.get("costs"), dict):
            return {name: kept[name] for name in ("costs", "fixed_cost") if name in kept}
    what, at, where = text.partition("@")
    figure = canonical(what)
    device = find_device(where).device if at else Counts() if figure in Counts.figures else find_device("cpu").device
    if figure not in device.figures:
        raise InputError(f"costs={text}: {device.name} does not give it{near(figure, device.figures)}")
    scale = 1e3 if figure == "latency_ms" else 1.0

    def cost(architecture: Architecture) -> float:
        return scale * device.cost(Candidate(task, space, architecture))[figure].value

    base = task.baseline()
    table = table_of(space, base, cost)
    chosen = sum(costs[list(space.values(key)).index(base[key])] for key, costs in table.items() if key in base)
    return {"costs": table, "fixed_cost": max(0.0, cost(base) - chosen)}


def _epochs_of(task: Task) -> float:
    """Returns how long a full training of one network is."""
    return float(getattr(task, "epochs", task.default_epochs))


def _fidelity(epochs: float | None, default: float) -> Fidelity:
    length = default if epochs is None else epochs
    if not (math.isfinite(length) and round(length, 4) > 0):
        raise InputError(f"expected a number of epochs above 0, got {length}")
    return Fidelity(round(length, 4))


def _check_method(
    task: Task, space: Space, method: str, options: Mapping[str, Any], seed: int, ranks: int
) -> list[str]:
    """Raises what the method refuses, before anything is written; returns what a person should know."""
    from sartor.estimators.supernet import check_ranks, make_method

    check_ranks(method, ranks)
    try:
        _, decided = make_method(task, space, method, seed, options)
    except TypeError as error:
        raise InputError(f"method {method}: {error}") from error
    if not decided:
        return []
    values = ", ".join(f"{key}={value}" for key, value in decided.items())
    return [f"not searched, as {method} cannot mix networks of different shapes: {values}, as the baseline has them"]


def _begin(record: Record, name: str, config: Mapping[str, Any], seed: int, resume: bool) -> RunInfo:
    if not resume:
        return record.create_run(KIND, name, config, seed=seed, environment=environment())
    earlier = [run for run in record.runs() if run.kind == KIND and run.config.get("task_name") == name]
    if not earlier:
        raise InputError(f"nothing to resume: {record.out} has no shared weights of {name}; leave --resume out")
    return record.resume_run(earlier[-1].id, {**config, "command": earlier[-1].config["command"]})


class _Steps:
    """Turns the engine's events into progress."""

    def __init__(self, run: str, say: OnEvent, total: int = 1) -> None:
        self._run, self._say, self._total = run, say, total
        self._started = time.monotonic()
        self._finished = 0

    def __call__(self, event: Any) -> None:
        trial = getattr(event, "trial", None)
        if isinstance(trial, Trial) and trial.state in ("complete", "failed") and not isinstance(event, Progress):
            self._finished += 1
        running = f"trial {event.trial.number} at step {event.step}" if isinstance(event, Progress) else ""
        elapsed = time.monotonic() - self._started
        self._say(SearchProgress(self._run, self._finished, self._total, 0, 0, elapsed, None, {}, running))


def open_supernet(place: str | Path) -> TrainedSupernet:
    """Returns the shared weights of ``FOLDER`` (the latest there) or ``FOLDER:RUN``.

    Raises:
        InputError: no such weights.
        RecordError: they are not trained to the end, or were changed since.
    """
    folder, run = find_run(place, "run of shared weights", lambda run: run.kind == KIND, _REMEDY)
    with Record(folder, read_only=True) as record:
        return _opened(record, run)


def _opened(record: Record, run: RunInfo) -> TrainedSupernet:
    import torch

    from sartor.estimators.supernet import WEIGHTS, make_method

    trials = record.trials(run.id)
    files = {file.name: file for file in record.files(run.id, 0)} if trials else {}
    if not trials or trials[0].state != "complete" or WEIGHTS not in files:
        raise RecordError(f"{run.id} is not trained to the end: go on by sartor supernet with --resume")
    path = record.path(run.id) / files[WEIGHTS].path
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != files[WEIGHTS].sha256:
        raise RecordError(f"the weights of {run.id} are missing or were changed: {path}")
    task = open_task(run.config["task"])
    space = task.space()
    if space.fingerprint != run.config["space"]:
        raise RecordError(f"the space of {run.id} is another now: its weights are of no use for it")
    method, _ = make_method(task, space, run.config["supernet"], 0, run.config["supernet_options"])
    kept = torch.load(path, weights_only=True)
    method.module.load_state_dict(kept["module"])
    method.module.eval()
    derived = None if kept["derived"] is None else space.architecture(json.loads(kept["derived"]))
    metrics, cpu_s = trials[0].metrics, trials[0].usage.get("cpu_s", math.nan)
    return TrainedSupernet(record.out, run, task, space, method, derived, metrics, cpu_s, path)


@dataclass(frozen=True)
class Subnet:
    """A network taken out of shared weights.

    Attributes:
        served: What was found for its limits.
        test: Metrics on the test part; empty without a network or a test part.
        file: The exported network, or None.
    """

    served: Served
    test: Mapping[str, float]
    file: Path | None


def subnets(
    place: str | Path,
    limits: Sequence[str],
    *,
    evaluations: int = 100,
    seed: int = 0,
    export: bool = True,
    on_event: OnEvent | None = None,
) -> list[Subnet]:
    """Returns the best network found under each of several limits, without training any.

    Each is tested once, on the record, and exported to ONNX into the folder of a run of its own.

    Args:
        place: Folder of results, or ``FOLDER:RUN``, of shared weights.
        limits: One network each: ``"latency=1ms"``, or several that hold together, ``"latency=1ms,params=50k"``.
        evaluations: Networks scored, over all limits.
        seed: Of the evolution.
        export: Whether networks are exported.
        on_event: Called with the events of ``sartor._progress``.

    Raises:
        InputError: no such weights; limits that cannot be read; a figure that no device gives.
        BudgetError: nothing meets any of the limits; the closest found is named.
    """
    from sartor.estimators.training import evaluate
    from sartor.supernets.subnets import serve

    say: OnEvent = on_event or (lambda event: None)
    sets = [[Limit.parse(part.strip()) for part in each.split(",")] for each in limits]
    if not sets:
        raise InputError("expected limits, such as latency=1ms: one network is found for each")
    if evaluations < 1:
        raise InputError(f"expected at least 1 evaluation, got {evaluations}")
    supernet = open_supernet(place)
    task, space = supernet.task, supernet.space
    splits = task.data().check()
    weights = supernet.scorer().weights
    wanted = {limit.name for each in sets for limit in each}
    devices = [device for name in DEVICES if _gives(device := find("devices", name).load()(), wanted)]
    config = {
        **{name: value for name, value in supernet.run.config.items() if name != "limits"},
        "limits": [],
        "limit_sets": [[[limit.name, limit.bound] for limit in each] for each in sets],
        "evaluations": evaluations,
        "seed": seed,
    }
    started = time.monotonic()
    with one_thread(), Record(supernet.folder) as record:
        run = record.create_run(
            SUBNETS_KIND, config["task_name"], config, seed=seed, environment=environment(), parent=supernet.run.id
        )
        say(PhaseStarted(run.id, f"looking for {len(sets)} networks among {evaluations} scored by shared weights"))

        primary = Goals.of_config(config).primary
        best: dict[str, float] = {}

        def scored(event: Scored) -> None:
            value = event.metrics[primary.name]
            if not best or primary.loss(value) < primary.loss(best[primary.name]):
                best[primary.name] = value
            elapsed = time.monotonic() - started
            say(SearchProgress(run.id, event.number, event.evaluations, 0, 0, elapsed, None, dict(best)))

        found = serve(
            task, space, weights, splits, sets, devices=devices, evaluations=evaluations, seed=seed, on_event=scored
        )
        if all(each.network is None for each in found):
            record.set_state(run.id, "failed")
            raise BudgetError(found[0].unmet)
        made: list[Subnet] = []
        known: dict[Architecture, Subnet] = {}
        for number, served in enumerate(found):
            if served.network is None or served.architecture is None:
                record.log(run.id, "note", served.unmet)
                say(Note(served.unmet))
                made.append(Subnet(served, {}, None))
                continue
            if served.architecture not in known:
                test: Mapping[str, float] = {}
                if splits.test is not None:
                    test = evaluate(task, served.network, served.architecture, splits.test.open())[0]
                    record.log(run.id, "test", f"the test part was opened for the network of {limits[number]}")
                file = _exported(record, run, number, task, served, test, say) if export else None
                known[served.architecture] = Subnet(served, test, file)
            made.append(dataclasses.replace(known[served.architecture], served=served))
        record.set_result(run.id, {"networks": [_said(each) for each in made]})
        record.add_elapsed(run.id, time.monotonic() - started)
        record.set_state(run.id, "complete")
    return made


def _gives(device: Device, wanted: set[str]) -> bool:
    return device.name == "counts" or bool(wanted & set(device.figures))


def _said(made: Subnet) -> dict[str, Any]:
    served = made.served
    return {
        "limits": [[limit.name, limit.bound] for limit in served.limits],
        "architecture": None if served.architecture is None else dict(served.architecture),
        "metrics": dict(served.metrics),
        "test": dict(made.test),
        "costs": {name: figure.to_json() for name, figure in served.costs.items()},
        "file": None if made.file is None else made.file.name,
        "unmet": served.unmet,
    }


def _exported(
    record: Record, run: RunInfo, number: int, task: Task, served: Served, test: Mapping[str, float], say: OnEvent
) -> Path | None:
    from sartor.export.onnx import export_onnx

    assert served.network is not None and served.architecture is not None
    path = record.path(run.id) / f"{number}.onnx"
    about = {
        **task.describe(),
        "task": run.config["task_name"],
        "run": run.id,
        "architecture": json.loads(served.architecture.to_json()),
        "metrics": {**served.metrics, **{f"test.{name}": value for name, value in test.items()}},
    }
    deployed = task.deploy(served.network, served.architecture).eval()
    try:
        export_onnx(deployed, task.example_inputs(served.architecture), path, description=about)
    except (ExportError, MissingExtraError) as error:
        # The network is found all the same; the person is told what it cannot be exported for.
        say(Note(f"network {number} was not exported: {error}"))
        return None
    record.add_file(run.id, None, f"onnx {number}", path)
    return path


@dataclass(frozen=True)
class Trust:
    """How shared weights rank architectures that were trained alone.

    Attributes:
        run: Id of the run of the trainings.
        architectures: Those trained.
        inherited: Their scores by shared weights.
        alone: Their scores trained alone.
        tau: Kendall's tau-b of the two; nan where one of them is constant.
        interval: 95% of its bootstrap distribution over the architectures.
        words: What this allows to say.
    """

    run: str
    metric: str
    architectures: tuple[Architecture, ...]
    inherited: tuple[float, ...]
    alone: tuple[float, ...]
    tau: float
    interval: tuple[float, float]
    words: str


def trust(
    place: str | Path,
    *,
    k: int = 20,
    epochs: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    resume: bool = False,
    on_event: OnEvent | None = None,
) -> Trust:
    """Trains some architectures alone and compares their scores with those by shared weights.

    Args:
        place: Folder of results, or ``FOLDER:RUN``, of shared weights or of a search by them.
        k: Architectures, drawn uniformly.
        epochs: Of each training alone; by default a full training of the task.
        seed: Of the draw and of the trainings.
        workers: Processes, by default one a core.
        resume: Goes on with the latest such comparison of these weights.
        on_event: Called with the events of ``sartor._progress``.

    Raises:
        InputError: no such weights, fewer than 3 architectures, or nothing to resume.
        RecordError: the configuration changed on resume, or fewer than 3 trainings ended well.
    """
    from sartor._search import _workers

    say: OnEvent = on_event or (lambda event: None)
    if k < MIN_TRUSTED:
        raise InputError(f"a rank correlation needs at least {MIN_TRUSTED} architectures, got {k}")
    if workers is not None and workers < 0:
        raise InputError(f"expected a number of workers of at least 0, got {workers}")
    folder, run = find_run(
        place,
        "run of shared weights or search by them",
        lambda run: run.kind == KIND or (run.kind == "search" and "shared_weights" in run.config),
        _REMEDY,
    )
    supernet = open_supernet(run.config["shared_weights"] if run.kind == "search" else f"{folder}:{run.id}")
    task, space, scorer = supernet.task, supernet.space, supernet.scorer()
    fidelity = _fidelity(epochs, _epochs_of(task))
    drawn = list(dict.fromkeys(space.sample(np.random.default_rng([seed, 1]), 8 * k)))[:k]
    if len(drawn) < MIN_TRUSTED:
        raise InputError(f"a rank correlation needs at least {MIN_TRUSTED} architectures, the space has {len(drawn)}")
    config = {
        **supernet.run.config,
        "fidelities": [[fidelity.amount, fidelity.unit]],
        "architectures": [dict(architecture) for architecture in drawn],
        "seed": seed,
    }
    problem = Problem(
        task=task.reference(), estimator_options={"device": supernet.run.config["train_on"]}, fidelities=(fidelity,)
    )
    with one_thread(), Record(supernet.folder) as record:
        own = _begin_trust(record, supernet.run, config, seed, resume)
        if len(drawn) < k:
            say(Note(f"{len(drawn)} different architectures were drawn, not {k}: the space has few"))
        say(PhaseStarted(own.id, f"training {len(drawn)} architectures alone, {fidelity} each"))
        engine = Engine(record, problem, workers=_workers(workers), slots=4)
        proposals = [Proposal(architecture, fidelity) for architecture in drawn]
        found = engine.run(
            own, Listed(proposals), max_trials=len(proposals), on_event=_Steps(own.id, say, len(proposals))
        )
        primary = Goals.of_config(config).primary.name
        complete = [trial for trial in found if trial.state == "complete"]
        if len(complete) < MIN_TRUSTED:
            record.set_state(own.id, "failed")
            failures = "; ".join(str(trial.failure) for trial in found if trial.state == "failed")
            raise RecordError(f"{own.id}: {len(complete)} of {len(drawn)} trainings ended well, too few: {failures}")
        inherited = []
        for trial in complete:
            score = scorer.score(trial.architecture)[primary]
            record.add_metrics(own.id, trial.number, {f"inherited.{primary}": score})
            inherited.append(score)
        result = compared(own.id, primary, [t.architecture for t in complete], inherited,
                          [t.metrics[primary] for t in complete], seed)  # fmt: skip
        record.set_result(own.id, {"tau": result.tau, "interval": list(result.interval), "n": len(complete),
                                   "words": result.words})  # fmt: skip
        record.set_state(own.id, "complete")
    return result


def _begin_trust(
    record: Record, supernet: RunInfo, config: Mapping[str, Any], seed: int, resume: bool
) -> RunInfo:
    if not resume:
        return record.create_run(
            TRUST_KIND, config["task_name"], config, seed=seed, environment=environment(), parent=supernet.id
        )
    earlier = [child for child in record.children(supernet.id) if child.kind == TRUST_KIND]
    if not earlier:
        raise InputError(f"nothing to resume: no comparison of {supernet.id} was begun; leave --resume out")
    return record.resume_run(earlier[-1].id, config)


def compared(
    run: str,
    metric: str,
    architectures: Sequence[Architecture],
    inherited: Sequence[float],
    alone: Sequence[float],
    seed: int,
) -> Trust:
    """Returns the rank correlation of two scores with its bootstrap interval (Efron and Tibshirani 1993)."""
    from sartor.report._ranking import agreement

    said = agreement(inherited, alone, ("inherited", "stand-alone"))
    one, other = np.asarray(inherited, float), np.asarray(alone, float)
    tau = math.nan if said.kendall is None else said.kendall
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(NUM_RESAMPLES if len(one) > 2 else 0):
        index = rng.integers(0, len(one), len(one))
        value = _tau(one[index], other[index])
        if math.isfinite(value):
            again.append(value)
    low, high = np.quantile(again, [0.025, 0.975]).tolist() if again else (math.nan, math.nan)
    return Trust(run, metric, tuple(architectures), tuple(inherited), tuple(alone), tau, (low, high), said.words)


def _tau(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Returns Kendall's tau-b, nan where one is constant."""
    first, second = np.sign(one[:, None] - one), np.sign(other[:, None] - other)
    scale = math.sqrt(float((first * first).sum()) * float((second * second).sum()))
    return float((first * second).sum()) / scale if scale else math.nan
