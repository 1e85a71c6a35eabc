"""A proxy, and how several are computed together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sartor.errors import InputError, UnsupportedNetworkError
from sartor.registry import find

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.estimators.proxies._probe import Probe

Need = Literal[
    "patterns", "codes", "features", "entropies", "blocks", "gradients", "halves", "saliency", "jacobian", "own"
]
"""What a proxy reads of the shared passes; ``own``: nothing of them."""

LEAST = 2
"""Samples in a batch: of one nobody can tell whether the output depends on it."""
DEAD = -math.inf
"""Score of a network whose output does not depend on its input, or of which no finite number can be computed."""


@dataclass(frozen=True)
class Proxy:
    """A training-free score, higher is better.

    Attributes:
        name: As its file.
        needs: What of the probe it reads.
        function: Probe to score; a result that is not finite counts as dead.
    """

    name: str
    needs: frozenset[Need]
    function: Callable[[Probe], float]


def load(*names: str) -> list[Proxy]:
    """Returns proxies by name.

    Raises:
        InputError: An unknown name (with the near one).
    """
    return [find("proxies", name).load() for name in names]


def score(
    network: nn.Module, inputs: Sequence[Tensor], proxies: Sequence[Proxy], *, seed: int = 0
) -> Mapping[str, float]:
    """Returns the scores of a network, by the proxies' names.

    The network comes back as it was: weights, buffers, gradients and mode.

    Args:
        network: At initialisation.
        inputs: Of ``network``, ``[n, ...]`` each, on its device; pictures of the data, or noise.
        proxies: Computed together.
        seed: Of the targets and directions that some draw.

    Raises:
        InputError: Fewer than two samples.
        UnsupportedNetworkError: A proxy has nothing to look at in this network.
    """
    import torch

    from sartor.estimators.proxies._probe import Probe

    if len(inputs[0]) < LEAST:
        names = ", ".join(proxy.name for proxy in proxies)
        raise InputError(f"{names}: expected a batch of at least {LEAST} samples, got {len(inputs[0])}")
    needs = frozenset(need for proxy in proxies for need in proxy.needs)
    cuda = sorted({each.device.index for each in inputs if each.device.type == "cuda"})
    with torch.enable_grad(), torch.random.fork_rng(devices=cuda), Probe(network, inputs, needs, seed=seed) as probe:
        torch.manual_seed(seed)
        if not probe.is_alive:
            return {proxy.name: DEAD for proxy in proxies}
        found = {}
        for proxy in proxies:
            try:
                value = float(proxy.function(probe))
            except LookupError as error:
                raise UnsupportedNetworkError(f"{proxy.name} cannot score {type(network).__name__}: {error}") from None
            found[proxy.name] = value if math.isfinite(value) else DEAD
    return found
