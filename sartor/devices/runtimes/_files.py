"""Runtimes that run an exported file: written to a folder that is gone once the file is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sartor.registry import find

if TYPE_CHECKING:
    from torch import nn

    from sartor.export import Exporter, Precision


def prepare_file(
    format_name: str,
    module: nn.Module,
    inputs: tuple[Any, ...],
    precision: Precision = "fp32",
    calibration: Sequence[tuple[Any, ...]] = (),
) -> Callable[[], object]:
    """Returns a call that runs a network once by the runtime of a format, batch size 1.

    Raises:
        ExportError: the format does not take the network.
        MissingExtraError: a package is not installed.
    """
    from sartor._modes import evaluating
    from sartor.export._exporter import arrays_of, random_state_of_its_own

    exporter: Exporter = find("exporters", format_name).load()
    exporter.need()
    with TemporaryDirectory(prefix="sartor-") as folder:
        path = Path(folder) / f"network{exporter.suffix}"
        with evaluating(module), random_state_of_its_own():
            exporter.write(module, inputs, path, precision, calibration, False)
        return exporter.load(path).prepare(arrays_of(inputs))
