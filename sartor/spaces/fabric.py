"""Convolutional neural fabrics: which neighbours each node of a trellis of scales by layers reads.

Saxena and Verbeek 2016, "Convolutional Neural Fabrics", arXiv:1606.02492. A node reads at least one of the layer
before it: the next finer scale by a convolution of stride 2, its own, the next coarser one by a convolution of what is
doubled. A chain of convolutions that changes resolution by factors of two, with at most as many layers, is a path of
the trellis (``chain``), so that one trained fabric holds all of them; ``strongest_path`` is the chain that a trained
fabric leans on most.

Keys are ``layers.0.1.inputs`` (of the second layer's next to finest node), and ``exits.0.inputs`` for how the last
layer is read. Memory grows with scales times layers: ``peak_memory_bytes`` of the device ``counts`` says how much, and
is a limit like any other.

Deviations: doubling instead of zeros between places; the first and last layer's connections within the layer are from
fine to coarse alone, as the output of a classifier is at the coarsest scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, Space, Subset
from sartor.spaces._images import FINAL_SIDE

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "fabric",
    "sartor.spaces.fabric:fabric",
    summary="a trellis of scales by layers: which neighbours each node reads (1.0e12 for 28x28)",
    citation="Saxena and Verbeek 2016, arXiv:1606.02492",
)

STEPS = {"finer": -1, "same": 0, "coarser": 1}
"""As ``sartor.nets.fabric.STEPS``, which needs torch."""


def num_scales_of(image_size: int | tuple[int, int]) -> int:
    """Returns how many scales bring an image to about 4 places a side, at least 2."""
    shorter = min(image_size) if isinstance(image_size, tuple) else image_size
    return max(2, 1 + round(math.log2(max(1.0, shorter / FINAL_SIDE))))


def fabric(
    channels: int,
    classes: int,
    image_size: int | tuple[int, int],
    *,
    layers: int = 4,
    width: int = 16,
    scales: int | None = None,
) -> Space:
    """Returns the space.

    Args:
        channels: Of the image.
        classes: Number of logits.
        image_size: Side, or ``(height, width)``; decides the number of scales where none is given.
        layers: After the first, at least 1.
        width: Channels of every node.
        scales: Resolutions, each half of the one before, at least 2.

    Raises:
        InputError: too few layers or scales.
    """
    from sartor.nets.fabric import Fabric, FabricConv, FabricNode

    num_scales = num_scales_of(image_size) if scales is None else scales
    if layers < 1 or num_scales < 2:
        raise InputError(f"expected at least 1 layer and 2 scales, got {layers} and {num_scales}")

    def node(*sources: str) -> Any:
        some = {source: partial(FabricConv, source=source) for source in sources}
        inputs: Any = Subset(some, size=range(1, len(some) + 1))
        return partial(FabricNode, inputs=inputs)

    def neighbours(scale: int) -> list[str]:
        return [source for source, step in STEPS.items() if 0 <= scale + step < num_scales]

    return Space(
        partial(
            Fabric,
            channels,
            classes,
            width,
            layers=[[node(*neighbours(scale)) for scale in range(num_scales)] for _ in range(layers)],
            exits=[node("finer", "same") for _ in range(1, num_scales)],
        )
    )


def hand_designed(space: Space) -> Architecture:
    """Returns the chain that halves the resolution as evenly as its layers allow."""
    layers, scales = shape_of(space)
    return chain(space, [round((scales - 1) * (layer + 1) / layers) for layer in range(layers)])


def whole(space: Space) -> Architecture:
    """Returns the fabric with every connection, as the paper trains it."""
    return space.architecture({key: max(space.values(key), key=_num) for key in space.keys})


def shape_of(space: Space) -> tuple[int, int]:
    """Returns the number of layers after the first, and of scales."""
    layers = {int(key.split(".")[1]) for key in space.keys if key.startswith("layers.")}
    return len(layers), 1 + sum(key.startswith("exits.") for key in space.keys)


def chain(space: Space, path: Sequence[int]) -> Architecture:
    """Returns the architecture whose network is one chain; nodes beside it read what they can, and are not built.

    Args:
        space: A fabric.
        path: The scale of each layer after the first, the finest being 0; two that follow differ by 1 at most.

    Raises:
        InputError: no path of this fabric.
    """
    layers, scales = shape_of(space)
    steps = [after - before for before, after in zip(path, path[1:], strict=False)]
    if len(path) != layers or any(not 0 <= scale < scales for scale in path) or any(abs(step) > 1 for step in steps):
        raise InputError(
            f"expected the scales, 0 to {scales - 1}, of {layers} layers, each at most 1 from the one before, got"
            f" {list(path)}"
        )
    chosen: dict[str, Any] = {key: min(space.values(key), key=_num) for key in space.keys}
    for layer, scale in enumerate(path):
        before = path[layer - 1] if layer else scale
        chosen[f"layers.{layer}.{scale}.inputs"] = (_source(before - scale),)
    for scale in range(1, scales):
        chosen[f"exits.{scale - 1}.inputs"] = ("finer",) if scale > path[-1] else ("same",)
    return space.architecture(chosen)


def _num(sources: object) -> int:
    assert isinstance(sources, tuple)
    return len(sources)


def _source(step: int) -> str:
    return next(source for source, each in STEPS.items() if each == step)


def num_paths(space: Space, architecture: Mapping[str, object]) -> int:
    """Returns how many chains the architecture holds: paths from the image to the output."""
    layers, scales = shape_of(space)

    def sources(key: str) -> Sequence[str]:
        found = architecture[key]
        assert isinstance(found, tuple)
        return found

    # There is one way to each scale of the first layer.
    ways = [1] * scales
    for layer in range(layers):
        ways = [
            sum(ways[scale + STEPS[source]] for source in sources(f"layers.{layer}.{scale}.inputs"))
            for scale in range(scales)
        ]
    total = ways[0]
    for scale in range(1, scales):
        read = sources(f"exits.{scale - 1}.inputs")
        total = (total if "finer" in read else 0) + (ways[scale] if "same" in read else 0)
    return total


def strongest_path(space: Space, network: nn.Module) -> list[int]:
    """Returns the scales of the chain that a trained fabric leans on most, for ``chain``.

    The strength of a connection is its share of its node's convolution weights, by their norm; that of a path is the
    product along it. Found exactly, from the image on.

    Args:
        space: A fabric.
        network: Of one of its architectures, trained.
    """
    from torch.nn import ModuleList

    from sartor.nets.fabric import Fabric, FabricNode

    assert isinstance(network, Fabric)
    layers, scales = shape_of(space)
    best: dict[int, tuple[float, list[int]]] = {scale: (0.0, []) for scale in range(len(network.entries))}
    for layer in network.layers:
        assert isinstance(layer, ModuleList)
        after: dict[int, tuple[float, list[int]]] = {}
        for scale, node in enumerate(layer):
            if isinstance(node, FabricNode):
                after[scale] = max(
                    (best[scale + STEPS[source]][0] + log, [*best[scale + STEPS[source]][1], scale])
                    for source, log in _log_shares(node).items()
                )
        best = after
    left = best.get(0)
    for scale, node in enumerate(network.exits, 1):
        if isinstance(node, FabricNode):
            options = {"same": best.get(scale), "finer": left}
            logs = _log_shares(node)
            left = max((value[0] + logs[source], value[1]) for source, value in options.items()
                       if source in logs and value is not None)  # fmt: skip
    assert left is not None
    return left[1]


def _log_shares(node: Any) -> dict[str, float]:
    norms = {source: float(module.conv.weight.detach().norm()) for source, module in node.inputs.items()}
    total = sum(norms.values())
    return {source: math.log(max(norm / total, 1e-12)) for source, norm in norms.items()}
