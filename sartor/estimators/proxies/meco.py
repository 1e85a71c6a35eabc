"""Minimum eigenvalue of the correlation of a convolution's feature maps (Jiang et al. 2023, MeCo): summed over
convolutions, on one sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "meco",
    "sartor.estimators.proxies.meco:meco",
    "independence of feature maps",
    citation="Jiang et al. 2023, MeCo, NeurIPS",
)


def _score(probe: Probe) -> float:
    import torch

    total = 0.0
    for maps in probe.features:
        rows = maps.flatten(1).double()
        rows = rows - rows.mean(1, keepdim=True)
        rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
        total += float(torch.linalg.eigvalsh(rows @ rows.T)[0])
    return total


meco = Proxy("meco", frozenset({"features"}), _score)
