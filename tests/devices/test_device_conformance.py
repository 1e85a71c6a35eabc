"""The conformance suite must find what is broken."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sartor.contracts import Candidate
from sartor.testing.devices import check_device
from sartor.trials import Figure


class Plain:
    def __init__(self, width):
        self.width = width

    def build(self, space, architecture):
        return nn.Sequential(nn.Linear(3, self.width), nn.BatchNorm1d(self.width))

    def deploy(self, network, architecture):
        return network

    def example_inputs(self, architecture, batch_size=1):
        return (torch.rand(batch_size, 3),)


class Sound:
    """Counts parameters, and takes them for milliseconds."""

    name = "sound"
    figures = ("params", "latency_ms")
    needs = "network"

    def cost(self, candidate):
        number = sum(parameter.numel() for parameter in candidate.deployed.parameters())
        return {
            "params": Figure(number),
            "latency_ms": Figure(number / 1e3, "ms", error=0.1, kind="estimated", note="a microsecond each"),
        }


def candidates():
    return [Candidate(Plain(width), SimpleNamespace(), None) for width in (2, 4)]


NUMBERS = itertools.count(1)


def broken(**changed):
    """Returns a device whose figures are changed by functions of the sound ones."""

    class Broken(Sound):
        def cost(self, candidate):
            figures = super().cost(candidate)
            return {**figures, **{name: change(figures[name], candidate) for name, change in changed.items()}}

    return Broken()


def spoiled(what):
    """Returns a device that does something to the candidate's network beside its work."""

    class Spoiled(Sound):
        def cost(self, candidate):
            what(candidate)
            return super().cost(candidate)

    return Spoiled()


def test_a_sound_device_passes():
    check_device(Sound(), candidates())


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (broken(params=lambda f, c: Figure(float("nan"))), "expected a positive number, got nan"),
        (broken(params=lambda f, c: Figure(0)), "expected a positive number, got 0"),
        (broken(params=lambda f, c: Figure(f.value, "ms")), "expected unit '', got 'ms'"),
        (broken(params=lambda f, c: Figure(1000 - f.value)), "params of the larger network is"),
        (broken(params=lambda f, c: Figure(f.value, error=0.1)), "an exact figure has no error"),
        (broken(params=lambda f, c: Figure(next(NUMBERS))), "exact params was"),
        (broken(latency_ms=lambda f, c: Figure(1.0, "ms", error=None, kind="measured")), "expected the relative error"),
        (broken(latency_ms=lambda f, c: Figure(1.0, "ms", error=0.1, kind="estimated")), "names its method"),
        (broken(latency_ms=lambda f, c: Figure(1.0, "ms", error=0.0, kind="measured")), "has an error, got 0"),
    ],
)
def test_wrong_figures_are_found(device, said):
    with pytest.raises(AssertionError, match=said):
        check_device(device, candidates())


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda c: c.deployed.eval(), "changed the network: mode of ''"),
        (lambda c: c.deployed(torch.rand(2, 3)), "changed the network: tensor 1.running_mean"),
        (lambda c: c.deployed(torch.rand(2, 3)).sum().backward(), "changed the network"),
        (lambda c: c.deployed.eval()(torch.rand(1, 3)).sum().backward(), "changed the network"),
        (lambda c: c.deployed[0].register_forward_hook(lambda *a: None), "changed the network: hooks of '0'"),
        (lambda c: setattr(c.deployed, "cache", 1), "changed the network: attributes of ''"),
        (lambda c: torch.rand(1), "moved the global random state"),
        (lambda c: c.inputs[0].zero_(), "changed the inputs"),
    ],
)
def test_side_effects_are_found(what, said):
    def silently(candidate):
        with torch.random.fork_rng(enabled=said != "moved the global random state"):
            what(candidate)

    with pytest.raises(AssertionError, match=said):
        check_device(spoiled(silently), candidates())


def test_undeclared_and_unknown_figures_are_found():
    silent = type("Silent", (Sound,), {"figures": ("params",)})
    with pytest.raises(AssertionError, match=r"declared \['params'\], gave"):
        check_device(silent(), candidates())
    unknown = type("Unknown", (Sound,), {"figures": ("speed",)})
    with pytest.raises(AssertionError, match=r"got \['speed'\]"):
        check_device(unknown(), candidates())
