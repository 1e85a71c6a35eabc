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
    from torch import nn

    total = 0.0
    for module, each in probe.saliency:
        # Summed over positions: a convolution has its channels first, a linear layer its features last.
        is_linear = isinstance(module, nn.Linear)
        channels = each.reshape(len(each), -1, each.shape[-1]).sum(1) if is_linear else each.flatten(2).sum(2)
        total += float((channels**2).mean(0).sum() / 2)
    return total


fisher = Proxy("fisher", frozenset({"saliency"}), _score)
