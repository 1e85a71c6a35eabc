"""Networks to deploy: export and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._runs import Out, _search_run
from sartor.runs import Record


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
    file: Path, /, *images: Path, top: Annotated[int, Parameter(help="How many labels for each image.")] = 3
) -> None:
    """Label images with an exported network; needs no torch.

    Parameters
    ----------
    file
        Network exported by Sartor (.onnx).
    images
        Image files.
    """
    from sartor.errors import InputError
    from sartor.export.predict import predict as run

    if not images:
        raise InputError("expected at least one image after the network's file, got none")
    table = Table("image", "label", "probability", "then", box=None, header_style="bold", pad_edge=False)
    for image, prediction in zip(images, run(file, images, top=top), strict=True):
        (label, probability), *rest = prediction.labels
        table.add_row(str(image), label, f"{probability:.3f}", ", ".join(f"{name} {p:.3f}" for name, p in rest))
    Console().print(table)
