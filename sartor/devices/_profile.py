"""How long each operator of a network takes in ONNX Runtime, by its own profiler."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.devices.cpu import measuring

if TYPE_CHECKING:
    from torch import nn

FEATURE = "profiling operators"
_PROFILED_S = 0.25
_LEAST_RUNS = 8
_FASTEST = 4
"""Operators are averaged over a quarter of the runs, the fastest: others only ever slow a run."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Timed:
    """An operator of the optimised graph and what one run of it takes.

    Attributes:
        kind: ONNX operator, e.g. ``Conv``, or one of the runtime's own (``ReorderOutput``).
        inputs: Shapes of what it reads, weights included; channels as the runtime pads them.
        output: Shape of its first output.
        ms: Mean over the fastest runs, the profiler's own time of about a microsecond included.
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    ms: float

    def to_json(self) -> list[Any]:
        return [self.kind, [list(shape) for shape in self.inputs], list(self.output), round(self.ms, 5)]

    @classmethod
    def from_json(cls, value: list[Any]) -> Timed:
        return cls(value[0], tuple(tuple(shape) for shape in value[1]), tuple(value[2]), float(value[3]))


def profile(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Timed, ...]:
    """Returns the operators in the order of execution; takes about half a second, on one thread.

    Raises:
        ExportError: the network cannot be brought to ONNX.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    from sartor.export._exporter import arrays_of, feeds_of
    from sartor.export._ort import session
    from sartor.export.onnx import convert_to_measure

    model, _ = convert_to_measure(module, inputs, FEATURE)
    with tempfile.TemporaryDirectory() as folder:
        runtime = session(model, FEATURE, profile=str(Path(folder) / "profile"))
        feeds = feeds_of((entry.name for entry in runtime.get_inputs()), arrays_of(inputs))
        with measuring():
            begin, runs = time.perf_counter(), 0
            while runs < _LEAST_RUNS or time.perf_counter() - begin < _PROFILED_S:
                runtime.run(None, feeds)
                runs += 1
        events = json.loads(Path(runtime.end_profiling()).read_text())
    return _timed(events, runs)


def _timed(events: list[Mapping[str, Any]], runs: int) -> tuple[Timed, ...]:
    nodes = [e for e in events if e.get("cat") == "Node" and str(e["name"]).endswith("kernel_time")]
    num = len(nodes) // runs
    if not num:
        return ()
    durations = np.array([float(e["dur"]) for e in nodes[: num * runs]]).reshape(runs, num) / 1e3
    totals = durations.sum(1)
    fastest = np.argsort(totals, kind="stable")[: max(2, runs // _FASTEST)]
    means = durations[fastest].mean(0)
    return tuple(
        Timed(
            str(node["args"]["op_name"]),
            tuple(_shape(each) for each in node["args"].get("input_type_shape", ())),
            _shape((node["args"].get("output_type_shape") or [{}])[0]),
            float(ms),
        )
        for node, ms in zip(nodes[:num], means, strict=True)
    )


def _shape(entry: Mapping[str, Any]) -> Shape:
    """Reads ``{"float": [1, 8, 14, 14]}``."""
    for value in entry.values():
        return tuple(int(size) for size in value)
    return ()
