"""A further branch beside a module, or a skip over it (Elsken et al. 2017, arXiv:1711.04528, morphism type III).

The branch is scaled by a learned number for each feature that starts at 0: the sum is what it was, and the first step
moves the scales.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor._modes import evaluating
from sartor.compress.morphism.inherit import EXACT, max_difference
from sartor.errors import InputError, UnsupportedNetworkError, near


class Branched(nn.Module):
    """``main(x) + scale * branch(x)``.

    Args:
        main: What was there.
        branch: Takes the same input and gives the same shape.
        features: Of the output.
        dim: Dimension of the features: 1 of feature maps, -1 of ``(n, tokens, features)``.
        start: Scale at the start.
    """

    def __init__(self, main: nn.Module, branch: nn.Module, features: int, dim: int = 1, start: float = 0.0) -> None:
        super().__init__()
        self.main, self.branch, self.dim = main, branch, dim
        self.scale = nn.Parameter(torch.full((features,), float(start)))

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        main: Tensor = self.main(x)
        shape = [1] * branch.dim()
        shape[self.dim] = -1
        return main + self.scale.view(shape) * branch


def add_branch(
    network: nn.Module, beside: str, branch: nn.Module, inputs: Sequence[Tensor], *, start: float = 0.0
) -> nn.Module:
    """Returns a copy with a branch beside a module, which computes the same in eval mode.

    Args:
        network: Not changed.
        beside: Path of a module of one input and one output.
        branch: Any module that takes its input and gives its shape; copied.
        inputs: Example inputs of the network.
        start: Scale of the branch: 0 keeps the function, and anything else breaks it on purpose.

    Raises:
        InputError: no such module (with the near name).
        UnsupportedNetworkError: the branch gives another shape than the module (both said), or the module has other
            inputs or outputs.
    """
    given, out = _seen(network, beside, inputs)
    with evaluating(branch), torch.no_grad():
        try:
            shape = tuple(branch(given).shape)
        except RuntimeError as error:
            raise UnsupportedNetworkError(f"the branch cannot read {tuple(given.shape)}: {error}") from error
    if shape != tuple(out.shape):
        raise UnsupportedNetworkError(f"{beside} gives {tuple(out.shape)}, the branch {shape}: they cannot be added")
    large = copy.deepcopy(network)
    parent, _, name = beside.rpartition(".")
    dim = 1 if out.dim() != 3 else -1
    made = Branched(large.get_submodule(beside), copy.deepcopy(branch), out.shape[dim], dim, start)
    setattr(large.get_submodule(parent), name, made.to(out))
    large.train(network.training)
    if not start:
        difference = max_difference(network, large, inputs)
        if not difference < EXACT:
            raise UnsupportedNetworkError(f"the network with the branch differs by {difference:.2g}: it is not finite")
    return large


def add_skip(network: nn.Module, over: str, inputs: Sequence[Tensor], *, seed: int = 0) -> nn.Module:
    """Returns a copy with a skip over a module, which computes the same in eval mode.

    The skip is the input itself where shapes agree; else a 1x1 convolution with the stride that fits (a linear layer
    behind lists of features), initialised as torch does.

    Args:
        network: Not changed.
        over: Path of a module of one input and one output.
        inputs: Example inputs of the network.
        seed: Of the projection's weights.

    Raises:
        InputError: no such module (with the near name).
        UnsupportedNetworkError: no stride leads from its input to its output.
    """
    given, out = _seen(network, over, inputs)
    return add_branch(network, over, _shortcut(over, given, out, seed), inputs)


def _shortcut(over: str, given: Tensor, out: Tensor, seed: int) -> nn.Module:
    if given.shape == out.shape:
        return nn.Identity()
    if given.dim() != out.dim() or given.dim() < 2:
        raise UnsupportedNetworkError(f"no skip leads from {tuple(given.shape)} to {tuple(out.shape)} over {over}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if given.dim() <= 3:
            return nn.Linear(given.shape[-1], out.shape[-1], dtype=out.dtype)
        strides = [-(-a // b) for a, b in zip(given.shape[2:], out.shape[2:], strict=True)]
        if any(-(-a // s) != b for a, b, s in zip(given.shape[2:], out.shape[2:], strides, strict=True)):
            shapes = f"from {tuple(given.shape)} to {tuple(out.shape)}"
            raise UnsupportedNetworkError(f"no stride leads {shapes} over {over}")
        kind: Any = {4: nn.Conv2d, 5: nn.Conv3d}[given.dim()]
        made: nn.Module = kind(given.shape[1], out.shape[1], 1, tuple(strides), bias=False, dtype=out.dtype)
        return made


def _seen(network: nn.Module, path: str, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the input and the output of a module."""
    modules = dict(network.named_modules())
    if path not in modules or not path:
        raise InputError(f"the network has no module {path!r}{near(path, [name for name in modules if name])}")
    seen: list[tuple[tuple[object, ...], object]] = []
    # Copied at once, as what follows may work in place.
    hook = modules[path].register_forward_hook(
        lambda m, i, o: seen.append((i, o.clone() if isinstance(o, Tensor) else o))
    )
    with evaluating(network), torch.no_grad():
        network(*inputs)
    hook.remove()
    if not seen or len(seen[0][0]) != 1 or not all(isinstance(x, Tensor) for x in (seen[0][0][0], seen[0][1])):
        raise UnsupportedNetworkError(f"{path} does not take one tensor and give one, or is not run on these inputs")
    given, out = seen[0][0][0], seen[0][1]
    assert isinstance(given, Tensor) and isinstance(out, Tensor)
    return given, out
