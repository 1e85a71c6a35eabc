"""ONNX Runtime on one thread, as it is measured, checked and used everywhere here."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from sartor.errors import MissingExtraError

if TYPE_CHECKING:
    import onnxruntime


def need(package: str, feature: str) -> ModuleType:
    """Imports an optional package of the ``onnx`` extra.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or package.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise MissingExtraError(feature, package.partition(".")[0], "onnx") from error


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
