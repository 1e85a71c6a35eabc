"""AZ-NAS's trainability: how near to one the largest singular value of each block's Jacobian is (Lee and Ham 2024,
arXiv:2403.19232), estimated by drawn signs sent back through the block: the mean of 2 - s - 1/s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "az-trainability",
    "sartor.estimators.proxies.az_trainability:az_trainability",
    "scale of the blocks' Jacobians",
    citation="Lee and Ham 2024, arXiv:2403.19232",
    version=2,
)


def _score(probe: Probe) -> float:
    import torch

    drawn, scores = probe.generator("az-trainability"), []
    for before, after in probe.passed:
        # Nothing to be trained lies before the first.
        if before.is_leaf or before.ndim != after.ndim or after.ndim < 2:
            continue
        signs = torch.randint(2, after.shape, generator=drawn).to(after) * 2 - 1
        (back,) = torch.autograd.grad(after, before, signs, retain_graph=True, allow_unused=True)
        if back is not None:
            scores.append(_near_one(_rows(back, signs), _rows(signs, back)))
    if not scores:
        raise LookupError("none of its blocks has an input that gradients reach")
    return sum(scores) / len(scores)


def _rows(maps: Tensor, other: Tensor) -> Tensor:
    """Returns channels at each position, ``[positions, channels]``, where the other has fewer positions on its grid."""
    from torch.nn import functional

    size = tuple(min(a, b) for a, b in zip(maps.shape[2:], other.shape[2:], strict=True))
    if maps.ndim in (3, 4) and size != tuple(maps.shape[2:]):
        pool = functional.adaptive_avg_pool1d if maps.ndim == 3 else functional.adaptive_avg_pool2d
        maps = pool(maps, size)  # type: ignore[arg-type]
    return maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1]) if maps.ndim > 2 else maps


def _near_one(back: Tensor, signs: Tensor) -> float:
    import torch

    largest = float(torch.linalg.matrix_norm(signs.T @ back / len(back), 2))
    return 2 - largest - 1 / (largest + 1e-6)


az_trainability = Proxy("az-trainability", frozenset({"blocks"}), _score)
