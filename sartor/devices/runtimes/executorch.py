"""ExecuTorch with XNNPACK on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "executorch", "sartor.devices.runtimes.executorch:ExecuTorch",
    summary="ExecuTorch, float32, one thread",
    extra="executorch",
    citation="https://docs.pytorch.org/executorch",
)


class ExecuTorch:
    """Runs what `sartor.export.executorch` writes."""

    title = "ExecuTorch"

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs the network once.

        Raises:
            ExportError: the network cannot be brought to ExecuTorch.
            MissingExtraError: a package is not installed.
        """
        from sartor.devices.runtimes._files import prepare_file

        return prepare_file("executorch", module, inputs)
