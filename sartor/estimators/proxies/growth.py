"""Smallest relative growth of expressivity from block to block, of Sartor's own: by how much of what was there the
entropy of the features grows.

AZ-NAS's progressivity (Lee and Ham 2024, arXiv:2403.19232) takes the difference, in which what richer networks gain and
lose counts for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "growth",
    "sartor.estimators.proxies.growth:growth",
    "relative growth of the blocks' entropy",
    citation="after Lee and Ham 2024, arXiv:2403.19232",
)

_LEAST = 1e-3
"""Entropy below which features are one direction, of which nothing is a share."""


def _score(probe: Probe) -> float:
    found = probe.entropies
    return min((after - before) / max(before, _LEAST) for before, after in zip(found, found[1:], strict=False))


growth = Proxy("growth", frozenset({"entropies"}), _score)
