from __future__ import annotations

import pytest
import torch
from torch import nn

from sartor.compress.quantisation.lsq import FixedStep, LearnedStep
from sartor.compress.quantisation.uniform import bounds, largest_step, least_error_step, on_grid
from sartor.compress.quantisation.weight_only import quantise_weights, quantised_bytes
from sartor.errors import InputError
from tests.compress.made import accuracy, classifier, convolutional, trained


def values(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_grid_is_torchs_own(bits: int) -> None:
    x = values(6, 20)
    step = largest_step(x, bits)
    low, high = bounds(bits)
    theirs = torch.fake_quantize_per_channel_affine(x, step.flatten(), torch.zeros(6, dtype=torch.int32), 0, low, high)
    torch.testing.assert_close(on_grid(x, step, low, high), theirs)


def test_gradients_pass_the_rounding_and_stop_outside() -> None:
    x = torch.tensor([-9.0, -0.3, 0.2, 5.0], requires_grad=True)
    on_grid(x, torch.tensor(0.5), -3, 3).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 0]


def test_the_gradient_of_a_learned_step_is_the_papers() -> None:
    x = values(8, 30)
    made = LearnedStep(x, 3, signed=True, axis=None)
    with torch.no_grad():
        made.step.fill_(0.4)
    made(x).sum().backward()
    ratio = x / 0.4
    inside = ratio.round() - ratio  # equation 3, between the bounds
    wanted = torch.where(ratio <= -3, torch.tensor(-3.0), torch.where(ratio >= 3, torch.tensor(3.0), inside)).sum()
    assert made.step.grad is not None
    torch.testing.assert_close(made.step.grad, wanted / (30 * 3) ** 0.5)


def test_a_learned_step_begins_as_in_the_paper_and_stays_positive() -> None:
    weight = values(4, 30)
    made = LearnedStep(weight, 4, signed=True, axis=0)
    torch.testing.assert_close(made.step.detach(), 2 * weight.abs().mean(1, keepdim=True) / 7**0.5)
    with torch.no_grad():
        made.step.zero_()
    assert bool(torch.isfinite(made(weight)).all())


def test_steps_of_least_error_err_less_at_few_bits() -> None:
    x = values(10, 200)
    for bits, ratio in ((2, 0.7), (4, 0.95)):
        errors = [
            float((on_grid(x, step, *bounds(bits)) - x).square().mean())
            for step in (least_error_step(x, bits), largest_step(x, bits))
        ]
        assert errors[0] < ratio * errors[1]
    assert bool((least_error_step(torch.zeros(3, 4), 4) > 0).all())


def test_a_fixed_step_follows_the_largest_weight() -> None:
    weight = values(5, 12)
    made = FixedStep(None, 8, signed=True)
    torch.testing.assert_close(made(weight), on_grid(weight, largest_step(weight, 8), -127, 127))


def test_eight_bits_change_little_and_two_much() -> None:
    network = trained(classifier())
    assert accuracy(quantise_weights(network, 8)) == pytest.approx(accuracy(network), abs=0.02)
    coarse = quantise_weights(network, 2)
    for name, weight in coarse.named_parameters():
        if weight.ndim > 1:
            assert all(len(row.unique()) <= 3 for row in weight), name
    assert accuracy(coarse) < accuracy(network)


def test_transposed_convolutions_have_a_step_for_each_output() -> None:
    made = quantise_weights(nn.ConvTranspose2d(3, 5, 3), 2)
    assert all(len(made.weight[:, i].unique()) <= 3 for i in range(5))


def test_bits_of_single_weights_and_their_bytes() -> None:
    network = convolutional()
    made = quantise_weights(network, {"6.weight": 4})
    assert torch.equal(made.get_parameter("0.weight"), network.get_parameter("0.weight"))
    assert not torch.equal(made.get_parameter("6.weight"), network.get_parameter("6.weight"))
    dense = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    weight = network.get_parameter("6.weight")
    assert quantised_bytes(network, {"6.weight": 4}) == dense - weight.numel() * 4 + weight.numel() // 2 + 16 * 4


def test_bad_input_is_named() -> None:
    network = classifier()
    with pytest.raises(InputError, match="expected 2 to 8, got 1"):
        quantise_weights(network, 1)
    with pytest.raises(InputError, match="there is no weight '0.wait'; did you mean '0.weight'"):
        quantise_weights(network, {"0.wait": 4})
    with torch.no_grad():
        network[2].weight[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"2\.weight: 1 of 576 weights are not finite"):
        quantise_weights(network, 8)
