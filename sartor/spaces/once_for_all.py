"""An elastic chain: the resolution, the depth of each stage, and kernel and expansion of each block.

Cai et al. 2020, "Once-for-All: Train One Network and Specialize it for Efficient Deployment", arXiv:1908.09791.

Keys: ``data.resolution`` (the side at which the network sees the image), and for each stage ``stage1.depth``, and of
each of its blocks ``stage1.blocks.0.kernel`` and ``stage1.blocks.0.expand``. Widths are fixed unless several are given
for a stage, when ``stage1.width`` is chosen too.

A supernet trains all of these at once: a smaller kernel is the middle of a larger one, a shallower stage the first
blocks of a deeper one. In the paper 5 stages of up to 4 blocks, each one of 9, and 25 resolutions make 5.4e20.

Deviations: three stages below 45 pixels, four from there, with strides that end at about 4 places a side; ReLU; no
squeeze-and-excitation; no 1x1 convolution before the head. Resolutions are from 4/7 of the image's side to all of it,
as the paper's 128 to 224. Images that are not square are seen as squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, OneOf, Repeat, Shared, Space
from sartor.spaces._images import layout, middle, shared

SPEC = Spec(
    "once-for-all",
    "sartor.spaces.once_for_all:once_for_all",
    summary="resolution, depth of each stage, kernel and expansion of each block (1.6e12 for 28x28)",
    citation="Cai et al. 2020, arXiv:1908.09791",
)

STAGE_WIDTHS = ((16,), (24,), (48,), (96,))


def resolutions_of(image_size: int | tuple[int, int]) -> tuple[int, ...]:
    """Returns four sides from 4/7 of the shorter one on (fewer where they round to equal ones): 16 to 28 of 28."""
    shorter = min(image_size) if isinstance(image_size, tuple) else image_size
    return tuple(sorted({max(1, round(shorter * sevenths / 7)) for sevenths in (4, 5, 6, 7)}))


def once_for_all(
    channels: int,
    classes: int,
    image_size: int | tuple[int, int],
    *,
    resolutions: Sequence[int] | None = None,
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
    depths: Sequence[int] = (2, 3, 4),
    stem_width: int = 16,
    stage_widths: Sequence[Sequence[int]] = STAGE_WIDTHS,
) -> Space:
    """Returns the space, fitted to an image size: ``network``, and under ``data`` the resolution.

    Args:
        channels: Of the image.
        classes: Number of logits.
        image_size: Side, or ``(height, width)``.
        resolutions: Sides at which the network sees the image; `resolutions_of` the size when None.
        kernels: Of the depthwise convolutions, odd.
        expansions: Width inside a block over its input's.
        depths: Blocks of a stage, at least 1.
        stem_width: Channels of the stem.
        stage_widths: Channels of each stage, of which one is chosen; as many as the size needs (3 or 4) are used.

    Raises:
        InputError: too few ``stage_widths`` for the size.
    """
    from sartor.nets import Chain, ClassifierHead, ConvBnAct, MBConv, Stage

    plan = layout(image_size)
    if len(stage_widths) < len(plan.stages):
        raise InputError(f"images of {image_size} pixels need {len(plan.stages)} stages, got widths of {stage_widths}")
    blocks: list[Any] = [partial(ConvBnAct, out_channels=stem_width, stride=plan.stem[-1])]
    for number, (stride, widths) in enumerate(zip(plan.stages, stage_widths, strict=False), 1):
        name = f"stage{number}"
        kernel: Any = OneOf(*kernels)
        expand: Any = OneOf(*expansions)
        width = widths[0] if len(widths) == 1 else shared(f"{name}.width", *widths)
        repeated: Any = Repeat(
            partial(MBConv, out_channels=width, kernel=kernel, expand=expand), times=shared(f"{name}.depth", *depths)
        )
        blocks.append(Shared(name, partial(Stage, blocks=repeated, stride=stride)))
    network = partial(Chain, channels, blocks=blocks, head=partial(ClassifierHead, classes=classes))
    sides = resolutions_of(image_size) if resolutions is None else resolutions
    return Space({"data": {"resolution": OneOf(*sides)}, "network": network})


def hand_designed(space: Space) -> Architecture:
    """Returns a middle of the space: full resolution, the middle depth, width and expansion, the smallest kernels."""
    chosen: dict[str, Any] = {"data.resolution": space.values("data.resolution")[-1]}
    number = 1
    while (depth := f"stage{number}.depth") in space.keys:
        chosen[depth] = middle(space.values(depth))
        if (width := f"stage{number}.width") in space.keys:
            chosen[width] = middle(space.values(width))
        for i in range(chosen[depth]):
            block = f"stage{number}.blocks.{i}"
            chosen[f"{block}.kernel"] = space.values(f"{block}.kernel")[0]
            chosen[f"{block}.expand"] = middle(space.values(f"{block}.expand"))
        number += 1
    return space.architecture(chosen)
