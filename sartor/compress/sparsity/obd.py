"""Optimal brain damage: what the loss would change by, to second order and one weight at a time.

LeCun, Denker & Solla 1990, "Optimal Brain Damage", NeurIPS 2: the saliency of a weight is half its square times the
diagonal of the Hessian. They propagate the diagonal backwards without cross terms; here it is estimated without that
approximation, by Hutchinson's probes (Bekas et al. 2007; Yao et al. 2021, AdaHessian, arXiv:2006.00719): for signs v
drawn at random, the mean of ``v * (H v)`` is the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.calibration import Loss, finite, gradients
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError


def obd(
    module: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    *,
    num_probes: int = 8,
    seed: int = 0,
    skip: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Returns ``h * weight**2 / 2`` as the score of each weight, h the diagonal of the Hessian where it is positive.

    Args:
        module: Left as it is. Its operations must be differentiable twice.
        batches: What ``loss`` reads.
        loss: Of the module and a batch: a scalar.
        num_probes: Probes for each batch: the error of the diagonal falls with the root of their number.
        seed: Of the probes.
        skip: Layers to leave alone.

    Raises:
        DataError: batches or their losses are not finite.
        InputError: no batches, fewer than one probe, the loss does not depend on a weight, or see `weights_of`.
    """
    if num_probes < 1:
        raise InputError(f"num_probes: expected at least 1, got {num_probes}")
    weights = weights_of(module, skip=skip)
    held = finite(batches)
    generator = torch.Generator().manual_seed(seed)
    diagonal = [torch.zeros_like(weight, requires_grad=False) for weight in weights.values()]
    for values, found in gradients(module, weights, held, loss, graph=True):
        for probe in range(num_probes):
            signs = [
                (torch.randint(0, 2, value.shape, generator=generator) * 2 - 1).to(value) for value in values
            ]
            # A gradient that is constant has no graph, and no curvature.
            curved = [(g, v) for g, v in zip(found, signs, strict=True) if g.requires_grad]
            if not curved:
                continue
            products = torch.autograd.grad(
                [g for g, _ in curved], values, [v for _, v in curved],
                retain_graph=probe + 1 < num_probes, allow_unused=True,
            )  # fmt: skip
            for total, sign, product in zip(diagonal, signs, products, strict=True):
                if product is not None:
                    total.add_(sign * product)
    scale = 1.0 / (num_probes * len(held))
    return {
        name: 0.5 * (total * scale).clamp(min=0) * weight.detach().square()
        for (name, weight), total in zip(weights.items(), diagonal, strict=True)
    }
