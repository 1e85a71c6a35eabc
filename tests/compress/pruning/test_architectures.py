"""Architectures that other pruners do not take apart: half of their multiply-accumulates go."""

import pytest
import torch

from benchmarks._compress_architectures import ARCHITECTURES
from sartor.compress.pruning.choice import choose
from sartor.compress.pruning.magnitude import l1
from sartor.compress.pruning.structure import analyse
from sartor.devices.counts import Counts

CHOSEN = ("ShuffleNetV2", "Swin", "MLP-Mixer", "LSTM", "Transformer encoder", "gated units", "ViT, packed", "ResNeXt",
          "U-Net", "ConvNeXt")  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_half_goes_and_the_rest_is_checked(name: str) -> None:
    torch.manual_seed(0)
    make, shape = ARCHITECTURES[name]
    network, inputs = make().eval(), (torch.randn(*shape),)
    structure = analyse(network, inputs)
    choice = choose(structure, l1(structure), structure.macs, 0.5 * structure.macs(), least=0.05)
    smaller = structure.without(choice.gone)  # raises where it computes something else
    figures = Counts().count(smaller, inputs)
    assert figures["macs"].value == pytest.approx(choice.cost, rel=1e-6)
    assert figures["params"].value == pytest.approx(structure.params(choice.gone), rel=1e-6)


def test_there_are_25() -> None:
    assert len(ARCHITECTURES) == 25
