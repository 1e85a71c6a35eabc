"""Zen-score: how much the features change with the input, scaled back by normalisation (Lin et al. 2021,
arXiv:2102.01063).

Noise in, the output of the last block out; to the logarithm of the change are added those of the batch deviations that
normalisation divides by.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "zen",
    "sartor.estimators.proxies.zen:zen",
    "change of the features with the input",
    citation="Lin et al. 2021, arXiv:2102.01063",
    version=2,
)


_SHIFT = 0.01


def _score(probe: Probe) -> float:
    import torch

    first = probe.inputs[0]
    if not first.is_floating_point():
        raise LookupError("its inputs are whole numbers, which cannot be moved a little")
    drawn = probe.generator("zen")
    noise = torch.randn(first.shape, generator=drawn).to(first)
    moved = noise + _SHIFT * torch.randn(first.shape, generator=drawn).to(first)
    features, deviations = probe.deviations(noise)
    others = probe.before_the_head(moved)
    return float(torch.log((features - others).abs().mean() + 1e-12)) + sum(map(math.log, deviations))


zen = Proxy("zen", frozenset({"own"}), _score)
