"""What every training-free proxy must do: run it on your own with `check_proxy`.

    from sartor.testing.proxies import check_proxy

    def test_my_proxy_conforms():
        check_proxy(my_proxy)

Networks: convolutions with batch normalisation, a perceptron, attention, a recurrent one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sartor.errors import InputError, UnsupportedNetworkError
from sartor.estimators.proxies import DEAD, Proxy, load, score

__all__ = ["check_proxy", "make_networks"]

_NUM_SAMPLES = 8


class _Attention(nn.Module):
    """Tokens of eight numbers, one block of self-attention and a feed-forward network, a mean and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, tokens, 8)`` to logits, ``(n, 3)``."""
        x = x + self.attention(x, x, x, need_weights=False)[0]
        out: Tensor = self.head((x + self.layers(x)).mean(1))
        return out


class _Recurrent(nn.Module):
    """A long short-term memory and logits of its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, time, 4)`` to logits, ``(n, 3)``."""
        out: Tensor = self.head(self.memory(x)[0][:, -1])
        return out


def make_networks() -> Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Returns name -> a network at initialisation and a batch of eight for it; always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutional = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )
        perceptron = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        return {
            "convolutional": (convolutional, (torch.randn(_NUM_SAMPLES, 3, 8, 8),)),
            "perceptron": (perceptron, (torch.randn(_NUM_SAMPLES, 6),)),
            "attention": (_Attention(), (torch.randn(_NUM_SAMPLES, 5, 8),)),
            "recurrent": (_Recurrent(), (torch.randn(_NUM_SAMPLES, 6, 4),)),
        }


def check_proxy(proxy: Proxy, network: nn.Module | None = None, inputs: tuple[Tensor, ...] = ()) -> None:
    """Runs all checks, on your network or on all of `make_networks`.

    It gives a finite number or refuses the network by name; the number is the same again, and together with every other
    built-in proxy; the network comes back as it was; a dead network is ranked last; too small a batch is refused.

    Raises:
        AssertionError: saying what does not hold.
    """
    networks = make_networks() if network is None else {"network": (network, inputs)}
    supported = 0
    for name, (each, batch) in networks.items():
        before = copy.deepcopy(each.state_dict())
        try:
            value = score(each, batch, [proxy], seed=1)[proxy.name]
        except UnsupportedNetworkError as error:
            assert proxy.name in str(error), f"{name}: the refusal {error} does not name {proxy.name}"
            continue
        supported += 1
        assert math.isfinite(value), f"{name}: expected a finite score of a live network, got {value}"
        again = score(each, batch, [proxy], seed=1)[proxy.name]
        assert again == value, f"{name}: {value}, and {again} when asked again"
        for key, kept in before.items():
            assert torch.equal(kept, each.state_dict()[key]), f"{name}: {proxy.name} changed {key}"
        assert all(p.grad is None for p in each.parameters()), f"{name}: gradients were left behind"
    assert supported, f"{proxy.name} scored none of {', '.join(networks)}"
    dead = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    assert score(dead, [torch.randn(_NUM_SAMPLES, 3, 8, 8)], [proxy])[proxy.name] == DEAD, "a dead network has a score"
    try:
        score(dead, [torch.randn(1, 3, 8, 8)], [proxy])
    except InputError as error:
        assert proxy.name in str(error), f"the refusal {error} does not name {proxy.name}"
    else:
        raise AssertionError("a batch of one was scored")


def check_together(names: list[str]) -> None:
    """Checks that proxies computed together give what each gives alone.

    Raises:
        AssertionError: naming the first that does not.
    """
    network, whole = make_networks()["convolutional"]
    inputs = tuple(each[:7] for each in whole)
    together = score(network, inputs, load(*names), seed=2)
    for name in names:
        alone = score(network, inputs, load(name), seed=2)[name]
        assert math.isclose(alone, together[name], rel_tol=1e-4, abs_tol=1e-6), (
            f"{name} is {alone} alone and {together[name]} together with others"
        )
