"""Highway layers: a gate decides, feature by feature, how much is transformed and how much is carried on.

Srivastava, Greff and Schmidhuber 2015, "Training Very Deep Networks", arXiv:1507.06228:

    y = T(x) * H(x) + (1 - T(x)) * x,    T(x) = sigmoid(W_T x + b_T)

The bias of the gate starts below 0, so that a deep network begins by carrying its input on and gradients reach its
first layer: 50 layers train where as many plain ones do not (``tests/nets/test_highway.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sartor.errors import InputError
from sartor.nets.chain import Block, attach

GATE_BIAS = -2.0
"""The paper's, for 20 layers and more: gates of 0.12 at the start."""


class Highway(nn.Module):
    """A transformation and a gate beside it.

    Args:
        in_channels: Of the input: features of ``(n, ..., in_channels)``, or channels of an image for a gate that is a
            convolution.
        transform: H, a module or a factory called with ``in_channels``; keeps shape.
        gate: The affine map of the gate, a module or a factory; keeps shape.

    Raises:
        InputError: one of them gives another number of channels.
    """

    def __init__(self, in_channels: int, transform: nn.Module | Block, gate: nn.Module | Block) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.transform, channels = attach(transform, in_channels)
        self.gate, gates = attach(gate, in_channels)
        if (channels, gates) != (in_channels, in_channels):
            raise InputError(
                f"a highway layer keeps {in_channels} channels: its transform gives {channels}, its gate {gates}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``x`` to the same shape."""
        share = self.gate(x).sigmoid()
        out: Tensor = share * self.transform(x) + (1 - share) * x
        return out


def highway_linear(
    features: int, act: Callable[[], nn.Module] = nn.ReLU, gate_bias: float = GATE_BIAS
) -> Highway:
    """Returns a fully connected highway layer, ``(..., features)`` to the same shape.

    Args:
        features: Kept.
        act: Makes the activation of H.
        gate_bias: b_T at the start; the lower, the more is carried.
    """
    gate = nn.Linear(features, features)
    nn.init.constant_(gate.bias, gate_bias)
    return Highway(features, nn.Sequential(nn.Linear(features, features), act()), gate)


def highway_conv(
    channels: int, kernel: int = 3, act: Callable[[], nn.Module] = nn.ReLU, gate_bias: float = GATE_BIAS
) -> Highway:
    """Returns a convolutional highway layer, ``(n, channels, height, width)`` to the same shape.

    Args:
        channels: Kept.
        kernel: Odd, of H and of the gate.
        act: Makes the activation of H.
        gate_bias: b_T at the start.
    """
    if kernel % 2 == 0:
        raise InputError(f"expected an odd kernel, got {kernel}")
    gate = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
    assert gate.bias is not None
    nn.init.constant_(gate.bias, gate_bias)
    return Highway(channels, nn.Sequential(nn.Conv2d(channels, channels, kernel, padding=kernel // 2), act()), gate)
