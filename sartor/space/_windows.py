"""Which part of a larger tensor a smaller module uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Window: TypeAlias = Callable[[nn.Module, str, Tensor, Sequence[int]], Tensor]
"""Given a module, the name of one of its tensors, what is stored for it and the shape it wants, returns that part."""


def plain_window(module: nn.Module, name: str, stored: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns the leading entries of each dimension; of a convolution's kernel the centre."""
    parts: list[slice] = []
    for dimension, (large, small) in enumerate(zip(stored.shape, shape, strict=True)):
        first = (large - small) // 2 if dimension >= 2 and isinstance(module, _ConvNd) else 0
        parts.append(slice(first, first + small))
    return stored[tuple(parts)]


def _packed(stored: Tensor, shape: Sequence[int], num_parts: int) -> Tensor:
    """Returns the leading entries of each of ``num_parts`` blocks that are stacked in the first dimension."""
    blocks = stored.view(num_parts, stored.shape[0] // num_parts, *stored.shape[1:])
    inner = (slice(0, num_parts), slice(0, shape[0] // num_parts), *(slice(0, size) for size in shape[1:]))
    return blocks[inner].flatten(0, 1)


def attention_window(module: nn.Module, name: str, stored: Tensor, shape: Sequence[int]) -> Tensor:
    """As `plain_window`; of the packed projections the leading rows of query, key and value each."""
    if name in ("in_proj_weight", "in_proj_bias"):
        return _packed(stored, shape, 3)
    return plain_window(module, name, stored, shape)


def recurrent_window(module: nn.Module, name: str, stored: Tensor, shape: Sequence[int]) -> Tensor:
    """As `plain_window`; of packed gates the leading rows of each. Input of a second direction is not told apart."""
    is_lstm = isinstance(module, nn.LSTMCell) or getattr(module, "mode", "") == "LSTM"
    is_gru = isinstance(module, nn.GRUCell) or getattr(module, "mode", "") == "GRU"
    num_gates = 4 if is_lstm else 3 if is_gru else 1
    if name.startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh")):
        return _packed(stored, shape, num_gates)
    return plain_window(module, name, stored, shape)


WINDOWS: Mapping[type[nn.Module], Window] = {
    nn.MultiheadAttention: attention_window,
    nn.RNNBase: recurrent_window,
    nn.RNNCellBase: recurrent_window,
}
"""Modules whose leading rows are not the smaller module's."""


def tiled(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns ``tensor`` repeated in every dimension up to ``shape``: initial values keep their distribution."""
    for dimension, size in enumerate(shape):
        if size != tensor.shape[dimension]:
            index = torch.arange(size, device=tensor.device) % tensor.shape[dimension]
            tensor = tensor.index_select(dimension, index)
    return tensor
