"""LiteRT (TensorFlow Lite), one .tflite file for Android, microcontrollers and edge accelerators.

- ``fp32``.
- ``int8``: static, 8-bit weights and activations, inputs and outputs 8-bit integers too, as microcontrollers, Ethos-U
  and edge TPUs need it.
- ``int8-weights``, ``int4-weights``: the weights alone, computed in float32.

Converted by litert-torch, quantised by ai-edge-quantizer. The batch is of 1.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ExportError
from sartor.export._exporter import (
    Exporter,
    Loaded,
    Precision,
    arrays_of,
    converting,
    feeds_of,
    first_cause,
    position,
    quiet,
)
from sartor.export._ort import need
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "litert", "sartor.export.litert:EXPORTER",
    summary="LiteRT (.tflite): Android, microcontrollers, Ethos-U, edge TPU",
    extra="litert",
    citation="https://ai.google.dev/edge/litert",
)

FEATURE = "exporting to LiteRT"
EXTRA = "litert"
_RECIPES = {
    "int8": "static_wi8_ai8", "int8-weights": "weight_only_wi8_afp32", "int4-weights": "weight_only_wi4_afp32",
}


def write(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: Path,
    precision: Precision,
    calibration: Sequence[tuple[Any, ...]],
    dynamic: bool,
) -> tuple[str, ...]:
    """Converts and writes; see `sartor.export.Exporter`."""
    with quiet():
        # A library that it loads warns of frameworks that are not there.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        converter = need("litert_torch", FEATURE, EXTRA)
    with converting(module, inputs, "LiteRT"):
        # A copy, since the converter touches the parameters of what it is given.
        converter.convert(copy.deepcopy(module), inputs).export(str(path))
    if precision in _RECIPES:
        _quantise(path, _RECIPES[precision], calibration)
    return ()


def _quantise(path: Path, recipe: str, calibration: Sequence[tuple[Any, ...]]) -> None:
    quantizer = need("ai_edge_quantizer.quantizer", FEATURE, EXTRA)
    rules = getattr(need("ai_edge_quantizer.recipe", FEATURE, EXTRA), recipe)()
    with quiet("absl"):
        steps = quantizer.Quantizer(str(path), rules)
        ranges = _ranges(path, rules, calibration) if steps.need_calibration else None
        steps.quantize(ranges).export_model(str(path), overwrite=True)


def _ranges(path: Path, rules: Any, calibration: Sequence[tuple[Any, ...]]) -> Any:
    """Returns the smallest and largest value of each tensor.

    The quantiser's own default, a moving average, cuts large values off: the root mean square difference was 0.19 on a
    network of the images task.
    """
    manager = need("ai_edge_quantizer.recipe_manager", FEATURE, EXTRA).RecipeManager()
    manager.load_quantization_recipe(rules)
    calibrator = need("ai_edge_quantizer.calibrator", FEATURE, EXTRA).Calibrator(
        str(path), num_threads=1,
        qsv_update_func=need("ai_edge_quantizer.utils.qsv_utils", FEATURE, EXTRA).min_max_update,
    )
    signature, names = _signature(path)
    rows = [feeds_of(names, arrays_of(given)) for given in calibration]
    calibrator.calibrate({signature: rows}, manager)
    return calibrator.get_model_qsvs()


def _signature(path: Path) -> tuple[str, list[str]]:
    """Returns the name of a file's only signature, and those of its inputs."""
    ((name, sides),) = _interpreter(path).get_signature_list().items()
    return str(name), list(sides["inputs"])


def _interpreter(path: Path) -> Any:
    with quiet():
        interpreter = need("ai_edge_litert.interpreter", FEATURE, EXTRA).Interpreter(
            model_content=path.read_bytes(), num_threads=1
        )
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        raise ExportError(f"LiteRT cannot run {path.name}: {first_cause(error)}") from error
    return interpreter


def load(path: Path) -> Loaded:
    """Returns a file brought to run by LiteRT on one thread with XNNPACK; real numbers go in and come out."""
    interpreter = _interpreter(path)
    signature = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(next(iter(signature)))
    inputs = runner.get_input_details()
    outputs = runner.get_output_details()
    ordered = sorted(outputs, key=position)

    def prepare(arrays: Sequence[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        for name, detail in inputs.items():
            array = arrays[position(name)]
            if tuple(detail["shape"]) != array.shape:
                raise ExportError(
                    f"the exported network takes inputs of shape {tuple(detail['shape'])}, got {array.shape}"
                )
            interpreter.set_tensor(detail["index"], _encoded(array, detail))

        def run() -> list[np.ndarray]:
            interpreter.invoke()
            return [_decoded(interpreter.get_tensor(outputs[name]["index"]), outputs[name]) for name in ordered]

        return run

    return Loaded(prepare)


def _encoded(array: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale or array.dtype == detail["dtype"]:
        return np.ascontiguousarray(array.astype(detail["dtype"], copy=False))
    bounds = np.iinfo(detail["dtype"])
    codes = np.rint(array / scale) + zero
    return np.asarray(np.clip(codes, bounds.min, bounds.max).astype(detail["dtype"]))


def _decoded(array: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


EXPORTER = Exporter(
    name="litert", title="LiteRT", suffix=".tflite",
    precisions=("fp32", "int8", "int8-weights", "int4-weights"), extra=EXTRA,
    packages=("litert_torch", "ai_edge_litert", "ai_edge_quantizer"), write=write, load=load,
)
