"""Attention within windows: of a sequence, of an image.

``sliding_window_attention`` has the signature of ``MultiHeadAttention`` and takes its place in a ``TransformerBlock``;
``WindowAttention`` is for images and follows the idiom of chains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets.transformer import MultiHeadAttention


def sliding_window_attention(dim: int, heads: int, head_dim: int, reach: int = 8) -> MultiHeadAttention:
    """Returns attention to the tokens at most ``reach`` places away (``SlidingWindow``)."""
    return MultiHeadAttention(dim, heads, head_dim, read=SlidingWindow(reach))


class SlidingWindow(nn.Module):
    """Each token reads those at most ``reach`` places away (Beltagy et al. 2020, Longformer, arXiv:2004.05150).

    Tokens are cut into blocks of ``reach``, each of which reads itself and both neighbours, so that cost and memory
    grow with ``tokens * reach``.

    Args:
        reach: Places to either side.
    """

    def __init__(self, reach: int) -> None:
        super().__init__()
        if reach < 1:
            raise InputError(f"expected a reach of at least 1 token, got {reach}")
        self.reach = reach

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Maps ``(n, heads, tokens, head_dim)`` each to what the queries read."""
        tokens, reach = query.shape[-2], self.reach
        filled = -tokens % reach
        query, key, value = (functional.pad(each, (0, 0, 0, filled)) for each in (query, key, value))
        blocks = (tokens + filled) // reach
        first = reach * torch.arange(blocks, device=query.device)[:, None]
        place = first + torch.arange(reach, device=query.device)
        read = first + torch.arange(-reach, 2 * reach, device=query.device)
        distance = (place[:, :, None] - read[:, None, :]).abs()
        allowed = (distance <= reach) & ((read >= 0) & (read < tokens))[:, None, :]
        # Filled places would read nothing, which is no number: they read themselves and are cut off.
        allowed = allowed | (distance == 0)
        batch = query.shape[:-2]
        query = query.view(*batch, blocks, reach, query.shape[-1])
        key, value = (_with_neighbours(each, reach) for each in (key, value))
        # Attention of four dimensions is what exporters know.
        query, key, value = (each.flatten(0, -4) for each in (query, key, value))
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return out.reshape(*batch, blocks * reach, out.shape[-1])[..., :tokens, :]


def _with_neighbours(tokens: Tensor, reach: int) -> Tensor:
    """Maps ``(n, heads, blocks * reach, d)`` to ``(n, heads, blocks, 3 * reach, d)``."""
    padded = functional.pad(tokens, (0, 0, reach, reach)).reshape(*tokens.shape[:-2], -1, reach, tokens.shape[-1])
    return torch.cat((padded[..., :-2, :, :], padded[..., 1:-1, :, :], padded[..., 2:, :, :]), -2)


class WindowAttention(nn.Module):
    """Places of an image read those of their own window (Liu et al. 2021, Swin, arXiv:2103.14030).

    The paper's relative position bias is added to the scores. With ``shift``, windows lie half a side further, and
    what comes together from opposite edges does not read one another.

    Args:
        in_channels: Of the image; kept.
        heads: How many.
        head_dim: Features of a head.
        window: Side of a window; sizes that it does not divide are filled up, and what is filled is not read.
        shift: Whether windows lie half a side further.
    """

    def __init__(self, in_channels: int, heads: int, head_dim: int, window: int = 4, shift: bool = False) -> None:
        super().__init__()
        if window < 1:
            raise InputError(f"expected windows of at least 1 place a side, got {window}")
        self.out_channels = in_channels
        self.window, self.offset = window, window // 2 if shift else 0
        self.attention = MultiHeadAttention(in_channels, heads, head_dim)
        self.bias = nn.Parameter(torch.zeros(heads, (2 * window - 1) ** 2))
        nn.init.trunc_normal_(self.bias, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to the same shape."""
        (height, width), side, offset = x.shape[2:], self.window, self.offset
        x = functional.pad(x, (0, -width % side, 0, -height % side))
        padded = x.shape[2:]
        tokens = x.permute(0, 2, 3, 1)
        if offset:
            tokens = tokens.roll((-offset, -offset), (1, 2))
        region = _windows(_regions(padded, (height, width), offset, x.device)[None, :, :, None], side)[0, :, :, 0]
        same = (region[:, :, None] == region[:, None, :]).unsqueeze(1)
        mask = self.bias[:, _relative(side, x.device)].masked_fill(~same, float("-inf"))
        windows = _windows(tokens, side)
        out: Tensor = self.attention(windows.flatten(0, 1), mask=mask.repeat(len(x), 1, 1, 1))
        out = out.reshape(len(x), padded[0] // side, padded[1] // side, side, side, -1)
        tokens = out.transpose(2, 3).reshape(len(x), *padded, -1)
        if offset:
            tokens = tokens.roll((offset, offset), (1, 2))
        return tokens.permute(0, 3, 1, 2)[:, :, :height, :width]


def _windows(tokens: Tensor, side: int) -> Tensor:
    """Maps ``(n, height, width, d)`` to ``(n, windows, side**2, d)``."""
    n, height, width, d = tokens.shape
    cut = tokens.reshape(n, height // side, side, width // side, side, d).transpose(2, 3)
    return cut.reshape(n, -1, side**2, d)


def _regions(padded: torch.Size, size: tuple[int, int], offset: int, device: torch.device) -> Tensor:
    """Returns a number for each place, ``(height, width)``: places read those of their own number alone."""
    sides = []
    for length, real in zip(padded, size, strict=True):
        place = torch.arange(length, device=device)
        # 0 inside, 1 what the shift brings from the other edge, 2 what was filled up.
        side = torch.where(place >= real, 2, 0)
        if offset:
            side = torch.where(side == 0, (place < offset).long(), side).roll(-offset)
        sides.append(side)
    return 3 * sides[0][:, None] + sides[1][None, :]


def _relative(side: int, device: torch.device) -> Tensor:
    """Returns the row of the bias for each pair of places of a window, ``(side**2, side**2)``."""
    place = torch.arange(side, device=device)
    row, column = (each.flatten() for each in torch.meshgrid(place, place, indexing="ij"))
    down = row[:, None] - row[None, :] + side - 1
    right = column[:, None] - column[None, :] + side - 1
    return down * (2 * side - 1) + right
