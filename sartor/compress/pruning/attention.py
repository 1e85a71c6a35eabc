"""``nn.MultiheadAttention`` with heads that can go: its inner size need not be that of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PrunableAttention(nn.Module):
    """Computes what ``nn.MultiheadAttention`` does, with a layer each for queries, keys and values.

    Takes the same arguments and stands in its place, also within ``nn.TransformerEncoderLayer``, whose fused path it
    declines. The weights that are returned are averaged over heads, or not, as there.

    Args:
        heads: How many.
        query, key, value: From tokens to all heads, one behind the other.
        out: From all heads to tokens.
        batch_first: Batch before tokens.
        dropout: Of the weights, in training.
    """

    def __init__(
        self,
        heads: int,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        out: nn.Linear,
        *,
        batch_first: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads, self.batch_first, self.dropout = heads, batch_first, dropout
        self.query, self.key, self.value, self.out_proj = query, key, value, out
        # What a Transformer layer of torch asks before it takes its fused path.
        self._qkv_same_embed_dim = False
        self.in_proj_bias = None
        self.in_proj_weight = None

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> PrunableAttention | None:
        """Returns the equal of an attention of torch; None for one with learned or added keys, which has none."""
        if attention.bias_k is not None or attention.bias_v is not None or attention.add_zero_attn:
            return None
        dim = attention.embed_dim
        if attention._qkv_same_embed_dim:
            weights = [part.detach() for part in attention.in_proj_weight.chunk(3)]
        else:
            weights = [
                weight.detach()
                for weight in (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
            ]
        packed = attention.in_proj_bias
        biases = [None] * 3 if packed is None else [part.detach() for part in packed.chunk(3)]
        layers = [_linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]
        out = _linear(attention.out_proj.weight.detach(), None if attention.out_proj.bias is None
                      else attention.out_proj.bias.detach())
        made = cls(
            attention.num_heads, layers[0], layers[1], layers[2], out,
            batch_first=attention.batch_first, dropout=attention.dropout,
        )
        assert out.out_features == dim
        return made.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention``: tokens ``(n, tokens, dim)``, or ``(tokens, n, dim)``, or without ``n``."""
        single = query.dim() == 2
        if single:
            query, key, value = (tokens.unsqueeze(0) for tokens in (query, key, value))
        elif not self.batch_first:
            query, key, value = (tokens.transpose(0, 1) for tokens in (query, key, value))
        q, k, v = (
            layer(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, query), (self.key, key), (self.value, value))
        )
        mask = _as_added(attn_mask, q.dtype)
        if mask is not None and mask.dim() == 3:
            mask = mask.reshape(-1, self.num_heads, *mask.shape[1:])
        if key_padding_mask is not None:
            padding = _as_added(key_padding_mask, q.dtype)
            assert padding is not None
            padding = padding.reshape(-1, 1, 1, padding.shape[-1])
            mask = padding if mask is None else mask + padding
        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = functional.dropout(weights, dropout)
            read = weights @ v
        else:
            read = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        out = self.out_proj(read.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if single:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return (out if self.batch_first else out.transpose(0, 1)), weights


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer


def _as_added(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Returns a mask that is added to scores, of one that is True where must not be read, or of such a one."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, float("-inf"))


def with_prunable_attention(network: nn.Module) -> nn.Module:
    """Puts a `PrunableAttention` in the place of every ``nn.MultiheadAttention``, in place; returns the network."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.MultiheadAttention):
            made = PrunableAttention.of(child)
            if made is not None:
                setattr(network, name, made)
        else:
            with_prunable_attention(child)
    return network
