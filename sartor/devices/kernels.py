"""The work of a network as a runtime does it: operations of the execution, with what is fused taken together.

A runtime folds a batch normalisation into the convolution before it, applies the activation behind it and, in a
residual network, the addition to the convolution's output while it is still in registers. So costs are told of fused
kernels, not of single operations: nn-Meter (Zhang et al. 2021, doi:10.1145/3458864.3467882) found that this decides how
well latency is predicted operator by operator.

Used by the roofline, the learned predictor and the accelerator model. What is fused is what ONNX Runtime fuses on
processors; others differ in details.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from sartor.devices._execution import Execution, Operation

__all__ = ["Kernel", "Kind", "kernels_of", "kernels_in"]

Kind = Literal[
    "convolution", "pointwise", "depthwise", "grouped", "linear", "matmul", "max_pool", "average_pool", "reduce",
    "normalise", "activation", "gelu", "add", "multiply", "concat", "softmax", "layer_norm", "transpose", "reshape",
    "slice", "other",
]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """One fused operation.

    Attributes:
        kind: What it is; a convolution of 1x1 is pointwise, one of as many groups as channels depthwise.
        path: Of the module that ran it.
        macs: Multiply-accumulates.
        elements: Of the outputs.
        read_bytes: Of activations that it reads.
        weight_bytes: Of parameters and buffers that it reads; folded normalisations are not counted.
        write_bytes: Of activations that it writes.
        input: Shape of the first activation.
        output: Shape of the output.
        size: Places of its window, ``k * k`` of a convolution or a pooling, else 1.
        groups: Of a convolution, else 1.
        fused: Kinds of what was fused into it: ``normalise``, ``activation``, ``add``.
        sources: Positions of the kernels whose outputs it reads, in order; a fused addition's behind.
    """

    kind: Kind
    path: str
    macs: int
    elements: int
    read_bytes: int
    weight_bytes: int
    write_bytes: int
    input: Shape
    output: Shape
    size: int = 1
    groups: int = 1
    fused: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """All that is moved when nothing stays in a cache."""
        return self.read_bytes + self.weight_bytes + self.write_bytes


def kernels_of(module: nn.Module, inputs: tuple[Any, ...], shapes: dict[Any, Any] | None = None) -> tuple[Kernel, ...]:
    """Returns the kernels of one forward pass in eval mode, executed on shapes alone, in milliseconds.

    Args:
        module: Any module; left as it was.
        inputs: Example inputs.
        shapes: Reused between calls to save time.

    Example:
        >>> from torch import nn, zeros
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> [(k.kind, k.macs, k.fused) for k in kernels_of(network, (zeros(1, 1, 5, 5),))]
        [('convolution', 324, ('normalise', 'activation'))]
    """
    from sartor.devices._execution import execute

    return kernels_in(execute(module, inputs, shapes))


def kernels_in(execution: Execution) -> tuple[Kernel, ...]:
    """Returns the kernels of an execution, in order."""
    return _Fusion(execution).run()


_NAMES: dict[str, Kind] = {
    "mm": "linear", "addmm": "linear", "mv": "linear", "addmv": "linear", "_addmm_activation": "linear",
    "bmm": "matmul", "baddbmm": "matmul", "dot": "matmul",
    "_scaled_dot_product_flash_attention_for_cpu": "matmul",
    "max_pool2d_with_indices": "max_pool", "max_pool2d": "max_pool", "avg_pool2d": "average_pool",
    "_adaptive_avg_pool2d": "reduce", "adaptive_max_pool2d": "reduce", "mean": "reduce", "sum": "reduce",
    "amax": "reduce", "max": "reduce",
    "native_batch_norm": "normalise", "_native_batch_norm_legit_no_training": "normalise",
    "native_layer_norm": "layer_norm", "native_group_norm": "layer_norm",
    "relu": "activation", "relu_": "activation", "hardtanh": "activation", "hardtanh_": "activation",
    "clamp": "activation", "clamp_min": "activation", "sigmoid": "activation", "sigmoid_": "activation",
    "tanh": "activation", "silu": "gelu", "silu_": "gelu", "gelu": "gelu",
    "hardsigmoid": "activation", "hardsigmoid_": "activation", "hardswish": "activation", "hardswish_": "activation",
    "leaky_relu": "activation", "leaky_relu_": "activation", "elu": "activation", "elu_": "activation",
    "add": "add", "add_": "add", "sub": "add", "sub_": "add",
    "mul": "multiply", "mul_": "multiply", "div": "multiply", "div_": "multiply",
    "cat": "concat", "stack": "concat", "constant_pad_nd": "concat",
    "_softmax": "softmax", "_safe_softmax": "softmax", "_log_softmax": "softmax",
    "permute": "transpose", "transpose": "transpose", "t": "transpose", "clone": "other", "copy_": "other",
    "view": "reshape", "_unsafe_view": "reshape", "reshape": "reshape", "unsqueeze": "reshape", "squeeze": "reshape",
    "slice": "slice",
}
_FREE = {"empty", "empty_like", "detach", "alias", "expand", "select", "split", "unsafe_split", "unbind"}
_KEPT_IN_REGISTERS = {
    "relu", "relu_", "hardtanh", "hardtanh_", "clamp", "clamp_min", "sigmoid", "sigmoid_", "tanh", "hardsigmoid",
    "hardsigmoid_", "leaky_relu", "leaky_relu_",
}
"""Activations that ONNX Runtime applies inside a convolution."""
_SHARED: tuple[Kind, ...] = ("activation", "gelu", "max_pool", "average_pool", "multiply")
"""Runtimes compute these once where several of a kind read the same: a cell whose edges each begin with the ReLU."""
_CONVOLUTIONS = {"convolution", "_convolution", "convolution_overrideable"}
_WINDOWED: tuple[Kind, ...] = ("convolution", "pointwise", "depthwise", "grouped")


class _Fusion:
    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._operations = execution.operations
        self._kernels: list[Kernel] = []
        # Storage -> the kernel that wrote it last.
        self._made_by: dict[int, int] = {}
        self._readers = self._count_readers()

    def _count_readers(self) -> Counter[tuple[int, int]]:
        """Counts who reads each version of a storage: in-place changes make a new one, repetitions are left out."""
        counted: Counter[tuple[int, int]] = Counter()
        version: dict[int, int] = {}
        first: dict[Any, int] = {}
        self._versions: list[dict[int, int]] = []
        self._repeats: dict[int, int] = {}
        same: dict[int, int] = {}
        for number, operation in enumerate(self._operations):
            reads = [same.get(storage, storage) for storage in operation.reads]
            versions = {storage: version.get(storage, 0) for storage in reads}
            self._versions.append(versions)
            if operation.view:
                continue
            changes = set(operation.writes) & set(operation.reads)
            if _NAMES.get(operation.name) in _SHARED and not changes and len(operation.writes) >= 1:
                key = (operation.name, tuple(versions.items()), operation.shape)
                if key in first:
                    self._repeats[number] = first[key]
                    same[operation.writes[0]] = self._operations[first[key]].writes[0]
                    continue
                first[key] = number
            for storage in versions:
                counted[storage, versions[storage]] += 1
            for storage in operation.writes:
                version[storage] = version.get(storage, 0) + 1
        self._same = same
        for storage in self._execution.outputs:
            storage = same.get(storage, storage)
            counted[storage, version.get(storage, 0)] += 1
        return counted

    def run(self) -> tuple[Kernel, ...]:
        last_view: tuple[str, tuple[int, ...]] | None = None
        for number, operation in enumerate(self._operations):
            kind = _NAMES.get(operation.name, "other")
            if number in self._repeats or operation.name in _FREE or not operation.writes:
                continue
            if operation.view:
                if kind not in ("transpose", "reshape", "slice") or operation.given[:1] == (operation.shape,):
                    continue
                if all(storage in self._execution.constants for storage in operation.reads):
                    continue  # a transposed weight is prepared once
                if kind == "reshape" and last_view == (kind, operation.reads):
                    continue  # several are one
                last_view = (kind, operation.reads)
            else:
                last_view = None
            if not self._fuse(number, operation):
                self._kernels.append(self._kernel(operation))
            for storage in () if operation.view else operation.writes:
                self._made_by[storage] = self._target
        return tuple(self._kernels)

    def _reads(self, operation: Operation) -> list[int]:
        return [self._same.get(storage, storage) for storage in operation.reads]

    def _fuse(self, number: int, operation: Operation) -> bool:
        """Adds the operation to the kernel whose output it alone reads, where runtimes do; else says no."""
        self._target = len(self._kernels)
        kind = _NAMES.get(operation.name, "other")
        if kind not in ("normalise", "activation", "add") or operation.view:
            return False
        reads = self._reads(operation)
        makers = [
            self._made_by[storage]
            for storage in reads
            if storage in self._made_by and self._readers[storage, self._versions[number][storage]] == 1
        ]
        # Of two convolutions that are added, the later one takes the addition.
        for maker in sorted(makers, reverse=True):
            kernel = self._kernels[maker]
            if kernel.kind in _WINDOWED and _takes(kernel, kind, operation, self._execution):
                others = [s for s in reads if self._made_by.get(s) != maker] if kind == "add" else []
                self._kernels[maker] = replace(
                    kernel,
                    fused=(*kernel.fused, kind),
                    read_bytes=kernel.read_bytes + sum(self._execution.storage_bytes[s] for s in others),
                    sources=(*kernel.sources, *(self._made_by[s] for s in others if s in self._made_by)),
                )
                self._target = maker
                return True
        return False

    def _kernel(self, operation: Operation) -> Kernel:
        execution = self._execution
        sizes = execution.storage_bytes
        weights = sum(sizes[s] for s in operation.reads if s in execution.constants)
        read = sum(sizes[s] for s in operation.reads if s not in execution.constants)
        size, groups = 1, 1
        kind = _NAMES.get(operation.name, "other")
        if operation.name in _CONVOLUTIONS:
            image, weight = operation.given[0], operation.given[1]
            size = math.prod(weight[2:])
            groups = max(1, image[1] // weight[1])
            if groups > 1 and groups == image[1]:
                kind = "depthwise"
            elif groups > 1:
                kind = "grouped"
            else:
                kind = "pointwise" if size == 1 else "convolution"
        elif operation.window:
            size = math.prod(operation.window)
        written = [s for s in operation.writes if s not in execution.constants]
        elements = math.prod(operation.shape) if operation.shape else 1
        return Kernel(
            kind=kind,
            path=execution.calls[operation.call].path,
            macs=operation.macs,
            elements=elements,
            read_bytes=read,
            weight_bytes=weights,
            write_bytes=sizes[written[0]] if written else 0,
            input=operation.given[0] if operation.given else (),
            output=operation.shape,
            size=size,
            groups=groups,
            sources=tuple(dict.fromkeys(self._made_by[s] for s in self._reads(operation) if s in self._made_by)),
        )


def _takes(kernel: Kernel, kind: str, operation: Operation, execution: Execution) -> bool:
    """Whether a convolution applies this to its output: a normalisation first, then an addition, then an activation."""
    if kind == "normalise":
        return not kernel.fused
    if kind == "add":
        constant = any(storage in execution.constants for storage in operation.reads)
        return kernel.output == operation.shape and not constant and not {"add", "activation"} & set(kernel.fused)
    return operation.name in _KEPT_IN_REGISTERS and "activation" not in kernel.fused
