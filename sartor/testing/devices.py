"""What every cost model must hold: ``check_device`` raises ``AssertionError`` with what was expected and what came.

Example:
    >>> def test_my_device_conforms():
    ...     check_device(MyDevice(), [small_candidate, large_candidate])
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from sartor.contracts import Candidate, Device
from sartor.testing.randomness import global_random_state
from sartor.trials import Figure
from sartor.units import FIGURES

if TYPE_CHECKING:
    from torch import nn


def check_device(device: Device, candidates: Sequence[Candidate]) -> None:
    """Checks a device on candidates given from the smaller to the larger network.

    Figures are those declared, in the units of ``sartor.units.FIGURES``, finite and positive, each with its error;
    exact ones are the same twice and do not shrink with the network; asking changes neither the network (weights,
    buffers, gradients, modes, hooks) nor the global random state; figures survive JSON.

    Raises:
        AssertionError: the first promise that does not hold.
    """
    assert isinstance(device, Device), f"expected name, figures, needs and cost, got {device!r}"
    assert device.name, "expected a name: it is part of the key under which figures are kept"
    assert device.needs in ("architecture", "network", "trained"), f"unknown needs {device.needs!r}"
    assert device.figures, "expected at least one figure"
    unknown = [name for name in device.figures if name not in FIGURES]
    assert not unknown, f"figures must be names of sartor.units.FIGURES, got {unknown}"
    found = [_check_one(device, candidate) for candidate in candidates]
    for smaller, larger in zip(found, found[1:], strict=False):
        for name in ("params", "model_bytes"):
            if name in smaller:
                assert smaller[name].value < larger[name].value, (
                    f"{name} of the larger network is {larger[name].value}, of the smaller {smaller[name].value}"
                )


def _check_one(device: Device, candidate: Candidate) -> Mapping[str, Figure]:
    figures = _unchanged(device, candidate)
    assert set(figures) == set(device.figures), f"declared {sorted(device.figures)}, gave {sorted(figures)}"
    for name, figure in figures.items():
        _check_figure(name, figure)
    if any(figure.kind == "exact" for figure in figures.values()):
        again = _unchanged(device, candidate)
        for name, figure in figures.items():
            if figure.kind == "exact":
                assert again[name] == figure, f"exact {name} was {figure}, then {again[name]}"
    return figures


def _check_figure(name: str, figure: Figure) -> None:
    assert figure.unit == FIGURES[name], f"{name}: expected unit {FIGURES[name]!r}, got {figure.unit!r}"
    assert math.isfinite(figure.value) and figure.value > 0, f"{name}: expected a positive number, got {figure.value}"
    if figure.error is None:
        assert figure.kind == "estimated" and "not validated" in figure.note, (
            f"{name}: expected the relative error it was validated to, or an estimate whose note says 'not validated'"
        )
    else:
        assert math.isfinite(figure.error) and figure.error >= 0, (
            f"{name}: expected the relative error it was validated to, got {figure.error}"
        )
    if figure.kind == "exact":
        assert figure.error == 0.0, f"{name}: an exact figure has no error, got {figure.error}"
    else:
        assert figure.error is None or figure.error > 0, f"{name}: a {figure.kind} figure has an error, got 0"
    if figure.kind == "estimated":
        assert figure.note, f"{name}: an estimate names its method in its note"
    if figure.kind == "measured":
        assert all(math.isfinite(value) for value in figure.raw), f"{name}: raw figures must be finite"
    restored = Figure.from_json(json.loads(json.dumps(figure.to_json())))
    assert restored == figure, f"{name}: {figure} became {restored} through JSON"


def _unchanged(device: Device, candidate: Candidate) -> Mapping[str, Figure]:
    """Asks for the cost and checks that nothing else happened."""
    network = candidate.deployed  # built here, so that building does not count
    inputs = candidate.inputs
    before, random = _state(network), global_random_state()
    given = [tensor.clone() for tensor in inputs]
    figures = device.cost(candidate)
    assert global_random_state() == random, f"{device.name} moved the global random state"
    assert all(torch.equal(a, b) for a, b in zip(given, inputs, strict=True)), f"{device.name} changed the inputs"
    after = _state(network)
    for what, value in before.items():
        assert value == after.get(what), f"{device.name} changed the network: {what}"
    assert set(after) == set(before), f"{device.name} added to the network: {sorted(set(after) - set(before))}"
    return figures


def _state(network: nn.Module) -> dict[str, Any]:
    """Returns all of a network that a cost model must leave alone, comparable with ``==``."""
    state: dict[str, Any] = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        state[f"tensor {name}"] = (id(tensor), tensor._version, tensor.detach().cpu().numpy().tobytes())
    for name, parameter in network.named_parameters():
        state[f"gradient of {name}"] = None if parameter.grad is None else parameter.grad.cpu().numpy().tobytes()
        state[f"requires_grad of {name}"] = parameter.requires_grad
    for name, module in network.named_modules():
        state[f"mode of {name!r}"] = module.training
        state[f"hooks of {name!r}"] = (len(module._forward_hooks), len(module._forward_pre_hooks))
        state[f"attributes of {name!r}"] = {key: id(value) for key, value in vars(module).items()}
    return state
