"""Jacobian covariance: how differently the output changes with each sample (Mellor et al. 2020, arXiv:2006.04647v1).

From the eigenvalues l of the correlations between the samples' gradients, minus the sum of log(l + k) + 1/(l + k).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "jacov",
    "sartor.estimators.proxies.jacov:jacov",
    "correlation of the samples' Jacobians",
    citation="Mellor et al. 2020, arXiv:2006.04647",
)


_K = 1e-5


def _score(probe: Probe) -> float:
    import torch

    gradients = probe.jacobian.reshape(probe.num_samples, -1)
    rows = gradients[probe.compared.to(gradients.device)].double()
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        return -math.inf
    rows = rows / norms
    values = torch.linalg.eigvalsh(rows @ rows.T)
    return -float((torch.log(values.clamp(min=0) + _K) + 1 / (values.clamp(min=0) + _K)).sum())


jacov = Proxy("jacov", frozenset({"jacobian"}), _score)
