"""Number of parameters: what every proxy must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "params",
    "sartor.estimators.proxies.params:params",
    "number of parameters",
    citation="White et al. 2022, arXiv:2208.00509",
)


def _score(probe: Probe) -> float:
    return float(sum(parameter.numel() for parameter in probe.network.parameters()))


params = Proxy("params", frozenset({"own"}), _score)
