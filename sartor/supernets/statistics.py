"""Statistics of normalisations, which shared weights make wrong for each architecture.

Running means are averages over whatever was trained at their place; of an architecture on its own they must be
estimated again before it is scored (Bender et al. 2018, "Understanding and Simplifying One-Shot Architecture Search";
Yu and Huang 2019, arXiv:1903.05134; Guo et al. 2020, arXiv:1904.00420).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def normalisations(network: nn.Module) -> dict[str, _BatchNorm]:
    """Returns the batch normalisations that keep running statistics, by name."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def recalibrate(network: nn.Module, forward: Callable[[nn.Module], object]) -> nn.Module:
    """Estimates the running statistics of a network's batch normalisations again; returns the network.

    They become its own: those of a store whose windows it uses stay as they are. Everything else is in eval mode
    meanwhile, as dropout would change what is estimated, whatever ``forward`` does about modes; the mode is put back.

    Args:
        network: Changed in place.
        forward: Runs the network on some batches, each of which counts alike.
    """
    import torch

    layers = normalisations(network)
    if not layers:
        return network
    was_training = network.training
    momenta = {name: layer.momentum for name, layer in layers.items()}
    network.eval()
    for layer in layers.values():
        for name in _BUFFERS:
            _own(layer, name)
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    # A task's own code may put all of a network in eval mode, so each layer is told as it is reached.
    hooks = [layer.register_forward_pre_hook(_learn) for layer in layers.values()]
    try:
        with torch.no_grad():
            forward(network)
    finally:
        for hook in hooks:
            hook.remove()
        for name, layer in layers.items():
            layer.momentum = momenta[name]
        network.train(was_training)
    return network


def _learn(layer: nn.Module, inputs: object) -> None:
    layer.training = True


def _own(layer: _BatchNorm, name: str) -> None:
    """Gives a layer a buffer of its own instead of a window of another's."""
    tensor = getattr(layer, name)
    if tensor is None:
        return
    layer._buffers[name] = tensor.clone()
