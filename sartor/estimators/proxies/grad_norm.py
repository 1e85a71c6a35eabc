"""Sum of the norms of the loss's gradient by each parameter (Abdelfattah et al. 2021, arXiv:2101.08134).

Deviation, here and in the other proxies of the loss: classes are drawn, so that no labels are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "grad-norm",
    "sartor.estimators.proxies.grad_norm:grad_norm",
    "norms of the gradient of the loss",
    citation="Abdelfattah et al. 2021, arXiv:2101.08134",
)


def _score(probe: Probe) -> float:
    return float(sum(gradient.norm() for _, gradient in probe.gradients))


grad_norm = Proxy("grad-norm", frozenset({"gradients"}), _score)
