import pytest
import torch
from torch import nn

from sartor.errors import MissingExtraError
from sartor.registry import find


class Candidate:
    def __init__(self, width):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.deployed = nn.Sequential(
                nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.Flatten(), nn.Linear(width * 16, 3)
            ).eval()
        self.inputs = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


def installed(*packages):
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed: extra micro")


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
def test_the_arena_holds_the_activations_and_conforms():
    installed("tflite_micro", "litert_torch")
    from sartor.testing.devices import check_device

    device = find("devices", "tflite-micro").load()()
    check_device(device, [Candidate(4), Candidate(32)])
    small, large = (device.cost(Candidate(width))["arena_bytes"].value for width in (4, 32))
    # The first convolution's output and the second's, a byte each, are alive at once.
    assert large - small >= (32 - 4) * (36 + 16)


@pytest.mark.filterwarnings("ignore")
def test_ethos_u_has_the_weights_in_flash_and_conforms():
    installed("ethosu.vela", "litert_torch")
    from sartor.testing.devices import check_device

    device = find("devices", "ethos-u").load()()
    candidate = Candidate(32)
    check_device(device, [candidate])
    figures = device.cost(candidate)
    num_weights = sum(p.numel() for p in candidate.deployed.parameters())
    assert 0.7 * num_weights < figures["flash_bytes"].value < 3 * num_weights
    assert figures["latency_ms"].kind == "estimated" and "cycles" in figures["latency_ms"].note


@pytest.mark.parametrize(("name", "package"), [("tflite-micro", "tflite_micro"), ("ethos-u", "ethosu")])
def test_a_missing_package_names_the_extra(name, package, monkeypatch):
    import sys

    for loaded in [key for key in sys.modules if key.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*sartor\[micro\]"):
        find("devices", name).load()().cost(Candidate(4))
