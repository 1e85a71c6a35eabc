"""Core ML, a .mlpackage folder with an ML program for iPhone, iPad and Mac.

- ``fp32``; ``fp16``, which the Apple Neural Engine needs (`sartor.export.ane` says what else).
- ``int8-weights``, ``int4-weights``: weights alone, symmetric, one scale a channel; ``palette6``, ``palette4``: 64 or
  16 values a tensor. All compute in float16.

The compute units that a file asks for are processor and Neural Engine; an app chooses others when it loads the file.
Converting works on Linux; predicting needs macOS, so elsewhere a file is written without having been compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import InputError
from sartor.export._exporter import (
    Exporter,
    Loaded,
    Precision,
    converting,
    feeds_of,
    input_names,
    quiet,
)
from sartor.export._ort import need
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "coreml", "sartor.export.coreml:EXPORTER",
    summary="Core ML (.mlpackage): iPhone, iPad, Mac, Apple Neural Engine",
    extra="coreml",
    citation="https://apple.github.io/coremltools",
)

FEATURE = "exporting to Core ML"
EXTRA = "coreml"
_LEAST_QUANTISED = 128
"""Elements of the smallest weight that is compressed: below it the scales cost more than they save."""


def write(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: Path,
    precision: Precision,
    calibration: Sequence[tuple[Any, ...]],
    dynamic: bool,
) -> tuple[str, ...]:
    """Converts and writes; see `sartor.export.Exporter`."""
    import torch

    from sartor.devices._execution import tensors_in

    with quiet("coremltools"):
        ct = need("coremltools", FEATURE, EXTRA)
    names = input_names(len(list(tensors_in(inputs))))
    with converting(module, inputs, "Core ML", "coremltools"):
        program = torch.export.export(module, inputs).run_decompositions({})
        model = ct.convert(
            program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16,
            compute_units=ct.ComputeUnit.CPU_AND_NE, inputs=[ct.TensorType(name=name) for name in names],
            skip_model_load=sys.platform != "darwin",
        )
        model = _compressed(ct, model, precision)
    with quiet("coremltools"):
        model.save(str(path))
    return ()


def _compressed(ct: Any, model: Any, precision: Precision) -> Any:
    optimize = need("coremltools.optimize.coreml", FEATURE, EXTRA)
    if precision in ("palette6", "palette4"):
        options = optimize.OpPalettizerConfig(nbits=int(precision[-1]), weight_threshold=_LEAST_QUANTISED)
        return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=options))
    if precision in ("int8-weights", "int4-weights"):
        options = optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype=precision.partition("-")[0], granularity="per_channel",
            weight_threshold=_LEAST_QUANTISED,
        )
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=options))
    return model


def describe(path: Path, texts: Mapping[str, str]) -> None:
    """Puts the description into the model's own metadata."""
    with quiet("coremltools"):
        utils = need("coremltools", FEATURE, EXTRA).utils
        file = model_file(path)
        spec = utils.load_spec(str(file))
        for key, value in texts.items():
            spec.description.metadata.userDefined[f"sartor.{key}"] = value
        file.write_bytes(spec.SerializeToString())


def model_file(package: Path) -> Path:
    """Returns the program within a .mlpackage; its weights are in another file.

    Raises:
        InputError: there is none.
    """
    models = sorted(package.glob("Data/**/*.mlmodel"))
    if not models:
        raise InputError(f"{package} holds no Core ML model: export it again")
    return models[0]


def unrunnable() -> str:
    """Returns why nothing here runs Core ML, or ""."""
    return "" if sys.platform == "darwin" else "not run here: Core ML predicts on macOS alone"


def load(path: Path) -> Loaded:
    """Returns a package brought to run by Core ML; macOS alone."""
    with quiet("coremltools"):
        ct = need("coremltools", FEATURE, EXTRA)
        model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_AND_NE)
    names = [entry.name for entry in model.get_spec().description.input]
    outputs = [entry.name for entry in model.get_spec().description.output]

    def prepare(arrays: Sequence[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        feeds = feeds_of(names, arrays)

        def run() -> list[np.ndarray]:
            found = model.predict(feeds)
            return [found[name] for name in outputs]

        return run

    return Loaded(prepare)


EXPORTER = Exporter(
    name="coreml", title="Core ML", suffix=".mlpackage",
    precisions=("fp32", "fp16", "int8-weights", "int4-weights", "palette6", "palette4"), extra=EXTRA,
    packages=("coremltools",), write=write, load=load, describe=describe, unrunnable=unrunnable,
    folder=True,
)
