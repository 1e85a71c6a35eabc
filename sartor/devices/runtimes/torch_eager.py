"""Torch itself, operator by operator, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "torch", "sartor.devices.runtimes.torch_eager:TorchEager",
    summary="torch, eager, float32, one thread",
    citation="https://pytorch.org",
)


class TorchEager:
    """Runs the module as it is, without gradients."""

    title = "torch eager"

    def prepare(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """Returns a call that runs a copy of the module in eval mode."""
        import torch

        from sartor._threads import one_thread

        network = copy_to_run(module)

        def run() -> object:
            with one_thread(), torch.inference_mode():
                return network(*inputs)

        return run


def copy_to_run(module: nn.Module) -> nn.Module:
    """Returns a copy of a module in eval mode: calls come later, when the module may be training again."""
    import copy

    return copy.deepcopy(module).eval()
