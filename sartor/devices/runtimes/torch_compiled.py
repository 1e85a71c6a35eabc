"""Torch's own compiler (TorchInductor, which needs a C++ compiler) on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.errors import ExportError
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "torch-compiled", "sartor.devices.runtimes.torch_compiled:TorchCompiled",
    summary="torch.compile (TorchInductor), float32, one thread; takes 5 to 60 s to compile",
    citation="https://docs.pytorch.org/docs/stable/torch.compiler.html",
)


class TorchCompiled:
    """Runs what torch.compile makes of the module."""

    title = "torch compiled"

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs the compiled module in eval mode; compiles it here.

        Raises:
            ExportError: it cannot be compiled, or there is no C++ compiler.
        """
        import torch

        from sartor._threads import one_thread
        from sartor.devices.runtimes.torch_eager import copy_to_run
        from sartor.export._exporter import quiet

        # Code compiled for one thread has no threads in it, whatever the setting is when it runs.
        with one_thread(), quiet("torch._inductor", "torch._dynamo"):
            network = torch.compile(copy_to_run(module))
            try:
                with torch.inference_mode():
                    network(*inputs)
            except RuntimeError as error:
                text = str(error).strip().splitlines()
                raise ExportError(f"torch cannot compile this network: {text[0] if text else error!r}") from error

        def run() -> object:
            with torch.inference_mode():
                return network(*inputs)

        return run
