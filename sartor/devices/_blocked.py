"""What ONNX Runtime makes of a network on a processor: blocked layouts, and what it costs to enter and leave them.

On x86 and Arm it computes convolutions on activations whose channels are cut into blocks of a vector's width (NCHWc),
padded to whole blocks; pooling, addition, activation and concatenation stay in that layout where they can, and where
the next operation cannot, the activation is copied back. So a pooling of 8 channels takes ten times as long as one of
16. This follows the rules of its layout transformation (``core/optimizer/nchwc_transformer.cc``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sartor.devices.kernels import Kernel, Shape

__all__ = ["Step", "steps_of"]

_CHANNEL_ALIGNMENT = 4
"""What the copies into the blocked layout need the channels to be a multiple of."""
_POOLINGS = ("max_pool", "average_pool")
_CONVOLUTIONS = ("convolution", "pointwise", "depthwise", "grouped")


@dataclass(frozen=True)
class Step:
    """One operation of the runtime's graph.

    Attributes:
        kind: E.g. ``pointwise blocked``, ``pool``, ``reorder out``.
        macs: Multiply-accumulates with the padding.
        read, weight, write: Elements with the padding.
        places: Of the output, height times width, or rows of a matrix product.
        size: Places of the window.
        channels_in, channels_out: With the padding.
    """

    kind: str
    macs: float
    read: float
    weight: float
    write: float
    places: float
    size: float
    channels_in: float
    channels_out: float


def steps_of(kernels: Sequence[Kernel], block: int) -> list[Step]:
    """Returns the operations that the runtime executes.

    Args:
        kernels: In order, with ``sources`` that say which kernel made each input.
        block: Channels in a block: 16 with AVX-512, 8 with AVX2 and on Arm; 1 where there is no blocked layout.
    """
    blocked: dict[int, bool] = {}
    copied_out: set[int] = set()
    copied_in: dict[int, int] = {}
    steps: list[Step] = []

    def leave(source: int) -> None:
        """Copies an activation out of the blocked layout, once."""
        if blocked.get(source) and source not in copied_out:
            copied_out.add(source)
            steps.append(_copy("reorder out", kernels[source].output, block))

    def enter(source: int, shape: Shape) -> None:
        if not blocked.get(source) and source not in copied_in:
            copied_in[source] = 1
            steps.append(_copy("reorder in", shape, block))

    for number, kernel in enumerate(kernels):
        channels = kernel.input[1] if len(kernel.input) == 4 else 0
        inside = [source for source in kernel.sources if blocked.get(source)]
        if kernel.kind in _CONVOLUTIONS and len(kernel.output) == 4:
            how = _convolution_layout(kernel, channels, block)
            for position, source in enumerate(kernel.sources):
                if how == "" or (how == "direct" and position == 0):
                    leave(source)
                elif position == 0:
                    enter(source, kernel.input)
            if how == "blocked" and not kernel.sources:
                steps.append(_copy("reorder in", kernel.input, block))
            added = kernel.sources[1:] if "add" in kernel.fused else ()
            if "add" in kernel.fused and how and not all(blocked.get(source) for source in added):
                # An operand in the plain layout keeps the addition, and what follows it, out of the convolution.
                steps.append(_convolution(replace(kernel, fused=()), channels, how, block))
                steps.append(_copy("reorder out", kernel.output, block))
                behind = kernel.fused[kernel.fused.index("add") :]
                steps.extend(_elementwise(step, kernel.output) for step in behind)
                blocked[number] = False
                continue
            steps.append(_convolution(kernel, channels, how, block))
            blocked[number] = how != ""
            continue
        whole = block > 1 and bool(channels) and channels % block == 0
        stays = bool(inside) and (
            (kernel.kind == "activation")
            or (kernel.kind == "add" and len(inside) == len(kernel.sources) > 1)
            or (kernel.kind == "concat" and whole and len(inside) == len(kernel.sources))
            or (kernel.kind == "normalise" and whole)
        )
        if kernel.kind in _POOLINGS and whole and kernel.sources:
            enter(kernel.sources[0], kernel.input)
            stays = True
        if not stays:
            for source in kernel.sources:
                leave(source)
        blocked[number] = stays
        steps.append(_other(kernel, "blocked" if stays else "", block))
    for number in range(len(kernels)):
        if blocked.get(number) and number == len(kernels) - 1:
            leave(number)
    return steps


def _convolution_layout(kernel: Kernel, channels: int, block: int) -> str:
    """Returns ``blocked``, ``direct`` (reads the plain layout, writes the blocked one) or "" for the plain one."""
    out = kernel.output[1]
    if block <= 1:
        return ""
    if kernel.kind == "depthwise":
        return "blocked" if out % _CHANNEL_ALIGNMENT == 0 and out == channels else ""
    if kernel.groups > 1:
        each_in, each_out = channels // kernel.groups, out // kernel.groups
        return "blocked" if each_in % block == 0 and each_out % block == 0 else ""
    if channels < block:
        return "direct"
    return "blocked" if channels % _CHANNEL_ALIGNMENT == 0 else ""


def _up(value: float, block: int) -> float:
    return math.ceil(value / block) * block


def _convolution(kernel: Kernel, channels: int, how: str, block: int) -> Step:
    width = block if how else 1
    out = _up(kernel.output[1], width)
    places = float(math.prod(kernel.output[2:]))
    into = float(channels) if how != "blocked" else _up(channels, width)
    each = 1.0 if kernel.kind == "depthwise" else into / kernel.groups
    extra = math.prod(kernel.output) if "add" in kernel.fused else 0
    return Step(
        kind=f"{kernel.kind} {how}".strip(),
        macs=places * out * each * kernel.size,
        read=into * math.prod(kernel.input[2:]) + extra,
        weight=out * each * kernel.size,
        write=out * places,
        places=places,
        size=float(kernel.size),
        channels_in=into,
        channels_out=out,
    )


def _copy(kind: str, shape: Shape, block: int) -> Step:
    elements = _up(shape[1], block) * math.prod(shape[2:]) if len(shape) == 4 else math.prod(shape)
    return Step(kind, 0.0, elements, 0.0, float(math.prod(shape)), float(math.prod(shape[2:])), 1.0, 0.0, 0.0)


def _elementwise(kind: str, shape: Shape) -> Step:
    elements = float(math.prod(shape))
    operands = 2 if kind == "add" else 1
    return Step(kind, elements, operands * elements, 0.0, elements, elements, 1.0, float(shape[-1]), float(shape[-1]))


def _other(kernel: Kernel, how: str, block: int) -> Step:
    elements = float(kernel.elements)
    read = kernel.read_bytes / 4
    rows = float(math.prod(kernel.output[:-1])) if kernel.kind in ("linear", "matmul") else elements
    return Step(
        kind=f"{kernel.kind} {how}".strip() if kernel.kind in (*_POOLINGS, "normalise") else kernel.kind,
        macs=float(kernel.macs) or elements * kernel.size,
        read=read,
        weight=kernel.weight_bytes / 4,
        write=elements,
        places=rows,
        size=float(kernel.size),
        channels_in=float(kernel.input[-1]) if kernel.input else 0.0,
        channels_out=float(kernel.output[-1]) if kernel.output else 0.0,
    )

