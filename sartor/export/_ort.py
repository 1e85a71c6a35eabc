"""ONNX Runtime on one thread, as it is measured, checked and used everywhere here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from sartor.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from onnx import ModelProto


def need(package: str, feature: str, extra: str = "onnx") -> ModuleType:
    """Imports an optional package.

    Args:
        package: Or a module of it.
        feature: What for.
        extra: Dependency group that has it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or package.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise MissingExtraError(feature, package.partition(".")[0], extra) from error


def session(model: bytes | str, feature: str, *, profile: str | None = None) -> onnxruntime.InferenceSession:
    """Returns a session on one thread (intra and inter 1, sequential), all graph optimisations on.

    Args:
        model: Serialised model, or the path of a file.
        feature: What needs it, for the message when the package is missing.
        profile: Beginning of the path where the time of each operator is written, or None.
    """
    ort = need("onnxruntime", feature)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantise(
    model: ModelProto | str,
    path: str,
    feeds: Iterable[Mapping[str, np.ndarray]],
    feature: str,
    *,
    ranges: str = "MinMax",
    skip: Sequence[str] = (),
) -> None:
    """Writes a model with uint8 weights, a scale a channel, and uint8 activations, in pairs of quantise and dequantise.

    Weights without a sign: x86 processors with AVX2 alone add products of signed ones in 16 bits, which overflow (ONNX
    Runtime's page on quantisation), so that the same file was .12 off on one processor and .01 on another.

    Args:
        model: Of floats, or its file.
        path: Where to write.
        feeds: Inputs by name, from which activations take their ranges.
        feature: What for, in the error of a missing package.
        ranges: How: a name of ONNX Runtime's calibration methods.
        skip: Nodes to leave in floats.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    quantization = need("onnxruntime.quantization", feature)
    left = iter(feeds)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(left, None)

    quantization.quantize_static(
        model, path, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QUInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, ranges), nodes_to_exclude=list(skip),
    )  # fmt: skip
