"""A residual chain: kind of block, kernel, depth and width of each stage.

He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385; choices of a whole stage as in
RegNet (Radosavovic et al. 2020, arXiv:2003.13678).

Keys: ``stem.width``, ``stem.stride`` (full or half resolution, from 12 pixels on), and for each stage ``stage1.block``
(``basic`` or ``bottleneck``, whose ``stage1.block.ratio`` is then chosen too), ``stage1.width``, ``stage1.depth``,
``stage1.kernel``.

Deviations: the stem is one 3x3 convolution without pooling, and the shortcut between shapes pools before its 1x1
convolution (ResNet-D), as images here are small; strides end at about 4 places a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sartor.registry import Spec
from sartor.space import Architecture, OneOf, Shared, Space
from sartor.spaces._images import chain, middle, shared

SPEC = Spec(
    "resnet-like",
    "sartor.spaces.resnet_like:resnet_like",
    summary="residual chain: basic or bottleneck, kernel, depth, width of each stage",
    citation="He et al. 2016, arXiv:1512.03385",
)

STEM_WIDTHS = (8, 16, 24)
STAGE_WIDTHS = ((8, 16, 24, 32), (16, 24, 32, 48, 64), (24, 32, 48, 64, 96, 128), (32, 48, 64, 96, 128, 192))


def resnet_like(
    channels: int,
    classes: int,
    image_size: int | tuple[int, int],
    *,
    kernels: Sequence[int] = (3, 5),
    depths: Sequence[int] = (1, 2, 3),
    ratios: Sequence[int] = (2, 4),
    stem_widths: Sequence[int] = STEM_WIDTHS,
    stage_widths: Sequence[Sequence[int]] = STAGE_WIDTHS,
) -> Space:
    """Returns the space, fitted to an image size.

    Args:
        channels: Of the image.
        classes: Number of logits.
        image_size: Side, or ``(height, width)``.
        kernels: Of the blocks' wide convolutions, odd.
        depths: Blocks of a stage, at least 1.
        ratios: Width of a bottleneck's output over its inside.
        stem_widths: Channels of the stem.
        stage_widths: Channels of each stage; as many as the size needs (3 or 4) are used.

    Raises:
        InputError: too few ``stage_widths`` for the size.
    """
    from sartor.nets import BasicBlock, Bottleneck

    def block(name: str, widths: Sequence[int]) -> Any:
        shape: dict[str, Any] = {
            "out_channels": shared(f"{name}.width", *widths),
            "kernel": shared(f"{name}.kernel", *kernels),
        }
        ratio: Any = OneOf(*ratios)
        kinds = OneOf(basic=partial(BasicBlock, **shape), bottleneck=partial(Bottleneck, **shape, ratio=ratio))
        return Shared(f"{name}.block", kinds)

    return chain(
        channels, classes, image_size, depths=depths, stem_widths=stem_widths, stage_widths=stage_widths, block=block
    )


def hand_designed(space: Space) -> Architecture:
    """Returns a small ResNet of the default space: basic blocks, kernels of 3, doubling widths, the stem at half
    resolution where it may be.
    """
    keys = set(space.keys)
    num_stages = sum(key.endswith(".depth") for key in keys)
    chosen: dict[str, object] = {"stem.width": middle(STEM_WIDTHS)}
    if "stem.stride" in keys:
        chosen["stem.stride"] = 2
    for number in range(1, num_stages + 1):
        chosen |= {
            f"stage{number}.block": "basic",
            f"stage{number}.width": (16, 32, 64, 128)[number - 1],
            f"stage{number}.depth": 1,
            f"stage{number}.kernel": 3,
        }
    return space.architecture(chosen)
