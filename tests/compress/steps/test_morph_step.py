"""Morph as a step: grows, trains on, and says what cannot grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sartor.compress.morphism import max_difference
from sartor.compress.steps.morph import SPEC, Options, morph
from sartor.errors import InputError, UnsupportedNetworkError
from sartor.nets import BasicBlock, ClassifierHead, ConvBnAct


class Doubled(nn.Module):
    """Stands for preprocessing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(2 * x)
        return out


class Context:
    """What the step reads, without any training."""

    def __init__(self, epochs: float = 0.0) -> None:
        self.inputs, self.epochs, self.seed = (torch.randn(1, 3, 8, 8),), epochs, 3
        self.said: list[str] = []
        self.tuned: list[tuple[str, float]] = []

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        return make()

    def fine_tune(self, name: str, network: nn.Module, *, epochs: float) -> nn.Module:
        self.tuned.append((name, epochs))
        return network

    def deploy(self, network: nn.Module) -> nn.Module:
        return Doubled(network).eval()

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        return {"accuracy": 0.5}

    def say(self, text: str) -> None:
        self.said.append(text)


def network() -> nn.Module:
    return nn.Sequential(ConvBnAct(3, 4), BasicBlock(4, 4), ClassifierHead(4, 5)).eval()


def test_named_layers_grow_and_the_function_stays() -> None:
    context: Any = Context(epochs=1.5)
    small = network()
    options = Options(widen="0.conv=6", kernel="1.layers.0.conv=5", deepen="1", skip="1", act="gelu")
    outcome = morph(small, options, context)
    assert max_difference(small, outcome.network, context.inputs) < 1e-5
    assert outcome.record["params"][1] > outcome.record["params"][0] and outcome.record["difference"] < 1e-5
    assert context.tuned == [("tuned", 1.5)] and "parameters" in context.said[0]
    assert outcome.network[0].conv.out_channels == 6


def test_the_step_is_found_by_name_and_its_options_are_checked() -> None:
    assert SPEC.load() is morph
    for wrong, message in (
        ({}, "expected what shall grow"),
        ({"widen": "0.conv"}, "widen: expected layer=size"),
        ({"kernel": "0.conv=x"}, "kernel: expected layer=size"),
        ({"skip": "1", "act": "rleu"}, "did you mean 'relu'"),
    ):
        with pytest.raises(InputError, match=message):
            Options(**wrong)  # type: ignore[arg-type]


def test_what_cannot_grow_is_named() -> None:
    context: Any = Context()
    with pytest.raises(InputError, match="no layer '0.cnv'; did you mean '0.conv'"):
        morph(network(), Options(widen="0.cnv=6"), context)
    with pytest.raises(UnsupportedNetworkError, match="keeps its shape: 5 features cannot become 7"):
        morph(network(), Options(widen="2.linear=7"), context)
