"""LiteRT with XNNPACK on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "litert", "sartor.devices.runtimes.litert:LiteRt",
    summary="LiteRT, float32, one thread",
    extra="litert",
    citation="https://ai.google.dev/edge/litert",
)


class LiteRt:
    """Runs what `sartor.export.litert` writes."""

    title = "LiteRT"

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs the network once.

        Raises:
            ExportError: the network cannot be brought to LiteRT.
            MissingExtraError: a package is not installed.
        """
        from sartor.devices.runtimes._files import prepare_file

        return prepare_file("litert", module, inputs)
