"""Synaptic flow whose terms count by their logarithm (Cavagnero et al. 2022, arXiv:2207.05135).

One layer of large weights does not rule the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "logsynflow",
    "sartor.estimators.proxies.logsynflow:logsynflow",
    "flow through absolute weights, by logarithms",
    citation="Cavagnero et al. 2022, arXiv:2207.05135",
)


def _score(probe: Probe) -> float:
    import torch

    return float(torch.log1p(probe.flow).sum())


logsynflow = Proxy("logsynflow", frozenset({"own"}), _score)
