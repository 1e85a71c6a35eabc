"""A chain of mobile inverted bottlenecks: kernel, expansion, depth, width and squeeze-and-excitation of each stage.

The space of MnasNet (Tan et al. 2019, arXiv:1807.11626): what is chosen holds for a whole stage; expansions as in
FBNet (Wu et al. 2019, arXiv:1812.03443), kernels as in Once-for-All (Cai et al. 2020, arXiv:1908.09791).

Keys: ``stem.width``, ``stem.stride`` (full or half resolution, from 12 pixels on), and for each stage ``stage1.width``,
``stage1.depth``, ``stage1.kernel``, ``stage1.expand``, ``stage1.squeeze_excite``.

Deviations: three stages below 45 pixels, four from there, with strides that end at about 4 places a side; widths for
microcontrollers to phones (about 1k to 1M parameters); ReLU; no 1x1 convolution before the head, which would outweigh
such networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.spaces._images import chain, middle, shared

SPEC = Spec(
    "mbconv",
    "sartor.spaces.mbconv:mbconv",
    summary="chain of mobile bottlenecks: kernel, expansion, depth, width, squeeze-and-excitation of each stage",
    citation="Tan et al. 2019, arXiv:1807.11626",
)

STEM_WIDTHS = (8, 16, 24)
STAGE_WIDTHS = ((8, 12, 16, 24), (12, 16, 24, 32, 48), (16, 24, 32, 48, 64, 96), (24, 32, 48, 64, 96, 128))


def mbconv(
    channels: int,
    classes: int,
    image_size: int | tuple[int, int],
    *,
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (1, 3, 6),
    depths: Sequence[int] = (1, 2, 3, 4),
    stem_widths: Sequence[int] = STEM_WIDTHS,
    stage_widths: Sequence[Sequence[int]] = STAGE_WIDTHS,
) -> Space:
    """Returns the space, fitted to an image size.

    Args:
        channels: Of the image.
        classes: Number of logits.
        image_size: Side, or ``(height, width)``.
        kernels: Of the depthwise convolutions, odd.
        expansions: Width inside a block over its input's.
        depths: Blocks of a stage, at least 1.
        stem_widths: Channels of the stem.
        stage_widths: Channels of each stage; as many as the size needs (3 or 4) are used.

    Raises:
        InputError: too few ``stage_widths`` for the size.
    """
    from sartor.nets import MBConv

    def block(name: str, widths: Sequence[int]) -> Any:
        return partial(
            MBConv,
            out_channels=shared(f"{name}.width", *widths),
            kernel=shared(f"{name}.kernel", *kernels),
            expand=shared(f"{name}.expand", *expansions),
            squeeze_excite=shared(f"{name}.squeeze_excite", False, True),
        )

    return chain(
        channels, classes, image_size, depths=depths, stem_widths=stem_widths, stage_widths=stage_widths, block=block
    )


def hand_designed(space: Space) -> Architecture:
    """Returns a middle of the default space as a person would take it: growing widths, two blocks a stage after the
    first (one below 12 pixels), expansion 3, kernels of 3, squeeze-and-excitation in the last stage, and the stem at
    half resolution where it may be.
    """
    keys = set(space.keys)
    num_stages = sum(key.endswith(".depth") for key in keys)
    chosen: dict[str, object] = {"stem.width": middle(STEM_WIDTHS)}
    if "stem.stride" in keys:
        chosen["stem.stride"] = 2
    for number in range(1, num_stages + 1):
        chosen |= {
            f"stage{number}.width": (16, 24, 48, 96)[number - 1],
            f"stage{number}.depth": 1 if number == 1 or "stem.stride" not in keys else 2,
            f"stage{number}.kernel": 3,
            f"stage{number}.expand": 3,
            f"stage{number}.squeeze_excite": number == num_stages,
        }
    return space.architecture(chosen)
