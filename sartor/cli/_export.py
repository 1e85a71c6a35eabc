"""Networks to deploy: export and predict."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._runs import Out, _search_run
from sartor.runs import Record

if TYPE_CHECKING:
    from sartor.export.predict import Prediction

_MOST_SHOWN = 50
"""Predictions that are printed; a file may hold many more rows."""


def export(
    run: str,
    architecture: str = "chosen",
    /,
    *,
    to: Literal["onnx"] = "onnx",
    file: Path | None = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Export a retrained network of a run, checked against torch.

    Parameters
    ----------
    run
        Run id, or "latest".
    architecture
        "chosen", the number of a retrained trial, or an architecture as JSON.
    to
        Format.
    file
        Where to write; by default in the folder of the run.
    out
        Folder of results that holds the record.
    """
    from sartor._search import export_trial

    record = Record(out, read_only=True)
    print(export_trial(record, _search_run(record, run), architecture, file))


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
