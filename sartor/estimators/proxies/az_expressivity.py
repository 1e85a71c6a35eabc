"""AZ-NAS's expressivity: entropy of the principal components of each block's features (Lee and Ham 2024,
arXiv:2403.19232), summed over the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "az-expressivity",
    "sartor.estimators.proxies.az_expressivity:az_expressivity",
    "entropy of the blocks' features",
    citation="Lee and Ham 2024, arXiv:2403.19232",
    version=2,
)


def _score(probe: Probe) -> float:
    return sum(probe.entropies)


az_expressivity = Proxy("az-expressivity", frozenset({"entropies"}), _score)
