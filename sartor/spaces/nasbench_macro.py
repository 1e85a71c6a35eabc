"""NAS-Bench-Macro: a chain of eight layers, each one of three blocks.

Su et al. 2021, "Prioritized Architecture Sampling with Monto-Carlo Tree Search", arXiv:2103.11922. 3^8 = 6,561
architectures, every one trained on CIFAR-10.

Keys are ``blocks.1`` to ``blocks.8`` (``blocks.0`` is the stem): ``identity``, ``mb3_k3`` or ``mb6_k5``. Layers 1, 3
and 6 halve the resolution and double the channels (64, 128, 256); there the identity is a linear 1x1 convolution. The
number of parameters and of multiply-accumulates equals the benchmark's table.

Deviation: the last normalisation of a residual block starts at a scale of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Space

SPEC = Spec(
    "nasbench_macro",
    "sartor.spaces.nasbench_macro:nasbench_macro",
    summary="chain of eight layers of three blocks (6,561 architectures)",
    citation="Su et al. 2021, arXiv:2103.11922",
)

BLOCKS = ("identity", "mb3_k3", "mb6_k5")
"""In the benchmark's order, whose digits are 0, 1 and 2."""
_WIDTHS = (2, 2, 4, 4, 4, 8, 8, 8)
"""Channels of each layer over the stem's."""
_LAYERS = tuple(range(1, len(_WIDTHS) + 1))
_REDUCING = (1, 3, 6)


def nasbench_macro(channels: int, classes: int, width: int = 32, features: int = 1280) -> Space:
    """Returns the space.

    Args:
        channels: Of the image.
        classes: Number of logits.
        width: Channels of the stem; 32 in the benchmark.
        features: Channels behind the last layer; 1280 in the benchmark.
    """
    from torch import nn

    from sartor.nets import Chain, ClassifierHead, ConvBnAct, MBConv

    def layer(number: int) -> OneOf:
        out, stride = width * _WIDTHS[number - 1], 2 if number in _REDUCING else 1
        linear = partial(ConvBnAct, out_channels=out, kernel=1, stride=2, act=None)
        return OneOf(
            identity=linear if stride == 2 else partial(nn.Identity),
            mb3_k3=partial(MBConv, out_channels=out, kernel=3, expand=3, stride=stride),
            mb6_k5=partial(MBConv, out_channels=out, kernel=5, expand=6, stride=stride),
        )

    first, last = partial(ConvBnAct, out_channels=width), partial(ConvBnAct, out_channels=features, kernel=1)
    blocks: list[Any] = [first, *map(layer, _LAYERS), last]
    return Space(partial(Chain, channels, blocks=blocks, head=partial(ClassifierHead, classes=classes)), graph=graph)


def wired() -> Space:
    """Returns the same architectures without networks, so that nothing loads torch."""
    return Space({"blocks": ["stem", *(OneOf(*BLOCKS) for _ in _LAYERS)]}, graph=graph)


def hand_designed(space: Space) -> Architecture:
    """Returns the chain of the smaller block."""
    return space.architecture(from_digits("11111111"))


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the chain: each block with its channels over the stem's, without what passes its input on."""
    labels = []
    for number, width in zip(_LAYERS, _WIDTHS, strict=True):
        block = architecture[f"blocks.{number}"]
        if number in _REDUCING:
            labels.append(f"{'conv1x1' if block == 'identity' else block} width={width} stride=2")
        elif block != "identity":
            labels.append(f"{block} width={width}")
    return Graph.chain(labels)


def from_digits(text: str) -> Architecture:
    """Reads the benchmark's eight digits.

    Raises:
        InputError: Not of that form.
    """
    if len(text) != len(_LAYERS) or set(text) - set("012"):
        raise InputError(f"expected {len(_LAYERS)} digits from 0 to 2, got {text!r}")
    return Architecture({f"blocks.{number}": BLOCKS[int(digit)] for number, digit in zip(_LAYERS, text, strict=True)})
