"""SparseGPT: each layer pruned at once, the weights that stay made up from calibration inputs.

Frantar & Alistarh 2023, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", arXiv:2301.00774,
algorithm 1. For a layer with inputs X it removes weights column by column, in blocks, each by its error
``w**2 / [H^-1]_jj**2`` with ``H = X X^T``, and spreads the error over the columns still to come through the Cholesky
factor of the inverse. Layers are pruned in the order in which they run, on what the pruned layers before them give.

As in the paper's code: dead inputs, damping by a share of the mean diagonal. Deviations: convolutions too (an input is
a place of the kernel and a channel; groups have a Hessian each), and double precision.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor._modes import evaluating
from sartor.compress.calibration import finite, inputs_of
from sartor.compress.sparsity.n_of_m import Pattern, check_pattern
from sartor.compress.sparsity.obs import Surgery
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError, UnsupportedNetworkError

Layer = nn.Linear | nn.Conv1d | nn.Conv2d


def sparsegpt(
    module: nn.Module,
    batches: Iterable[Any],
    sparsity: float = 0.5,
    *,
    pattern: Pattern | None = None,
    block: int = 128,
    damping: float = 0.01,
    skip: Sequence[str] = (),
) -> Surgery:
    """Prunes linear and convolutional layers in one shot, without training.

    Args:
        module: Left as it is.
        batches: Inputs, a tensor or the tuple of all arguments; some hundred rows, and more of them than the widest
            layer has inputs. No labels are needed.
        sparsity: Share removed of each layer; with a pattern it is the pattern's.
        pattern: E.g. 2 of 4, or None for any weights.
        block: Columns whose masks are chosen together.
        damping: Share of the mean diagonal that is added to the diagonal.
        skip: Layers to leave alone.

    Raises:
        DataError: calibration inputs, or what a layer gets from them, are not finite.
        InputError: a number out of range, a layer that did not run (named), a pattern that does not fit (named).
        UnsupportedNetworkError: a kind of layer that is not supported (named).
    """
    if not 0 <= sparsity < 1 or block < 1 or not damping > 0:
        raise InputError(
            "expected a sparsity of at least 0 and below 1, a block of at least 1 and damping above 0, got"
            f" {sparsity:g}, {block} and {damping:g}"
        )
    held = [inputs_of(batch) for batch in finite(batches)]
    made = copy.deepcopy(module)
    layers = _layers(made, skip)
    if pattern is not None:
        check_pattern(pattern, {f"{name}.weight": layer.weight.shape for name, layer in layers.items()})
        if block % pattern.m:
            raise InputError(f"block: expected a multiple of {pattern.m}, got {block}")
    masks = {}
    with evaluating(made), torch.no_grad():
        for name, calls in _order(made, layers, held[0]).items():
            layer = layers[name]
            hessian = _hessian(made, name, layer, held, calls)
            columns = _columns(layer)
            pruned = []
            kept = []
            for weight, own in zip(columns, hessian, strict=True):
                w, mask = prune_matrix(weight, own, sparsity, pattern=pattern, block=block, damping=damping)
                pruned.append(w)
                kept.append(mask)
            layer.weight.copy_(_as_weight(torch.stack(pruned), layer))
            masks[f"{name}.weight"] = _as_weight(torch.stack(kept), layer).contiguous()
    return Surgery(made, masks)


def prune_matrix(
    weight: Tensor, hessian: Tensor, sparsity: float, *, pattern: Pattern | None, block: int, damping: float
) -> tuple[Tensor, Tensor]:
    """Returns the pruned matrix and its mask (algorithm 1).

    Args:
        weight: ``[outputs, inputs]``.
        hessian: ``[inputs, inputs]``: the sum of outer products of inputs, or a multiple of it.
        sparsity: Share of each block that is removed, without a pattern.
        pattern: Or None.
        block: Columns whose masks are chosen together.
        damping: Share of the mean diagonal that is added to the diagonal.
    """
    w, h = weight.double().clone(), hessian.double().clone()
    num = h.shape[0]
    diagonal = h.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1.0
    w[:, dead] = 0.0
    diagonal.add_(damping * diagonal.mean())
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    mask = torch.ones_like(w, dtype=torch.bool)
    for begin in range(0, num, block):
        end = min(begin + block, num)
        own = factor[begin:end, begin:end]
        part, kept = w[:, begin:end], mask[:, begin:end]
        errors = torch.zeros_like(part)
        if pattern is None:
            cost = (part / own.diagonal()).square().flatten()
            gone = cost.argsort(stable=True)[: round(sparsity * cost.numel())]
            kept[gone // kept.shape[1], gone % kept.shape[1]] = False
        for j in range(end - begin):
            if pattern is not None and j % pattern.m == 0:
                group = slice(j, j + pattern.m)
                cost = (part[:, group] / own.diagonal()[group]).square()
                gone = cost.argsort(dim=1, stable=True)[:, : pattern.m - pattern.n]
                kept[:, group].scatter_(1, gone, False)
            error = part[:, j] * ~kept[:, j] / own[j, j]
            part[:, j:] -= error[:, None] * own[j, j:]
            errors[:, j] = error
        part[~kept] = 0.0
        w[:, end:] -= errors @ factor[begin:end, end:]
    return w.to(weight.dtype), mask


def _layers(module: nn.Module, skip: Sequence[str]) -> dict[str, Layer]:
    modules = dict(module.named_modules())
    found: dict[str, Layer] = {}
    for name in weights_of(module, skip=skip):
        owner, _, own = name.rpartition(".")
        layer = modules[owner]
        if not isinstance(layer, Layer) or own != "weight":
            raise UnsupportedNetworkError(
                f"{name}: SparseGPT prunes linear and convolutional layers, not {type(layer).__name__}: give it to skip"
            )
        found[owner] = layer
    return found


class _Reached(Exception):
    """The layer whose inputs are wanted has them: what runs behind it is not needed."""


def _order(module: nn.Module, layers: Mapping[str, nn.Module], inputs: tuple[Any, ...]) -> dict[str, int]:
    """Returns the layers' names in the order in which they first run, and how often each runs."""
    order: dict[str, int] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, __, name=name: order.update({name: order.get(name, 0) + 1}))
        for name, layer in layers.items()
    ]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if missing := [name for name in layers if name not in order]:
        raise InputError(
            f"these layers were not called on the calibration inputs: {', '.join(missing)}. Give them to skip"
        )
    return order


def _hessian(
    module: nn.Module, name: str, layer: Layer, batches: Sequence[tuple[Any, ...]], calls: int
) -> Tensor:
    """Returns the mean outer products of a layer's inputs, ``[groups, inputs, inputs]``."""
    total: Tensor | None = None
    count = seen = 0

    def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal total, count, seen
        rows = _rows(inputs[0].detach(), layer)
        if not bool(torch.isfinite(rows).all()):
            raise InputError(f"{name}: what it gets from the calibration inputs is not finite")
        product = rows.transpose(1, 2) @ rows
        total = product if total is None else total + product
        count += rows.shape[1]
        seen += 1
        if seen % calls == 0:
            raise _Reached

    hook = layer.register_forward_pre_hook(see)
    try:
        for batch in batches:
            with contextlib.suppress(_Reached):
                module(*batch)
    finally:
        hook.remove()
    assert total is not None  # `_order` saw it run
    return total / count


def _rows(x: Tensor, layer: Layer) -> Tensor:
    """Returns what each output of a layer sums over, ``[groups, rows, inputs]``."""
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1]).double()
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = functional.pad(x, list(layer._reversed_padding_repeated_twice), mode=mode)
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer, nn.Conv1d):
        x, kernel, stride, dilation = x[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    patches = functional.unfold(x, kernel, dilation, 0, stride)  # [n, channels * places, outputs]
    per_group = layer.in_channels // layer.groups
    patches = patches.reshape(len(patches), layer.groups, per_group, -1, patches.shape[2])
    return patches.permute(1, 0, 4, 3, 2).flatten(3).flatten(1, 2).double()


def _columns(layer: Layer) -> Tensor:
    """Returns a weight as ``[groups, outputs, inputs]``; inputs of a convolution by place, then channel."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        return weight[None]
    by_place = weight.flatten(2).transpose(1, 2).flatten(1)
    return by_place.reshape(layer.groups, -1, by_place.shape[1])


def _as_weight(columns: Tensor, layer: Layer) -> Tensor:
    """Returns the weight that `_columns` makes ``columns`` of."""
    if isinstance(layer, nn.Linear):
        return columns[0]
    out, channels, *places = layer.weight.shape
    return columns.reshape(out, -1, channels).transpose(1, 2).reshape(out, channels, *places)
