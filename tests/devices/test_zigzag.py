import sys

import pytest
import torch
from torch import nn

from sartor.devices.accelerator import Accelerator, Chip
from sartor.devices.kernels import kernels_of
from sartor.devices.zigzag import ZigZag
from sartor.errors import InputError, MissingExtraError
from sartor.testing.devices import check_device


class Candidate:
    def __init__(self, width):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.deployed = nn.Sequential(nn.Conv2d(4, width, 1), nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, 8))
            self.inputs = (torch.rand(1, 4, 8, 8),)
        self.deployed.eval()
        self.architecture = {}


@pytest.fixture
def installed():
    pytest.importorskip("zigzag", reason="zigzag-dse is not installed: extra zigzag")


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
def test_each_layer_costs_at_least_what_must_move_once(installed):
    candidate, chip = Candidate(16), Chip.of("accelerator-45nm")
    convolution, linear = ZigZag().layers(candidate.deployed, candidate.inputs)
    for layer, macs, moved in (
        (convolution, 64 * 4 * 16, 64 * 4 + 4 * 16 + 64 * 16),
        (linear, 1024 * 8, 1024 + 1024 * 8 + 8),
    ):
        least = 2 * macs * chip.operation_j + moved * (chip.memory_j + chip.buffer_j)
        assert least <= layer.energy_mj / 1e3 < 3 * least
        assert layer.latency_ms / 1e3 >= max(macs / 256 / chip.hertz, moved / chip.bandwidth) * 0.99


@pytest.mark.filterwarnings("ignore")
def test_it_conforms_and_is_near_the_formula(installed):
    device, candidates = ZigZag(), [Candidate(4), Candidate(32)]
    check_device(device, candidates)
    for candidate in candidates:
        formula = Accelerator().estimate(kernels_of(candidate.deployed, candidate.inputs), {})
        found = device.cost(candidate)
        for name in ("latency_ms", "energy_mj"):
            assert 0.5 < found[name].value / formula[name].value < 2
        assert "3 " in found["energy_mj"].note


@pytest.mark.filterwarnings("ignore")
def test_a_network_without_products_is_refused(installed):
    with pytest.raises(InputError, match="no convolution or matrix product"):
        ZigZag().measure(nn.ReLU(), (torch.rand(1, 3),))


def test_a_target_that_lacks_energies_is_refused():
    with pytest.raises(InputError, match="models of accelerators need it"):
        ZigZag("cortex-m4")


@pytest.mark.parametrize("package", ["zigzag", "six"])
def test_a_missing_package_names_the_extra(package, monkeypatch):
    if package == "six":
        pytest.importorskip("zigzag", reason="zigzag-dse is not installed: extra zigzag")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*sartor\[zigzag\]"):
        ZigZag().cost(Candidate(4))
