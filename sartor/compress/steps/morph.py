"""Network morphism as a step: named layers grow, the function stays, and training goes on from there.

Before other steps it gives capacity that these then find out how to use (grow, train, prune).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError, UnsupportedNetworkError, near
from sartor.registry import CompressorSpec
from sartor.units import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from sartor.compress._contract import Outcome, StepContext

SPEC = CompressorSpec(
    "morph",
    "sartor.compress.steps.morph:morph",
    summary="grow named layers without changing what the network computes, then train on",
    citation="Wei et al. 2016, arXiv:1603.01670",
    options="sartor.compress.steps.morph:Options",
)

ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "hardswish": "Hardswish", "tanh": "Tanh", "elu": "ELU"}


@dataclass(frozen=True)
class Options:
    """Options of morph, done in this order; at least one of the first five.

    Attributes:
        widen: Features of layers, e.g. ``blocks.0.conv=48,blocks.1.conv=64``.
        heads: Heads of attentions, e.g. ``layers.0.attention=4``.
        kernel: Places a side of convolutions' kernels, e.g. ``blocks.0.conv=5``.
        deepen: Modules behind which layers are added, with commas between.
        skip: Modules over which a skip is added, with commas between.
        act: Activation of added layers: relu, gelu, silu, hardswish, tanh, elu.
    """

    widen: str = ""
    heads: str = ""
    kernel: str = ""
    deepen: str = ""
    skip: str = ""
    act: str = "relu"

    def __post_init__(self) -> None:
        if self.act not in ACTIVATIONS:
            raise InputError(f"act: there is no {self.act!r}{near(self.act, ACTIVATIONS)}")
        for name in ("widen", "heads", "kernel"):
            sizes(name, getattr(self, name))
        if not any((self.widen, self.heads, self.kernel, self.deepen, self.skip)):
            raise InputError(
                "morph: expected what shall grow, widen, heads, kernel, deepen or skip: e.g. widen=blocks.0.conv=48"
            )


def sizes(option: str, text: str) -> dict[str, int]:
    """Returns layer -> size of ``layer=size,layer=size``.

    Raises:
        InputError: not of this form.
    """
    found = {}
    for item in listed(text):
        layer, _, size = item.rpartition("=")
        if not layer or not size.isdecimal():
            raise InputError(f"{option}: expected layer=size, with commas between, got {item!r}")
        found[layer.strip()] = int(size)
    return found


def morph(network: nn.Module, options: Options, context: StepContext) -> Outcome:
    """Returns the larger network, trained for the step's epochs; without any it computes what the given one does.

    Raises:
        InputError: a layer that the network does not have, with the near name.
        UnsupportedNetworkError: a growth that would change the function; the layer and why.
    """
    from sartor.compress import Outcome

    made = context.stage("grown", lambda: _grown(network, options, context))
    before, after = made["params"]
    context.say(f"grown from {before:,} to {after:,} parameters, outputs differ by {made['difference']:.1e}")
    record = {"params": made["params"], "difference": made["difference"], "scores": context.evaluate(made["network"])}
    return Outcome(context.fine_tune("tuned", made["network"], epochs=context.epochs), record)


def _grown(network: nn.Module, options: Options, context: StepContext) -> dict[str, Any]:
    from torch import nn

    from sartor.compress.morphism import add_heads, add_skip, deepen, max_difference, reshape_kernel, widen

    inputs = _inputs(network, context)
    act: Callable[[], nn.Module] = getattr(nn, ACTIVATIONS[options.act])
    large = network
    for layer, size in sizes("widen", options.widen).items():
        large = widen(large, layer, size, inputs, seed=context.seed)
    for layer, size in sizes("heads", options.heads).items():
        large = add_heads(large, layer, size, inputs, seed=context.seed)
    for layer, size in sizes("kernel", options.kernel).items():
        large = reshape_kernel(large, layer, size, inputs)
    for module in listed(options.deepen):
        large = deepen(large, module, inputs, act=act)
    for module in listed(options.skip):
        large = add_skip(large, module, inputs, seed=context.seed)
    params = [sum(p.numel() for p in each.parameters()) for each in (network, large)]
    return {"network": large, "params": params, "difference": max_difference(network, large, inputs)}


def _inputs(network: nn.Module, context: StepContext) -> tuple[Tensor, ...]:
    """Returns what the network gets when the deployed network gets the example inputs."""
    import torch

    from sartor.compress.calibration import example_inputs

    found = example_inputs(network, context)
    if not found or not all(isinstance(x, torch.Tensor) for x in found):
        raise UnsupportedNetworkError("morph needs a network that is called with tensors by place")
    return found
