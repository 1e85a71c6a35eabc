"""Inverse coefficient of variation of gradients (Li et al. 2023, arXiv:2301.11300): in each layer, the mean size of a
weight's gradient over the batches divided by its deviation, summed, and the logarithms of these sums added. The batches
are the halves of the one there is, as in the paper's own setting of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "zico",
    "sartor.estimators.proxies.zico:zico",
    "steadiness of gradients over batches",
    citation="Li et al. 2023, arXiv:2301.11300",
)


def _score(probe: Probe) -> float:
    import torch

    weights = {id(module.weight) for module in probe.weighted}
    total = 0.0
    for parameter, first, second in probe.halves:
        if id(parameter) in weights:
            deviation = (first - second).abs() / 2
            known = deviation > 0
            ratio = ((first.abs() + second.abs()) / 2)[known] / deviation[known]
            total += float(torch.log(ratio.sum())) if len(ratio) else 0.0
    return total


zico = Proxy("zico", frozenset({"halves"}), _score)
