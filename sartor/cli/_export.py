"""Networks to deploy: export, compare runtimes, predict."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._runs import Out, _search_run
from sartor.errors import RecordError
from sartor.export import Precision
from sartor.registry import specs
from sartor.runs import Record
from sartor.units import format_figure

if TYPE_CHECKING:
    from sartor._export import Row
    from sartor._export import Table as BenchTable

if TYPE_CHECKING:
    from sartor.export.predict import Prediction

_MOST_SHOWN = 50
"""Predictions that are printed; a file may hold many more rows."""


def export(
    run: str = "latest",
    architecture: str = "chosen",
    /,
    *,
    to: Annotated[str, Parameter(name=["--format", "--to", "-f"])] = "onnx",
    precision: Annotated[Precision, Parameter(name=["--precision", "-p"])] = "fp32",
    file: Path | None = None,
    dynamic_batch: bool | None = None,
    tolerance: float | None = None,
    formats: Annotated[bool, Parameter(name="--list", negative=())] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Export a retrained network of a run, checked against torch; print its metric before and after.

    Parameters
    ----------
    run
        Run id, or "latest".
    architecture
        "chosen", the number of a retrained trial, or an architecture as JSON.
    to
        Format: one of sartor export --list.
    precision
        Of numbers; int8 takes its ranges from the training part.
    file
        Where to write; by default in the folder of the run.
    dynamic_batch
        Whether the file must take batches of any size; by default where the format and the network allow it.
    tolerance
        Largest difference from torch with which the file is kept, in place of the format's own.
    formats
        List the formats and their precisions.
    out
        Folder of results that holds the record.
    """
    if formats:
        _list_formats()
        return
    from sartor._export import export_trial, record_export

    record = Record(out, read_only=True)
    exported = export_trial(
        record, _search_run(record, run), architecture, file, format_name=to, precision=precision,
        dynamic_batch=dynamic_batch, tolerance=tolerance,
    )
    print(exported.report.path)
    print(exported, file=sys.stderr)
    _keep(out, lambda writer: record_export(writer, exported))


def _keep(out: Path, write: Callable[[Record], object]) -> None:
    """Records what was done; says so where a search is writing to the record just now."""
    try:
        with Record(out) as writer:
            write(writer)
    except RecordError as error:
        print(f"not recorded: {error}", file=sys.stderr)


def _list_formats() -> None:
    table = Table("format", "what it is", "precisions", "extra", box=None, header_style="bold", pad_edge=False)
    for spec in specs("exporters").values():
        table.add_row(spec.name, spec.summary, ", ".join(spec.load().precisions), spec.extra or "")
    Console().print(table)


def bench(
    run: str = "latest",
    architecture: str = "chosen",
    /,
    *,
    runtimes: Annotated[list[str] | None, Parameter(name=["--runtimes", "-r"], negative=())] = None,
    precision: Annotated[list[Precision] | None, Parameter(name=["--precision", "-p"], negative=())] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Run a retrained network in every runtime and precision: latency, bytes, metric, difference from torch.

    Parameters
    ----------
    run
        Run id, or "latest".
    architecture
        "chosen", the number of a retrained trial, or an architecture as JSON.
    runtimes
        "all", or names: repeat for several.
    precision
        Only these; repeat for several. By default all that each format has.
    json
        Print JSON instead of a table.
    out
        Folder of results that holds the record.
    """
    from sartor._export import bench as measure
    from sartor._export import record_bench

    record = Record(out, read_only=True)

    def say(row: Row) -> None:
        print(f"{row.runtime} {row.precision}: {row.problem or 'done'}", file=sys.stderr)

    found = measure(
        record, _search_run(record, run), architecture, runtimes=runtimes or ["all"], precisions=precision or (),
        on_row=say,
    )
    if json:
        print(dumps(found.to_json(), indent=2))
    else:
        _print_bench(found)
    _keep(out, lambda writer: record_bench(writer, found))


def _print_bench(found: BenchTable) -> None:
    console = Console()
    table = Table(
        "runtime", "precision", "latency", "error", "file", found.metric, "largest", "rms",
        title=f"network {found.trial} of {found.run}: batch 1, one thread; {found.metric} on the validation part;"
        " largest and root mean square difference from torch",
        title_justify="left", box=None, header_style="bold", pad_edge=False,
    )
    for row in found.rows:
        if row.problem:
            table.add_row(row.runtime, row.precision, "[dim]none[/]", "", "", "", "", "")
            continue
        latency = row.latency
        table.add_row(
            row.runtime, row.precision,
            "" if latency is None else format_figure("latency_ms", latency.value),
            "" if latency is None or latency.error is None else f"{latency.error:.0%}",
            "" if row.bytes is None else format_figure("model_bytes", row.bytes),
            "" if row.metric is None else f"{row.metric:.4f}",
            "" if row.max_difference is None else f"{row.max_difference:.1e}",
            "" if row.rms_difference is None else f"{row.rms_difference:.1e}",
        )
    console.print(table)
    said: dict[str, list[str]] = {}
    for row in found.rows:
        for note in filter(None, (*row.notes, row.problem)):
            said.setdefault(note, []).append(f"{row.runtime} {row.precision}")
    for note, rows in said.items():
        console.print(f"{', '.join(rows)}: {note}", highlight=False, markup=False, soft_wrap=True)


def predict(
    file: Path,
    /,
    *files: Path,
    top: int = 3,
    to: Annotated[Path | None, Parameter(name=["--to"])] = None,
) -> None:
    """Predict with an exported network; needs no torch.

    Parameters
    ----------
    file
        Network exported by Sartor (.onnx).
    files
        What its task reads: images, or tables (CSV, TSV, Parquet) whose rows are predicted.
    top
        How many labels for each image or row.
    to
        Write all predictions to this CSV file, every class with its probability, instead of printing them.
    """
    from sartor.errors import InputError
    from sartor.export.predict import predict as run

    if not files:
        raise InputError("expected at least one file (an image, a table) after the network's file, got none")
    errors = Console(stderr=True)
    found = run(
        file,
        files,
        top=top if to is None else sys.maxsize,
        note=lambda text: errors.print(f"note: {text}", highlight=False, markup=False, soft_wrap=True),
    )
    if to is not None:
        _write(found, to)
        print(f"{len(found)} predictions: {to}")
        return
    rows = any(prediction.row is not None for prediction in found)
    numbers = any(prediction.value is not None for prediction in found)
    heads = ["file", *(["row"] if rows else []), *(["value"] if numbers else ["label", "probability", "then"])]
    table = Table(*heads, box=None, header_style="bold", pad_edge=False)
    for prediction in found[:_MOST_SHOWN]:
        where = [str(prediction.path), *([str(prediction.row)] if rows else [])]
        if prediction.value is not None:
            table.add_row(*where, f"{prediction.value:.6g}")
            continue
        (label, probability), *rest = prediction.labels
        table.add_row(*where, label, f"{probability:.3f}", ", ".join(f"{name} {p:.3f}" for name, p in rest))
    Console().print(table)
    if len(found) > _MOST_SHOWN:
        print(f"... and {len(found) - _MOST_SHOWN} more: --to FILE.csv writes all")


def _write(found: Sequence[Prediction], path: Path) -> None:
    """Writes predictions as CSV: file, row, and the value, or the label and each class's probability."""
    from sartor.errors import InputError

    classes = sorted({name for prediction in found for name, _ in prediction.labels})
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "row", *(["label", *classes] if classes else ["value"])])
            for each in found:
                shares = dict(each.labels)
                said = [each.labels[0][0], *(f"{shares[name]:.6g}" for name in classes)] if classes else [each.value]
                writer.writerow([each.path, "" if each.row is None else each.row, *said])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
