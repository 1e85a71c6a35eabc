"""Labels images with an exported file: ONNX Runtime and the file's own description, no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import InputError, near
from sartor.export._ort import need, session

if TYPE_CHECKING:
    import onnxruntime

PREFIX = "sartor."
FEATURE = "predicting with an ONNX file"


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        path: The image.
        labels: Class names with probabilities (0..1), the most probable first.
    """

    path: Path
    labels: tuple[tuple[str, float], ...]


def predict(path: str | Path, images: Sequence[str | Path], *, top: int = 3) -> list[Prediction]:
    """Returns the most probable labels of each image, in the order given.

    Args:
        path: File that Sartor exported for a task with classes and images.
        images: Image files; any size and mode, brought to the network's form as in training.
        top: Number of labels for each.

    Raises:
        InputError: no such file, not ONNX, not exported by Sartor, or not of a task that labels images.
        DataError: an image is missing or cannot be read.
        MissingExtraError: onnxruntime or Pillow is not installed.
    """
    from sartor.tasks.images.preprocess import load_image

    if top < 1:
        raise InputError(f"expected to show at least 1 label, got {top}")
    runtime, description = load(path)
    classes = description.get("classes")
    if not isinstance(classes, list) or "input" not in description:
        task = description.get("task", "unknown")
        raise InputError(f"{path} was exported for the task {task!r}: only tasks that label images can be used here")
    name = runtime.get_inputs()[0].name
    found = []
    for image in images:
        output = runtime.run(None, {name: load_image(image, description)})[0]
        scores = np.asarray(output, np.float64).reshape(-1)
        if len(scores) != len(classes):
            raise InputError(
                f"{path} names {len(classes)} classes but its network gives {len(scores)} scores: export it again"
            )
        probabilities = scores if description.get("output") == "probabilities" else _softmax(scores)
        order = np.argsort(-probabilities, kind="stable")[:top]
        found.append(Prediction(Path(image), tuple((str(classes[i]), float(probabilities[i])) for i in order)))
    return found


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
