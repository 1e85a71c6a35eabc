"""Retrained networks as files of any format, scored on the validation part, and side by side in every runtime."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor._environment import environment
from sartor._finish import description, find_finalist, trained_network
from sartor.errors import ExportError, InputError, MissingExtraError, near
from sartor.export import PRECISIONS, Exporter, ExportReport, Loaded, Precision
from sartor.registry import find, specs
from sartor.runs import Record, RunInfo
from sartor.task import Task
from sartor.trials import Figure, Trial
from sartor.units import format_figure

if TYPE_CHECKING:
    from torch import Tensor, nn

KIND = "bench"
"""Of a run that compared runtimes."""
NUM_CALIBRATION = 256
"""Rows of the training part from which int8 takes its ranges: with 64 to 1,024 accuracy is the same within its noise
(Krishnamoorthi 2018, arXiv:1806.08342, calibrates on 100 batches)."""
RUNTIMES_OF: Mapping[str, str] = {"onnx": "onnxruntime"}
"""Runtime of a format, where it has another name."""
EMULATED = "run here by imitating the hardware's arithmetic: its latency is not known"
TORCH_RUNTIMES = ("torch", "torch-compiled")
"""Runtimes that take the module itself."""


@dataclass(frozen=True)
class Finalist:
    """A retrained network with its weights, as it is deployed.

    Attributes:
        run: The finalists' run that it is in.
        trial: Its trial.
        task: What it is for.
        deployed: In eval mode.
        inputs: Example inputs, batch size 1.
    """

    run: RunInfo
    trial: Trial
    task: Task
    deployed: nn.Module
    inputs: tuple[Any, ...]

    @classmethod
    def open(cls, record: Record, run_id: str, which: str) -> Finalist:
        """Opens ``chosen``, a number of the finalists' run, or an architecture as JSON of a search.

        Raises:
            InputError: no such finalist (the message lists those there are), or the data have changed since.
            RecordError: its weights were not kept.
        """
        from sartor.engine import open_task

        run, trial = find_finalist(record, run_id, which)
        task = open_task(run.config["task"])
        space = task.space()
        # What surrounds a network (its scaling, its encoding) is made from the data.
        if task.data().fingerprint != run.config["data"] or space.fingerprint != run.config["space"]:
            raise InputError(
                f"the data of {run_id} ({task.source or 'the bundled ones'}) are not those that its networks were"
                " trained on: put them back as they were, or use an exported file, which needs none"
            )
        network = trained_network(record, run, trial, task, space)
        deployed = task.deploy(network, trial.architecture).eval()
        return cls(run, trial, task, deployed, task.example_inputs(trial.architecture))

    @cached_property
    def calibration(self) -> list[tuple[Any, ...]]:
        """Inputs of the training part, batch size 1 each."""
        return calibration_inputs(self.task, self.deployed, self.inputs, self.task.data().train, seed=self.run.seed)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Of torch's network on the validation part."""
        from sartor.estimators.training import scores

        return scores(self.task, self.deployed, self.task.data().validation)

    def metrics_by(self, loaded: Loaded) -> dict[str, float]:
        """Returns the metrics of a file of the network on the validation part."""
        from sartor.estimators.training import scores

        return scores(self.task, as_module(loaded, self.deployed, self.inputs), self.task.data().validation)


@dataclass(frozen=True)
class Exported:
    """A file, and what the change of format did to its metric.

    Attributes:
        run: The finalists' run.
        trial: Number of the trial.
        report: What was written and checked.
        metric: Name of the task's primary metric.
        before: Its value by torch on the validation part.
        after: By the file, or None where nothing here runs it.
    """

    run: str
    trial: int
    report: ExportReport
    metric: str
    before: float
    after: float | None

    def __str__(self) -> str:
        report = self.report
        size = format_figure("model_bytes", report.bytes)
        text = f"{report.format} {report.precision}, {size}"
        if report.max_difference is not None:
            text += f", largest difference {report.max_difference:.2g}"
        after = "not known" if self.after is None else f"{self.after:.4f}"
        text += f", {self.metric} on the validation part {self.before:.4f} before, {after} after"
        return "; ".join([text, *report.notes])


def calibration_inputs(
    task: Task, deployed: nn.Module, like: tuple[Any, ...], part: Any, *, num: int = NUM_CALIBRATION, seed: int = 0
) -> list[tuple[Any, ...]]:
    """Returns what a task gives its deployed network for rows of a part, batch size 1 each.

    Any task that predicts by calling the network with tensors works: what it calls it with is overheard.

    Args:
        task: Predicts.
        deployed: Is called.
        like: Example inputs: what the task gives it beside as many (which rows a member learnt from) is left out.
        part: Of the data; where rows can be drawn (`sartor.data.Rows`), a random few are.
        num: Rows at most.
        seed: Of the draw.

    Raises:
        InputError: the task calls the network with something else than tensors of one batch size.
    """
    import torch

    from sartor.data import Rows
    from sartor.devices._execution import map_tensors, tensors_in

    if isinstance(part, Rows):
        part = Rows(**part.take(part.index(num, seed, 0)))
    found: list[tuple[Any, ...]] = []

    def overhear(module: nn.Module, given: tuple[Any, ...]) -> None:
        args = given[: len(like)]
        sizes = {tensor.shape[0] if tensor.dim() else 0 for tensor in tensors_in(args)}
        if len(sizes) != 1 or 0 in sizes:
            raise InputError(
                f"calibration data are rows of the network's inputs, but the task gives tensors of {sorted(sizes)} rows"
            )
        for row in range(min(sizes.pop(), num - len(found))):
            found.append(map_tensors(args, partial(_row, row)))

    handle = deployed.register_forward_pre_hook(overhear)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            task.predict(deployed, part)
    finally:
        handle.remove()
    if not found:
        raise InputError(f"{type(task).__name__} predicts without calling its network, so there is no calibration data")
    return found


def _row(row: int, tensor: Tensor) -> Tensor:
    return tensor[row : row + 1].clone()


def as_module(loaded: Loaded, deployed: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """Returns a module that computes by a file what ``deployed`` does, for a task to predict with.

    What else a task asks of its network (how much it remembers) is answered by ``deployed``.
    """
    import torch

    from sartor.devices._execution import map_tensors
    from sartor.export._exporter import arrays_of

    with torch.no_grad():
        form = deployed(*inputs)

    class File(torch.nn.Module):
        def forward(self, *given: Any) -> Any:
            outputs = iter(loaded(arrays_of(given)))
            return map_tensors(form, lambda tensor: torch.from_numpy(next(outputs)).to(tensor.dtype))

        def __getattr__(self, name: str) -> Any:
            return getattr(deployed, name)

    return File().eval()


def export_trial(
    record: Record,
    run_id: str,
    which: str = "chosen",
    file: Path | None = None,
    *,
    format_name: str = "onnx",
    precision: Precision = "fp32",
    dynamic_batch: bool | None = None,
    tolerance: float | None = None,
) -> Exported:
    """Exports a retrained network of a search and scores the file; `record_export` keeps what came out.

    Args:
        record: Where the run is.
        run_id: The search.
        which: ``chosen``, a number of the finalists' run, or an architecture as JSON.
        file: Where to write; None is the folder of the run.
        format_name: Name of a format.
        precision: Of numbers.
        dynamic_batch: Whether it must take batches of any size; None takes what works.
        tolerance: Largest difference from torch, in place of the format's own.

    Raises:
        InputError: no such finalist, format or precision.
        ExportError: the network cannot be converted, or the file differs from torch.
        MissingExtraError: a package of the format is not installed.
    """
    exporter: Exporter = find("exporters", format_name).load()
    finalist = Finalist.open(record, run_id, which)
    run, trial = finalist.run, finalist.trial
    stem = f"{trial.number}" if precision == "fp32" else f"{trial.number}-{precision}"
    path = file or record.path(run.id) / f"{stem}{exporter.suffix}"
    report = exporter.export(
        finalist.deployed, finalist.inputs, path, precision=precision,
        calibration=() if precision == "fp32" else finalist.calibration,
        description=description(finalist.task, run, trial), dynamic_batch=dynamic_batch, tolerance=tolerance,
    )
    primary = finalist.task.primary
    after = None
    if report.max_difference is not None:
        after = finalist.metrics_by(exporter.load(report.path))[primary]
    return Exported(run.id, trial.number, report, primary, finalist.metrics[primary], after)


def record_export(record: Record, exported: Exported) -> None:
    """Keeps what came out in the run's log; a file in the run's folder is kept with its hash."""
    report, folder = exported.report, record.path(exported.run).resolve()
    record.log(exported.run, "export", f"trial {exported.trial} as {exported}")
    if report.path.is_file() and report.path.resolve().is_relative_to(folder):
        name = report.format if report.precision == "fp32" else f"{report.format}.{report.precision}"
        record.add_file(exported.run, exported.trial, name, report.path)


# --- all runtimes side by side


@dataclass(frozen=True)
class Row:
    """A network in one runtime at one precision.

    Attributes:
        runtime: Name.
        precision: See `sartor.export.Precision`.
        latency: Batch 1, one thread, or None where nothing here runs it, or only an imitation does.
        bytes: Of the file; of torch's weights for torch itself.
        metric: The task's primary metric on the validation part, or None.
        max_difference, rms_difference: From torch, or None.
        notes: What a reader must know.
        problem: Why there are no figures, or "".
    """

    runtime: str
    precision: Precision
    latency: Figure | None = None
    bytes: int | None = None
    metric: float | None = None
    max_difference: float | None = None
    rms_difference: float | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        found = asdict(self)
        found["latency"] = None if self.latency is None else {**self.latency.to_json(), "raw": []}
        return found


@dataclass(frozen=True)
class Table:
    """A retrained network in several runtimes.

    Attributes:
        search: The search.
        run: The finalists' run.
        trial: Number of its trial.
        metric: Name of the task's primary metric.
        rows: In the order measured.
        elapsed_s: What it took.
    """

    search: str
    run: str
    trial: int
    metric: str
    rows: tuple[Row, ...]
    elapsed_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run, "trial": self.trial, "metric": self.metric, "rows": [row.to_json() for row in self.rows]
        }


def bench_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the runtimes of ``["all"]`` or of a list of names.

    Raises:
        InputError: no such runtime.
    """
    known = [*TORCH_RUNTIMES, *(RUNTIMES_OF.get(name, name) for name in specs("exporters"))]
    if list(names) == ["all"]:
        return tuple(known)
    for name in names:
        if name not in known:
            raise InputError(f"unknown runtime {name!r}: expected all, or some of {', '.join(known)}")
    return tuple(names)


def bench(
    record: Record,
    run_id: str,
    which: str = "chosen",
    *,
    runtimes: Sequence[str] = ("all",),
    precisions: Sequence[Precision] = (),
    on_row: Callable[[Row], None] | None = None,
) -> Table:
    """Runs a retrained network in several runtimes and precisions; `record_bench` keeps the table.

    Latencies are `sartor.devices.cpu`'s: one thread, batch 1, the 10th percentile of the undisturbed runs. A runtime
    whose package is missing, or that does not take the network, has a row that says so.

    Args:
        record: Where the run is.
        run_id: The search.
        which: ``chosen``, a number of the finalists' run, or an architecture as JSON.
        runtimes: Names, or ``all``.
        precisions: Which of each format's; none means all.
        on_row: Called with each row when it is there.

    Raises:
        InputError: no such finalist, runtime or precision.
    """
    names = bench_names(runtimes)
    for precision in precisions:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}{near(precision, PRECISIONS)}")
    finalist = Finalist.open(record, run_id, which)
    started = time.monotonic()
    rows: list[Row] = []
    for row in bench_rows(finalist, names, precisions):
        rows.append(row)
        if on_row is not None:
            on_row(row)
    run, trial = finalist.run, finalist.trial
    return Table(run_id, run.id, trial.number, finalist.task.primary, tuple(rows), time.monotonic() - started)


def record_bench(record: Record, table: Table) -> RunInfo:
    """Keeps a table as a run of kind ``bench`` below the search."""
    final = record.run(table.run)
    config: dict[str, Any] = {
        "task_name": final.config["task_name"], "objectives": final.config["objectives"], "limits": [],
        "from": table.run, "trial": table.trial,
        "measured": [[row.runtime, row.precision] for row in table.rows],
    }
    run = record.create_run(
        KIND, final.config["task_name"], config, seed=final.seed, environment=environment(), parent=table.search
    )
    record.set_result(run.id, table.to_json())
    record.add_elapsed(run.id, table.elapsed_s)
    record.set_state(run.id, "complete")
    return record.run(run.id)


def bench_rows(finalist: Finalist, names: Sequence[str], precisions: Sequence[Precision]) -> Iterator[Row]:
    """Yields a row for each runtime and precision."""
    formats = {RUNTIMES_OF.get(name, name): name for name in specs("exporters")}
    for name in names:
        if name in TORCH_RUNTIMES:
            if not precisions or "fp32" in precisions:
                yield _torch_row(finalist, name)
            continue
        exporter: Exporter = find("exporters", formats[name]).load()
        for precision in exporter.precisions:
            if not precisions or precision in precisions:
                try:
                    yield _file_row(finalist, exporter, name, precision)
                except (ExportError, MissingExtraError) as error:
                    yield Row(name, precision, problem=str(error))
                    if isinstance(error, MissingExtraError):
                        break


def _torch_row(finalist: Finalist, name: str) -> Row:
    from sartor.devices.counts import model_bytes
    from sartor.devices.cpu import CpuLatency

    try:
        latency = CpuLatency(runtime=name).measure(finalist.deployed, finalist.inputs)["latency_ms"]
    except ExportError as error:
        return Row(name, "fp32", problem=str(error))
    primary = finalist.metrics[finalist.task.primary]
    return Row(
        name, "fp32", latency, model_bytes(finalist.deployed), primary if name == "torch" else None,
        notes=(latency.note,) if latency.note else (),
    )


def _file_row(finalist: Finalist, exporter: Exporter, name: str, precision: Precision) -> Row:
    from sartor.devices.cpu import CpuLatency
    from sartor.export._exporter import arrays_of

    calibration = () if precision == "fp32" else finalist.calibration
    with tempfile.TemporaryDirectory(prefix="sartor-") as folder:
        path = Path(folder) / f"network{exporter.suffix}"
        report = exporter.export(
            finalist.deployed, finalist.inputs, path, precision=precision, calibration=calibration,
            dynamic_batch=False if exporter.dynamic_batch else None,
        )
        if report.max_difference is None:
            return Row(name, precision, bytes=report.bytes, notes=report.notes)
        loaded = exporter.load(path)
        primary = finalist.metrics_by(loaded)[finalist.task.primary]
        latency = None
        if not exporter.emulated:
            latency = CpuLatency().time(loaded.prepare(arrays_of(finalist.inputs)))["latency_ms"]
        note = EMULATED if latency is None else latency.note
        return Row(
            name, precision, latency, report.bytes, primary, report.max_difference, report.rms_difference,
            (*report.notes, *((note,) if note else ())),
        )
