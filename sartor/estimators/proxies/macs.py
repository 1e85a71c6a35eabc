"""Multiply-accumulates of one sample, half of what torch's counter calls FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "macs",
    "sartor.estimators.proxies.macs:macs",
    "multiply-accumulates of one sample",
    citation="White et al. 2022, arXiv:2208.00509",
)


def _score(probe: Probe) -> float:
    return probe.macs


macs = Proxy("macs", frozenset({"own"}), _score)
