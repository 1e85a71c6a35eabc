"""What zeros save in time, measured: dense against sparse kernels, side by side.

Zeros do not make a dense kernel faster. A sparse one skips them, but jumps about in memory: on a processor it wins only
where most weights are zero and layers are large, and loses elsewhere. So nothing is implied here; it is measured.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor._modes import evaluating
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import UnsupportedNetworkError
from sartor.trials import Figure


class CsrLinear(nn.Module):
    """A linear layer that multiplies by a weight in CSR.

    Args:
        layer: Copied.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = as_csr(layer.weight.detach())
        self.bias = None if layer.bias is None else layer.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        out = (self.weight @ rows.T).T
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], -1)


class CsrConv2d(nn.Module):
    """A convolution (one group) that multiplies patches by a weight in CSR.

    Args:
        layer: Copied.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.padding = list(layer._reversed_padding_repeated_twice)
        self.weight = as_csr(layer.weight.detach().flatten(1))
        self.bias = None if layer.bias is None else layer.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = functional.pad(x, self.padding)
        sizes = [
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True)
        ]
        if self.kernel == (1, 1) and self.stride == (1, 1):
            patches = x.flatten(2)
        else:
            patches = functional.unfold(x, self.kernel, self.dilation, 0, self.stride)
        out = torch.stack([self.weight @ each for each in patches])
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out.reshape(len(x), -1, *sizes)


def as_csr(weight: Tensor) -> Tensor:
    """Returns a matrix in CSR, torch's, on which its sparse kernels run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
        return weight.to_sparse_csr()


def with_csr(module: nn.Module, *, skip: Sequence[str] = ()) -> nn.Module:
    """Returns a copy for inference whose linear layers and convolutions of one group run on CSR weights.

    Raises:
        UnsupportedNetworkError: it has none.
    """
    made = copy.deepcopy(module)
    modules = dict(made.named_modules())
    num = 0
    for name in weights_of(made, skip=skip):
        owner = name.rpartition(".")[0]
        layer = modules[owner]
        new: nn.Module
        if type(layer) is nn.Linear:
            new = CsrLinear(layer)
        elif type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
            new = CsrConv2d(layer)
        else:
            continue
        num += 1
        if not owner:
            return new
        parent, _, own = owner.rpartition(".")
        setattr(made.get_submodule(parent), own, new)
    if not num:
        raise UnsupportedNetworkError(
            f"{type(module).__name__} has no linear layer and no plain convolution to run on CSR weights"
        )
    return made


def measure_speed(
    module: nn.Module, inputs: tuple[Any, ...], *, skip: Sequence[str] = (), block_s: float = 0.02
) -> Mapping[str, Figure]:
    """Returns latencies in ms: ``dense`` (no zeros), ``zeros`` (dense kernels on the zeros), ``csr``, ``onnxruntime``.

    All on one thread of this processor, by the protocol of `sartor.devices.cpu`; ``onnxruntime`` runs the zeros on
    dense kernels too, and is what deployment competes with.

    Args:
        module: With zeros; left as it is.
        inputs: Example inputs.
        skip: Layers that stay dense.
        block_s: Least time of a block of runs.

    Raises:
        ExportError: ONNX Runtime cannot run it.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        UnsupportedNetworkError: see `with_csr`.
    """
    from sartor._threads import one_thread
    from sartor.devices.cpu import CpuLatency

    filled = copy.deepcopy(module)
    with torch.no_grad():
        for weight in weights_of(filled, skip=skip).values():
            weight.copy_(torch.where(weight == 0, torch.full_like(weight, 1e-3), weight))
    device = CpuLatency(block_s=block_s)
    found = {}
    with one_thread(), torch.inference_mode():
        for name, network in (("dense", filled), ("zeros", module), ("csr", with_csr(module, skip=skip))):
            with evaluating(network):
                found[name] = device.time(lambda network=network: network(*inputs))["latency_ms"]  # type: ignore[misc]
    found["onnxruntime"] = device.measure(module, inputs)["latency_ms"]
    return found
