"""AZ-NAS's progressivity: the smallest growth of expressivity from block to block.

Lee and Ham 2024, arXiv:2403.19232.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "az-progressivity",
    "sartor.estimators.proxies.az_progressivity:az_progressivity",
    "growth of the blocks' entropy",
    citation="Lee and Ham 2024, arXiv:2403.19232",
    version=2,
)


def _score(probe: Probe) -> float:
    found = probe.entropies
    return min(after - before for before, after in zip(found, found[1:], strict=False))


az_progressivity = Proxy("az-progressivity", frozenset({"entropies"}), _score)
