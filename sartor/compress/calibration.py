"""Batches on which a trained network is looked at: run in eval mode, left as it was, checked to be finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sartor._modes import evaluating
from sartor.devices._execution import tensors_in
from sartor.errors import DataError, InputError
from sartor.training import to_device
from sartor.training.step import CPU

if TYPE_CHECKING:
    from sartor.compress._contract import StepContext

Loss = Callable[[nn.Module, Any], Tensor]
"""Of a network and a batch: a scalar, the mean over the rows of the batch."""


class Finite(list[Any]):
    """Batches that were looked at: what `finite` returns, and takes as it is."""


def finite(batches: Iterable[Any], *, missing: bool = False) -> Finite:
    """Returns the batches as a list.

    Args:
        batches: Of tensors.
        missing: NaN stands for a missing value, and is no mistake.

    Raises:
        DataError: a number in them is not finite; the message says in which.
        InputError: there are none.
    """
    if isinstance(batches, Finite):
        return batches
    found = Finite(batches)
    if not found:
        raise InputError("expected at least one batch to calibrate on, got none")
    for number, batch in enumerate(found):
        for tensor in tensors_in(to_device(batch, CPU)):
            wrong = torch.isinf(tensor) if missing else ~torch.isfinite(tensor)
            if bad := int(wrong.sum()):
                raise DataError(
                    f"calibration batch {number}: {bad} of {tensor.numel()} numbers are not finite, in a tensor of"
                    f" shape {tuple(tensor.shape)}: leave such rows out"
                )
    return found


def inputs_of(batch: Any) -> tuple[Any, ...]:
    """Returns a batch as the arguments of a network: a tuple or list as it is, anything else as the only one."""
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def gradients(
    module: nn.Module, weights: Mapping[str, nn.Parameter], batches: Iterable[Any], loss: Loss, *, graph: bool = False
) -> Iterator[tuple[list[nn.Parameter], Sequence[Tensor]]]:
    """Yields, for each batch, the weights and the gradients of the loss with respect to them; ``.grad`` is not touched.

    Args:
        module: Run in eval mode.
        weights: Of the module.
        batches: What ``loss`` reads; finite.
        loss: Of the module and a batch.
        graph: The gradients can be differentiated once more.

    Raises:
        DataError: a loss is not finite, or see `finite`.
        InputError: the loss does not depend on a weight.
    """
    values = list(weights.values())
    frozen = [value for value in values if not value.requires_grad]
    with evaluating(module), torch.enable_grad():
        for value in frozen:
            value.requires_grad_(True)
        try:
            for number, batch in enumerate(finite(batches)):
                result = loss(module, batch)
                if not bool(torch.isfinite(result)):
                    raise DataError(f"calibration batch {number}: the loss is {result.item():g}")
                found = torch.autograd.grad(result, values, create_graph=graph, allow_unused=True)
                for name, gradient in zip(weights, found, strict=True):
                    if gradient is None:
                        raise InputError(f"the loss does not depend on {name}: give its layer to skip")
                yield values, found
        finally:
            for value in frozen:
                value.requires_grad_(False)


@contextmanager
def overhearing(network: nn.Module) -> Iterator[list[tuple[Any, ...]]]:
    """Gives a list that fills with what a network is called with, by place, while entered."""
    seen: list[tuple[Any, ...]] = []
    handle = network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
    try:
        yield seen
    finally:
        handle.remove()


def example_inputs(network: nn.Module, context: StepContext) -> tuple[Any, ...]:
    """Returns what a network gets, by place, when the deployed network gets the example inputs; empty for nothing."""
    with overhearing(network) as seen, torch.no_grad():
        context.deploy(network)(*context.inputs)
    return seen[0] if seen else ()


def network_inputs(module: nn.Module, batches: Iterable[Any], loss: Loss) -> list[tuple[Any, ...]]:
    """Returns what a loss gives the network for each batch, e.g. standardised images where batches are of pixels.

    Args:
        module: Run in eval mode.
        batches: What ``loss`` reads; finite.
        loss: Of the module and a batch.

    Raises:
        DataError: see `finite`.
        InputError: the loss does not call the network.
    """
    with overhearing(module) as seen, evaluating(module), torch.no_grad():
        for batch in finite(batches):
            loss(module, batch)
    if not seen:
        raise InputError("the task's loss must call the network itself, network(...), to calibrate on what it gets")
    return seen
