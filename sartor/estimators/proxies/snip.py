"""Connection sensitivity: what the loss loses with each weight (Lee et al. 2019, arXiv:1810.02340)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "snip",
    "sartor.estimators.proxies.snip:snip",
    "weights times their gradients",
    citation="Lee et al. 2019, arXiv:1810.02340",
)


def _score(probe: Probe) -> float:
    return float(sum((parameter.detach() * gradient).abs().sum() for parameter, gradient in probe.gradients))


snip = Proxy("snip", frozenset({"gradients"}), _score)
