"""Fisher information of channels: squared output times gradient (Theis et al. 2018, arXiv:1801.05787; Turner et al.
2020, arXiv:1906.04113). Of the outputs of convolutions and linear layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "fisher",
    "sartor.estimators.proxies.fisher:fisher",
    "squared saliency of channels",
    citation="Theis et al. 2018, arXiv:1801.05787",
)


def _score(probe: Probe) -> float:
    total = 0.0
    for each in probe.saliency:
        # Summed over positions: [n, channels] of a convolution; a linear layer has its features last.
        channels = each.flatten(2).sum(2) if each.ndim > 3 else each.reshape(len(each), -1, each.shape[-1]).sum(1)
        total += float((channels**2).mean(0).sum() / 2)
    return total


fisher = Proxy("fisher", frozenset({"saliency"}), _score)
