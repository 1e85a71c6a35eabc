"""Larger kernels (Wei et al. 2016, "Network Morphism", arXiv:1603.01670, section 3.5): padded by zeros all round."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sartor.compress.morphism.inherit import inherit
from sartor.errors import InputError, near


def reshape_kernel(
    network: nn.Module,
    layer: str,
    kernel: int | tuple[int, ...],
    inputs: Sequence[Tensor],
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Returns a copy in which a convolution has a larger kernel, and which computes the same in eval mode.

    Args:
        network: Not changed.
        layer: Path of a convolution; grouped, strided and dilated ones too.
        kernel: Places along each dimension; each grows by an even number, half on either side.
        inputs: Example inputs of the network.
        noise: See `inherit`; of the new places.
        seed: Of the noise.

    Raises:
        InputError: no such convolution (with the near name), a kernel that does not grow by even numbers, or padding
            that is not by zeros.
    """
    convs = {name: m for name, m in network.named_modules() if isinstance(m, nn.modules.conv._ConvNd)}
    if layer not in convs or convs[layer].transposed:
        raise InputError(f"the network has no convolution {layer!r}{near(layer, convs)}")
    large = copy.deepcopy(network)
    conv = large.get_submodule(layer)
    assert isinstance(conv, nn.modules.conv._ConvNd)
    old = conv.kernel_size
    new = (kernel,) * len(old) if isinstance(kernel, int) else tuple(kernel)
    if len(new) != len(old) or any(b < a or (b - a) % 2 for a, b in zip(old, new, strict=False)):
        raise InputError(f"the kernel of {layer}, {old}, grows by even numbers, got {new}")
    if conv.padding_mode != "zeros":
        raise InputError(f"{layer} pads by {conv.padding_mode!r}, not by zeros, so that its kernel cannot grow")
    conv.kernel_size = new
    if isinstance(conv.padding, tuple):
        conv.padding = tuple(
            p + d * (b - a) // 2 for p, d, a, b in zip(conv.padding, conv.dilation, old, new, strict=True)
        )
    elif conv.padding == "valid":
        raise InputError(f"{layer} does not pad, so that a larger kernel would shorten its output")
    weight = conv.weight
    conv.weight = nn.Parameter(torch.zeros(*weight.shape[:2], *new, dtype=weight.dtype), weight.requires_grad)
    return inherit(network, large, inputs, noise=noise, seed=seed)
