"""Sample-wise activation patterns: how many different ones the units have (Peng et al. 2024, arXiv:2403.04161).

Without the regularisation by size, which needs a target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "swap",
    "sartor.estimators.proxies.swap:swap",
    "different activation patterns of units",
    citation="Peng et al. 2024, arXiv:2403.04161",
)


def _score(probe: Probe) -> float:
    import torch

    return float(torch.unique(probe.codes).numel())


swap = Proxy("swap", frozenset({"codes"}), _score)
