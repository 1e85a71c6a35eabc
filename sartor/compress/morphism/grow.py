"""From one architecture of a space to another that contains it, with its weights.

Elsken et al. 2017, arXiv:1711.04528, grow networks so during a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sartor.compress.morphism.inherit import inherit
from sartor.errors import InputError

if TYPE_CHECKING:
    from sartor.space import Architecture, Space


def grow(
    space: Space,
    small: Architecture,
    large: Architecture,
    weights: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    *,
    part: str | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Returns the network of ``large``, computing what that of ``small`` does with its trained weights.

    Args:
        space: Of both architectures.
        small: Was trained.
        large: Contains it: the same or more of everything (see `inherit` for what may be new).
        weights: State dict of the network of ``small``.
        inputs: Example inputs of both.
        part: Entry of a dict space, as for `Space.build`.
        noise: See `inherit`.
        seed: Of new weights.

    Raises:
        InputError: the weights are of another network, with the first name or shape that differs.
        UnsupportedNetworkError: ``large`` does not contain ``small``, with the layer and why.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trained = space.build(space.architecture(small), part=part)
        network = space.build(space.architecture(large), part=part)
    load(trained, weights)
    return inherit(trained, network, inputs, noise=noise, seed=seed)


def load(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads weights into a network.

    Raises:
        InputError: they are of another network.
    """
    own = network.state_dict()
    for name in (*own, *weights):
        if name not in weights or name not in own:
            lacks = "the weights lack" if name not in weights else "the network lacks"
            raise InputError(f"the weights are of another network than this {type(network).__name__}: {lacks} {name}")
        if own[name].shape != weights[name].shape:
            raise InputError(
                f"the weights are of another network than this {type(network).__name__}: {name} has"
                f" {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
            )
    network.load_state_dict(dict(weights))
