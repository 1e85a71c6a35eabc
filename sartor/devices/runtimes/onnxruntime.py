"""ONNX Runtime's own kernels for processors, on one thread, all graph optimisations on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "onnxruntime", "sartor.devices.runtimes.onnxruntime:OnnxRuntime",
    summary="ONNX Runtime, float32, one thread",
    extra="onnx",
    citation="https://onnxruntime.ai",
)

FEATURE = "measuring latency"


class OnnxRuntime:
    """Runs what torch exports, with fixed shapes."""

    title = "ONNX Runtime"

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs the network once.

        Raises:
            ExportError: the network cannot be brought to ONNX.
            MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        """
        from sartor.export._exporter import arrays_of, feeds_of
        from sartor.export._ort import session
        from sartor.export.onnx import convert_to_measure

        model, _ = convert_to_measure(module, inputs, FEATURE)
        runtime = session(model, FEATURE)
        feeds = feeds_of((entry.name for entry in runtime.get_inputs()), arrays_of(inputs))
        return lambda: runtime.run(None, feeds)
