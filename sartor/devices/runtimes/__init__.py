"""Runtimes that the `cpu` device measures with, one a file: each has a ``SPEC`` and a class that is a `Runtime`.

Adding one adds a file: ``SPEC = Spec("openvino", "sartor.devices.runtimes.openvino:OpenVino", extra="openvino", ...)``
and a class with ``title`` and ``prepare``; others register an entry point of the group ``sartor.runtimes``. It is then
``CpuLatency(runtime="openvino")``, and ``sartor search --device cpu:openvino``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Runtime"]


@runtime_checkable
class Runtime(Protocol):
    """Runs a network on one thread of this machine, made without arguments.

    Attributes:
        title: What a reader is told, and part of the key that figures are kept under, e.g. ``"ONNX Runtime"``. Whatever
            changes what is measured (a precision, an option) belongs in it.
    """

    title: str

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs the network once on the inputs, batch size 1, and nothing else.

        All conversion, compilation and copying of inputs is done here. The module is left as it was.

        Raises:
            ExportError: the runtime does not take the network.
            MissingExtraError: a package is not installed.
        """
        ...
