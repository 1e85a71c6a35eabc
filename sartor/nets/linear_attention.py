"""Mixing of tokens whose cost grows with their number instead of its square.

Each function has the signature of ``MultiHeadAttention``, so that it takes its place:
``TransformerBlock(..., attention=performer_attention)``.

| | tokens read each other by | cost for N tokens |
|---|---|---|
| ``performer_attention`` | positive random features of the softmax kernel | N |
| ``linformer_attention`` | keys and values brought to few tokens by a learned map | N |
| ``FourierMixing`` | a Fourier transform, no parameters | N log N |
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets.transformer import MultiHeadAttention

KERNEL_FLOOR = 1e-6
"""Added to the random features, so that no token's features all vanish."""


def performer_attention(dim: int, heads: int, head_dim: int, num_features: int | None = None) -> MultiHeadAttention:
    """Returns attention by random features (``RandomFeatures``).

    Args:
        dim: Features of a token.
        heads: How many.
        head_dim: Features of a head.
        num_features: Random features, the paper's ``head_dim * log(head_dim)`` when None; the error of the kernel
            falls as one over their root.
    """
    num = num_features or max(1, round(head_dim * math.log(max(2, head_dim))))
    return MultiHeadAttention(dim, heads, head_dim, read=RandomFeatures(num, head_dim))


def linformer_attention(dim: int, heads: int, head_dim: int, *, tokens: int, num_kept: int) -> MultiHeadAttention:
    """Returns attention to mixtures of the tokens (``MixedTokens``).

    Args:
        dim: Features of a token.
        heads: How many.
        head_dim: Features of a head.
        tokens: Their number, which the learned map fixes.
        num_kept: Mixtures that are read.
    """
    return MultiHeadAttention(dim, heads, head_dim, read=MixedTokens(tokens, num_kept))


class RandomFeatures(nn.Module):
    """Softmax attention by positive orthogonal random features (Choromanski et al. 2021, arXiv:2009.14794):

        exp(q.k) = E_w[exp(w.q - |q|^2 / 2) exp(w.k - |k|^2 / 2)],  w ~ N(0, I)

    so that attention is ``phi(Q) (phi(K)^T V)``, divided by ``phi(Q) (phi(K)^T 1)``. Directions are drawn once, in
    orthogonal blocks, and are a buffer of the network.

    Args:
        num_features: Directions.
        head_dim: Features of a head.
    """

    directions: Tensor

    def __init__(self, num_features: int, head_dim: int) -> None:
        super().__init__()
        blocks = [_rotation(head_dim) for _ in range(-(-num_features // head_dim))]
        lengths = torch.randn(num_features, head_dim).norm(dim=1, keepdim=True)
        self.register_buffer("directions", torch.cat(blocks)[:num_features] * lengths)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Maps ``(n, heads, tokens, head_dim)`` each to what the queries read."""
        scale = query.shape[-1] ** -0.25
        # A query's largest exponent divides out of its own ratio; keys share one, as they are summed.
        queries = self._exponents(query * scale)
        queries = torch.exp(queries - queries.amax(-1, keepdim=True)) + KERNEL_FLOOR
        keys = self._exponents(key * scale)
        keys = torch.exp(keys - keys.amax((-2, -1), keepdim=True)) + KERNEL_FLOOR
        return queries @ (keys.transpose(-2, -1) @ value) / (queries @ keys.sum(-2).unsqueeze(-1))

    def _exponents(self, tokens: Tensor) -> Tensor:
        return tokens @ self.directions.T - tokens.square().sum(-1, keepdim=True) / 2


def _rotation(dim: int) -> Tensor:
    """Returns a uniformly drawn orthogonal matrix; signs as they come of the decomposition would not be uniform."""
    q, r = torch.linalg.qr(torch.randn(dim, dim))
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


class MixedTokens(nn.Module):
    """Attention to learned mixtures of the tokens (Wang et al. 2020, Linformer, arXiv:2006.04768):

        softmax(Q (E K)^T / sqrt(d)) (E V),    E of shape (num_kept, tokens)

    with one map for keys, values and heads, which the paper found as good as several.

    Args:
        tokens: Their number.
        num_kept: Mixtures, 1 to ``tokens``.
    """

    def __init__(self, tokens: int, num_kept: int) -> None:
        super().__init__()
        if not 1 <= num_kept <= tokens:
            raise InputError(f"expected to keep 1 to {tokens} tokens, got {num_kept}")
        self.mix = nn.Linear(tokens, num_kept, bias=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Maps ``(n, heads, tokens, head_dim)`` each to what the queries read."""
        key, value = (self.mix(each.transpose(-2, -1)).transpose(-2, -1) for each in (key, value))
        return functional.scaled_dot_product_attention(query, key, value)


class FourierMixing(nn.Module):
    """The real part of the Fourier transform over tokens and features (Lee-Thorp et al. 2022, FNet, arXiv:2105.03824).

    Nothing is learned here; the feed-forward layers around it learn. Arguments are those of an attention, for it takes
    the place of one.
    """

    def __init__(self, dim: int, heads: int = 1, head_dim: int = 1) -> None:
        super().__init__()
        self.out_channels = dim

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, tokens, dim)`` to the same shape."""
        mixed: Tensor = torch.fft.fft2(x, dim=(-2, -1)).real
        return mixed.to(x.dtype)
