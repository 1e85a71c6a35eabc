"""The uniform grid: whole multiples of a step between two bounds.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv:1712.05877. Gradients pass the rounding as if it were not there (Bengio et al. 2013, arXiv:1308.3432) and stop
outside the bounds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from sartor.errors import InputError

MIN_BITS, MAX_BITS = 2, 8
_NUM_STEPS = 40
"""Steps tried between a third of the largest weight's and all of it."""
_TINY = 1e-12


def bounds(bits: int, signed: bool = True) -> tuple[int, int]:
    """Returns the least and the largest multiple: symmetric when signed, e.g. -127 and 127 of 8 bits.

    Raises:
        InputError: not 2 to 8 bits.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise InputError(f"bits: expected {MIN_BITS} to {MAX_BITS}, got {bits}")
    largest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return (-largest if signed else 0), largest


def round_through(x: Tensor) -> Tensor:
    """Returns x rounded, with the gradient of x."""
    return x + (x.round() - x).detach()


def on_grid(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """Returns the nearest values of the grid; differentiable in x and in the step.

    Args:
        x: Any shape.
        step: Positive, broadcasts against x.
        low: Least multiple.
        high: Largest multiple.
    """
    return round_through((x / step).clamp(low, high)) * step


def output_axis(layer: nn.Module) -> int:
    """Returns which dimension of a layer's weight is that of its outputs."""
    return 1 if isinstance(layer, _ConvTransposeNd) else 0


def largest_step(weight: Tensor, bits: int, axis: int = 0) -> Tensor:
    """Returns the step of each output at which its largest weight is the last of the grid; broadcasts against it."""
    _, high = bounds(bits)
    others = [dimension for dimension in range(weight.ndim) if dimension != axis]
    return weight.abs().amax(others, keepdim=True).clamp(min=_TINY) / high


def least_error_step(weight: Tensor, bits: int, axis: int = 0) -> Tensor:
    """Returns the step of each output, of 40, that leaves the least squared error; broadcasts against the weight.

    At few bits it is well below `largest_step`: cutting the largest weights costs less than rounding the others
    coarsely (Nahshan et al. 2021, "Loss Aware Post-Training Quantization", arXiv:1911.07190).
    """
    low, high = bounds(bits)
    others = [dimension for dimension in range(weight.ndim) if dimension != axis]
    largest = largest_step(weight, bits, axis)
    best, step = torch.full_like(largest, torch.inf), largest
    for share in torch.linspace(1.0, 1.0 / 3.0, _NUM_STEPS).tolist():
        tried = largest * share
        error = (on_grid(weight, tried, low, high) - weight).square().sum(others, keepdim=True)
        better = error < best
        best, step = torch.where(better, error, best), torch.where(better, tried, step)
    return step
