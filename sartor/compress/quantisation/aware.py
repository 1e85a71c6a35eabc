"""Quantisation-aware training: weights and inputs of layers on a grid while the network is trained.

Jacob et al. 2018, arXiv:1712.05877: what is rounded in use is rounded in training, and gradients pass straight through.
Steps are learned (``lsq``), or fixed: of weights by the largest of each output, of inputs by what calibration showed.

``prepare`` gives a network to be trained by ``sartor.training.fit`` as any other; ``convert`` a plain one whose weights
lie on the grid and whose inputs are held within the range of theirs. Export it and give the file to ``static``, and its
int8 kernels compute what was trained, but for rounding once more; batch normalisation is folded then, which keeps the
grid of each output.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from sartor._modes import evaluating
from sartor.compress.calibration import finite, inputs_of
from sartor.compress.quantisation.lsq import FixedStep, LearnedStep
from sartor.compress.quantisation.uniform import bounds, output_axis
from sartor.compress.quantisation.weight_only import bits_of
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError, UnsupportedNetworkError

Steps = Literal["learned", "fixed"]
Layer = nn.Linear | _ConvNd
_QUANTILE = 0.999
"""Of absolute inputs: the calibrated range of fixed steps."""
_MAX_KEPT = 100_000
"""Inputs of a layer that are looked at for its range."""
_TINY = 1e-8


class Quantised(nn.Module):
    """A layer whose weight and input are put on grids.

    Args:
        layer: Linear or convolutional.
        weight: Puts the weight on its grid.
        inputs: Puts the input on its grid, or None.
    """

    def __init__(self, layer: Layer, weight: nn.Module, inputs: LearnedStep | FixedStep | None) -> None:
        super().__init__()
        self.layer, self.weight, self.inputs = layer, weight, inputs

    def forward(self, x: Tensor) -> Tensor:
        if self.inputs is not None:
            x = self.inputs(x)
        out: Tensor = functional_call(self.layer, {"weight": self.weight(self.layer.weight)}, (x,))
        return out


class Clamped(nn.Module):
    """A plain layer whose input is held within a range, as quantisation will hold it."""

    def __init__(self, layer: Layer, low: float, high: float) -> None:
        super().__init__()
        self.layer, self.low, self.high = layer, low, high

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.clamp(self.low, self.high))
        return out


def prepare(
    module: nn.Module,
    batches: Iterable[Any],
    bits: int | Mapping[str, int] = 8,
    *,
    input_bits: int | None = 8,
    steps: Steps = "learned",
    skip: Sequence[str] = (),
) -> nn.Module:
    """Returns a copy with linear and convolutional layers quantised, to be trained on.

    Args:
        module: Trained; left as it is.
        batches: Inputs, a tensor or the tuple of all arguments; some hundred rows show the ranges.
        bits: 2 to 8, of all layers or of each weight by name; layers not named are left alone.
        input_bits: 2 to 8 of the inputs of these layers, or None to leave them alone.
        steps: Learned with the weights, or fixed.
        skip: Layers to leave alone. At 4 bits and below the first and the last are best left at 8 or alone.

    Raises:
        DataError: calibration inputs that are not finite.
        InputError: bits out of range, a layer that did not run on the inputs (named).
        UnsupportedNetworkError: a kind of layer that is not supported (named).
    """
    held = [inputs_of(batch) for batch in finite(batches)]
    made = copy.deepcopy(module)
    weights = weights_of(made, skip=skip)
    chosen = bits_of(weights, bits)
    modules = dict(made.named_modules())
    layers: dict[str, Layer] = {}
    for name in chosen:
        owner, _, own = name.rpartition(".")
        layer = modules[owner]
        if not isinstance(layer, Layer) or own != "weight":
            raise UnsupportedNetworkError(
                f"{name}: quantisation-aware training knows linear and convolutional layers, not"
                f" {type(layer).__name__}: give it to skip"
            )
        layers[owner] = layer
    seen = _seen(made, layers, held) if input_bits is not None else {}
    for name, layer in layers.items():
        axis, count = output_axis(layer), chosen[f"{name}.weight" if name else "weight"]
        weight: nn.Module
        if steps == "learned":
            weight = LearnedStep(layer.weight, count, signed=True, axis=axis)
        else:
            weight = FixedStep(None, count, signed=True, axis=axis)
        quantised = Quantised(layer, weight, _of_inputs(seen[name], input_bits, steps) if input_bits else None)
        made = _put(made, name, quantised.train(layer.training))
    return made


def convert(module: nn.Module) -> nn.Module:
    """Returns a copy of a prepared network with plain layers: weights on their grids, inputs held within their ranges.

    Raises:
        UnsupportedNetworkError: it was not prepared.
    """
    made = copy.deepcopy(module)
    found = [(name, part) for name, part in made.named_modules() if isinstance(part, Quantised)]
    if not found:
        raise UnsupportedNetworkError(f"{type(module).__name__} has no quantised layers: it comes from prepare")
    with torch.no_grad():
        for name, part in found:
            part.layer.weight.copy_(part.weight(part.layer.weight))
            made = _put(made, name, part.layer if part.inputs is None else Clamped(part.layer, *part.inputs.extent()))
    return made


def _put(module: nn.Module, name: str, part: nn.Module) -> nn.Module:
    """Puts a part in the place of another; returns the module, or the part where it is all of it."""
    if not name:
        return part
    owner, _, own = name.rpartition(".")
    setattr(module.get_submodule(owner), own, part)
    return module


def _seen(
    module: nn.Module, layers: Mapping[str, nn.Module], batches: Sequence[tuple[Any, ...]]
) -> dict[str, list[Tensor]]:
    """Returns some of the inputs of each layer."""
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: found[name].append(_some(inputs[0], len(batches))))
        for name, layer in layers.items()
    ]
    try:
        with evaluating(module), torch.no_grad():
            for batch in batches:
                module(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    if missing := [name for name, values in found.items() if not values]:
        raise InputError(
            f"these layers were not called on the calibration inputs: {', '.join(missing)}. Give them to skip"
        )
    return found


def _some(x: Tensor, num_batches: int) -> Tensor:
    """Returns evenly spaced rows, few enough, so that all batches together stay small."""
    num = max(1, min(len(x), _MAX_KEPT // (num_batches * max(1, x[0].numel()))))
    return x.detach()[torch.linspace(0, len(x) - 1, num).long()]


def _of_inputs(seen: Sequence[Tensor], bits: int, steps: Steps) -> LearnedStep | FixedStep:
    values = torch.cat([value.reshape(-1) for value in seen])
    signed = bool((values < 0).any())
    if steps == "learned":
        return LearnedStep(seen[0], bits, signed=signed, axis=None)
    _, high = bounds(bits, signed)
    largest = values.abs().sort().values[int(_QUANTILE * (len(values) - 1))]
    return FixedStep((largest / high).clamp(min=_TINY), bits, signed=signed)
