"""OpenVINO IR, for Intel processors, graphics and NPUs: an .xml file with its .bin beside, by way of ONNX.

- ``fp32``; ``fp16`` keeps the weights in 16 bits (what computes in 16 bits is the device's choice).
- ``int8``: post-training quantisation by NNCF, symmetric weights, with fast bias correction. Ranges are the smallest
  and largest value seen: NNCF's own default, the mean over the samples of each one's largest, clips half of them (root
  mean square difference 0.106 against 0.019 on a network of the images task).
- ``int8-weights``, ``int4-weights``: NNCF's weight compression, symmetric. It gives 4 bits to matrix products alone;
  convolutions then get 8, and the report says how many.

torch's own route into OpenVINO is not taken: int8 of depthwise convolutions fails to compile on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ExportError
from sartor.export._exporter import (
    Exporter,
    Loaded,
    Precision,
    arrays_of,
    feeds_of,
    first_cause,
    position,
    quiet,
    refused,
)
from sartor.export._ort import need
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "openvino", "sartor.export.openvino:EXPORTER",
    summary="OpenVINO IR (.xml and .bin): Intel processors, graphics, NPUs",
    extra="openvino",
    citation="https://docs.openvino.ai",
)

FEATURE = "exporting to OpenVINO"
EXTRA = "openvino"
ONE_THREAD: Mapping[str, Any] = {
    # Its default is bf16 on some processors, which is no comparison with float32.
    "INFERENCE_PRECISION_HINT": "f32",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
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
    from sartor.export.onnx import write as write_onnx

    between = path.with_suffix(".onnx")
    try:
        write_onnx(module, inputs, between, "fp32", (), dynamic)
        model = converted(between)
        notes: tuple[str, ...] = ()
        if precision == "int8":
            model = _quantised(model, calibration)
        elif precision in ("int8-weights", "int4-weights"):
            model, notes = _compressed(model, precision)
        need("openvino", FEATURE, EXTRA).save_model(model, path, compress_to_fp16=precision == "fp16")
    finally:
        between.unlink(missing_ok=True)
    return notes


def converted(path: Path) -> Any:
    """Returns OpenVINO's model of an ONNX file.

    Raises:
        ExportError: it lacks an operation.
    """
    ov = need("openvino", FEATURE, EXTRA)
    try:
        with quiet():
            # As ov.convert_model does, which also starts a process that tells Intel of it.
            model = ov.Core().read_model(path)
            need("openvino._offline_transformations", FEATURE, EXTRA).apply_moc_transformations(model, cf=False)
            return model
    except RuntimeError as error:
        named = re.findall(r"op(?:eration)?s?:?\s+([\w.]+-\d+|\w+)", str(error))
        which = f" (ONNX operations {', '.join(dict.fromkeys(named))})" if named else ""
        raise ExportError(f"OpenVINO cannot read this network{which}: {first_cause(error)[:600]}") from error


def _nncf() -> Any:
    # Without it NNCF starts a process that tells Intel of each call.
    os.environ.setdefault("NNCF_CI", "1")
    return need("nncf", FEATURE, EXTRA)


def _quantised(model: Any, calibration: Sequence[tuple[Any, ...]]) -> Any:
    nncf = _nncf()
    ranges = need("nncf.quantization.range_estimator", FEATURE, EXTRA).RangeEstimatorParametersSet
    names = [entry.any_name for entry in model.inputs]

    def feeds(given: tuple[Any, ...]) -> dict[str, np.ndarray]:
        arrays = arrays_of(given)
        return feeds_of(names, arrays)

    with quiet("nncf"):
        return nncf.quantize(
            model, nncf.Dataset(list(calibration), feeds), subset_size=len(calibration),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges.MINMAX,
                # All layers by half the range of weights: AVX2 alone adds in 16 bits, which overflow.
                overflow_fix=nncf.OverflowFix.ENABLE,
            ),
        )


def _compressed(model: Any, precision: Precision) -> tuple[Any, tuple[str, ...]]:
    nncf = _nncf()
    with quiet("nncf"):
        if precision == "int8-weights":
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), ()
        model = nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode.INT4_SYM, ratio=1.0, group_size=-1, all_layers=True
        )
    kinds = [node.get_element_type().get_type_name() for node in model.get_ops() if node.get_type_name() == "Constant"]
    eight = sum(kind in ("i8", "u8") for kind in kinds)
    four = sum(kind in ("i4", "u4") for kind in kinds)
    if not eight:
        return model, ()
    return model, (f"{four} weights have 4 bits, {eight} have 8: NNCF gives 4 bits to matrix products alone",)


def describe(path: Path, texts: Mapping[str, str]) -> None:
    """Puts the description into the IR, as run-time information under ``sartor``."""
    ov = need("openvino", FEATURE, EXTRA)
    model = ov.Core().read_model(path)
    for key, value in texts.items():
        model.set_rt_info(value, ["sartor", key])
    # In place it would read the weights from the file that it is writing.
    copied = path.with_name(f"{path.stem}.described.xml")
    ov.save_model(model, copied, compress_to_fp16=False)
    del model
    for suffix in (".bin", ".xml"):
        copied.with_suffix(suffix).replace(path.with_suffix(suffix))


def load(path: Path) -> Loaded:
    """Returns an IR compiled for one thread of this processor, in float32 where it does not say int8."""
    ov = need("openvino", FEATURE, EXTRA)
    try:
        return loaded(ov.Core().compile_model(path, "CPU", dict(ONE_THREAD)))
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot compile {path.name}: {first_cause(error)[:600]}") from error


def loaded(model: Any) -> Loaded:
    """Returns a compiled model brought to run."""
    ov = need("openvino", FEATURE, EXTRA)
    request = model.create_infer_request()
    places = [position(entry.any_name) for entry in model.inputs]
    dynamic = any(entry.partial_shape.rank.get_length() and entry.partial_shape[0].is_dynamic for entry in model.inputs)

    def prepare(arrays: Sequence[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        try:
            for i, place in enumerate(places):
                request.set_input_tensor(i, ov.Tensor(np.ascontiguousarray(arrays[place])))
        except RuntimeError as error:
            raise refused(arrays, error) from error
        # Fixed shapes keep their memory; asking for it anew takes 15 us, half of what a small network does.
        kept = None if dynamic else [request.get_output_tensor(i).data for i in range(len(model.outputs))]

        def run() -> list[np.ndarray]:
            try:
                request.infer()
            except RuntimeError as error:
                raise refused(arrays, error) from error
            return [tensor.data for tensor in request.output_tensors] if kept is None else kept

        return run

    return Loaded(prepare, dynamic)


EXPORTER = Exporter(
    name="openvino", title="OpenVINO", suffix=".xml",
    precisions=("fp32", "fp16", "int8", "int8-weights", "int4-weights"), extra=EXTRA,
    packages=("onnx", "onnxscript", "openvino"), write=write, load=load, describe=describe,
    dynamic_batch=True, beside=(".bin",),
)
