"""Linear regions on a line between two samples (Hanin and Rolnick 2019, arXiv:1901.09021).

Each change of a unit from one of 32 points to the next is one boundary crossed; a lower bound, as a unit may change and
change back between two points. Normalisation is by its running statistics, which at initialisation do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "linear-regions",
    "sartor.estimators.proxies.linear_regions:linear_regions",
    "linear regions between two samples",
    citation="Hanin and Rolnick 2019, arXiv:1901.09021",
)


_NUM_POINTS = 32


def _score(probe: Probe) -> float:
    import torch

    first = probe.inputs[0]
    if not first.is_floating_point():
        raise LookupError("its inputs are whole numbers, between which there is no line")
    shares = torch.linspace(0, 1, _NUM_POINTS).reshape(-1, *[1] * (first.ndim - 1)).to(first)
    line = first[:1] * (1 - shares) + first[1:2] * shares
    others = [each[:1].expand(_NUM_POINTS, *each.shape[1:]) for each in probe.inputs[1:]]
    return float(sum((on[1:] != on[:-1]).sum() for on in probe.units_on(line, *others)))


linear_regions = Proxy("linear-regions", frozenset({"own"}), _score)
