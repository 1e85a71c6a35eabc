"""Bits of each layer by its sensitivity, under a budget.

After Dong et al. 2019, "HAWQ", arXiv:1905.03696, and Cai et al. 2020, "ZeroQ", arXiv:2001.00281: layers differ in what
coarse weights cost, so bits are given where they matter. A layer's sensitivity is measured here: the rise of the loss
when it alone is quantised (HAWQ estimates it by the Hessian, ZeroQ by the divergence of outputs). Rises are summed, and
the least sum under the budget is found exactly, as an integer linear program.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor._modes import evaluating
from sartor.compress.calibration import Loss, finite
from sartor.compress.quantisation.uniform import bounds, least_error_step, on_grid, output_axis
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import BudgetError, DataError, InputError

Table = Mapping[str, Mapping[int, float]]
"""Name of a weight -> bits -> a number."""

_STEP_BYTES = 4


def sensitivities(
    module: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    *,
    bits: Sequence[int] = (2, 4, 8),
    skip: Sequence[str] = (),
) -> dict[str, dict[int, float]]:
    """Returns how much the mean loss rises when one weight alone has so many bits.

    Args:
        module: Trained; left as it is.
        batches: What ``loss`` reads; not of the part that is reported.
        loss: Of the module and a batch: a scalar.
        bits: To try, 2 to 8 each.
        skip: Layers to leave alone.

    Raises:
        DataError: batches or their losses are not finite.
        InputError: no batches, no bits, bits out of range, or see `weights_of`.
    """
    if not bits:
        raise InputError("bits: expected at least one number of bits to try, got none")
    held = finite(batches)
    tried = copy.deepcopy(module)
    layers = dict(tried.named_modules())
    found: dict[str, dict[int, float]] = {}
    with evaluating(tried), torch.no_grad():

        def mean_loss() -> float:
            return sum(float(loss(tried, batch)) for batch in held) / len(held)

        before = mean_loss()
        if not np.isfinite(before):
            raise DataError(f"the loss on the calibration batches is {before:g}")
        for name, weight in weights_of(tried, skip=skip).items():
            original = weight.clone()
            axis = output_axis(layers[name.rpartition(".")[0]])
            found[name] = {}
            for count in bits:
                weight.copy_(on_grid(original, least_error_step(original, count, axis), *bounds(count)))
                found[name][count] = mean_loss() - before
            weight.copy_(original)
    return found


def weight_bytes(module: nn.Module, table: Table) -> dict[str, dict[int, float]]:
    """Returns the bytes of each weight of a table with each of its bits, and a 4-byte step for each output."""
    named = dict(module.named_parameters(remove_duplicate=False))
    layers = dict(module.named_modules())
    return {
        name: {
            count: named[name].numel() * count / 8
            + _STEP_BYTES * named[name].shape[output_axis(layers[name.rpartition(".")[0]])]
            for count in options
        }
        for name, options in table.items()
    }


def mac_bits(
    module: nn.Module, inputs: tuple[Any, ...], table: Table, *, input_bits: int = 8
) -> dict[str, dict[int, float]]:
    """Returns multiply-accumulates times bits of the weight times bits of the input, for each weight of a table.

    Args:
        module: The network.
        inputs: Example inputs, batch size 1.
        table: The weights and their bits.
        input_bits: Of every layer.
    """
    from sartor.devices._execution import execute

    execution = execute(module, inputs)
    macs: dict[str, int] = {}
    for operation in execution.operations:
        path = execution.calls[operation.call].path
        macs[path] = macs.get(path, 0) + operation.macs
    return {
        name: {count: float(macs.get(name.rpartition(".")[0], 0) * count * input_bits) for count in options}
        for name, options in table.items()
    }


def choose_bits(sensitivity: Table, costs: Table, budget: float) -> dict[str, int]:
    """Returns the bits of each weight with the least sum of sensitivities whose costs sum to at most a budget.

    Args:
        sensitivity: Of `sensitivities`; negative rises count as they are.
        costs: Of `weight_bytes` or `mac_bits`, for the same weights and bits.
        budget: In the unit of the costs.

    Raises:
        BudgetError: even the fewest bits cost more; the message says how much.
        InputError: the tables differ.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    if {name: set(options) for name, options in sensitivity.items()} != {name: set(row) for name, row in costs.items()}:
        raise InputError("expected sensitivities and costs of the same weights and bits")
    least = sum(min(row.values()) for row in costs.values())
    if not least <= budget:
        raise BudgetError(
            f"the fewest bits cost {least:g}, more than the budget of {budget:g}: raise it, or allow fewer bits"
        )
    options = [(name, count) for name, row in sensitivity.items() for count in row]
    names = list(sensitivity)
    once = np.array([[float(name == other) for other, _ in options] for name in names])
    spent = np.array([costs[name][count] for name, count in options])
    scale = max(spent.max(), 1e-300)
    found = milp(
        np.array([sensitivity[name][count] for name, count in options]),
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(once, 1, 1), LinearConstraint(spent[None] / scale, -np.inf, budget / scale)],
    )
    if found.x is None:
        raise BudgetError(f"no bits were found within the budget of {budget:g}: {found.message}")
    return {name: count for (name, count), taken in zip(options, found.x, strict=True) if taken > 0.5}
