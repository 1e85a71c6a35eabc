"""Wider layers (Chen, Goodfellow and Shlens 2016, "Net2Net", arXiv:1511.05641; Wei et al. 2016, arXiv:1603.01670).

Whatever holds the same features grows along: both sides of a residual sum, normalisations, depthwise convolutions,
the layers that read them. Deviation from Net2Net: new features are not copies but freshly initialised and at first not
read (see `inherit`), which is exact for every activation and lets them differ from the first step.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sartor.compress.morphism._resize import Sizes
from sartor.compress.morphism.inherit import inherit
from sartor.errors import InputError, near


def widen(
    network: nn.Module, layer: str, width: int, inputs: Sequence[Tensor], *, noise: float = 0.0, seed: int = 0
) -> nn.Module:
    """Returns a copy in which a layer writes more features, and which computes the same in eval mode.

    Args:
        network: Not changed.
        layer: Path of a convolution, a linear layer or an embedding, e.g. ``blocks.0.conv``. Features inside a grouped
            convolution stay in their groups, which grow; a depthwise one gets more groups.
        width: Features that it shall write.
        inputs: Example inputs of the network.
        noise: See `inherit`.
        seed: Of new weights.

    Raises:
        InputError: no such layer (with the near name), or a width below the present one.
        UnsupportedNetworkError: something reads these features in a way that more would change (an output of the
            network, a softmax, a mean over them, a layer normalisation that others share), with the operation.
    """
    sizes = Sizes(network, inputs)
    weight = sizes.weight(layer)
    sizes.grow((weight, 1 if isinstance(network.get_submodule(layer), nn.Embedding) else 0), width)
    return inherit(network, sizes.resized(seed), inputs, noise=noise, seed=seed)


def add_heads(
    network: nn.Module, attention: str, heads: int, inputs: Sequence[Tensor], *, noise: float = 0.0, seed: int = 0
) -> nn.Module:
    """Returns a copy whose attention has more heads of the same size, and which computes the same in eval mode.

    Args:
        network: Not changed.
        attention: Path of a module that splits queries, keys and values into heads by a view, and reads them by
            `torch.nn.functional.scaled_dot_product_attention` or matrix products.
        heads: That it shall have.
        inputs: Example inputs of the network.
        noise: See `inherit`.
        seed: Of new weights.

    Raises:
        InputError: no such module (with the near name), it splits nothing into heads, or fewer heads.
        UnsupportedNetworkError: heads cannot be added: `torch.nn.MultiheadAttention` divides a fixed width by them.
    """
    modules = dict(network.named_modules())
    if attention not in modules:
        raise InputError(f"the network has no layer {attention!r}{near(attention, [n for n in modules if n])}")
    sizes = Sizes(network, inputs)
    for op in sizes.traced.ops:
        inside = op.place[0] == attention or op.place[0].startswith(f"{attention}.")
        if inside and op.kind == "reshape" and len(op.outputs[0].shape) > len(op.inputs[0].shape):
            sizes.grow((op.outputs[0], len(op.outputs[0].shape) - 2), heads)
            return inherit(network, sizes.resized(seed), inputs, noise=noise, seed=seed)
    hint = ""
    if any(isinstance(module, nn.MultiheadAttention) for module in modules[attention].modules()):
        hint = ": torch.nn.MultiheadAttention divides a fixed width by its heads, so that more would be other heads"
    raise InputError(f"{attention} splits no features into heads by a view{hint}")
