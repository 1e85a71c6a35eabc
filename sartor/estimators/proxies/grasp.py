"""Gradient signal preservation: what removing each weight does to the gradient (Wang et al. 2020, arXiv:2002.07376).

The sum of minus the weights times the Hessian's product with the gradient, as Abdelfattah et al. 2021 use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.estimators.proxies._proxy import Proxy
from sartor.registry import Spec

if TYPE_CHECKING:
    from sartor.estimators.proxies._probe import Probe

SPEC = Spec(
    "grasp",
    "sartor.estimators.proxies.grasp:grasp",
    "what pruning does to the gradient",
    citation="Wang et al. 2020, arXiv:2002.07376",
)


def _score(probe: Probe) -> float:
    import torch

    (loss,) = probe.losses(probe.output, 1)
    found = torch.autograd.grad(loss, probe.parameters, create_graph=True, allow_unused=True)
    pairs = [(p, g) for p, g in zip(probe.parameters, found, strict=True) if g is not None]
    product = sum((gradient * gradient.detach()).sum() for _, gradient in pairs)
    assert isinstance(product, torch.Tensor)
    try:
        curved = torch.autograd.grad(product, [p for p, _ in pairs], retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        # Of an operation such as hardsigmoid; torch tells it by its message alone.
        if "is not implemented" not in str(error):
            raise
        raise LookupError(f"torch has no second derivative of it ({error})") from None
    return -float(sum((p.detach() * c).sum() for (p, _), c in zip(pairs, curved, strict=True) if c is not None))


grasp = Proxy("grasp", frozenset({"gradients"}), _score)
