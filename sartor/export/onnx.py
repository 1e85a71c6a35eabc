"""ONNX: torch's exporter, the description in the file's metadata, and a check against torch before it is kept."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import __version__
from sartor.errors import ExportError, InputError
from sartor.export._ort import need, session

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

PREFIX = "sartor."
"""Before each key of the metadata; values are JSON."""

FEATURE = "exporting to ONNX"
_NUM_RANDOM_INPUTS = 3
_TRACED_BATCH = 2  # torch.export takes a dimension of size 1 for a constant


@dataclass(frozen=True)
class ExportReport:
    """What was written and how far it was checked.

    Attributes:
        path: The file.
        bytes: Its size.
        opset: Version of the standard operators.
        dynamic_batch: It takes batches of any size; else of size 1 only.
        largest_difference: Over all checked inputs and outputs, relative to the output's scale.
        num_checked: Number of inputs on which it was compared with torch.
    """

    path: Path
    bytes: int
    opset: int
    dynamic_batch: bool
    largest_difference: float
    num_checked: int


def export_onnx(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: str | Path,
    *,
    description: Mapping[str, Any],
    tolerance: float = 1e-4,
) -> ExportReport:
    """Writes a network as ONNX, checked against torch on random inputs before it is kept.

    The batch dimension is dynamic where the network allows it. The module, in whatever mode it is, is exported in
    eval mode and left as it was. Nothing is left behind when it fails; an older file stays.

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
    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package, FEATURE)
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent} to write {path.name} into: make it first")
    if path.is_dir():
        raise InputError(f"expected a file to write, got the folder {path}")
    metadata = _metadata(description)
    problems = []
    for dynamic in (True, False) if _batched(inputs) else (False,):
        try:
            model = _convert(module, inputs, dynamic)
        except ExportError as error:
            problems.append(error)
            continue
        _describe(model, metadata)
        try:
            return _keep(model, module, inputs, path, dynamic, tolerance)
        except _Differs as error:
            problems.append(error)
    raise problems[-1]


class _Differs(ExportError):
    """The file does not compute what the network does."""


def _metadata(description: Mapping[str, Any]) -> dict[str, str]:
    try:
        found = {f"{PREFIX}{key}": json.dumps(value, allow_nan=False) for key, value in description.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a description that is JSON: {error}") from error
    return {f"{PREFIX}version": json.dumps(__version__), **found}


def _batched(inputs: tuple[Any, ...]) -> bool:
    from sartor.devices._execution import tensors_in

    sizes = {tensor.shape[0] if tensor.dim() else None for tensor in tensors_in(inputs)}
    return sizes == {1}


# --- conversion


def _convert(module: nn.Module, inputs: tuple[Any, ...], dynamic: bool) -> ModelProto:
    import torch

    from sartor.devices._execution import map_tensors, tensors_in

    shapes: Any = None
    with evaluating(module), torch.random.fork_rng(devices=[]):
        outputs = _names("output", len(_compute(module, inputs)))
    if dynamic:
        batch = torch.export.Dim("batch")
        inputs = map_tensors(inputs, lambda tensor: torch.cat([tensor] * _TRACED_BATCH))
        shapes = map_tensors(inputs, lambda tensor: {0: batch})
    names = _names("input", len(list(tensors_in(inputs))))
    with evaluating(module), _quiet(), torch.random.fork_rng(devices=[]):
        try:
            program = torch.onnx.export(
                module, inputs, dynamo=True, dynamic_shapes=shapes, input_names=names, output_names=outputs,
                external_data=False, verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch cannot export this network to ONNX: {_first_cause(error)}") from error
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
        names = _names("input", len(inputs))
        with evaluating(module), _quiet(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                torch.onnx.export(
                    module, inputs, buffer, dynamo=False, input_names=names, verbose=False,  # type: ignore[arg-type]
                )
                return buffer.getvalue(), "torchscript"
            except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError):
                # Tracing turns sizes into tensors, which many functions refuse, each with an error of its own.
                pass
    return _convert(module, inputs, dynamic=False).SerializeToString(), "torch.export"


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into eval mode and, afterwards, each part back into the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class _Drop(logging.Filter):
    """Drops what the exporter says of packages that are not there and of graphs that it then raises about."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR


@contextmanager
def _quiet() -> Iterator[None]:
    import torch

    loggers = [
        logging.getLogger(name)
        for name in ("torch.onnx._internal.exporter._registration", "torch.fx.experimental.symbolic_shapes")
    ]
    drop = _Drop()
    for logger in loggers:
        logger.addFilter(drop)
    try:
        # torch.export prints the graph that it then raises about.
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            # typing_extensions, through torch's own copy of a tree specification.
            warnings.filterwarnings("ignore", r".*LeafSpec.*is deprecated", FutureWarning)
            # Several inputs share one batch dimension, as meant.
            warnings.filterwarnings("ignore", r"# The axis name: batch will not be used", UserWarning)
            warnings.filterwarnings("ignore", r"You are using the legacy TorchScript-based ONNX", DeprecationWarning)
            warnings.filterwarnings("ignore", r"The feature will be removed\. Please remove usage", DeprecationWarning)
            # Shapes read while tracing become constants, which is what is wanted of a file of fixed shapes.
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)


def _describe(model: ModelProto, metadata: Mapping[str, str]) -> None:
    """Sets the metadata, and takes out the exporter's notes on nodes, which quote source files of this machine."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "sartor", __version__
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        del graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]


# --- check


def _keep(
    model: ModelProto, module: nn.Module, inputs: tuple[Any, ...], path: Path, dynamic: bool, tolerance: float
) -> ExportReport:
    """Writes beside ``path``, checks what was written, and only then takes its name."""
    onnx = need("onnx", FEATURE)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with open(partial, "wb") as file:
                file.write(model.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror}") from error
        onnx.checker.check_model(str(partial), full_check=True)
        largest, checked = _compare(partial, module, inputs, dynamic)
        if not largest <= tolerance:
            raise _Differs(
                f"the exported network differs from torch by {largest:.3g} of the output's scale, more than the"
                f" {tolerance:g} allowed (on {checked} random inputs): {path} was not written"
            )
        size = partial.stat().st_size
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    return ExportReport(path, size, opset, dynamic, largest, checked)


def _compare(file: Path, module: nn.Module, inputs: tuple[Any, ...], dynamic: bool) -> tuple[float, int]:
    """Returns the largest difference relative to the output's scale, and on how many inputs."""
    import torch

    from sartor.devices._execution import map_tensors, tensors_in

    runtime = session(str(file), FEATURE)
    refused = _refusals()
    names = [entry.name for entry in runtime.get_inputs()]
    generator = torch.Generator().manual_seed(0)
    largest, checked = 0.0, 0
    batches = (1, _TRACED_BATCH, 5) if dynamic else (1,)
    with evaluating(module), torch.random.fork_rng(devices=[]):
        for i in range(_NUM_RANDOM_INPUTS * len(batches)):
            batch = batches[i % len(batches)]
            drawn = map_tensors(inputs, lambda tensor, batch=batch: _random_like(tensor, batch, generator))  # type: ignore[misc]
            wanted = _compute(module, drawn)
            # Inputs that the network does not read are not in the file.
            feeds = dict(zip(_names("input", len(list(tensors_in(drawn)))), tensors_in(drawn), strict=True))
            try:
                given = runtime.run(None, {name: feeds[name].numpy() for name in names})
            except refused as error:
                raise _Differs(f"the exported network does not run on a batch of {batch}: {error}") from error
            for ours, theirs in zip(given, wanted, strict=True):
                largest = max(largest, _difference(np.asarray(ours), theirs.numpy()))
            checked += 1
    return largest, checked


def _refusals() -> tuple[type[Exception], ...]:
    """Returns what ONNX Runtime raises where a network does not take its input; they have no base of their own."""
    state = need("onnxruntime.capi.onnxruntime_pybind11_state", FEATURE)
    return (state.Fail, state.InvalidArgument, state.RuntimeException)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference relative to the scale of ``theirs``; infinite where there is none to take."""
    if ours.shape != theirs.shape:
        return float("inf")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not b.size:
        return 0.0
    found = float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b)))))
    return found if np.isfinite(found) else float("inf")


def _random_like(tensor: Tensor, batch: int, generator: Any) -> Tensor:
    """Returns an input like the example: uniform 0..1 for real numbers, the example's own values otherwise."""
    import torch

    shape = (batch * tensor.shape[0], *tensor.shape[1:]) if tensor.dim() else tensor.shape
    if tensor.is_floating_point():
        return torch.rand(shape, generator=generator, dtype=tensor.dtype)
    index = torch.randint(tensor.numel(), shape, generator=generator)
    return tensor.reshape(-1)[index]


def _compute(module: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    import torch

    from sartor.devices._execution import tensors_in

    with torch.no_grad():
        return [tensor.detach() for tensor in tensors_in(module(*inputs))]
