"""Teachers: a frozen module, or an ONNX file that ONNX Runtime runs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sartor._modes import evaluating
from sartor.compress.distillation.terms import Seen
from sartor.compress.onnx_file import OnnxFile
from sartor.errors import InputError, near
from sartor.export.onnx import PREFIX

Adapt = Callable[[Tensor], Tensor]


class Teacher(Protocol):
    """What a student learns from.

    Attributes:
        classes: Names of the classes in the order of the logits, or None where it does not know.
    """

    classes: tuple[str, ...] | None

    def ask(self, inputs: tuple[Any, ...], layers: Sequence[str]) -> Seen:
        """Returns what it gives for the student's inputs, without gradients."""
        ...


def look(module: nn.Module, inputs: tuple[Any, ...], layers: Sequence[str]) -> Seen:
    """Returns what a module gives in eval mode, without gradients: its first tensor as logits, and outputs of layers.

    Raises:
        InputError: there is no such layer, or its output is no tensor.
    """
    features: dict[str, Tensor] = {}
    hooks = watch(module, layers, features)
    try:
        with evaluating(module), torch.no_grad():
            output = module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return Seen(first_tensor(output, type(module).__name__), features)


def watch(
    module: nn.Module, layers: Sequence[str], features: dict[str, Tensor]
) -> list[torch.utils.hooks.RemovableHandle]:
    """Puts the outputs of layers into ``features`` at each call, until the hooks that it returns are removed."""
    modules = dict(module.named_modules())
    hooks = []
    for name in layers:
        if name not in modules:
            raise InputError(f"{type(module).__name__} has no layer {name!r}{near(name, filter(None, modules))}")

        def keep(_: nn.Module, inputs: object, output: Any, name: str = name) -> None:
            features[name] = first_tensor(output, name)

        hooks.append(modules[name].register_forward_hook(keep))
    return hooks


def first_tensor(output: Any, name: str) -> Tensor:
    """Returns the output, or the first in a tuple or list.

    Raises:
        InputError: that is no floating-point tensor.
    """
    found = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(found, Tensor) or not found.dtype.is_floating_point:
        raise InputError(f"{name}: expected a floating-point tensor to learn from, got {type(found).__name__}")
    return found


class TorchTeacher:
    """A frozen copy of a module, in eval mode.

    Args:
        module: Trained; left as it is.
        classes: Names of its classes, to be compared with the student's.
        adapt: Makes its input of the student's, e.g. to another resolution; None for the same.
    """

    def __init__(
        self, module: nn.Module, *, classes: Sequence[str] | None = None, adapt: Adapt | None = None
    ) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.classes = None if classes is None else tuple(classes)
        self._adapt = adapt

    def ask(self, inputs: tuple[Any, ...], layers: Sequence[str]) -> Seen:
        first = inputs[0]
        if first.device != next((p.device for p in self.module.parameters()), first.device):
            self.module.to(first.device)
        given = inputs if self._adapt is None else (self._adapt(first), *inputs[1:])
        return look(self.module, given, layers)


class OnnxTeacher:
    """An ONNX file that gives class logits as its first output; run on one thread of the processor.

    The names of classes are read from what ``sartor export`` writes into a file, where there is that.

    Args:
        path: The file.
        classes: Names of its classes, where the file does not have them.
        adapt: Makes its input of the student's: an exported file takes pixels 0..1, a task's network standardised
            ones. None for the same.

    Raises:
        InputError: there is no such file, or it cannot be run.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(
        self, path: str | Path, *, classes: Sequence[str] | None = None, adapt: Adapt | None = None
    ) -> None:
        self.file = OnnxFile(path)
        written = self.file.metadata.get(f"{PREFIX}classes")
        names = json.loads(written) if written and classes is None else classes
        self.classes = None if names is None else tuple(names)
        self._adapt = adapt

    def ask(self, inputs: tuple[Any, ...], layers: Sequence[str]) -> Seen:
        """Returns its logits.

        Raises:
            InputError: layers are asked for, which a file does not show, or it does not take the inputs.
        """
        if layers:
            raise InputError(
                f"{self.file.path}: an ONNX file shows its logits only, not layers ({', '.join(layers)}): use terms on"
                " logits, or the teacher as a module"
            )
        given = inputs if self._adapt is None else (self._adapt(inputs[0]), *inputs[1:])
        found = self.file(*given)
        return Seen(found if isinstance(found, Tensor) else found[0], {})
