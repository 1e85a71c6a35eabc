"""How well activation patterns tell the samples apart: the logarithm of the determinant of their agreement.

Mellor et al. 2021, arXiv:2006.04647. Any activation counts as on where it is positive.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "naswot",
    "sartor.estimators.proxies.naswot:naswot",
    "how well activation patterns tell samples apart",
    citation="Mellor et al. 2021, arXiv:2006.04647",
)


def _score(probe: Probe) -> float:
    import torch

    sign, logarithm = torch.linalg.slogdet(probe.patterns.double())
    return float(logarithm) if sign > 0 else -math.inf


naswot = Proxy("naswot", frozenset({"patterns"}), _score)
