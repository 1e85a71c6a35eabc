"""ONNX Runtime's own kernels for processors, on one thread, all graph optimisations on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.registry import Spec

if TYPE_CHECKING:
    import numpy as np
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
        from sartor.export._ort import session
        from sartor.export.onnx import convert_to_measure

        model, _ = convert_to_measure(module, inputs, FEATURE)
        runtime = session(model, FEATURE)
        feeds = feeds_for([entry.name for entry in runtime.get_inputs()], inputs)
        return lambda: runtime.run(None, feeds)


def feeds_for(names: list[str], inputs: tuple[Any, ...]) -> dict[str, np.ndarray]:
    """Returns the inputs under the names that the exporter gave them; what the network does not read has none."""
    from sartor.devices._execution import tensors_in

    arrays = [tensor.detach().cpu().numpy() for tensor in tensors_in(inputs)]
    return {name: arrays[int(name.rpartition("_")[2]) if "_" in name else 0] for name in names}
