"""Which parameters of a network may become zero."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd

from sartor.errors import InputError, UnsupportedNetworkError, near

_OWNERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)


def weights_of(module: nn.Module, *, skip: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """Returns name -> weight of linear, convolutional, attention and recurrent layers; no biases, no embeddings.

    A weight that two layers share is listed once, under its first name.

    Args:
        module: Any network.
        skip: Layers to leave alone, by name; ``*`` stands for anything.

    Raises:
        InputError: an entry of ``skip`` fits no layer.
        UnsupportedNetworkError: no weight is left.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _OWNERS)}
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise InputError(f"skip: no layer with weights is called {pattern!r}{near(pattern, layers)}")
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, layer in layers.items():
        if any(fnmatchcase(name, pattern) for pattern in skip):
            continue
        for own, parameter in layer.named_parameters(recurse=False):
            if parameter.ndim > 1 and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{name}.{own}" if name else own] = parameter
    if not found:
        raise UnsupportedNetworkError(
            f"{type(module).__name__} has no weights to prune"
            + (f" beside those skipped: {', '.join(skip)}" if skip else ": it has no linear or convolutional layer")
        )
    return found
