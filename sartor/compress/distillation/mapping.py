"""Which layer of a student should learn from which of a teacher, across architectures.

Layers whose outputs have the same number of places are compared first, and of these those that are most alike by linear
CKA (Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv:1905.00414); the order of
the layers is kept on both sides, by dynamic programming over the sum of similarities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor._modes import evaluating
from sartor.compress.distillation.terms import Pair, as_map
from sartor.errors import InputError, UnsupportedNetworkError

_SIDE = 4
"""Places a side at which maps are compared: finer ones cost much and say little more."""
_MIN_ROWS = 8


@dataclass(frozen=True)
class Mapped:
    """A pair of layers, and why.

    Attributes:
        pair: Their names.
        similarity: Linear CKA of their outputs, 0..1.
        student_shape, teacher_shape: Of one row's output.
    """

    pair: Pair
    similarity: float
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]


def map_layers(
    student: nn.Module, teacher: nn.Module, inputs: tuple[Any, ...], *, teacher_inputs: tuple[Any, ...] | None = None
) -> tuple[Mapped, ...]:
    """Returns pairs of layers, in order: for each stage of the student, its end and a layer of the teacher.

    A stage is what has the same number of places; a student with fewer than two gives all its layers, of which
    at most four, evenly apart, are mapped.

    Args:
        student: Left as it is.
        teacher: Left as it is.
        inputs: A batch of real rows, 32 or more.
        teacher_inputs: The same rows for the teacher, where it takes others.

    Raises:
        InputError: fewer than 8 rows.
        UnsupportedNetworkError: one of them has no layer that gives maps or tokens.
    """
    if len(inputs[0]) < _MIN_ROWS:
        raise InputError(f"expected at least {_MIN_ROWS} rows to compare layers on, got {len(inputs[0])}")
    ours = _outputs(student, inputs, "student")
    theirs = _outputs(teacher, teacher_inputs or inputs, "teacher")
    names = _stage_ends(ours)
    grams = {name: _gram(value, name) for name, value in theirs.items()}
    scores = torch.full((len(names), len(theirs)), -math.inf, dtype=torch.float64)
    for i, name in enumerate(names):
        own = _gram(ours[name], name)
        alike = [other for other in theirs if _places(theirs[other]) == _places(ours[name])] or list(theirs)
        for j, other in enumerate(theirs):
            if other in alike:
                scores[i, j] = _cka(own, grams[other])
    found = []
    others = list(theirs)
    for i, j in _in_order(scores):
        pair = Pair(names[i], others[j])
        shapes = tuple(ours[pair.student].shape[1:]), tuple(theirs[pair.teacher].shape[1:])
        found.append(Mapped(pair, float(scores[i, j]), *shapes))
    return tuple(found)


def cka(first: Tensor, second: Tensor) -> float:
    """Returns linear CKA of two representations ``(n, features)`` of the same rows, 0..1."""
    return _cka(_centred(first), _centred(second))


def _outputs(module: nn.Module, inputs: tuple[Any, ...], who: str) -> dict[str, Tensor]:
    """Returns name -> output of the layers that give maps or tokens, in the order in which they end."""
    found: dict[str, Tensor] = {}
    named: dict[int, str] = {}
    held: list[Tensor] = []  # so that no two of them have one id
    hooks = []
    for name, layer in module.named_modules():

        def keep(_: nn.Module, arguments: object, output: Any, name: str = name) -> None:
            if name and isinstance(output, Tensor) and output.ndim in (3, 4) and output.dtype.is_floating_point:
                # A container ends with its last layer, whose output is its own: the outer name is the clearer.
                inner = named.get(id(output))
                if inner is not None:
                    found.pop(inner, None)
                named[id(output)] = name
                held.append(output)
                found[name] = output.detach()

        hooks.append(layer.register_forward_hook(keep))
    try:
        with evaluating(module), torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UnsupportedNetworkError(
            f"the {who}, {type(module).__name__}, has no layer that gives maps or tokens: use terms on logits"
        )
    return found


def _places(output: Tensor) -> int:
    return math.prod(output.shape[2:]) if output.ndim == 4 else output.shape[1]


def _stage_ends(outputs: Mapping[str, Tensor]) -> list[str]:
    last: dict[int, str] = {}
    for name, output in outputs.items():
        if _places(output) > 1:
            last[_places(output)] = name
    if len(last) >= 2:
        order = list(outputs)
        return sorted(last.values(), key=order.index)
    names = [name for name in outputs if _places(outputs[name]) > 1] or list(outputs)
    num = min(4, len(names))
    return [names[round((i + 1) * len(names) / num) - 1] for i in range(num)]


def _gram(output: Tensor, name: str) -> Tensor:
    maps = as_map(output, name).double()
    size = (min(_SIDE, maps.shape[2]), min(_SIDE, maps.shape[3]))
    return _centred(functional.adaptive_avg_pool2d(maps, size).flatten(1))


def _centred(features: Tensor) -> Tensor:
    """Returns the products between centred rows, ``(n, n)``."""
    centred = features.double() - features.double().mean(0)
    return centred @ centred.T


def _cka(first: Tensor, second: Tensor) -> float:
    scale = float(first.norm() * second.norm())
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def _in_order(scores: Tensor) -> Sequence[tuple[int, int]]:
    """Returns pairs (row, column), both rising strictly, with the largest sum of scores."""
    rows, columns = scores.shape
    best = torch.zeros(rows + 1, columns + 1, dtype=torch.float64)
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            best[i, j] = max(best[i - 1, j], best[i, j - 1], best[i - 1, j - 1] + scores[i - 1, j - 1])
    found = []
    i, j = rows, columns
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]
