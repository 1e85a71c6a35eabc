"""What every export format must hold: ``check_exporter`` raises ``AssertionError`` with what is not as it must be.

Example:
    >>> def test_my_format_conforms(tmp_path):
    ...     check_exporter(EXPORTER, module, inputs, calibration, tmp_path)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sartor.errors import InputError
from sartor.export import PRECISIONS, Exporter, ExportReport, Precision
from sartor.export._exporter import compare, num_bytes
from sartor.testing.randomness import global_random_state

if TYPE_CHECKING:
    from torch import nn


def check_exporter(
    exporter: Exporter,
    module: nn.Module,
    inputs: tuple[Any, ...],
    calibration: Sequence[tuple[Any, ...]],
    folder: Path,
    precisions: Sequence[Precision] = (),
) -> dict[Precision, ExportReport]:
    """Checks a format with a network that it takes; returns the report of each precision.

    Files are written under the name asked for and nothing else stays in the folder; the module (in training mode), its
    weights and the global random state are left alone; the report's figures are those of the file; a precision that
    there is not, int8 without calibration data, and a folder that is not there are refused.

    Args:
        exporter: The format.
        module: Any network that it takes.
        inputs: Example inputs, batch size 1.
        calibration: Several of the like.
        folder: Empty.
        precisions: Which; by default all it has.

    Raises:
        AssertionError: the first promise that does not hold.
    """
    assert exporter.precisions and set(exporter.precisions) <= set(PRECISIONS)
    assert exporter.suffix.startswith(".")
    module.train()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = global_random_state()
    reports = {}
    for precision in precisions or exporter.precisions:
        path = folder / f"network-{precision}{exporter.suffix}"
        report = exporter.export(
            module, inputs, path, precision=precision, calibration=calibration, description={"classes": ["a", "b"]}
        )
        assert (report.path, report.format, report.precision) == (path, exporter.name, precision)
        files = [path, *(path.with_suffix(suffix) for suffix in exporter.beside)]
        assert report.bytes == sum(map(num_bytes, files)), "bytes are not those of the files"
        if not exporter.unrunnable():
            found = compare(exporter.load(path), module, calibration)
            assert report.max_difference is not None and found.rms < 1.0, "the file computes something else"
        reports[precision] = report
    written = {file.name for file in folder.iterdir()}
    expected = {
        path.with_suffix(suffix).name
        for path in (folder / f"network-{p}{exporter.suffix}" for p in reports)
        for suffix in (exporter.suffix, *exporter.beside)
    }
    assert written == expected, f"left behind: {sorted(written - expected)}; missing: {sorted(expected - written)}"
    assert all(part.training for part in module.modules()), "the module's mode was changed"
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, weights[name]), f"{name} was changed"
    assert global_random_state() == random, "the global random state was moved"
    _check_refusals(exporter, module, inputs, folder)
    return reports


def _check_refusals(exporter: Exporter, module: nn.Module, inputs: tuple[Any, ...], folder: Path) -> None:
    path = folder / f"refused{exporter.suffix}"
    absent = [precision for precision in PRECISIONS if precision not in exporter.precisions]
    wrong: list[dict[str, Any]] = [{"precision": precision} for precision in absent[:1]]
    if "int8" in exporter.precisions:
        wrong.append({"precision": "int8"})
    if not exporter.dynamic_batch:
        wrong.append({"dynamic_batch": True})
    for options in wrong:
        try:
            exporter.export(module, inputs, path, **options)
        except InputError:
            continue
        raise AssertionError(f"{options} was not refused")
    try:
        exporter.export(module, inputs, folder / "nowhere" / path.name)
    except InputError:
        return
    raise AssertionError("a missing folder was not refused")
