"""Synaptic flow: the product of absolute weights along all paths (Tanaka et al. 2020, arXiv:2006.05467)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "synflow",
    "sartor.estimators.proxies.synflow:synflow",
    "flow through absolute weights",
    citation="Tanaka et al. 2020, arXiv:2006.05467",
)


def _score(probe: Probe) -> float:
    return float(probe.flow.sum())


synflow = Proxy("synflow", frozenset({"own"}), _score)
