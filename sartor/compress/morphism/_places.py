"""Where in each dimension of the larger network's tensors the smaller one's features lie.

Dimensions that hold the same features are one class: what a residual sum adds, what a layer writes and the next reads.
Some classes are made of others: concatenations of them, or products (heads times features of a head, groups times
channels of a group). Places are the leading ones wherever nothing says otherwise.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from sartor.compress.morphism._align import NORMS, POOLING, RESAMPLING, Alignment, Decision
from sartor.compress.morphism._trace import Op, Value
from sartor.errors import UnsupportedNetworkError

Key: TypeAlias = tuple[object, int]
"""A tensor of the larger network and one of its dimensions; or an operation and a negative number, for its groups."""

_ELEMENTWISE = frozenset(
    {"add", "sub", "rsub", "mul", "div", "relu", "relu6", "gelu", "silu", "tanh", "sigmoid", "hardsigmoid", "hardswish"}
    | {"elu", "leaky_relu", "selu", "softplus", "mish", "exp", "abs", "neg", "square", "pass", "celu", "softsign"}
    | {"pow", "sqrt", "rsqrt", "sin", "cos", "clamp", "hardtanh", "log", "logsigmoid", "maximum", "minimum"}
)


@dataclass(frozen=True)
class Made:
    """How a class is made of others: ``parts`` side by side (``concat``), or as a ``product``."""

    kind: Literal["concat", "product"]
    parts: tuple[Key, ...]


@dataclass(eq=False)
class Places:
    """Classes of dimensions, and the places of the smaller network's features in them."""

    alignment: Alignment
    _parent: dict[Key, Key] = field(default_factory=dict)
    _sizes: dict[Key, tuple[int, int]] = field(default_factory=dict)
    made: dict[Key, list[Made]] = field(default_factory=lambda: defaultdict(list))
    fixed: list[tuple[Key, str]] = field(default_factory=list)
    _found: dict[Key, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for decision in self.alignment.decisions:
            _relate(decision, self)
        for value in self.alignment.outputs:
            for dim in range(len(value.shape)):
                self.fix((value, dim), f"what the network gives, by {value.op or value.name}, keeps its shape")
        for key, reason in self.fixed:
            small, large = self.size(key)
            if small != large:
                raise UnsupportedNetworkError(f"{reason}: {small} features cannot become {large}")
        # Also of those that no weight reads, such as what is concatenated and then shuffled.
        for key in list(self.made):
            self.of(key)

    # ---- building

    def size(self, key: Key) -> tuple[int, int]:
        """Returns the sizes of a dimension in the smaller and in the larger network."""
        if key not in self._sizes:
            value, dim = key
            assert isinstance(value, Value)
            small = self.alignment.equal.get(value)
            assert small is not None
            self._sizes[key] = (small.shape[dim], value.shape[dim])
        return self._sizes[key]

    def root(self, key: Key) -> Key:
        while self._parent.setdefault(key, key) != key:
            self._parent[key] = self._parent[self._parent[key]]
            key = self._parent[key]
        return key

    def tie(self, a: Key, b: Key) -> None:
        """Says that two dimensions hold the same features."""
        one, other = self.root(a), self.root(b)
        if one == other:
            return
        if self.size(a) != self.size(b):
            owner = next((key[0] for key in (a, b) if isinstance(key[0], Value) and key[0].op), None)
            raise UnsupportedNetworkError(
                f"dimensions that belong together grow differently, {self.size(a)} and {self.size(b)}, near"
                f" {owner.op if isinstance(owner, Value) else 'a parameter'}"
            )
        self._parent[other] = one
        self.made[one] += self.made.pop(other, [])

    def make(self, whole: Key, kind: Literal["concat", "product"], parts: Sequence[Key]) -> None:
        """Says that a dimension is made of others."""
        self.made[self.root(whole)].append(Made(kind, tuple(parts)))

    def group(self, op: Op, number: int, small: int, large: int) -> Key:
        """Returns the key of something that is no dimension of a tensor."""
        key: Key = (op, -number)
        self._sizes[key] = (small, large)
        return key

    def fix(self, key: Key, reason: str) -> None:
        """Says that a dimension may not grow."""
        self.fixed.append((key, reason))

    def known(self, value: Value) -> bool:
        return value in self.alignment.equal

    # ---- reading

    def grows(self, key: Key) -> bool:
        small, large = self.size(key)
        return small != large

    def of(self, key: Key) -> Tensor:
        """Returns the place in the larger network of each entry of the smaller one's dimension, ``[small]``.

        Raises:
            UnsupportedNetworkError: it shrinks, or two ways in which it is read ask for different places.
        """
        root = self.root(key)
        if root in self._found:
            return self._found[root]
        small, large = self.size(key)
        if large < small:
            owner = root[0]
            where = owner.op or owner.name if isinstance(owner, Value) else owner
            raise UnsupportedNetworkError(f"{small} features near {where} have only {large} places: a morphism grows")
        ways = [self._composed(made) for made in self.made.get(root, [])]
        if not ways:
            ways = [torch.arange(small)]
        for way in ways[1:]:
            if not torch.equal(way, ways[0]):
                raise UnsupportedNetworkError(
                    f"{small} features that become {large} are read in two ways (as groups, heads or parts) that put"
                    " them at different places"
                )
        self._found[root] = ways[0]
        return ways[0]

    def _composed(self, made: Made) -> Tensor:
        if made.kind == "concat":
            start, parts = 0, []
            for key in made.parts:
                parts.append(self.of(key) + start)
                start += self.size(key)[1]
            return torch.cat(parts)
        places = torch.zeros(1, dtype=torch.long)
        for key in made.parts:
            places = (places[:, None] * self.size(key)[1] + self.of(key)[None, :]).flatten()
        return places

    def is_plain(self, key: Key) -> bool:
        """Whether a class is made of no others."""
        return not self.made.get(self.root(key))

    def grown(self, value: Value) -> list[int]:
        """Returns the dimensions in which a tensor grows."""
        return [dim for dim in range(len(value.shape)) if self.grows((value, dim))]


def _relate(decision: Decision, places: Places) -> None:
    """Enters what an operation says of its tensors' dimensions."""
    op = decision.large
    if decision.role in ("zero", "half"):
        return
    if decision.role == "identity":
        _identity(op, places)
        return
    small = decision.small
    assert small is not None
    if op.kind == "conv":
        _convolution(op, small, places)
    elif op.kind == "linear":
        x, weight, out = op.inputs[0], op.inputs[1], op.outputs[0]
        places.tie((x, len(x.shape) - 1), (weight, 1))
        places.tie((out, len(out.shape) - 1), (weight, 0))
        if len(small.inputs) > 2:
            places.tie((op.inputs[2], 0), (weight, 0))
        _tie_dims(x, out, range(len(x.shape) - 1), places)
    elif op.kind in _ELEMENTWISE:
        for x in op.inputs:
            _broadcast(x, op.outputs[0], places)
    elif op.kind == "batch_norm":
        x = op.inputs[0]
        _tie_dims(x, op.outputs[0], range(len(x.shape)), places)
        for parameter in op.inputs[1:]:
            places.tie((x, 1), (parameter, 0))
    elif op.kind in NORMS:
        x, num = op.inputs[0], op.options["num"]
        _tie_dims(x, op.outputs[0], range(len(x.shape)), places)
        for parameter in op.inputs[1:]:
            for i in range(num):
                places.tie((x, len(x.shape) - num + i), (parameter, i))
    elif op.kind == "group_norm":
        x = op.inputs[0]
        _tie_dims(x, op.outputs[0], range(len(x.shape)), places)
        for parameter in op.inputs[1:]:
            places.tie((x, 1), (parameter, 0))
        sizes = [each.inputs[0].shape[1] // each.options["groups"] for each in (small, op)]
        if sizes[0] != sizes[1]:
            places.fix((x, 1), f"{op} takes statistics over {sizes[0]} channels together, which would be {sizes[1]}")
    elif op.kind == "permute":
        for out_dim, in_dim in enumerate(op.options["permutation"]):
            places.tie((op.inputs[0], in_dim), (op.outputs[0], out_dim))
    elif op.kind == "reshape":
        _reshape(op, small, places)
    elif op.kind == "cat":
        dim, out = op.options["dim"], op.outputs[0]
        for x in op.inputs:
            _tie_dims(x, out, (d for d in range(len(out.shape)) if d != dim), places)
        places.make((out, dim), "concat", [(x, dim) for x in op.inputs])
    elif op.kind in ("chunk", "split"):
        dim, x = op.options["dim"], op.inputs[0]
        for out in op.outputs:
            _tie_dims(x, out, (d for d in range(len(out.shape)) if d != dim), places)
        places.make((x, dim), "concat", [(out, dim) for out in op.outputs])
    elif op.kind in ("mean", "sum"):
        x, out = op.inputs[0], op.outputs[0]
        left = [d for d in range(len(x.shape)) if d not in op.options["dims"]]
        for position, dim in enumerate(left):
            places.tie((x, dim), (out, dim if op.options["keep"] else position))
        for dim in op.options["dims"]:
            places.fix((x, dim), f"{op} is over these features")
    elif op.kind in ("softmax", "log_softmax"):
        x = op.inputs[0]
        _tie_dims(x, op.outputs[0], range(len(x.shape)), places)
        places.fix((x, op.options["dim"]), f"{op} is over these features")
    elif op.kind in POOLING | RESAMPLING:
        x, out = op.inputs[0], op.outputs[0]
        _tie_dims(x, out, (0, 1), places)
        _fix(op, [x, out], range(2, len(x.shape)), places)
    elif op.kind == "pad":
        x, out = op.inputs[0], op.outputs[0]
        untouched = len(x.shape) - op.options["num"]
        _tie_dims(x, out, range(untouched), places)
        _fix(op, [x, out], range(untouched, len(x.shape)), places)
    elif op.kind == "roll":
        x = op.inputs[0]
        _tie_dims(x, op.outputs[0], range(len(x.shape)), places)
        _fix(op, [x], op.options["dims"], places)
    elif op.kind == "expand":
        _broadcast(op.inputs[0], op.outputs[0], places)
    elif op.kind == "unbind":
        x, dim = op.inputs[0], op.options["dim"]
        _fix(op, [x], [dim], places)
        for out in op.outputs:
            for position, kept in enumerate(d for d in range(len(x.shape)) if d != dim):
                places.tie((x, kept), (out, position))
    elif op.kind == "glu":
        x, out, dim = op.inputs[0], op.outputs[0], op.options["dim"]
        _tie_dims(x, out, (d for d in range(len(out.shape)) if d != dim), places)
        places.make((x, dim), "concat", [(out, dim)] * 2)
    elif op.kind == "getitem":
        _indexed(op, small, places)
    elif op.kind == "embedding":
        index, weight, out = op.inputs[0], op.inputs[1], op.outputs[0]
        if len(weight.shape) != 2:
            index, weight = weight, index
        places.tie((out, len(out.shape) - 1), (weight, 1))
        places.fix((weight, 0), f"{op} looks up rows")
    elif op.kind == "scaled_dot_product_attention":
        query, key, value = op.inputs[:3]
        out, last = op.outputs[0], len(query.shape) - 1
        places.tie((query, last), (key, last))
        places.tie((out, last), (value, last))
        _tie_dims(query, out, range(last), places)
        _tie_dims(query, key, range(last - 1), places)
        _tie_dims(key, value, range(last), places)
    elif op.kind == "matmul" and len(op.inputs) == 2 and len(op.inputs[0].shape) == len(op.inputs[1].shape) > 1:
        a, b, out, last = *op.inputs, op.outputs[0], len(op.outputs[0].shape) - 1
        places.tie((a, last), (b, last - 1))
        places.fix((a, last), f"{op} sums over these features of two tensors")
        places.tie((a, last - 1), (out, last - 1))
        places.tie((b, last), (out, last))
        for dim in range(last - 1):
            places.tie((a, dim), (out, dim))
            places.tie((b, dim), (out, dim))
    else:
        _fix(op, [*op.inputs, *op.outputs], None, places)


def _tie_dims(a: Value, b: Value, dims: Iterable[int], places: Places) -> None:
    for dim in dims:
        places.tie((a, dim), (b, dim))


def _fix(op: Op, values: Iterable[Value], dims: Iterable[int] | None, places: Places) -> None:
    listed = None if dims is None else list(dims)
    for value in values:
        for dim in range(len(value.shape)) if listed is None else listed:
            places.fix((value, dim), f"nothing is known of how {op} treats more features")


def _broadcast(x: Value, out: Value, places: Places) -> None:
    shift = len(out.shape) - len(x.shape)
    for dim in range(len(x.shape)):
        if places.size((x, dim)) == (1, 1) and places.size((out, dim + shift)) != (1, 1):
            continue
        places.tie((x, dim), (out, dim + shift))


def _identity(op: Op, places: Places) -> None:
    out = op.outputs[0]
    for x in op.inputs:
        if places.known(x) and len(x.shape) == len(out.shape) and x.op is not None or x.name.startswith("input "):
            if op.kind in ("conv", "linear"):
                channel = 1 if op.kind == "conv" else len(x.shape) - 1
                if op.inputs.index(x) == 0:
                    _tie_dims(x, out, (d for d in range(len(x.shape)) if d != channel), places)
            elif places.alignment.equal.get(x) is places.alignment.equal.get(out):
                _tie_dims(x, out, range(len(x.shape)), places)


def _convolution(op: Op, small: Op, places: Places) -> None:
    x, weight, out = op.inputs[0], op.inputs[1], op.outputs[0]
    places.tie((out, 1), (weight, 0))
    if len(small.inputs) > 2:
        places.tie((op.inputs[2], 0), (weight, 0))
    _tie_dims(x, out, (0,), places)
    for dim in range(2, len(x.shape)):
        places.fix((out, dim), f"{op} is over places, not features")
    groups = small.options["groups"], op.options["groups"]
    if groups == (1, 1):
        places.tie((x, 1), (weight, 1))
        return
    if groups[0] > groups[1]:
        return  # the smaller one's groups lie together in larger ones, if the leading places allow it
    inner = small.inputs[1].shape[1], weight.shape[1]
    outer = small.inputs[1].shape[0] // groups[0], weight.shape[0] // groups[1]
    shared = places.group(op, 1, *groups)
    for whole, sizes, number in (((x, 1), inner, 2), ((weight, 0), outer, 3)):
        if sizes == (1, 1):
            places.tie(whole, shared)
        else:
            places.make(whole, "product", [shared, places.group(op, number, *sizes)])


def _reshape(op: Op, small: Op, places: Places) -> None:
    """Splits both shapes into the shortest runs of dimensions with equal products, in both networks alike."""
    x, out = op.inputs[0], op.outputs[0]
    before = list(zip(small.inputs[0].shape, x.shape, strict=True))
    after = list(zip(small.outputs[0].shape, out.shape, strict=True))
    i = j = 0
    while i < len(before) or j < len(after):
        first, second = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while (left := _product(before[first:i])) != (right := _product(after[second:j])):
            grow_left = left[0] < right[0] or (left[0] == right[0] and left[1] < right[1])
            if grow_left and i < len(before):
                i += 1
            elif j < len(after):
                j += 1
            elif i < len(before):
                i += 1
            else:
                raise UnsupportedNetworkError(f"the shapes of {op}, {x.shape} and {out.shape}, do not grow alike")
        ins: list[Key] = [(x, d) for d in range(first, i) if before[d] != (1, 1)]
        outs: list[Key] = [(out, d) for d in range(second, j) if after[d] != (1, 1)]
        if len(ins) == 1 and len(outs) == 1:
            places.tie(ins[0], outs[0])
        elif len(ins) == 1:
            places.make(ins[0], "product", outs)
        elif len(outs) == 1:
            places.make(outs[0], "product", ins)
        else:
            for key in (*ins, *outs):
                places.fix(key, f"{op} mixes these features with others")


def _product(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return math.prod(s for s, _ in sizes), math.prod(s for _, s in sizes)


def _indexed(op: Op, small: Op, places: Places) -> None:
    x, out = op.inputs[0], op.outputs[0]
    index, other = (each.options["index"] for each in (op, small))
    if op.options["by_tensor"]:
        _fix(op, [x, out], None, places)
        return
    listed = [list(each) if isinstance(each, (list, tuple)) else [each] for each in (index, other)]
    for each in listed:
        if Ellipsis in each:
            at = each.index(Ellipsis)
            named = sum(item is not None and item is not Ellipsis for item in each)
            each[at : at + 1] = [slice(None)] * (len(x.shape) - named)
    if len(listed[0]) != len(listed[1]):
        raise UnsupportedNetworkError(f"{op} picks {index}, its like in the smaller network {other}")
    dim = position = 0
    for mine, theirs in zip(*listed, strict=True):
        if mine is None:
            position += 1
            continue
        whole = isinstance(mine, slice) and mine == slice(None) == theirs
        if whole:
            places.tie((x, dim), (out, position))
        else:
            places.fix((x, dim), f"{op} picks some of these features")
            if mine != theirs:
                raise UnsupportedNetworkError(f"{op} picks {mine}, its like in the smaller network {theirs}")
        position += isinstance(mine, slice)
        dim += 1
    for rest in range(dim, len(x.shape)):
        places.tie((x, rest), (out, position))
        position += 1
