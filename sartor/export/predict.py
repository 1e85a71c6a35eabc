"""Predicts with an exported file: ONNX Runtime and the file's own description, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import InputError, near
from sartor.export._ort import need, session
from sartor.export.examples import Examples
from sartor.registry import TaskSpec, resolve, specs

if TYPE_CHECKING:
    import onnxruntime

PREFIX = "sartor."
FEATURE = "predicting with an ONNX file"
Reader = Callable[[Sequence[Path], Mapping[str, Any]], Iterable[Examples]]
BATCH = 1024
"""Examples that a network is given at once."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of one example.

    Attributes:
        path: The file that holds it.
        labels: Class names with probabilities (0..1), the most probable first; none where it predicts numbers.
        value: The predicted number, None where it predicts classes.
        row: Number of the example in the file, from 1, where a file holds several.
    """

    path: Path
    labels: tuple[tuple[str, float], ...] = ()
    value: float | None = None
    row: int | None = None


def predict(
    path: str | Path,
    files: Sequence[str | Path],
    *,
    top: int = 3,
    note: Callable[[str], None] | None = None,
) -> list[Prediction]:
    """Returns what a network says of each example of some files, in the order given.

    Args:
        path: File that Sartor exported for a task with a reader.
        files: What the task reads: images, each an example; tables, each row an example. Everything is brought to the
            network's form as in training.
        top: Number of labels for each.
        note: Called with counted warnings of the reader.

    Raises:
        InputError: no such file, not ONNX, not exported by Sartor, or of a task without a reader.
        DataError: a file is missing or cannot be read.
        MissingExtraError: onnxruntime, or a package that the reader needs, is not installed.
    """
    if top < 1:
        raise InputError(f"expected to show at least 1 label, got {top}")
    runtime, description = load(path)
    reader = _reader(Path(path), description)
    found = []
    for examples in reader([Path(file) for file in files], description):
        for text in examples.notes:
            if note is not None:
                note(f"{examples.path}: {text}")
        outputs = _run(runtime, examples)
        for i, output in enumerate(outputs):
            row = i + 1 if examples.rows else None
            found.append(_prediction(Path(path), examples.path, row, output, description, top))
    return found


def _reader(path: Path, description: Mapping[str, Any]) -> Reader:
    """Returns the function that reads examples for a file: one that an installed task names, whatever the file says."""
    named, task = description.get("preprocess"), description.get("task", "unknown")
    for spec in specs("tasks").values():
        if not isinstance(spec, TaskSpec) or not spec.reader or "input" not in description:
            continue
        if named == spec.reader or task == spec.name:
            reader: Reader = resolve(spec.reader)
            return reader
    known = ", ".join(spec.name for spec in specs("tasks").values() if isinstance(spec, TaskSpec) and spec.reader)
    raise InputError(f"{path} was exported for the task {task!r}: only those of {known} can be used here")


def _run(runtime: onnxruntime.InferenceSession, examples: Examples) -> np.ndarray:
    """Returns the first output of each example, float64 ``(n, outputs)``."""
    inputs = runtime.get_inputs()
    if len(inputs) != len(examples.inputs):
        raise InputError(f"the network takes {len(inputs)} inputs, its reader gives {len(examples.inputs)}")
    num = len(examples.inputs[0])
    # A file whose batch is fixed takes one example at a time.
    size = 1 if isinstance(inputs[0].shape[0], int) else BATCH
    outputs = []
    for start in range(0, num, size):
        feeds = {i.name: array[start : start + size] for i, array in zip(inputs, examples.inputs, strict=True)}
        output = np.asarray(runtime.run(None, feeds)[0], np.float64)
        outputs.append(output.reshape(len(output), -1))
    return np.concatenate(outputs)


def _prediction(
    path: Path, file: Path, row: int | None, output: np.ndarray, description: Mapping[str, Any], top: int
) -> Prediction:
    if description.get("output") == "value":
        return Prediction(file, value=float(output[0]), row=row)
    classes = description.get("classes")
    if not isinstance(classes, list) or not classes:
        raise InputError(f"{path} names no classes and gives no numbers: export it again")
    if len(output) != len(classes):
        raise InputError(
            f"{path} names {len(classes)} classes but its network gives {len(output)} scores: export it again"
        )
    probabilities = output if description.get("output") == "probabilities" else _softmax(output)
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Prediction(file, tuple((str(classes[i]), float(probabilities[i])) for i in order), row=row)


def load(path: str | Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Returns a session for an exported file, and the description in it.

    Raises:
        InputError: no such file, not ONNX, or not exported by Sartor.
        MissingExtraError: onnxruntime is not installed.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"expected an exported .onnx file, got the folder {path}")
    if not path.exists():
        beside = [entry.name for entry in path.parent.glob("*.onnx")] if path.parent.is_dir() else []
        raise InputError(f"no file {path}{near(path.name, beside) if beside else ''}")
    errors = need("onnxruntime.capi.onnxruntime_pybind11_state", FEATURE)
    try:
        runtime = session(str(path), FEATURE)
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.InvalidArgument, errors.Fail, errors.NoModel) as error:
        raise InputError(f"{path} is not an ONNX file that ONNX Runtime can read: {_first_line(error)}") from error
    metadata = runtime.get_modelmeta().custom_metadata_map
    description = {
        key.removeprefix(PREFIX): _value(path, key, text) for key, text in metadata.items() if key.startswith(PREFIX)
    }
    if "version" not in description:
        raise InputError(
            f"{path} was not exported by Sartor: it has no class names and preprocessing; write it with sartor export"
        )
    return runtime, description


def _value(path: Path, key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: its metadata {key!r} is damaged: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum())
