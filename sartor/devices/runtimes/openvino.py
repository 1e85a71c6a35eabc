"""OpenVINO on one thread, in float32 (its default is bfloat16 on some processors)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "openvino", "sartor.devices.runtimes.openvino:OpenVino",
    summary="OpenVINO, float32, one thread",
    extra="openvino",
    citation="https://docs.openvino.ai",
)


class OpenVino:
    """Runs what `sartor.export.openvino` writes."""

    title = "OpenVINO"

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs the network once.

        Raises:
            ExportError: the network cannot be brought to OpenVINO.
            MissingExtraError: a package is not installed.
        """
        from sartor.devices.runtimes._files import prepare_file

        return prepare_file("openvino", module, inputs)
