"""Condition of the neural tangent kernel on a few samples (Chen et al. 2021, TE-NAS, arXiv:2102.11535).

Small is better, so the score is minus its logarithm.

Normalisation is by running statistics, so that the gradient of a sample is its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "ntk",
    "sartor.estimators.proxies.ntk:ntk",
    "condition of the neural tangent kernel",
    citation="Chen et al. 2021, arXiv:2102.11535",
)


_NUM_SAMPLES = 16


def _score(probe: Probe) -> float:
    import torch

    rows = probe.gradients_by_sample(_NUM_SAMPLES)
    values = torch.linalg.eigvalsh(rows @ rows.T)
    if not float(values[0]) > 0:
        return -math.inf
    return -float(torch.log(values[-1] / values[0]))


ntk = Proxy("ntk", frozenset({"own"}), _score)
