"""From scores to masks: which weights stay, in all layers together or in each, and zeros put into a copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sartor.errors import InputError, near

Masks = Mapping[str, Tensor]
"""Name of a parameter -> bool of its shape, true where the weight stays."""

Scores = Mapping[str, Tensor]
"""Name of a parameter -> how much each of its weights matters, of its shape, finite; the lowest go first."""


def global_masks(scores: Scores, sparsity: float, within: Masks | None = None) -> dict[str, Tensor]:
    """Returns masks of the weights with the highest scores in all layers together.

    Args:
        scores: Of each weight, on one scale.
        sparsity: Share of all weights that is removed, from 0 to below 1.
        within: Masks; what these removed stays removed, and counts.

    Raises:
        InputError: a sparsity out of range, scores that are not finite, ``within`` of other shapes or sparser.
    """
    ordered = _ordered(scores, sparsity, within)
    flat = torch.cat([values.flatten() for values in ordered.values()])
    kept = torch.split(_highest(flat, sparsity), [values.numel() for values in ordered.values()])
    return {name: part.view_as(values) for (name, values), part in zip(ordered.items(), kept, strict=True)}


def local_masks(scores: Scores, sparsity: float, within: Masks | None = None) -> dict[str, Tensor]:
    """As `global_masks`, of each layer the same share."""
    ordered = _ordered(scores, sparsity, within)
    return {name: _highest(values.flatten(), sparsity).view_as(values) for name, values in ordered.items()}


def _ordered(scores: Scores, sparsity: float, within: Masks | None) -> dict[str, Tensor]:
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity: expected a share of at least 0 and below 1, got {sparsity:g}")
    if not scores:
        raise InputError("expected scores of at least one weight, got none")
    for name, values in scores.items():
        if bad := int((~torch.isfinite(values)).sum()):
            raise InputError(f"{name}: {bad} of {values.numel()} scores are not finite; so may be weights or gradients")
    if within is None:
        return dict(scores)
    _check({name: tuple(values.shape) for name, values in scores.items()}, within)
    return {name: values.masked_fill(~within[name], -torch.inf) for name, values in scores.items()}


def _highest(values: Tensor, sparsity: float) -> Tensor:
    """Returns a mask of the highest values; of equal ones the later stay."""
    num_removed = round(sparsity * values.numel())
    gone = int((values == -torch.inf).sum())
    if gone > num_removed:
        raise InputError(
            f"{gone} of {values.numel()} weights are removed already, more than the {num_removed} that a sparsity of"
            f" {sparsity:g} removes: raise it"
        )
    kept = torch.ones_like(values, dtype=torch.bool)
    kept[values.argsort(stable=True)[:num_removed]] = False
    return kept


def _check(shapes: Mapping[str, tuple[int, ...]], masks: Masks) -> None:
    for name, mask in masks.items():
        if name not in shapes:
            raise InputError(f"the network has no weight {name!r}, for which there is a mask{near(name, shapes)}")
        if tuple(mask.shape) != shapes[name]:
            raise InputError(f"{name}: the mask has shape {tuple(mask.shape)}, the weight {shapes[name]}")
    for name in shapes:
        if name not in masks:
            raise InputError(f"there is no mask for {name!r}{near(name, masks)}")


def fitting(module: nn.Module, masks: Masks) -> dict[str, nn.Parameter]:
    """Returns the parameters of a network that masks belong to.

    Raises:
        InputError: a mask has no parameter of its name and shape.
    """
    named = dict(module.named_parameters(remove_duplicate=False))
    _check({name: tuple(value.shape) for name, value in named.items() if name in masks}, masks)
    return {name: named[name] for name in masks}


@torch.no_grad()
def apply(module: nn.Module, masks: Masks) -> None:
    """Makes the removed weights of a network zero, in place.

    Raises:
        InputError: a mask has no parameter of its name and shape; nothing was changed.
    """
    for name, parameter in fitting(module, masks).items():
        parameter.mul_(masks[name].to(parameter.device))


def pruned(module: nn.Module, masks: Masks) -> nn.Module:
    """Returns a copy of a network with the removed weights zero."""
    fitting(module, masks)
    made = copy.deepcopy(module)
    apply(made, masks)
    return made


def nonzero_masks(module: nn.Module, names: Mapping[str, object]) -> dict[str, Tensor]:
    """Returns masks of the weights that are not zero, of the parameters named."""
    named = dict(module.named_parameters(remove_duplicate=False))
    return {name: named[name].detach() != 0 for name in names}


def sparsity_of(masks: Masks) -> float:
    """Returns the share of weights that masks remove, 0..1."""
    kept = sum(int(mask.sum()) for mask in masks.values())
    return 1.0 - kept / sum(mask.numel() for mask in masks.values())
