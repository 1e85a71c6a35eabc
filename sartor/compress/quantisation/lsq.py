"""LSQ: steps that are learned with the weights.

Esser et al. 2020, "Learned Step Size Quantization", arXiv:1902.08153. The gradient of a step is that of the rounded
value (section 2.1), scaled by one over the root of how many values share it times the largest multiple (section 2.2); a
step begins at twice the mean absolute value over the root of the largest multiple. Here each output has its own.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from sartor.compress.quantisation.uniform import bounds, on_grid

_TINY = 1e-8


class LearnedStep(nn.Module):
    """Puts values on a grid whose step is a parameter.

    Args:
        example: Values as they will come: the weight, or inputs of a layer.
        bits: 2 to 8.
        signed: Values may be negative.
        axis: Dimension whose entries have a step each, or None for one step.
    """

    def __init__(self, example: Tensor, bits: int, *, signed: bool, axis: int | None) -> None:
        super().__init__()
        self.low, self.high = bounds(bits, signed)
        if axis is None:
            mean = example.detach().abs().mean().reshape(())
            shared = example[0].numel()  # values of a row, whatever the batch
        else:
            others = [dimension for dimension in range(example.ndim) if dimension != axis]
            mean = example.detach().abs().mean(others, keepdim=True)
            shared = example.numel() // example.shape[axis]
        self.step = nn.Parameter((2 * mean / math.sqrt(self.high)).clamp(min=_TINY))
        self.scale = 1.0 / math.sqrt(max(1, shared) * self.high)

    def positive(self) -> Tensor:
        """The step: never below a tiny number, however far it was moved."""
        return self.step.detach().abs().clamp(min=_TINY)

    def forward(self, x: Tensor) -> Tensor:
        step = self.step.abs().clamp(min=_TINY)
        scaled = step * self.scale
        return on_grid(x, scaled + (step - scaled).detach(), self.low, self.high)

    def extent(self) -> tuple[float, float]:
        """Returns the least and the largest value that it gives, of a single step."""
        step = float(self.positive())
        return self.low * step, self.high * step


class FixedStep(nn.Module):
    """Puts values on a grid whose step follows the largest value of weights, or was calibrated for inputs.

    Args:
        step: Calibrated, or None to follow the largest absolute value of each output.
        bits: 2 to 8.
        signed: Values may be negative.
        axis: Dimension of outputs, where the step follows.
    """

    step: Tensor | None

    def __init__(self, step: Tensor | None, bits: int, *, signed: bool, axis: int = 0) -> None:
        super().__init__()
        self.low, self.high = bounds(bits, signed)
        self.axis = axis
        self.register_buffer("step", step)

    def forward(self, x: Tensor) -> Tensor:
        if self.step is not None:
            return on_grid(x, self.step, self.low, self.high)
        others = [dimension for dimension in range(x.ndim) if dimension != self.axis]
        largest = x.detach().abs().amax(others, keepdim=True).clamp(min=_TINY)
        return on_grid(x, largest / self.high, self.low, self.high)

    def extent(self) -> tuple[float, float]:
        assert self.step is not None  # asked of calibrated inputs only
        return self.low * float(self.step), self.high * float(self.step)
