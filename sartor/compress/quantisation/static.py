"""int8 weights and activations after training: an ONNX file that ONNX Runtime's integer kernels run.

Jacob et al. 2018, arXiv:1712.05877, by ONNX Runtime's own quantiser: activations' ranges come from calibration inputs,
weights have a step for each output channel. It is what makes a network faster on a processor; fewer bits of
weights alone do not.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.compress.calibration import finite, inputs_of
from sartor.compress.quantisation.weight_only import FEATURE, checked_paths
from sartor.errors import ExportError, InputError
from sartor.export._exporter import quiet
from sartor.export._ort import need, quantise, session

Ranges = Literal["minmax", "entropy", "percentile"]
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_METHODS: Mapping[Ranges, str] = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


@dataclass(frozen=True)
class StaticReport:
    """What was written.

    Attributes:
        path: The file.
        bytes: Its size.
        bytes_before: Size of the file that it was made of.
        num_quantised: Convolutions and matrix products whose weights have 8 bits.
    """

    path: Path
    bytes: int
    bytes_before: int
    num_quantised: int


def quantise_static(
    source: str | Path,
    path: str | Path,
    batches: Iterable[Any],
    *,
    ranges: Ranges = "minmax",
    skip: Iterable[str] = (),
) -> StaticReport:
    """Writes an int8 file of an ONNX file; its metadata (class names, preprocessing) are kept.

    Args:
        source: An ONNX file of floats, e.g. of `sartor.export.onnx.export_onnx`; left as it is.
        path: Where to write.
        batches: Inputs as the file takes them, an array or tensor, or the tuple of all; 100 to 500 rows in all.
        ranges: Of activations: all that was seen; least divergence of histograms; the 99.99th percentile.
        skip: Names of the file's nodes to leave in floats.

    Raises:
        DataError: calibration inputs that are not finite.
        ExportError: ONNX Runtime cannot quantise this network.
        InputError: no such file or folder, no inputs, or inputs that the file does not take.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    source, path = checked_paths(source, path)
    onnx, quantization = need("onnx", FEATURE), need("onnxruntime.quantization", FEATURE)
    inputs = [tuple(np.asarray(value) for value in inputs_of(batch)) for batch in finite(batches)]
    feeds = _feeds(source, inputs)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantise(str(prepared), str(partial), feeds, FEATURE, ranges=_METHODS[ranges], skip=list(skip))
            model = onnx.load(partial)
            known = {entry.key for entry in model.metadata_props}
            for entry in onnx.load(source).metadata_props:
                if entry.key not in known:
                    model.metadata_props.add(key=entry.key, value=entry.value)
            onnx.save(model, partial)
            session(str(partial), FEATURE).run(None, feeds[0])
            os.replace(partial, path)
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise ExportError(f"ONNX Runtime cannot quantise {source}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
    weights = {value.name for value in model.graph.initializer if value.data_type == onnx.TensorProto.UINT8}
    read = {name for node in model.graph.node if node.op_type in _WITH_WEIGHTS for name in node.input[:2]}
    num_quantised = sum(
        node.op_type == "DequantizeLinear" and node.input[0] in weights and node.output[0] in read
        for node in model.graph.node
    )
    return StaticReport(path, path.stat().st_size, source.stat().st_size, num_quantised)


def _feeds(source: Path, inputs: list[tuple[np.ndarray, ...]]) -> list[dict[str, np.ndarray]]:
    """Returns what the file is given, row by row where it takes single rows, checked by a first run."""
    runtime = session(str(source), FEATURE)
    entries = runtime.get_inputs()
    if len(inputs[0]) != len(entries):
        raise InputError(f"{source} takes {len(entries)} inputs, a calibration batch has {len(inputs[0])}")
    single = entries[0].shape and entries[0].shape[0] == 1
    rows = [tuple(value[i : i + 1] for value in batch) for batch in inputs for i in range(len(batch[0]))]
    names = [entry.name for entry in entries]
    feeds = [dict(zip(names, batch, strict=True)) for batch in (rows if single else inputs)]
    state = need("onnxruntime.capi.onnxruntime_pybind11_state", FEATURE)
    try:
        runtime.run(None, feeds[0])
    except (state.Fail, state.InvalidArgument, state.RuntimeException) as error:
        raise InputError(f"{source} does not take the calibration inputs: {error}") from error
    return feeds
