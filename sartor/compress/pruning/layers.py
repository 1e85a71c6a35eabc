"""Whole layers: those that change least what passes through them become the identity.

Men et al. 2024, "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", arXiv:2403.03853: the
influence of a block is one minus the mean cosine between what comes in and what goes out, equation 1. Any module that
gives a tensor of the shape of its only input counts as a block, if it has weights and no such module contains it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor._modes import evaluating
from sartor.errors import BudgetError, UnsupportedNetworkError


def influences(network: nn.Module, run: Callable[[nn.Module], None], *, skip: Sequence[str] = ()) -> dict[str, float]:
    """Returns block -> influence, 0 (changes nothing) to 2, of the blocks that can become the identity.

    Args:
        network: Left as it is.
        run: Runs it on data; called in eval mode, without gradients.
        skip: Blocks to leave alone, by name; ``*`` stands for anything.
    """
    sums: dict[str, list[float]] = {}
    bad: set[str] = set()

    def watch(name: str) -> Callable[..., None]:
        def seen(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            first = arguments[0] if arguments else None
            if (
                not isinstance(output, Tensor)
                or not isinstance(first, Tensor)
                or first.shape != output.shape
                or len(arguments) > 1
            ):
                bad.add(name)
            else:
                cosine = functional.cosine_similarity(first.flatten(1).float(), output.flatten(1).float())
                sums.setdefault(name, []).append(1.0 - float(cosine.mean()))

        return seen

    handles = [
        part.register_forward_hook(watch(name))
        for name, part in network.named_modules()
        if name and any(True for _ in part.parameters()) and not any(fnmatchcase(name, pattern) for pattern in skip)
    ]
    try:
        with evaluating(network), torch.no_grad():
            run(network)
    finally:
        for handle in handles:
            handle.remove()
    fitting = {name: sum(values) / len(values) for name, values in sums.items() if name not in bad}
    return {
        name: value for name, value in fitting.items() if not any(name.startswith(f"{other}.") for other in fitting)
    }


def without_layers(
    network: nn.Module,
    run: Callable[[nn.Module], None],
    cost: Callable[[nn.Module], float],
    target: float,
    *,
    skip: Sequence[str] = (),
) -> tuple[nn.Module, list[str]]:
    """Returns a copy in which blocks are ``nn.Identity`` until ``cost`` is at most ``target``, and their names.

    Influences are taken anew after each removal.

    Args:
        network: Left as it is.
        run: Runs a network on data.
        cost: Of a network.
        target: Upper bound.
        skip: Blocks to leave alone.

    Raises:
        UnsupportedNetworkError: no block can become the identity.
        BudgetError: the target is out of reach; the message says what is left.
    """
    smaller = copy.deepcopy(network)
    gone: list[str] = []
    now = cost(smaller)
    while now > target:
        found = influences(smaller, run, skip=skip)
        if not found:
            if not gone:
                raise UnsupportedNetworkError(
                    f"{type(network).__name__} has no layer that gives the shape that it gets, so none can go whole"
                )
            raise BudgetError(f"without all {len(gone)} layers that can go the cost is {now:.4g}, above {target:.4g}")
        name = min(found, key=found.__getitem__)
        parent, _, own = name.rpartition(".")
        setattr(smaller.get_submodule(parent), own, nn.Identity())
        gone.append(name)
        now = cost(smaller)
    return smaller, gone
