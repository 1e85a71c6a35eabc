from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from sartor.compress.quantisation.mixed import choose_bits, mac_bits, sensitivities, weight_bytes
from sartor.compress.quantisation.weight_only import quantise_weights, quantised_bytes
from sartor.devices.counts import Counts
from sartor.errors import BudgetError, DataError, InputError
from tests.compress.made import accuracy, classifier, convolutional, cross_entropy, images, rows, trained


def batch() -> list[dict[str, Any]]:
    return [rows(256).batch(256, 0, 0)]


def test_a_sensitivity_is_the_rise_of_the_loss_with_one_layer_quantised() -> None:
    network = trained(classifier())
    found = sensitivities(network, batch(), cross_entropy, bits=(2, 8))
    with torch.no_grad():
        after = cross_entropy(quantise_weights(network, {"2.weight": 2}), batch()[0])
        rise = after - cross_entropy(network, batch()[0])
    assert found["2.weight"][2] == pytest.approx(rise.item(), rel=1e-4)
    assert list(found) == ["0.weight", "2.weight", "4.weight"]
    assert all(row[2] > row[8] for row in found.values())


@pytest.mark.parametrize("budget", [200.0, 300.0, 420.0])
def test_bits_are_the_best_of_all_assignments(budget: float) -> None:
    generator = torch.Generator().manual_seed(0)
    names, bits = [f"{i}.weight" for i in range(5)], (2, 4, 8)
    rise = {name: {count: float(torch.rand((), generator=generator)) / count for count in bits} for name in names}
    size = {name: {count: 10.0 * count * (i + 1) / 2 for count in bits} for i, name in enumerate(names)}
    found = choose_bits(rise, size, budget)

    def value(given: tuple[int, ...], table: dict[str, dict[int, float]]) -> float:
        return sum(table[name][count] for name, count in zip(names, given, strict=True))

    every = [given for given in itertools.product(bits, repeat=5) if value(given, size) <= budget]
    assert value(tuple(found.values()), rise) == pytest.approx(min(value(given, rise) for given in every))
    assert value(tuple(found.values()), size) <= budget


def test_mixed_bits_are_no_worse_than_the_same_bits_for_all_at_no_more_bytes() -> None:
    network = trained(classifier(), 300)
    table = sensitivities(network, batch(), cross_entropy, bits=(2, 3, 4, 6, 8))
    costs = weight_bytes(network, table)
    budget = sum(row[3] for row in costs.values())
    chosen = choose_bits(table, costs, budget)
    mixed, same = quantise_weights(network, chosen), quantise_weights(network, 3)
    assert quantised_bytes(network, chosen) <= quantised_bytes(network, 3) + len(chosen)
    assert cross_entropy(mixed, batch()[0]) < cross_entropy(same, batch()[0]) + 1e-6
    assert accuracy(mixed) > accuracy(same) - 0.01


def test_mac_bits_are_macs_times_bits() -> None:
    network = convolutional()
    table = {name: {4: 0.0, 8: 0.0} for name in ("0.weight", "3.weight", "6.weight", "10.weight")}
    found = mac_bits(network, (images(1),), table, input_bits=8)
    macs = Counts().count(network, (images(1),))["macs"].value
    assert sum(row[4] for row in found.values()) == macs * 32
    assert found["0.weight"][8] == 8 * 8 * 8 * 27 * 64


def test_budgets_that_cannot_be_met_say_what_can() -> None:
    table = {"a": {2: 1.0, 8: 0.0}}
    with pytest.raises(BudgetError, match="the fewest bits cost 20, more than the budget of 10"):
        choose_bits(table, {"a": {2: 20.0, 8: 80.0}}, 10)
    with pytest.raises(InputError, match="same weights and bits"):
        choose_bits(table, {"b": {2: 20.0, 8: 80.0}}, 100)
    broken = batch()
    broken[0]["x"][0, 0] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        sensitivities(classifier(), broken, cross_entropy)
