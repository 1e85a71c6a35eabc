"""n of m: of every m weights in a row at most n stay, as sparse tensor cores want it (2 of 4).

Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378. Rows run along what an output sums
over: the inputs of a linear layer; the channels of a convolution, for each place of its kernel. Only some accelerators
are faster for it; a processor is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sartor.compress.sparsity.masks import Scores
from sartor.errors import InputError


class Pattern(NamedTuple):
    """At most ``n`` weights stay of every ``m`` in a row."""

    n: int
    m: int


TWO_OF_FOUR = Pattern(2, 4)


def check_pattern(pattern: Pattern, shapes: Mapping[str, Sequence[int]]) -> None:
    """Raises where weights cannot have a pattern.

    Args:
        pattern: The pattern.
        shapes: Name of a weight -> its shape, inputs second.

    Raises:
        InputError: not ``1 <= n < m``, or a layer's inputs do not make whole groups; all such layers are named.
    """
    if not 1 <= pattern.n < pattern.m:
        raise InputError(f"pattern: expected 1 <= n < m, got {pattern.n} of {pattern.m}")
    small = [f"{name} ({shape[1]} inputs)" for name, shape in shapes.items() if shape[1] % pattern.m]
    if small:
        raise InputError(
            f"{pattern.n} of {pattern.m} needs layers whose inputs are a multiple of {pattern.m}; not so:"
            f" {', '.join(small)}. Give them to skip"
        )


def n_of_m(scores: Scores, pattern: Pattern = TWO_OF_FOUR) -> dict[str, Tensor]:
    """Returns masks of the n highest scores of every m along the inputs.

    Args:
        scores: Of each weight, inputs second, as those of linear and (not transposed) convolutional layers.
        pattern: 2 of 4 by default.

    Raises:
        InputError: see `check_pattern`.
    """
    check_pattern(pattern, {name: tuple(values.shape) for name, values in scores.items()})
    masks = {}
    for name, values in scores.items():
        groups = values.movedim(1, -1)
        groups = groups.reshape(*groups.shape[:-1], -1, pattern.m)
        kept = torch.zeros_like(groups, dtype=torch.bool)
        kept.scatter_(-1, groups.argsort(dim=-1, descending=True, stable=True)[..., : pattern.n], True)
        masks[name] = kept.flatten(-2).movedim(-1, 1).contiguous()
    return masks
