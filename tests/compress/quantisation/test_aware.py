from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sartor.compress.quantisation.aware import Clamped, Quantised, convert, prepare
from sartor.compress.quantisation.weight_only import quantise_weights
from sartor.errors import DataError, InputError, UnsupportedNetworkError
from sartor.training import Recipe, Single, TrainingState, fit
from tests.compress.made import accuracy, classifier, convolutional, images, learner, rows, trained

FINE = Recipe(learning_rate=3e-3, batch_size=32)


def calibration() -> list[torch.Tensor]:
    return [torch.from_numpy(rows().columns["x"])]


@pytest.mark.parametrize("steps", ["learned", "fixed"])
def test_training_under_quantisation_recovers_what_two_bits_cost(steps: Any) -> None:
    network = trained(classifier(), 300)
    once = accuracy(quantise_weights(network, 2))
    aware = prepare(network, calibration(), 2, steps=steps)
    fit(Single(aware), learner(), rows(), FINE, total=200, seed=0)
    assert accuracy(aware.eval()) > once + 0.03
    plain = convert(aware)
    assert accuracy(plain) > once
    assert not any(isinstance(part, Quantised) for part in plain.modules())


def test_steps_are_trained_with_the_weights() -> None:
    aware = prepare(trained(classifier()), calibration(), 4)
    before = copy.deepcopy(dict(aware.named_parameters()))
    fit(Single(aware), learner(), rows(), FINE, total=5, seed=0)
    after = dict(aware.named_parameters())
    assert {"0.weight.step", "0.inputs.step", "0.layer.weight"} <= set(after)
    assert all(not torch.equal(before[name], after[name]) for name in after)


def test_a_killed_training_goes_on_bit_equal() -> None:
    network = trained(classifier())
    first, second = prepare(network, calibration(), 4), prepare(network, calibration(), 4)
    fit(Single(first), learner(), rows(), FINE, total=20, seed=0)
    state = fit(Single(second), learner(), rows(), FINE, total=20, seed=0, until=7)
    fresh = prepare(network, calibration(), 4)
    fit(Single(fresh), learner(), rows(), FINE, total=20, seed=0, state=TrainingState.from_dict(state.to_dict()))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), fresh.parameters(), strict=True))


def test_eight_bits_change_outputs_little_and_the_original_not_at_all() -> None:
    network = convolutional().eval()
    before = copy.deepcopy(network.state_dict())
    x = images(32)
    with torch.no_grad():
        wanted = network(x)
        for steps in ("learned", "fixed"):
            aware = prepare(network, [x], 8, steps=steps)  # type: ignore[arg-type]
            apart = float((aware(x) - wanted).abs().max() / wanted.abs().max())
            assert apart < {"learned": 0.35, "fixed": 0.1}[steps]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_what_is_converted_differs_by_the_rounding_of_inputs_alone() -> None:
    aware = prepare(convolutional().eval(), [images(32)], 4)
    plain = convert(aware)
    x = images(32, 1)
    for part in aware.modules():
        if isinstance(part, Quantised):
            part.inputs.forward = lambda x, q=part.inputs: x.clamp(*q.extent())  # type: ignore[method-assign, union-attr, misc]
    with torch.no_grad():
        torch.testing.assert_close(plain(x), aware(x))
    held = [part for part in plain.modules() if isinstance(part, Clamped)]
    assert len(held) == 4 and held[1].low == 0 < held[1].high  # behind a ReLU


def test_weights_alone_may_be_quantised_and_layers_left_out() -> None:
    aware = prepare(convolutional(), [images(8)], {"6.weight": 2}, input_bits=None)
    quantised = [name for name, part in aware.named_modules() if isinstance(part, Quantised)]
    assert quantised == ["6"]
    assert isinstance(convert(aware)[6], nn.Conv2d)  # type: ignore[index]
    assert not isinstance(prepare(classifier(), calibration(), skip=["0"])[0], Quantised)  # type: ignore[index]
    assert isinstance(prepare(nn.Linear(6, 3), calibration()), Quantised)
    assert isinstance(convert(prepare(nn.Linear(6, 3), calibration(), input_bits=None)), nn.Linear)


def test_bad_input_is_named() -> None:
    broken = calibration()[0].clone()
    broken[0, 0] = torch.nan
    with pytest.raises(DataError, match="calibration batch 0: 1 of"):
        prepare(classifier(), [broken])
    with pytest.raises(UnsupportedNetworkError, match="weight_ih_l0: quantisation-aware training knows linear"):
        prepare(nn.LSTM(4, 4), [torch.zeros(2, 3, 4)])
    with pytest.raises(UnsupportedNetworkError, match="no quantised layers"):
        convert(classifier())
    with pytest.raises(InputError, match="expected 2 to 8, got 16"):
        prepare(classifier(), calibration(), 16)
    spare = nn.Sequential(nn.Linear(6, 3))
    spare[0].register_module("spare", nn.Linear(6, 3))
    with pytest.raises(InputError, match=r"not called on the calibration inputs: 0\.spare"):
        prepare(spare, calibration())
