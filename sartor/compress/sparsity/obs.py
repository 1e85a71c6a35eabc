"""Optimal brain surgeon: the other weights make up for those that go.

Hassibi & Stork 1993, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", NeurIPS 5: removing
weight q costs ``w_q**2 / (2 [H^-1]_qq)`` when the others are moved along ``H^-1 e_q``. As in their paper the Hessian is
the mean outer product of gradients; as in Kurtic et al. 2022, "The Optimal BERT Surgeon", arXiv:2203.07259, it is kept
for blocks of neighbouring weights only, and the weights of a block are removed together. A block as large as the
network is Hassibi & Stork's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.calibration import Loss, finite, gradients
from sartor.compress.sparsity.masks import fitting, global_masks
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError


@dataclass(frozen=True)
class Surgery:
    """What is left after weights were removed and others moved.

    Attributes:
        module: A copy with the zeros and the moved weights.
        masks: True where a weight stays.
    """

    module: nn.Module
    masks: dict[str, Tensor]


def obs(
    module: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    sparsity: float,
    *,
    block: int = 64,
    damping: float = 1e-4,
    skip: Sequence[str] = (),
) -> Surgery:
    """Removes weights of all layers together and moves the others of their blocks.

    Args:
        module: Left as it is.
        batches: What ``loss`` reads; each gives one gradient, so use many small ones (1 row in the paper).
        loss: Of the module and a batch: a scalar.
        sparsity: Share of the weights that is removed, from 0 to below 1.
        block: Weights in a block of the Hessian, neighbours in a layer's flattened weight.
        damping: Added to the diagonal, times the mean of the diagonal over all weights.
        skip: Layers to leave alone.

    Raises:
        DataError: batches or their losses are not finite.
        InputError: no batches, a number out of range, the loss does not depend on a weight, or see `weights_of`.
    """
    if block < 1 or not damping > 0:
        raise InputError(f"expected a block of at least 1 weight and damping above 0, got {block} and {damping:g}")
    weights = weights_of(module, skip=skip)
    held = finite(batches)
    rows: dict[str, list[Tensor]] = {name: [] for name in weights}
    for _, found in gradients(module, weights, held, loss):
        for name, gradient in zip(weights, found, strict=True):
            rows[name].append(gradient.detach().flatten().double())
    blocks = {name: _hessian(torch.stack(each), block) for name, each in rows.items()}
    num = sum(weight.numel() for weight in weights.values())
    trace = sum(float(hessian.diagonal(dim1=1, dim2=2).sum()) for hessian in blocks.values())
    added = max(damping * trace / num, torch.finfo(torch.float64).tiny ** 0.5)
    saliency: dict[str, Tensor] = {}
    for name, hessian in blocks.items():
        hessian.diagonal(dim1=1, dim2=2).add_(added)
        inverse = torch.linalg.inv(hessian).diagonal(dim1=1, dim2=2).flatten()[: weights[name].numel()]
        saliency[name] = (weights[name].detach().double().flatten().square() / (2 * inverse)).view_as(weights[name])
    masks = global_masks(saliency, sparsity)
    made = copy.deepcopy(module)
    with torch.no_grad():
        for name, weight in fitting(made, masks).items():
            flat = _blocks(weight.double().flatten()[None], block)[:, 0]
            kept = _blocks(masks[name].double().flatten()[None], block)[:, 0]
            moved = _made_up(blocks[name], flat, kept).flatten()[: weight.numel()].view_as(weight)
            weight.copy_(moved * masks[name])
    return Surgery(made, masks)


def _blocks(rows: Tensor, block: int) -> Tensor:
    """Returns ``[num_blocks, n, block]`` of ``[n, weights]``, zeros behind the last."""
    block = min(block, rows.shape[1])
    padded = nn.functional.pad(rows, (0, -rows.shape[1] % block))
    return padded.reshape(len(rows), -1, block).transpose(0, 1)


def _hessian(gradients: Tensor, block: int) -> Tensor:
    """Returns the mean outer products of ``[n, weights]`` within blocks, ``[num_blocks, block, block]``."""
    parts = _blocks(gradients, block)
    products: Tensor = parts.transpose(1, 2) @ parts / gradients.shape[0]
    return products


def _made_up(hessian: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
    """Returns the weights ``[num_blocks, block]`` that least raise the quadratic form where others are zero.

    Over the kept K and the removed Q, ``w_K + H_KK^-1 H_KQ w_Q``: the joint form of equation 5 in both papers.
    """
    removed = 1 - kept
    push = (hessian @ (weight * removed)[:, :, None])[:, :, 0] * kept
    system = hessian * kept[:, :, None] * kept[:, None, :] + torch.diag_embed(removed)
    moved: Tensor = weight * kept + torch.linalg.solve(system, push)
    return moved
