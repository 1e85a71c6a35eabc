"""ONNX: torch's exporter, the description in the file's metadata, and a check against torch before it is kept.

- ``fp32``, and ``fp16`` with inputs and outputs in float32.
- ``int8``: static quantisation by ONNX Runtime, 8-bit weights a channel and 8-bit activations a tensor (ranges:
  smallest and largest value seen), as pairs of QuantizeLinear and DequantizeLinear.
- ``int8-weights``, ``int4-weights``: the weights of convolutions and matrix products, symmetric, one scale a channel,
  behind a DequantizeLinear each; computed in float32.

The batch is of any size where the network allows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from sartor._modes import evaluating
from sartor.errors import ExportError
from sartor.export._exporter import (
    TRACED_BATCH,
    Exporter,
    ExportReport,
    Loaded,
    Precision,
    arrays_of,
    compute,
    feeds_of,
    names_of,
    quiet,
    refused,
    unsupported,
)
from sartor.export._ort import need, quantise, session
from sartor.registry import Spec

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

SPEC = Spec(
    "onnx", "sartor.export.onnx:EXPORTER",
    summary="ONNX, one file: runs nearly everywhere; ONNX Runtime here",
    extra="onnx",
    citation="https://onnx.ai",
)

PREFIX = "sartor."
"""Before each key of the metadata; values are JSON."""

FEATURE = "exporting to ONNX"
_LOGGERS = ("torch.onnx._internal.exporter._registration",)
_INT4_OPSET = 21
"""From here on DequantizeLinear takes 4-bit integers."""
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
"""Of the outputs, in the weight of each operator whose weights are quantised."""


def export_onnx(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: str | Path,
    *,
    description: Mapping[str, Any],
    tolerance: float = 1e-4,
) -> ExportReport:
    """Writes a network as ONNX in float32, checked against torch on random inputs before it is kept.

    Args:
        module: The deployed network.
        inputs: Example inputs, batch size 1.
        path: Where to write; the folder must exist.
        description: JSON-able; each entry becomes one of the file's metadata, beside Sartor's version.
        tolerance: Largest allowed difference of an output from torch's, relative to the output's largest magnitude
            (or to 1 where that is less).

    Raises:
        ExportError: the network cannot be exported, differs from torch, or cannot be written.
        InputError: there is no such folder, or the description is not JSON.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    return EXPORTER.export(module, inputs, path, description=description, tolerance=tolerance)


def write(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: Path,
    precision: Precision,
    calibration: Sequence[tuple[Any, ...]],
    dynamic: bool,
) -> tuple[str, ...]:
    """Converts and writes; see `sartor.export.Exporter`."""
    onnx = need("onnx", FEATURE)
    model = _convert(module, inputs, dynamic)
    _clean(model)
    notes: tuple[str, ...] = ()
    if precision == "fp16":
        # Its own converter: a module in half precision would want inputs in half precision.
        convert = need("onnxruntime.transformers.float16", FEATURE).convert_float_to_float16
        ordered = need("onnxruntime.transformers.onnx_model", FEATURE).OnnxModel
        with quiet():
            model = convert(model, keep_io_types=True)
            ordered(model).topological_sort()
    elif precision == "int8":
        model = _quantised(model, path, calibration)
    elif precision in ("int8-weights", "int4-weights"):
        model, notes = _weights_only(model, 8 if precision == "int8-weights" else 4)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)
    return notes


def describe(path: Path, texts: Mapping[str, str]) -> None:
    """Sets the metadata of a written file."""
    from sartor import __version__

    onnx = need("onnx", FEATURE)
    model = onnx.load(path)
    del model.metadata_props[:]
    for key, value in texts.items():
        model.metadata_props.add(key=f"{PREFIX}{key}", value=value)
    model.producer_name, model.producer_version = "sartor", __version__
    path.write_bytes(model.SerializeToString())


def load(path: Path) -> Loaded:
    """Returns a file brought to run by ONNX Runtime."""
    runtime = session(str(path), FEATURE)
    refusals = _refusals()
    names = [entry.name for entry in runtime.get_inputs()]
    dynamic = any(entry.shape and isinstance(entry.shape[0], str) for entry in runtime.get_inputs())

    def prepare(arrays: Sequence[np.ndarray]) -> Any:
        # Inputs that the network does not read are not in the file.
        feeds = feeds_of(names, arrays)

        def run() -> list[np.ndarray]:
            try:
                return [np.asarray(output) for output in runtime.run(None, feeds)]
            except refusals as error:
                raise refused(arrays, error) from error

        return run

    return Loaded(prepare, dynamic)


# --- conversion


def _convert(module: nn.Module, inputs: tuple[Any, ...], dynamic: bool) -> ModelProto:
    import torch

    from sartor.devices._execution import map_tensors, tensors_in

    shapes: Any = None
    with evaluating(module), torch.random.fork_rng(devices=[]):
        outputs = names_of("output", len(compute(module, inputs)))
    if dynamic:
        batch = torch.export.Dim("batch")
        inputs = map_tensors(inputs, lambda tensor: torch.cat([tensor] * TRACED_BATCH))
        shapes = map_tensors(inputs, lambda tensor: {0: batch})
    names = names_of("input", len(list(tensors_in(inputs))))
    problem = None
    with evaluating(module), quiet(*_LOGGERS), torch.random.fork_rng(devices=[]):
        try:
            program = torch.onnx.export(
                module, inputs, dynamo=True, dynamic_shapes=shapes, input_names=names, output_names=outputs,
                external_data=False, verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            problem = error
    if problem is not None:
        raise unsupported(module, inputs, problem, "ONNX") from problem
    if program is None:
        raise ExportError("torch returned no ONNX program")
    return program.model_proto


def convert_to_measure(module: nn.Module, inputs: tuple[Any, ...], feature: str) -> tuple[bytes, str]:
    """Returns a serialised model with fixed shapes, to be timed and thrown away, and the name of the exporter.

    torch's TorchScript exporter takes 0.1 s a network where the modern one takes seconds; ONNX Runtime runs what
    either makes equally fast (``sartor.devices.cpu`` has the figures). It is on its way out, and traces fewer
    networks: where it is gone or fails, the modern one is used.

    Raises:
        ExportError: neither exporter can.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    import torch

    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package, feature)
    if find_spec("torch.onnx._internal.torchscript_exporter") is not None:
        buffer = BytesIO()
        names = names_of("input", len(inputs))
        # torch 2.13 prints the whole graph where it fails, asked or not: it takes a function for what it returns.
        unlogged = mock.patch.object(torch._C, "_jit_onnx_log", lambda *said: None)
        with evaluating(module), quiet(*_LOGGERS), unlogged, torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                torch.onnx.export(
                    module, inputs, buffer, dynamo=False, input_names=names, verbose=False,  # type: ignore[arg-type]
                )
                return buffer.getvalue(), "torchscript"
            except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError):
                # Tracing turns sizes into tensors, which many functions refuse, each with an error of its own.
                pass
    return _convert(module, inputs, dynamic=False).SerializeToString(), "torch.export"


def _clean(model: ModelProto) -> None:
    """Takes out the exporter's notes on nodes, which quote source files of this machine."""
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        del graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]


def _refusals() -> tuple[type[Exception], ...]:
    """Returns what ONNX Runtime raises where a network does not take its input; they have no base of their own."""
    state = need("onnxruntime.capi.onnxruntime_pybind11_state", FEATURE)
    return (state.Fail, state.InvalidArgument, state.RuntimeException)


# --- quantisation


def _quantised(model: ModelProto, path: Path, calibration: Sequence[tuple[Any, ...]]) -> ModelProto:
    onnx = need("onnx", FEATURE)
    names = [entry.name for entry in model.graph.input]
    feeds = (feeds_of(names, arrays) for arrays in map(arrays_of, calibration))
    with quiet():
        quantise(model, str(path), feeds, FEATURE)
    found: ModelProto = onnx.load(path)
    return found


def _weights_only(model: ModelProto, bits: int) -> tuple[ModelProto, tuple[str, ...]]:
    """Quantises weights, symmetric, a scale a channel of the outputs; small ones (biases, norms) stay."""
    onnx = need("onnx", FEATURE)
    if bits == 4 and model.opset_import[0].version < _INT4_OPSET:
        model = onnx.version_converter.convert_version(model, _INT4_OPSET)
    weights = {entry.name: entry for entry in model.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    new, quantised = [], 0
    for node in model.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if node.op_type not in _CHANNEL_AXIS or name not in weights or len(readers[name]) != 1:
            continue
        values = onnx.numpy_helper.to_array(weights[name])
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        axis = _CHANNEL_AXIS[node.op_type] % values.ndim
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            axis = 0
        top = 2 ** (bits - 1) - 1
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.maximum(np.abs(values).max(axis=others), np.finfo(np.float32).tiny) / top
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        codes = np.clip(np.rint(values / scale.reshape(shape)), -top, top).astype(np.int8)
        kind = onnx.TensorProto.INT8 if bits == 8 else onnx.TensorProto.INT4
        model.graph.initializer.remove(weights[name])
        model.graph.initializer.extend([
            onnx.helper.make_tensor(f"{name}.codes", kind, codes.shape, codes.ravel().tolist()),
            onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
        ])
        new.append(onnx.helper.make_node(
            "DequantizeLinear", [f"{name}.codes", f"{name}.scale"], [name], name=f"{name}.dequantise", axis=axis
        ))
        quantised += 1
    nodes = [*new, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model, (() if quantised else ("no weight of a convolution or matrix product to quantise",))


EXPORTER = Exporter(
    name="onnx", title="ONNX", suffix=".onnx",
    precisions=("fp32", "fp16", "int8", "int8-weights", "int4-weights"), extra="onnx",
    packages=("onnx", "onnxscript", "onnxruntime"), write=write, load=load, describe=describe, dynamic_batch=True,
)
