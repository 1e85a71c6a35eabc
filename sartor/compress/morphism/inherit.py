"""A larger network is given the function of a smaller one (Wei et al. 2016, "Network Morphism", arXiv:1603.01670)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sartor._modes import evaluating
from sartor.compress.morphism._align import Aligner
from sartor.compress.morphism._fill import Filler
from sartor.compress.morphism._trace import trace
from sartor.errors import InputError, UnsupportedNetworkError

EXACT = 1e-10
"""Largest difference of outputs in float64, over the largest output (at least 1)."""
_NUM_CHECKS = 2


def inherit(
    small: nn.Module,
    large: nn.Module,
    inputs: Sequence[Tensor],
    *,
    noise: float = 0.0,
    seed: int = 0,
    check: bool = True,
) -> nn.Module:
    """Gives ``large`` weights under which it computes in eval mode what ``small`` does, and returns it.

    Both are run on ``inputs`` and their operations matched. Wider layers, larger kernels, deeper stages, further
    branches and gates are taken in one go. What is new learns at once: new features are initialised as ``large`` was
    and not yet read, a new branch ends in a zero scale, a new layer in a chain is an identity.

    In train mode batch normalisations use the statistics of the batch, so a new one in a chain is no identity until its
    statistics are known: call `settle` on ``large`` with a batch of data.

    Args:
        small: Trained; not changed.
        large: Filled in place.
        inputs: Example inputs of both, batch size 1 or more.
        noise: Breaks symmetries: deviation of noise on entries that would start as 0 or as copies, over that of the
            smaller network's weight. 0 keeps the function exactly; with more it is not checked.
        seed: Of the noise.
        check: Compares both in float64 on random inputs shaped as ``inputs``.

    Raises:
        UnsupportedNetworkError: ``large`` cannot compute what ``small`` does, with the first layer that it lacks or
            cannot make nothing, and why; or one cannot be run. ``large`` is then as it was.
        InputError: ``noise`` is negative.

    Example:
        >>> small = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> large = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.ones(1, 4)
        >>> torch.allclose(inherit(small, large, [x])(x), small(x))
        True
    """
    if not noise >= 0:
        raise InputError(f"noise is a share of at least 0, got {noise}")
    traced = trace(large, inputs)
    alignment = Aligner(traced, trace(small, inputs)).align()
    # In float64, so that nothing but the construction can differ.
    exact = copy.deepcopy(large).double()
    Filler(exact, small, traced, alignment, noise=noise, seed=seed).fill()
    if check and not noise:
        difference = max_difference(small, exact, inputs)
        if not difference < EXACT:
            raise UnsupportedNetworkError(
                f"the larger network differs by {difference:.2g} from the smaller one: something that it computes is"
                " not known here (operations on the values of weights, or on sizes)"
            )
    with torch.no_grad():
        for mine, made in zip(_tensors(large), _tensors(exact), strict=True):
            mine.copy_(made)
    return large


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def max_difference(small: nn.Module, large: nn.Module, inputs: Sequence[Tensor], *, seed: int = 0) -> float:
    """Returns the largest difference of the outputs of two networks in float64, over the largest output (at least 1).

    Inputs are the given ones and random ones of their shapes; both networks are as before.
    """
    both = [copy.deepcopy(network).double().eval() for network in (small, large)]
    generator = torch.Generator().manual_seed(seed)
    given = [x.double() if x.is_floating_point() else x for x in inputs]
    worst = 0.0
    with evaluating(*both), torch.no_grad():
        for number in range(_NUM_CHECKS):
            drawn = [
                torch.randn(x.shape, generator=generator, dtype=torch.float64)
                if number and x.is_floating_point()
                else x
                for x in given
            ]
            first, second = (_outputs(network(*drawn)) for network in both)
            for a, b in zip(first, second, strict=True):
                if a.shape != b.shape:
                    return float("inf")
                if a.is_floating_point():
                    scale = max(1.0, float(a.abs().max()))
                    difference = float((a - b).abs().max()) / scale
                    worst = difference if not difference <= worst else worst
    return worst


def _outputs(result: object) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [tensor for item in result for tensor in _outputs(item)]
    return []


def settle(network: nn.Module, batch: Sequence[Tensor]) -> nn.Module:
    """Writes batch normalisations anew on the statistics of a batch, and returns the network.

    Running mean and variance become those that each normalisation sees on ``batch`` in eval mode; scale and shift make
    up for it, so that what the network computes in eval mode stays, and what it computes on such batches in train mode
    is nearly the same. A scale of a channel that was 0 stays 0.

    Args:
        network: Changed in place.
        batch: Inputs, at least a few dozen rows.
    """

    def run(module: nn.Module) -> None:
        module(*batch)

    return settle_by(network, run)


@torch.no_grad()
def settle_by(network: nn.Module, run: Callable[[nn.Module], None]) -> nn.Module:
    """As `settle`, on whatever ``run`` gives the network."""
    hooks = []
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    found: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def see(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        dims = [d for d in range(given[0].dim()) if d != 1]
        variance, mean = torch.var_mean(given[0].double(), dims, correction=0)
        found[module] = (mean, variance)

    for norm in norms:
        hooks.append(norm.register_forward_pre_hook(see))
    with evaluating(network):
        run(network)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        if norm not in found or norm.running_mean is None or norm.running_var is None or not norm.affine:
            continue
        mean, variance = found[norm]
        if bool((variance == 0).all()):
            continue
        old_mean, old_variance = norm.running_mean.double(), norm.running_var.double()
        scale = norm.weight.double() / (old_variance + norm.eps).sqrt()
        norm.bias.copy_(norm.bias.double() + scale * (mean - old_mean))
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    return network
