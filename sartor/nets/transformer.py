"""Transformers: attention between tokens, and the network of it for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.nets.chain import Block, attach

POSITION_STD = 0.5
"""Of positions at the start: as large as what a patch of standardised pixels gives, about 1/sqrt(3). At ViT's 0.02 they
are not seen for long: 10 epochs on digits reach an accuracy of 0.51 instead of 0.90, while 8 on 8,000 images of
CIFAR-10 reach 0.46 with either."""


Read = Callable[..., Tensor]
"""Maps queries, keys and values, ``(n, heads, tokens, head_dim)`` each, to what each query reads, shaped as queries."""


class MultiHeadAttention(nn.Module):
    """Each token reads all tokens, its own or those of another sequence (Vaswani et al. 2017, arXiv:1706.03762).

    Queries, keys and values have a layer each: heads are rows of these in order, so that the first rows are the first
    heads. Keys have no bias, which would add one number to all scores of a query and so change nothing.

    Args:
        dim: Features of a token.
        heads: How many.
        head_dim: Features of a head; ``heads * head_dim`` need not be ``dim``.
        context_dim: Features of a token that is read; ``dim`` when None.
        read: How queries read: the softmax of scaled products, or one of ``sartor.nets.linear_attention`` and
            ``sartor.nets.local_attention``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        context_dim: int | None = None,
        read: Read = functional.scaled_dot_product_attention,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, heads * head_dim)
        self.key = nn.Linear(context_dim or dim, heads * head_dim, bias=False)
        self.value = nn.Linear(context_dim or dim, heads * head_dim)
        self.read = read
        self.out = nn.Linear(heads * head_dim, dim)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps ``(n, tokens, dim)`` to the same shape.

        Args:
            x: Reads.
            context: Is read, ``(n, others, context_dim)``; ``x`` itself when None.
            mask: True where it may be read, or numbers added to the scores; broadcasts to
                ``(n, heads, tokens, others)``.
        """
        source = x if context is None else context
        query, key, value = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, x), (self.key, source), (self.value, source))
        )
        read = self.read(query, key, value) if mask is None else self.read(query, key, value, attn_mask=mask)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, for each token by itself.

    Args:
        dim: Features of a token.
        ratio: Features between the layers over ``dim``.
        act: Makes the activation.
    """

    def __init__(self, dim: int, ratio: float = 4, act: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        inside = max(1, round(dim * ratio))
        self.expand = nn.Linear(dim, inside)
        self.act = act()
        self.reduce = nn.Linear(inside, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, tokens, dim)`` to the same shape."""
        out: Tensor = self.reduce(self.act(self.expand(x)))
        return out


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each added to its input and each behind a normalisation (Xiong et al. 2020,
    arXiv:2002.04745).

    Args:
        dim: Features of a token.
        heads: Of the attention.
        head_dim: Features of a head.
        ffn_ratio: Features inside the feed-forward over ``dim``.
        attention: Called with ``dim``, ``heads`` and ``head_dim``: ``MultiHeadAttention`` or what takes its place.
        norm: Makes the normalisation for ``dim`` features: ``nn.LayerNorm``, ``nn.RMSNorm``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        ffn_ratio: float = 4,
        attention: Callable[[int, int, int], nn.Module] = MultiHeadAttention,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.out_channels = dim
        self.attention_norm = norm(dim)
        self.attention = attention(dim, heads, head_dim)
        self.ffn_norm = norm(dim)
        self.ffn = FeedForward(dim, ffn_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, tokens, dim)`` to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


class PatchEmbedding(nn.Module):
    """Squares of an image, each as a token by one linear map (Dosovitskiy et al. 2021, arXiv:2010.11929).

    Args:
        in_channels: Of the image.
        dim: Features of a token.
        patch: Side of a square; sizes that it does not divide are filled up with zeros below and on the right.
    """

    def __init__(self, in_channels: int, dim: int, patch: int) -> None:
        super().__init__()
        if patch < 1:
            raise InputError(f"expected patches of at least 1 pixel, got {patch}")
        self.out_channels = dim
        self.patch = patch
        self.conv = nn.Conv2d(in_channels, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in_channels, height, width)`` to ``(n, ceil(height / patch) * ceil(width / patch), dim)``."""
        missing = (0, -x.shape[3] % self.patch, 0, -x.shape[2] % self.patch)
        if any(missing):
            x = functional.pad(x, missing)
        out: Tensor = self.conv(x).flatten(2).transpose(1, 2)
        return out


class VisionTransformer(nn.Module):
    """Patches with learned positions, blocks, and logits from the mean over tokens.

    Args:
        in_channels: Of the input, shape ``(n, in_channels, *image_size)``.
        classes: Number of logits.
        image_size: ``(height, width)``; other sizes have other positions.
        patch: Side of a square of pixels that makes a token.
        dim: Features of a token.
        layers: Blocks, as factories called with ``dim``.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        image_size: tuple[int, int],
        patch: int,
        dim: int,
        layers: Sequence[nn.Module | Block],
    ) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(in_channels, dim, patch)
        tokens = -(-image_size[0] // patch) * -(-image_size[1] // patch)
        self.position = nn.Parameter(torch.empty(tokens, dim))
        nn.init.normal_(self.position, std=POSITION_STD)
        made = []
        for layer in layers:
            module, out = attach(layer, dim)
            if out != dim:
                raise InputError(f"a layer must keep {dim} features, {module} gives {out}")
            made.append(module)
        self.layers = nn.Sequential(*made)
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, classes)
        self.out_channels = classes

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, shape ``(n, classes)``."""
        tokens = self.layers(self.embedding(x) + self.position)
        out: Tensor = self.linear(self.norm(tokens).mean(1))
        return out
