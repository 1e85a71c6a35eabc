"""Steps of compression one after another on the record: measured after each, resumed after a kill, reported."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
import time
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor._environment import environment
from sartor._progress import Note, PhaseStarted
from sartor._threads import one_thread
from sartor.engine import open_task
from sartor.errors import ExportError, InputError, MissingExtraError, RecordError, SartorError, near
from sartor.goals import Limit
from sartor.registry import CompressorSpec, find, importable, located, resolve
from sartor.runs import Record, RunInfo
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, Trial, derive_seed
from sartor.units import first_of, format_figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.compress._contract import Outcome
    from sartor.compress._stages import Stages
    from sartor.data import Splits
    from sartor.task import Task

KIND = "compress"
"""Of a run that compressed a network."""
RATE_SHARE = 0.5
"""Of the task's own rate, that fine-tuning begins with."""
_NUM_NAMED = 3
"""Weights that a message names."""
NETWORK, ONNX, REPORT = "network", "onnx", "report"
"""Names of files of a run."""
COSTS = ("latency_ms", "macs", "params", "model_bytes", "peak_memory_bytes", "energy_mj")

OnEvent = Callable[[Any], None]


@dataclass(frozen=True)
class Stage:
    """A network after a step, or before the first.

    Attributes:
        number: 0 for the network as it came.
        step: Name of the step; ``before`` for number 0.
        metrics: On the validation part, and with ``test.`` before them on the test part for the first and the last.
        costs: Figures of the deployed network.
        record: What the step says that it did.
        file: Exported ONNX, or None where it could not be exported.
        is_on_front: No other is better in the primary metric and not worse in the first cost, or the reverse.
    """

    number: int
    step: str
    metrics: Mapping[str, float]
    costs: Mapping[str, Figure]
    record: Mapping[str, Any]
    file: Path | None
    is_on_front: bool


@dataclass(frozen=True)
class Compressed:
    """What a compression made.

    Attributes:
        run: Id of the run.
        folder: Of its files.
        primary: Name of the primary metric.
        stages: The network as it came, then after each step.
        network: After the last step, in eval mode.
        broken: Limits that do not hold in the end.
        report: The HTML report, or None where its packages are not installed.
    """

    run: str
    folder: Path
    primary: str
    stages: tuple[Stage, ...]
    network: nn.Module
    broken: tuple[Limit, ...]
    report: Path | None


@dataclass(frozen=True)
class Source:
    """A trained network and what it is for.

    Attributes:
        network: In eval mode.
        task, architecture: What the task's methods are given with it.
        config: Where it came from, JSON.
        name: Of the run.
        parent: Run of the same folder that it came from, or None.
    """

    network: nn.Module
    task: Task
    architecture: Architecture
    config: Mapping[str, Any]
    name: str
    parent: str | None = None


# --- where networks come from


def of_run(out: str | Path, run_id: str = "latest", which: str = "chosen") -> Source:
    """Returns a retrained network of a recorded search, or the last one of an earlier compression.

    Args:
        out: Folder of results.
        run_id: The search, its finalists' run or a compression; ``latest`` of these.
        which: ``chosen`` or the number of a finalist.

    Raises:
        InputError: no such network; the message lists those there are.
        RecordError: no such run.
    """
    from sartor._finish import trained_network

    with Record(out, read_only=True) as record:
        if run_id == "latest":
            fitting = [run for run in record.runs() if run.kind in ("search", KIND) and run.state == "complete"]
            if not fitting:
                raise InputError(f"{out} has no finished search to compress a network of: give one, or --model")
            run = fitting[-1]
        else:
            run = record.run(run_id)
        if run.kind == "final" and run.parent:
            run = record.run(run.parent)
        if run.kind == KIND:
            # First, as classes of the network may be where the task is.
            task = open_task(run.config["task"])
            return Source(
                _load_last(record, run),
                task,
                Architecture(run.config["architecture"]),
                {"run": run.id},
                run.config["task_name"],
                run.id,
            )
        finals = [child for child in record.children(run.id) if child.kind == "final"]
        trials = [t for t in record.trials(finals[-1].id) if t.state == "complete"] if finals else []
        if not trials:
            raise InputError(f"{run.id} has no retrained network to compress: go on with it by --resume")
        number = (run.result or {}).get("chosen", trials[0].number) if which == "chosen" else which
        trial = next((t for t in trials if str(t.number) == str(number)), None)
        if trial is None:
            known = ", ".join(str(t.number) for t in trials)
            raise InputError(f"{which!r} is no retrained network of {run.id}; there are {known} and 'chosen'")
        task = open_task(run.config["task"])
        network = trained_network(record, finals[-1], trial, task, task.space())
        return Source(
            network, task, trial.architecture, {"run": run.id, "trial": trial.number}, run.config["task_name"], run.id
        )


def of_model(model: str | Callable[[], nn.Module], weights: str | Path, task: Task, name: str | None = None) -> Source:
    """Returns a network that a function makes, with weights from a file; the file is read and left as it is.

    Args:
        model: The function, or ``module:function`` or ``file.py:function`` of it; called without arguments.
        weights: File of ``torch.save(network.state_dict())``, also below ``state_dict``, ``model`` or ``module``.
        task: What the network is for.
        name: Of the run.

    Raises:
        InputError: no such function or file, no network, or weights that do not fit; names and shapes are told.
    """
    import torch
    from torch import nn

    if isinstance(model, str):
        target = model
        make = located(model, "--model", "module:function or file.py:function")
    else:
        make, target = model, importable(f"{model.__module__}:{model.__qualname__}")
    network = make() if callable(make) else make
    if not isinstance(network, nn.Module):
        raise InputError(
            f"--model {target}: expected a function that returns a torch module, got {type(network).__name__}"
        )
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"--weights {path}: there is no such file")
    content = path.read_bytes()
    try:
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise InputError(
            f"--weights {path}: expected tensors by name, as torch.save(network.state_dict(), file) writes them, got"
            " something else (files that would run code are not opened)"
        ) from error
    for key in ("state_dict", "model", "module", "network"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    _fit_weights(network, state, path)
    config = {"model": target, "weights": hashlib.sha256(content).hexdigest()}
    return Source(network.eval(), task, task.baseline(), config, name or type(network).__name__.lower())


def _fit_weights(network: nn.Module, state: Any, path: Path) -> None:
    import torch

    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"--weights {path}: expected names and tensors, got {type(state).__name__}")
    own = network.state_dict()
    missing, more = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = [
        f"{name} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    problems = [
        *([f"it lacks {first_of(missing, _NUM_NAMED)}"] if missing else []),
        *([f"the network has no {first_of(more, _NUM_NAMED)}"] if more else []),
        *([first_of(other, _NUM_NAMED)] if other else []),
    ]
    if problems:
        raise InputError(
            f"--weights {path} does not fit {type(network).__name__}: {'; '.join(problems)}: give the function that"
            " makes the network these weights are of"
        )
    broken = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        named = first_of(broken, _NUM_NAMED)
        raise InputError(f"--weights {path}: numbers that are not finite in {named}: the training had diverged")
    network.load_state_dict(state)


# --- options of steps


def step_options(spec: CompressorSpec, given: Mapping[str, Any]) -> Any:
    """Returns the options of a step from texts, or from values of their types.

    Raises:
        InputError: unknown names, or values that cannot be read.
    """
    kind = resolve(spec.options) if spec.options else dataclasses.make_dataclass("Options", [], frozen=True)
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in given.items():
        if name not in hints:
            raise InputError(f"step {spec.name} has no option {name!r}{near(name, hints)}")
        values[name] = _read(f"{spec.name}.{name}", value, hints[name]) if isinstance(value, str) else value
    return kind(**values)


def _read(name: str, text: str, kind: Any) -> Any:
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    if type(None) in kinds and text.lower() in ("none", ""):
        return None
    for each in kinds:
        if typing.get_origin(each) is typing.Literal:
            known = [str(value) for value in typing.get_args(each)]
            if text in known:
                return typing.get_args(each)[known.index(text)]
            raise InputError(f"{name}: there is no {text!r}{near(text, known)}")
        if each is bool:
            if text.lower() in ("true", "yes", "1", "false", "no", "0"):
                return text.lower() in ("true", "yes", "1")
        elif each in (int, float):
            try:
                return each(text)
            except ValueError:
                continue
        elif each is str:
            return text
    words = " or ".join(getattr(each, "__name__", str(each)) for each in kinds if each is not type(None))
    raise InputError(f"{name}: expected {words}, got {text!r}")


# --- the run


def compress(
    source: Source,
    steps: Sequence[str],
    *,
    limits: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    epochs: float | None = None,
    seed: int = 0,
    out: str | Path = "sartor-out",
    resume: bool = False,
    report: bool = True,
    command: str | None = None,
    on_event: OnEvent | None = None,
) -> Compressed:
    """Compresses a network by steps, one after another, on the record.

    The network that came is left as it is. After each step the network is scored on the validation part, counted,
    timed and exported; the first and the last are tested once. A compression that was killed goes on with ``resume``
    where it was: finished stages and steps are kept, trainings go on from their last checkpoint.

    Args:
        source: From ``of_run`` or ``of_model``.
        steps: Names, in order: see ``sartor compressors``.
        limits: What must hold in the end, e.g. ``"latency=0.5ms"``.
        options: Step -> its options.
        epochs: Training of each step; half of a full training by default.
        seed: Same seed, same result.
        out: Folder of results.
        resume: Goes on with the latest interrupted compression of this network in ``out``.
        report: Whether the HTML report is written.
        command: The command line that reproduces this.
        on_event: Called with the events of ``sartor._progress``.

    Raises:
        InputError: an argument cannot be used.
        BudgetError: a step cannot reach a limit; what is closest is said. Steps before it are recorded.
        RecordError: the record cannot be used, or the configuration changed on resume.
    """
    say: OnEvent = on_event or (lambda event: None)
    chosen = [find("compressors", name) for name in steps]
    if not chosen:
        raise InputError("expected at least one step, such as prune: see sartor compressors")
    given = dict(options or {})
    for name in given:
        if name not in steps:
            raise InputError(f"options for {name!r}, which is no step of this compression{near(name, steps)}")
    made = [step_options(_compressor(spec), given.get(spec.name, {})) for spec in chosen]
    parsed = tuple(Limit.parse(text) for text in limits)
    task = source.task
    splits = task.data().check()
    full = getattr(task, "epochs", task.default_epochs)
    length = full / 2 if epochs is None else epochs
    if not (math.isfinite(length) and length >= 0):
        raise InputError(f"expected a number of epochs of at least 0, got {length}")
    primary = task.metrics[task.primary]
    cost = parsed[0].name if parsed else "latency_ms"
    config = {
        "task": task.reference(),
        "task_name": source.name,
        "architecture": dict(source.architecture),
        "source": dict(source.config),
        "weights": _digest(source.network),
        "primary": task.primary,
        "direction": primary.direction,
        "objectives": [[task.primary, primary.direction], [cost, "min"]],
        "limits": [[limit.name, limit.bound] for limit in parsed],
        "steps": [[spec.name, spec.version, dataclasses.asdict(own)] for spec, own in zip(chosen, made, strict=True)],
        "epochs": length,
        "recipe": dataclasses.asdict(task.recipe),
        "data": splits.fingerprint,
        "seed": seed,
        "command": command,
    }
    with one_thread(), Record(out) as record:
        run = _begin(record, source, config, seed, resume)
        work = _Work(record, run, source, splits, parsed, length, say)
        for text in splits.notes:
            say(Note(text))
        if "model" in source.config and (prepared := task.preparation()):
            work.note(f"the network is given {prepared}; if it was trained on others, it scores low before any step")
        say(PhaseStarted(run.id, f"compressing by {', '.join(steps)}"))
        try:
            network = work.before()
            for number, (spec, own) in enumerate(zip(chosen, made, strict=True), 1):
                network = work.after(number, _compressor(spec), own, network)
            return work.finish(network, len(chosen), cost, report)
        except SartorError as error:
            record.log(run.id, "warning", str(error))
            record.set_state(run.id, "failed")
            raise


def _compressor(spec: Any) -> CompressorSpec:
    if not isinstance(spec, CompressorSpec):
        raise InputError(f"{spec.name} is no step of compression: its SPEC must be a CompressorSpec")
    return spec


def _digest(network: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _begin(record: Record, source: Source, config: Mapping[str, Any], seed: int, resume: bool) -> RunInfo:
    inside = {run.id for run in record.runs()}
    parent = source.parent if source.parent in inside else None
    name = source.name if parent else f"{source.name}-{KIND}"
    if not resume:
        return record.create_run(KIND, name, config, seed=seed, environment=environment(), parent=parent)
    earlier = [
        run
        for run in record.runs()
        if run.kind == KIND and run.config.get("task_name") == source.name and run.state != "complete"
    ]
    if not earlier:
        raise InputError(f"nothing to resume: {record.out} has no unfinished compression of {source.name}")
    return record.resume_run(earlier[-1].id, {**config, "command": earlier[-1].config["command"]})


class _Work:
    """A run's steps, each a trial."""

    def __init__(
        self,
        record: Record,
        run: RunInfo,
        source: Source,
        splits: Splits,
        limits: tuple[Limit, ...],
        epochs: float,
        say: OnEvent,
    ) -> None:
        self.record, self.run, self.source, self.splits = record, run, source, splits
        self.limits, self.epochs, self.say = limits, epochs, say
        self.folder = record.path(run.id)
        self.known = {trial.number: trial for trial in record.trials(run.id)}
        self.elapsed_from = time.monotonic()

    # --- steps

    def before(self) -> nn.Module:
        """Records the network as it came, and returns a copy of it."""
        import copy

        network = copy.deepcopy(self.source.network).eval()
        self._step(0, "before", lambda stages: _outcome(network))
        return network

    def after(self, number: int, spec: CompressorSpec, options: Any, network: nn.Module) -> nn.Module:
        """Runs a step, or opens what it made before an interruption."""
        import copy

        given = copy.deepcopy(network)
        return self._step(number, spec.name, lambda stages: spec.load()(given, options, stages))

    def _stages(self, number: int, step: str) -> Stages:
        from sartor.compress._stages import Stages

        recipe = self.source.task.recipe_for(self.source.architecture)
        recipe = dataclasses.replace(recipe, learning_rate=recipe.learning_rate * RATE_SHARE)
        return Stages(
            self.source.task,
            self.source.architecture,
            self.splits.train,
            self.splits.validation,
            limits=self.limits,
            recipe=recipe,
            epochs=self.epochs,
            seed=derive_seed(self.run.seed, number, step),
            teacher=self.source.network,
            folder=self.folder / f"{number}-{step}",
            say=self.note,
            report=lambda name, at, values: self._points(number, name, at, values),
        )

    def _points(self, number: int, name: str, at: int, values: Mapping[str, float]) -> None:
        for series, value in values.items():
            self.record.add_points(self.run.id, number, f"{name}.{series}", [at], [value])

    def note(self, text: str) -> None:
        self.record.log(self.run.id, "note", text)
        self.say(Note(text))

    def _step(self, number: int, step: str, make: Callable[[Stages], Outcome]) -> nn.Module:
        from sartor.compress._stages import keep, kept

        stages = self._stages(number, step)
        path = stages.folder / "outcome.pt"
        trial = self.known.get(number)
        if trial is not None and trial.state == "complete":
            return kept(path).network  # type: ignore[no-any-return]
        if trial is None:
            architecture = Architecture({"step": f"{number} {step}"})
            proposal = Proposal(architecture, Fidelity(self.epochs if number else 0.0))
            trial = Trial(number, proposal, stages.seed)
            self.record.add_trial(self.run.id, trial)
        else:
            self.record.start_attempt(self.run.id, trial)
        self.say(PhaseStarted(self.run.id, f"step {number}: {step}" if number else "measuring the network as it came"))
        started, cpu = time.monotonic(), time.process_time()
        if path.exists():
            outcome = kept(path)
        else:
            outcome = make(stages)
            outcome = dataclasses.replace(outcome, network=outcome.network.eval())
            keep(path, outcome)
        self._measure(trial, stages, outcome)
        trial.usage.update(cpu_s=time.process_time() - cpu, wall_s=time.monotonic() - started)
        trial.state = "complete"
        self.record.add_file(self.run.id, number, NETWORK, path)
        (stages.folder / "record.json").write_text(json.dumps(dict(outcome.record), default=str))
        self.record.add_file(self.run.id, number, "record", stages.folder / "record.json")
        self.record.finish_trial(self.run.id, trial, time.monotonic() - self.elapsed_from)
        self.elapsed_from = time.monotonic()
        self.say(Note(self._words(trial, step)))
        network: nn.Module = outcome.network
        return network

    def _words(self, trial: Trial, step: str) -> str:
        primary = self.source.task.primary
        costs = ", ".join(
            format_figure(name, trial.costs[name].value) + {"macs": " MACs", "params": " parameters"}.get(name, "")
            for name in COSTS[:4]
            if name in trial.costs
        )
        return f"{step}: {primary} {trial.metrics[primary]:.4f}, {costs}"

    def _measure(self, trial: Trial, stages: Stages, outcome: Outcome) -> None:
        if outcome.runs is None:
            trial.metrics.update(stages.evaluate(outcome.network))
        else:
            from sartor.estimators.training import scores

            trial.metrics.update(scores(self.source.task, outcome.runs.eval(), self.splits.validation))
        trial.costs.update(stages.measure(outcome.network))
        path = outcome.file or stages.folder / "network.onnx"
        try:
            if outcome.file is None:
                self._export(trial, stages.deploy(outcome.network), stages.inputs, path)
            else:
                from sartor.devices.onnx_files import measure_model

                trial.costs.update(measure_model(outcome.file.read_bytes()))
                trial.costs["model_bytes"] = Figure(path.stat().st_size, "B", note="of the file that is deployed")
            self.record.add_file(self.run.id, trial.number, ONNX, path)
        except (ExportError, MissingExtraError) as error:
            self.note(f"the network after {trial.architecture['step']} was not exported: {error}")

    def _export(self, trial: Trial, deployed: nn.Module, inputs: tuple[Any, ...], path: Path) -> None:
        from sartor.export.onnx import export_onnx

        description = {
            **self.source.task.describe(),
            "task": self.source.name,
            "run": self.run.id,
            "trial": trial.number,
            "step": trial.architecture["step"],
            "metrics": dict(trial.metrics),
        }
        export_onnx(deployed, inputs, path, description=description)

    # --- the end

    def finish(self, network: nn.Module, last: int, cost: str, report: bool) -> Compressed:
        """Tests the first and the last, says what holds, writes the report."""
        from sartor.compress._stages import kept
        from sartor.estimators.training import evaluate, scores

        task = self.source.task
        if self.splits.test is not None:
            trials = {trial.number: trial for trial in self.record.trials(self.run.id)}
            todo = [n for n in (0, last) if not any(name.startswith("test.") for name in trials[n].metrics)]
            if todo:
                test = self.splits.test.open()
                for number in todo:
                    outcome = kept(self._outcome_path(number))
                    if outcome.runs is None:
                        metrics = evaluate(task, outcome.network, self.source.architecture, test)[0]
                    else:
                        metrics = scores(task, outcome.runs.eval(), test)
                    self.record.add_metrics(
                        self.run.id, number, {f"test.{name}": value for name, value in metrics.items()}
                    )
                self.record.log(self.run.id, "test", f"the test part was opened for {' and '.join(map(str, todo))}")
        trials_now = self.record.trials(self.run.id)
        end = trials_now[last]
        broken = tuple(limit for limit in self.limits if limit.excess(end.values.get(limit.name, math.nan)) > 0)
        for limit in broken:
            closest = min(t.values.get(limit.name, math.inf) for t in trials_now)
            self.note(
                f"the limit {limit} does not hold: it is {format_figure(limit.name, end.values[limit.name])} in the"
                " end,"
                f" {format_figure(limit.name, closest)} at the closest"
            )
        front = front_of(trials_now, task.primary, task.metrics[task.primary].direction, cost)
        result = {"front": front, "broken": [str(limit) for limit in broken], "cost": cost}
        self.record.set_result(self.run.id, result)
        self.record.add_elapsed(self.run.id, time.monotonic() - self.elapsed_from)
        self.record.set_state(self.run.id, "complete")
        page: Path | None = None
        if report:
            from sartor.report import write_report

            try:
                page = write_report(self.record, self.run.id)
                self.record.add_file(self.run.id, None, REPORT, page)
            except MissingExtraError as error:
                self.note(f"no report was written: {error}")
        return Compressed(
            self.run.id, self.folder, task.primary, stages_of(self.record, self.run.id), network, broken, page
        )

    def _outcome_path(self, number: int) -> Path:
        files = {file.name: file for file in self.record.files(self.run.id, number)}
        return self.folder / files[NETWORK].path


def _outcome(network: nn.Module) -> Outcome:
    from sartor.compress._contract import Outcome

    return Outcome(network)


def front_of(trials: Sequence[Trial], primary: str, direction: str, cost: str) -> list[int]:
    """Returns the numbers of the trials that no other beats in the primary metric and a cost, in their order."""
    sign = -1.0 if direction == "max" else 1.0
    points = {
        t.number: (sign * t.metrics[primary], t.values.get(cost, math.inf)) for t in trials if primary in t.metrics
    }
    return [
        number
        for number, (loss, price) in points.items()
        if not any(
            other != number and a <= loss and b <= price and (a < loss or b < price) for other, (a, b) in points.items()
        )
    ]


def stages_of(record: Record, run_id: str) -> tuple[Stage, ...]:
    """Returns the finished stages of a compression."""
    run = record.run(run_id)
    front = set((run.result or {}).get("front", ()))
    folder = record.path(run_id)
    found = []
    for trial in record.trials(run_id):
        if trial.state != "complete":
            continue
        files = {file.name: folder / file.path for file in record.files(run_id, trial.number)}
        told = json.loads(files["record"].read_text()) if "record" in files and files["record"].exists() else {}
        name = str(trial.architecture["step"]).partition(" ")[2]
        found.append(
            Stage(trial.number, name, trial.metrics, trial.costs, told, files.get(ONNX), trial.number in front)
        )
    return tuple(found)


def load_network(out: str | Path, run_id: str = "latest", number: int | None = None) -> nn.Module:
    """Returns the network after a step of a compression (the last by default), in eval mode.

    Networks are kept pickled: the code that their classes are from must be importable, and only files of one's own
    runs should be opened. ``network.onnx`` beside it needs neither.

    Raises:
        InputError: the run is no compression, or has no such step.
        RecordError: no such run, or its file was changed since.
    """
    with Record(out, read_only=True) as record:
        run = record.run(run_id)
        if run.kind != KIND:
            raise InputError(f"{run.id} is a {run.kind}, no compression")
        return _load_last(record, run, number)


def _load_last(record: Record, run: RunInfo, number: int | None = None) -> nn.Module:
    from sartor.compress._stages import kept

    done = [trial.number for trial in record.trials(run.id) if trial.state == "complete"]
    wanted = (done[-1] if done else -1) if number is None else number
    if wanted not in done:
        raise InputError(f"{run.id} has no finished step {wanted}; there are {', '.join(map(str, done)) or 'none'}")
    files = {file.name: file for file in record.files(run.id, wanted)}
    path = record.path(run.id) / files[NETWORK].path
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != files[NETWORK].sha256:
        raise RecordError(f"the network of step {wanted} of {run.id} is missing or was changed: {os.fspath(path)}")
    _modules_of(run.config["source"])
    network: nn.Module = kept(path).network
    return network


def _modules_of(source: Mapping[str, Any]) -> None:
    """Imports the script that classes of the network are from, where it is one."""
    if "model" in source:
        located(str(source["model"]), "--model", "it where it was when the network was compressed first")
