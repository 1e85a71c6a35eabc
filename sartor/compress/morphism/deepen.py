"""Deeper networks (Chen et al. 2016, "Net2Net", arXiv:1511.05641; Wei et al. 2016, arXiv:1603.01670).

Behind an activation that changes nothing of what it gave (a ReLU) a new layer is an identity before another one. Other
activations are no identity on anything, so the new part is built in one of two other ways:

- Mirrored: ReLU, GELU, SiLU, Hardswish and Softplus all give ``act(x) - act(-x) = x`` (a leaky ReLU ``(1 + slope) x``).
  A layer to twice the features, ``x`` and ``-x``, and one back that subtracts, are exact, with plain activations.
- Parametrised (Wei et al., section 3.6): ``(1 - a) x + a act(x)`` with a learned ``a`` that starts at 0; for tanh and
  whatever else there is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sartor._modes import evaluating
from sartor.compress.morphism._align import NOT_NEGATIVE
from sartor.compress.morphism.inherit import EXACT, max_difference
from sartor.errors import InputError, UnsupportedNetworkError, near

Way = Literal["auto", "identity", "mirrored", "parametrised"]
_KEEPING = (nn.ReLU, nn.Identity)
"""Activations that keep what is not negative."""


class ParametrisedActivation(nn.Module):
    """``(1 - a) x + a act(x)`` with a learned number ``a``.

    Args:
        act: The activation.
        start: ``a`` at the start: 0 is the identity.
    """

    def __init__(self, act: nn.Module, start: float = 0.0) -> None:
        super().__init__()
        self.act = act
        self.share = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.share * (self.act(x) - x)
        return out


def deepen(
    network: nn.Module,
    after: str,
    inputs: Sequence[Tensor],
    *,
    act: Callable[[], nn.Module] = nn.ReLU,
    kernel: int = 3,
    norm: bool = False,
    way: Way = "auto",
    noise: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Returns a copy with further layers behind a module, which computes the same in eval mode.

    What stands at ``after`` becomes a ``Sequential`` of the module and the new layers: convolutions behind feature maps
    ``(n, channels, ...)``, linear layers behind ``(n, features)`` and ``(n, tokens, features)``.

    Args:
        network: Not changed.
        after: Path of the module.
        inputs: Example inputs of the network.
        act: Makes the activation.
        kernel: Of convolutions, odd.
        norm: Also a batch normalisation behind the first new layer; call `settle` before training on.
        way: ``identity`` needs an output that is not negative and a ReLU; ``mirrored`` one of the activations above;
            ``parametrised`` fits all. ``auto`` takes the first that fits.
        noise: Deviation of noise on the new weights, over that of a fresh layer; 0 keeps the function.
        seed: Of the noise.

    Raises:
        InputError: no such module (with the near name), an even kernel, an unknown way, or one that does not fit.
        UnsupportedNetworkError: the module's output is no feature map or list of features.
    """
    modules = dict(network.named_modules())
    if after not in modules or not after:
        raise InputError(f"the network has no module {after!r}{near(after, [name for name in modules if name])}")
    if way not in get_args(Way):
        raise InputError(f"unknown way {way!r}{near(way, get_args(Way))}")
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"expected an odd kernel, got {kernel}")
    shape, lowest = _output(network, after, inputs)
    made = act()
    keeps = isinstance(made, _KEEPING) and _is_not_negative(modules[after], lowest)
    mirrored = _mirror_scale(made)
    if way == "auto":
        way = "identity" if keeps else "mirrored" if mirrored is not None and not norm else "parametrised"
    if way == "identity" and not keeps:
        raise InputError(
            f"{type(made).__name__} behind {after} is no identity: it takes a ReLU, behind what is never negative"
        )
    if way == "mirrored" and (mirrored is None or norm):
        raise InputError(f"{type(made).__name__} has no mirrored form here: use parametrised (or no normalisation)")
    channels = shape[1] if len(shape) > 3 else shape[-1]
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    eye = torch.eye(channels, dtype=torch.float64)
    if way == "mirrored":
        assert mirrored is not None
        layers = [
            _layer(torch.cat([eye, -eye]), shape, kernel, noise, generator),
            made,
            _layer(torch.cat([eye, -eye], 1) / mirrored, shape, kernel, noise, generator),
        ]
    else:
        layers = [_layer(eye, shape, kernel, noise, generator)]
        if norm:
            layers.append(_identity_norm(channels, len(shape)))
        layers.append(made if way == "identity" else ParametrisedActivation(made))
    if not noise:
        exact = _inserted(copy.deepcopy(network).double(), after, [layer.double() for layer in layers])
        difference = max_difference(network, exact, inputs)
        if not difference < EXACT:
            raise UnsupportedNetworkError(f"the deeper network differs by {difference:.2g} behind {after}")
    like = next(network.parameters(), torch.zeros(()))
    return _inserted(copy.deepcopy(network), after, [layer.to(like) for layer in layers]).train(network.training)


def _inserted(network: nn.Module, after: str, layers: Sequence[nn.Module]) -> nn.Module:
    parent, _, name = after.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Sequential(network.get_submodule(after), *layers))
    return network


def _output(network: nn.Module, after: str, inputs: Sequence[Tensor]) -> tuple[tuple[int, ...], float]:
    """Returns the shape of what a module gives and its least number."""
    seen: list[Tensor] = []
    hook = network.get_submodule(after).register_forward_hook(lambda m, i, o: seen.append(o))
    with evaluating(network), torch.no_grad():
        network(*inputs)
    hook.remove()
    if not seen or not isinstance(seen[0], Tensor) or seen[0].dim() < 2 or not seen[0].is_floating_point():
        raise UnsupportedNetworkError(f"{after} gives no feature map or list of features on these inputs")
    return tuple(seen[0].shape), min(float(tensor.min()) for tensor in seen)


def _is_not_negative(module: nn.Module, lowest: float) -> bool:
    """Whether a module never gives negative numbers: its last part is an activation that does not."""
    last = module
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    if type(last).__module__.startswith("sartor.nets") and isinstance(getattr(last, "act", None), nn.Module):
        # Blocks of Sartor that have an `act` end in it, or begin with it: then outputs are negative somewhere.
        return isinstance(last.act, nn.ReLU) and lowest >= 0 and "act" in list(dict(last.named_children()))[-1:]
    return lowest >= 0 and type(last).__name__.lower() in NOT_NEGATIVE


def _mirror_scale(act: nn.Module) -> float | None:
    """Returns c where ``act(x) - act(-x) = c x``."""
    if isinstance(act, (nn.ReLU, nn.GELU, nn.SiLU, nn.Hardswish)):
        return 1.0
    if isinstance(act, nn.Softplus) and act.beta == 1:
        # Beyond its threshold torch takes x itself, which is off by exp(-threshold).
        return 1.0 if act.threshold >= 30 else None
    return 1.0 + act.negative_slope if isinstance(act, nn.LeakyReLU) else None


def _layer(
    matrix: Tensor, shape: tuple[int, ...], kernel: int, noise: float, generator: torch.Generator
) -> nn.Module:
    """Returns a convolution or a linear layer that multiplies features by a matrix ``[out, in]``."""
    out, read = matrix.shape
    if len(shape) > 3:
        kind = {4: nn.Conv2d, 5: nn.Conv3d}[len(shape)]
        layer: nn.Module = kind(read, out, kernel, padding=kernel // 2, dtype=torch.float64)
    else:
        layer = nn.Linear(read, out, dtype=torch.float64)
    with torch.no_grad():
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
        deviation = float(weight.std())
        weight.zero_()
        bias.zero_()
        centre: tuple[Any, ...] = (slice(None), slice(None), *[kernel // 2] * (weight.dim() - 2))
        weight[centre] = matrix
        if noise:
            weight += noise * deviation * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return layer


def _identity_norm(channels: int, dims: int) -> nn.Module:
    kind = nn.BatchNorm2d if dims == 4 else nn.BatchNorm3d if dims == 5 else nn.BatchNorm1d
    if dims == 3:
        raise InputError("batch normalisation is over channels of feature maps, not over lists of tokens: norm=False")
    norm = kind(channels, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.fill_((1.0 + norm.eps) ** 0.5)
    return norm
