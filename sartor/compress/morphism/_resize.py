"""A copy of a network in which some features are more, with everything that must grow along."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sartor.compress.morphism._align import Alignment, Decision
from sartor.compress.morphism._places import Key, Made, Places
from sartor.compress.morphism._trace import Op, Trace, Value, trace
from sartor.errors import InputError, UnsupportedNetworkError, near
from sartor.space._windows import tiled

_SIZES = {
    nn.modules.conv._ConvNd: ("in_channels", "out_channels"),
    nn.Linear: ("in_features", "out_features"),
    nn.modules.batchnorm._NormBase: ("num_features",),
    nn.GroupNorm: ("num_channels",),
    nn.LayerNorm: ("normalized_shape",),
    nn.RMSNorm: ("normalized_shape",),
    nn.Embedding: ("embedding_dim",),
    nn.PReLU: ("num_parameters",),
}
"""Modules of torch that write down their sizes."""


class Sizes:
    """The dimensions of a network and which of them are one.

    Args:
        network: Not changed.
        inputs: Example inputs.
    """

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor]) -> None:
        self.network, self.traced = network, trace(network, inputs)
        self.leaves = {value.name: value for value in self.traced.values if value.op is None and value.name}
        self.places = Places(_itself(self.traced))
        self.new: dict[Key, int] = {}

    def weight(self, layer: str) -> Value:
        """Returns the weight of a layer that writes features.

        Raises:
            InputError: there is no such layer, it is of another kind, or it was not run.
        """
        modules = dict(self.network.named_modules())
        if layer not in modules:
            raise InputError(f"the network has no layer {layer!r}{near(layer, [name for name in modules if name])}")
        module = modules[layer]
        if not isinstance(module, (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding)):
            raise InputError(
                f"{layer} is a {type(module).__name__}: give the convolution, linear layer or embedding that writes the"
                " features"
            )
        name = f"{layer}.weight"
        if name not in self.leaves or not any(name == x.name for op in self.traced.ops for x in op.inputs):
            raise InputError(f"{layer} is not run on these inputs, or its weight is computed from others")
        return self.leaves[name]

    def grow(self, key: Key, size: int) -> None:
        """Says how many features there shall be.

        Raises:
            InputError: fewer than there are.
            UnsupportedNetworkError: something fixes them, or shares them in parts that do not divide them.
        """
        small = self.places.size(key)[0]
        if size < small:
            raise InputError(f"a morphism grows: expected at least {small}, got {size}")
        self._set(self.places.root(key), size)
        for _ in range(len(self.places.made) + 1):
            before = dict(self.new)
            for whole, ways in list(self.places.made.items()):
                for made in ways:
                    self._follow(self.places.root(whole), made)
            if self.new == before:
                break
        for fixed, reason in self.places.fixed:
            root = self.places.root(fixed)
            if root in self.new and self.new[root] != self.places.size(fixed)[0]:
                raise UnsupportedNetworkError(
                    f"{reason}: {self.places.size(fixed)[0]} features cannot become {self.new[root]}"
                )

    def _set(self, root: Key, size: int) -> None:
        if self.new.setdefault(root, size) != size:
            raise UnsupportedNetworkError(f"features would have to be {self.new[root]} and {size} at once")

    def _size(self, key: Key) -> int:
        return self.new.get(self.places.root(key), self.places.size(key)[0])

    def _follow(self, whole: Key, made: Made) -> None:
        parts = [self.places.root(part) for part in made.parts]
        sizes = [self._size(part) for part in parts]
        total = sum(sizes) if made.kind == "concat" else math.prod(sizes)
        if total == self._size(whole):
            return
        if any(part in self.new for part in parts) or whole not in self.new:
            self._set(whole, total)
            return
        if made.kind == "concat" and len(set(parts)) == 1 and self.new[whole] % len(parts) == 0:
            self._set(parts[0], self.new[whole] // len(parts))
            return
        if made.kind == "concat":
            raise UnsupportedNetworkError(
                f"these features are {len(parts)} parts side by side, {' + '.join(map(str, sizes))}: widen a layer that"
                " writes one of them"
            )
        wanted = self.new[whole]
        # Of a grouped convolution the channels of a group grow, of attention the heads.
        order = range(len(parts)) if isinstance(parts[0][0], Value) else reversed(range(len(parts)))
        for i in order:
            rest = math.prod(sizes[:i] + sizes[i + 1 :])
            if wanted % rest == 0:
                self._set(parts[i], wanted // rest)
                return
        steps = sorted({math.prod(sizes) // size for size in sizes})
        raise UnsupportedNetworkError(
            f"these {math.prod(sizes)} features are {' x '.join(map(str, sizes))} (groups, heads or places): their"
            f" number must be a multiple of {' or '.join(map(str, steps))}, got {wanted}"
        )

    def shape(self, value: Value) -> tuple[int, ...]:
        return tuple(self._size((value, dim)) for dim in range(len(value.shape)))

    def resized(self, seed: int) -> nn.Module:
        """Returns a copy of the new sizes; what has grown is initialised anew."""
        large = copy.deepcopy(self.network)
        groups = {op.inputs[1].name: op for op in self.traced.ops if op.kind == "conv" and op.options["groups"] > 1}
        changed: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, value in self.leaves.items():
            if name.startswith("input "):
                continue
            shape = list(self.shape(value)) if self.places.known(value) else list(value.shape)
            owner, _, attribute = name.rpartition(".")
            if name in groups:
                op = groups[name]
                number = self._groups(op)
                shape[1] = self._size((op.inputs[0], 1)) // number
                module = large.get_submodule(owner)
                if isinstance(module, nn.modules.conv._ConvNd):
                    module.groups = number
            if tuple(shape) != value.shape:
                changed.setdefault(owner, {})[attribute] = tuple(shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for owner, shapes in changed.items():
                _resize(large.get_submodule(owner), shapes)
        for op in self.traced.ops:
            if op.kind in ("reshape", "split"):
                self._rewrite(large.get_submodule(op.place[0]), op)
        return large

    def _groups(self, op: Op) -> int:
        key = self.places.root((op, -1))
        return self.new.get(key, int(op.options["groups"]))

    def _rewrite(self, module: nn.Module, op: Op) -> None:
        """Puts right what a module wrote down of sizes that it reshapes by."""
        grown = {
            value.shape[dim]: self._size((value, dim))
            for value in (*op.inputs, *op.outputs)
            if self.places.known(value)
            for dim in range(len(value.shape))
            if self._size((value, dim)) != value.shape[dim]
        }
        names = [n for n, value in vars(module).items() if type(value) is int and value in grown and n != "training"]
        for name in names:
            setattr(module, name, grown[getattr(module, name)])


def _itself(traced: Trace) -> Alignment:
    decisions = tuple(Decision("pair", op, op) for op in traced.ops)
    return Alignment(decisions, {value: value for value in traced.values}, tuple(traced.outputs))


def _resize(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        old = getattr(module, name)
        new = tiled(old.detach(), shape).clone()
        if isinstance(old, nn.Parameter):
            setattr(module, name, nn.Parameter(new, old.requires_grad))
        else:
            setattr(module, name, new)
    for kind, names in _SIZES.items():
        if isinstance(module, kind):
            weight = module.weight
            shape = tuple(weight.shape) if isinstance(weight, Tensor) else next(iter(shapes.values()))
            if isinstance(module, nn.modules.conv._ConvNd):
                transposed = module.transposed
                out, read = (shape[1], shape[0]) if transposed else (shape[0], shape[1] * module.groups)
                module.in_channels, module.out_channels = read, out
            elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
                module.normalized_shape = shape
            else:
                for name, size in zip(names, shape[::-1] if len(names) > 1 else shape[-1:], strict=False):
                    setattr(module, name, size)
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                # The deviation of initial weights follows from the size: as if the layer had been made so.
                module.reset_parameters()
