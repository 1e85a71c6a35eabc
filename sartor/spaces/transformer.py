"""A vision Transformer whose dimension, depth, and heads and feed-forward of each layer are chosen.

Chen et al. 2021, "AutoFormer: Searching Transformers for Visual Recognition", arXiv:2107.00651; choices of each layer
as in HAT (Wang et al. 2020, arXiv:2005.14187), for the network of Dosovitskiy et al. 2021 (arXiv:2010.11929).

Keys: ``dim`` (features of a token), ``depth``, and for each layer ``layers.0.heads`` and ``layers.0.ffn_ratio``.
Queries, keys and values have ``heads * head_dim`` features, whatever ``dim`` is.

Deviations: sizes that train on a CPU (AutoFormer's smallest has 192 to 240 features, 12 to 14 layers, and heads of 64);
learned absolute positions alone, no relative ones; logits from the mean over tokens, no class token; keys without bias;
no dropout; positions start large (``POSITION_STD``). Patches are such that about 7 lie along a side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from sartor.errors import InputError
from sartor.registry import Spec
from sartor.space import Architecture, OneOf, Repeat, Space
from sartor.spaces._images import middle, shared

SPEC = Spec(
    "transformer",
    "sartor.spaces.transformer:transformer",
    summary="vision Transformer: dimension, depth, heads and feed-forward of each layer",
    citation="Chen et al. 2021, arXiv:2107.00651",
)

TOKENS_A_SIDE = 7
"""About how many patches lie along the shorter side: 49 tokens of a square image."""


def patch_of(image_size: tuple[int, int]) -> int:
    """Returns the side of a patch, a power of two from 2 on: 2 for 8 pixels, 4 for 28 and 32, 8 for 64.

    Raises:
        InputError: not positive.
    """
    shorter = min(image_size)
    if shorter < 1:
        raise InputError(f"expected an image size of at least 1 pixel, got {image_size}")
    return int(2 ** max(1, round(math.log2(shorter / TOKENS_A_SIDE))))


def transformer(
    channels: int,
    classes: int,
    image_size: int | tuple[int, int],
    *,
    patch: int | None = None,
    dims: Sequence[int] = (32, 48, 64),
    depths: Sequence[int] = (2, 3, 4),
    heads: Sequence[int] = (1, 2, 3, 4),
    head_dim: int = 16,
    ffn_ratios: Sequence[float] = (1, 2, 3, 4),
) -> Space:
    """Returns the space, fitted to an image size.

    Args:
        channels: Of the image.
        classes: Number of logits.
        image_size: Side, or ``(height, width)``.
        patch: Side of the square that makes a token; `patch_of` the size when None.
        dims: Features of a token.
        depths: Layers, at least 1.
        heads: Of a layer.
        head_dim: Features of a head.
        ffn_ratios: Features inside a layer's feed-forward over those of a token.

    Raises:
        InputError: an image size that is not positive.
    """
    from sartor.nets import TransformerBlock, VisionTransformer

    size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    block: Any = partial(
        TransformerBlock, heads=OneOf(*heads), head_dim=head_dim, ffn_ratio=OneOf(*ffn_ratios)  # type: ignore[arg-type]
    )
    return Space(
        partial(
            VisionTransformer,
            channels,
            classes,
            size,
            patch_of(size) if patch is None else patch,
            dim=shared("dim", *dims),
            layers=Repeat(block, times=shared("depth", *depths)),  # type: ignore[arg-type]
        )
    )


def hand_designed(space: Space) -> Architecture:
    """Returns a middle of the space whose layers are alike, with the widest feed-forward (4 in ViT); of the default
    space three layers of 48 features in three heads.
    """
    heads, ratios = space.values("layers.0.heads"), space.values("layers.0.ffn_ratio")
    chosen: dict[str, Any] = {key: middle(space.values(key)) for key in ("dim", "depth")}
    for i in range(chosen["depth"]):
        chosen |= {f"layers.{i}.heads": heads[len(heads) // 2], f"layers.{i}.ffn_ratio": ratios[-1]}
    return space.architecture(chosen)
