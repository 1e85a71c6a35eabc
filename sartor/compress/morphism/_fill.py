"""Weights of a larger network under which it computes what a smaller one does.

New features are free: they start as the larger network was initialised, and nobody reads them yet (weights on them are
0), so activations, batch normalisations and gates may do with them what they do, and the first step of training changes
what is read of them (Wei et al. 2016, arXiv:1603.01670, pad with zeros likewise). Layer normalisation reads all
features at once. Two ways keep what it gives:

- Where only layer normalisations read the sum that it normalises (a Transformer that normalises first), all that write
  to it are centred, which no reader sees, and scaled by sqrt(large / small); new features are 0, so that mean and
  variance are those of before, and the normalisation's own scale is divided by the same number.
- Else, where the width grows by a whole factor, features are repeated (Chen et al. 2016, arXiv:1511.05641).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.morphism._align import (
    NORMS,
    POOLING,
    RESAMPLING,
    ZERO_KEEPING,
    Alignment,
    Decision,
    kernel_places,
)
from sartor.compress.morphism._places import Key, Places
from sartor.compress.morphism._trace import Op, Trace, Value
from sartor.errors import UnsupportedNetworkError

_STREAMING = (
    POOLING | RESAMPLING | {"add", "sub", "pass", "permute", "mean", "sum", "reshape", "getitem", "roll", "expand"}
)
"""Operations through which a sum keeps its mean over features and its scale."""


class Filler:
    """Fills a larger network.

    Args:
        large: Filled in place.
        small: Read.
        traced: What ``large`` computes.
        alignment: Of the two.
        noise: Of entries that would start as 0 or as copies, over the deviation of the smaller network's weight.
        seed: Of the noise.
    """

    def __init__(
        self,
        large: nn.Module,
        small: nn.Module,
        traced: Trace,
        alignment: Alignment,
        *,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.alignment, self.places, self.traced = alignment, Places(alignment), traced
        self._large = dict(large.named_parameters()) | dict(large.named_buffers())
        self._small = dict(small.named_parameters()) | dict(small.named_buffers())
        self._made: dict[str, Tensor] = {}
        self._noise, self._generator = noise, torch.Generator().manual_seed(seed)
        self._readers: dict[Value, list[Op]] = {}
        for decision in alignment.decisions:
            for x in decision.large.inputs:
                self._readers.setdefault(x, []).append(decision.large)
        self._decision = {decision.large: decision for decision in alignment.decisions}
        self._repeated: dict[Key, int] = {}
        self._lifted: dict[Value, tuple[int, float]] = {}
        """Values that are scaled, over a dimension and by which factor."""
        self._centred: set[Value] = set()
        """Those of them that are centred too."""
        self._zero: set[Value] = set()
        """Values whose new features are all zero."""
        self._scaled: dict[Op, float] = {}
        """Linear layers of keys whose features grow: their new rows are 0 and the others scaled."""

    def fill(self) -> None:
        """Writes all weights.

        Raises:
            UnsupportedNetworkError: a growth that cannot be made without changing the function; which, and why.
        """
        self._plan_norms()
        self._plan_attention()
        for decision in self.alignment.decisions:
            self._write(decision)
            self._track(decision)
        for value in self.alignment.silent:
            self._put(value.name, torch.zeros(value.shape, dtype=torch.float64))
        with torch.no_grad():
            for name, made in self._made.items():
                self._large[name].copy_(made)

    # ---- layer normalisation and attention

    def _plan_norms(self) -> None:
        streams: list[tuple[Key, set[Value] | None, str]] = []
        for decision in self.alignment.decisions:
            op = decision.large
            if decision.role != "pair" or op.kind not in NORMS:
                continue
            x, num = op.inputs[0], op.options["num"]
            grown: list[Key] = [(x, d) for d in range(len(x.shape) - num, len(x.shape)) if self.places.grows((x, d))]
            if not grown:
                continue
            stream = self._stream(*grown[0], op.kind) if num == 1 and len(op.inputs) > 1 else None
            streams.append((grown[0], stream, op.kind))
            small, large = self.places.size(grown[0])
            if stream is None and (len(grown) > 1 or large % small or not self.places.is_plain(grown[0])):
                why = f"{op} takes mean and variance over {small} features, which others than normalisations read too"
                if not self.places.is_plain(grown[0]):
                    raise UnsupportedNetworkError(f"{why}, and which are parts side by side: they cannot be {large}")
                raise UnsupportedNetworkError(
                    f"{why}, so that {large} give others: {small * max(2, round(large / small))} would be exact"
                )
        # Features that are repeated anywhere are repeated wherever they are.
        for key, stream, _ in streams:
            if stream is None:
                small, large = self.places.size(key)
                self._repeated[self.places.root(key)] = large // small
        for key, stream, kind in streams:
            root = self.places.root(key)
            small, large = self.places.size(key)
            if root in self._repeated:
                if large % small or not self.places.is_plain(key):
                    raise UnsupportedNetworkError(f"{small} features are repeated, so they cannot become {large}")
                continue
            for value in stream or ():
                self._lifted[value] = (self._dim_of(value, key), math.sqrt(large / small))
                self._zero.add(value)
                if kind == "layer_norm":
                    self._centred.add(value)

    def _dim_of(self, value: Value, key: Key) -> int:
        root = self.places.root(key)
        return next(d for d in range(len(value.shape)) if self.places.root((value, d)) == root)

    def _stream(self, start: object, dim: int, kind: str) -> set[Value] | None:
        """Returns the values that hold the sum which is normalised, and its terms; None when others read it too."""
        assert isinstance(start, Value)
        root = self.places.root((start, dim))
        if not self.places.is_plain((start, dim)):
            return None
        # Layer normalisation needs the sum centred, root mean square normalisation needs it not to be.
        found, waiting = {start}, [start]
        while waiting:
            value = waiting.pop()
            if value in self.traced.outputs or all(
                self.places.root((value, d)) != root for d in range(len(value.shape))
            ):
                return None
            near: list[Value] = []
            op = value.op
            if op is not None:
                decision = self._decision.get(op)
                if decision is None:
                    return None
                if self._streams(decision):
                    near += [x for x in op.inputs if self.places.known(x)]
                elif op.kind not in ("conv", "linear", "embedding") or decision.role != "pair":
                    return None
                elif self.places.root((value, 1 if op.kind == "conv" else len(value.shape) - 1)) != root:
                    return None  # it is written along another dimension
                elif op.kind == "conv" and op.options["groups"] > 1:
                    return None  # features of different groups have no mean that a weight could take away
            elif value.name.startswith("input ") or not value.name:
                return None
            for reader in self._readers.get(value, []):
                decision = self._decision[reader]
                if decision.role in ("zero", "half") or not any(map(self.places.known, reader.outputs)):
                    continue
                if self._streams(decision):
                    near += [*reader.outputs, *(x for x in reader.inputs if self.places.known(x))]
                elif reader.kind != kind or reader.inputs.index(value) != 0:
                    return None
            for each in near:
                if each not in found:
                    found.add(each)
                    waiting.append(each)
        return found

    def _streams(self, decision: Decision) -> bool:
        return decision.large.kind in _STREAMING and decision.role in ("pair", "identity")

    def _plan_attention(self) -> None:
        for decision in self.alignment.decisions:
            op = decision.large
            if decision.role != "pair" or op.kind != "scaled_dot_product_attention":
                continue
            key = op.inputs[1]
            small, large = self.places.size((key, len(key.shape) - 1))
            if small == large:
                continue
            value: Value = key
            while value.op is not None and value.op.kind in ("reshape", "permute", "pass"):
                value = value.op.inputs[0]
            writer = value.op
            if writer is None or writer.kind != "linear" or self._decision[writer].role != "pair":
                raise UnsupportedNetworkError(
                    f"heads of {op} grow, and their keys come from no linear layer of their own"
                )
            self._scaled[writer] = math.sqrt(large / small) if op.options["scale"] is None else 1.0

    # ---- which new features are zero

    def _track(self, decision: Decision) -> None:
        op = decision.large
        if decision.role in ("zero", "half") or op.outputs[0] in self._zero:
            return
        known = [x for x in op.inputs if self.places.known(x)]
        are_zero = [x in self._zero or not self.places.grown(x) for x in known]
        if op.kind in NORMS:
            keeps = op.inputs[0] in self._lifted
        else:
            one = op.kind in ZERO_KEEPING | {"relu"} and len(known) == 1
            keeps = (one or op.kind in ("add", "sub", "cat")) and bool(known) and all(are_zero)
        if keeps and self.places.grown(op.outputs[0]):
            self._zero.add(op.outputs[0])

    # ---- writing

    def _write(self, decision: Decision) -> None:
        op, role = decision.large, decision.role
        if role == "zero":
            parameters = op.inputs[3:] if op.kind == "batch_norm" else op.inputs[1:]
            for value in parameters:
                self._put(value.name, torch.zeros(value.shape, dtype=torch.float64))
        elif role == "identity" and op.kind == "batch_norm":
            self._identity_norm(op)
        elif role == "identity" and op.kind in ("conv", "linear"):
            self._identity_weight(op)
        elif role == "pair" and op.kind in ("conv", "linear"):
            self._weight(decision)
        elif role == "pair" and op.kind in NORMS:
            self._feature_norm(op)
        elif role == "pair":
            for value in op.inputs:
                if value.op is None and value.name and not value.name.startswith("input "):
                    self._leaf(value)
        elif role == "identity":
            for value in op.inputs:
                if self.places.known(value) and value.op is None and value.name in self._large:
                    self._leaf(value)

    def _put(self, name: str, values: Tensor) -> None:
        if name not in self._large:
            raise UnsupportedNetworkError("a weight that is computed from others cannot be given another value")
        known = self._made.get(name)
        if known is not None and not torch.equal(known, values):
            raise UnsupportedNetworkError(f"{name} is used in two ways that ask for different values")
        self._made[name] = values

    def _sources(self, value: Value) -> tuple[Tensor, Tensor]:
        """Returns a tensor's initial value in the larger network, and its like in the smaller, in float64."""
        small = self.alignment.equal[value]
        if value.name not in self._large or small.name not in self._small:
            raise UnsupportedNetworkError(
                f"a weight of {next(iter(self._readers.get(value, ())), 'the network')} is computed from others: remove"
                " parametrisations first"
            )
        return self._large[value.name].detach().double().clone(), self._small[small.name].detach().double()

    def _rows(self, key: Key) -> tuple[Tensor, Tensor]:
        """Returns places in the larger dimension that are written, and which entry of the smaller goes to each."""
        places = self.places.of(key)
        times = self._repeated.get(self.places.root(key), 1)
        if times == 1:
            return places, torch.arange(len(places))
        num = len(places)
        return torch.arange(num * times), torch.arange(num * times) % num

    def _blurred(self, values: Tensor, like: Tensor) -> Tensor:
        if not self._noise or like.numel() < 2:
            return values
        drawn = torch.randn(values.shape, generator=self._generator, dtype=torch.float64)
        return values + self._noise * float(like.std()) * drawn

    def _leaf(self, value: Value) -> None:
        """A parameter or buffer that is added, multiplied or looked up."""
        made, small = self._sources(value)
        if not value.shape:
            self._put(value.name, small.clone())
            return
        if value in self._lifted:
            dim, factor = self._lifted[value]
            small = factor * (small - small.mean(dim, keepdim=True) if value in self._centred else small)
            made = made.index_fill(dim, torch.arange(value.shape[dim]), 0.0)
        targets, sources = zip(*(self._rows((value, d)) for d in range(len(value.shape))), strict=True)
        made[_grid(targets)] = small[_grid(sources)]
        self._put(value.name, made)
        self._count(value)

    def _count(self, value: Value) -> None:
        """Takes over how many batches a batch normalisation has seen, which its cumulative average reads."""
        mine, theirs = value.name, self.alignment.equal[value].name
        if mine.endswith("running_mean"):
            counted = [name.removesuffix("running_mean") + "num_batches_tracked" for name in (mine, theirs)]
            if counted[0] in self._large and counted[1] in self._small:
                self._made[counted[0]] = self._small[counted[1]].detach().clone()

    def _feature_norm(self, op: Op) -> None:
        x = op.inputs[0]
        for number, value in enumerate(op.inputs[1:]):
            made, small = self._sources(value)
            if x in self._lifted:
                factor = self._lifted[x][1]
                if number == 0:
                    small = small / factor
                    made = torch.full_like(made, 1.0 / factor)
                else:
                    made = torch.zeros_like(made)
            targets, sources = zip(*(self._rows((value, d)) for d in range(len(value.shape))), strict=True)
            made[_grid(targets)] = small[_grid(sources)]
            self._put(value.name, made)

    def _weight(self, decision: Decision) -> None:
        op, small_op = decision.large, decision.small
        assert small_op is not None
        x, weight, out = op.inputs[0], op.inputs[1], op.outputs[0]
        made, small = self._sources(weight)
        bias = self._sources(op.inputs[2]) if len(small_op.inputs) > 2 else None
        if op.kind == "conv":
            kernel = kernel_places(op, small_op)
            assert kernel is not None
            groups = (small_op.options["groups"], op.options["groups"])
            channels: Key = (x, 1)
        else:
            kernel, groups, channels = (), (1, 1), (x, len(x.shape) - 1)
        small = small * decision.factor
        rows, row_sources = self._rows((weight, 0))
        columns = self.places.of(channels)
        if out in self._lifted:
            factor = self._lifted[out][1]
            centred = out in self._centred
            small = factor * (small - small.mean(0, keepdim=True) if centred else small)
            made.zero_()
            if bias is not None:
                bias = torch.zeros_like(bias[0]), factor * (bias[1] - bias[1].mean() if centred else bias[1])
        if op in self._scaled:
            factor = self._scaled[op]
            small = factor * small
            made.zero_()
            if bias is not None:
                bias = torch.zeros_like(bias[0]), factor * bias[1]
        inner = weight.shape[1]
        outer = weight.shape[0] // groups[1]
        if x not in self._zero or groups != (1, 1):
            # What the smaller network's features read of new ones, and at new places of the kernel, is nothing.
            made[rows] = self._blurred(torch.zeros_like(made[rows]), small)
        elif op.kind == "conv":
            old = torch.zeros_like(made[rows])
            fresh = torch.ones(made.shape[1], dtype=torch.bool)
            fresh[columns] = False
            old[:, fresh] = made[rows][:, fresh]
            made[rows] = old
        small_inner = small.shape[1]
        small_outer = small.shape[0] // groups[0]
        read = (row_sources // small_outer)[:, None] * small_inner + torch.arange(small_inner)[None, :]
        # A repeated group reads its own copy of the channels.
        repeats = groups[1] > 1 and self._repeated.get(self.places.root(channels), 1) > 1
        offset = (rows // small.shape[0])[:, None] * len(columns) if repeats else 0
        at = columns[read] + offset - (rows // outer)[:, None] * inner
        if bool((at < 0).any()) or bool((at >= inner).any()):
            raise UnsupportedNetworkError(
                f"the {groups[0]} groups of {small_op} do not lie within the {groups[1]} of {op} in the larger network"
            )
        for place in _product([range(k) for k in small.shape[2:]]):
            target: tuple[Any, ...] = (rows[:, None], at, *(kernel[axis][i] for axis, i in enumerate(place)))
            source: tuple[Any, ...] = (slice(None), slice(None), *place)
            made[target] = small[source][row_sources]
        if len(rows) > len(self.places.of((weight, 0))):
            copies = rows[row_sources != rows]
            made[copies] = self._blurred(made[copies], small)
        self._put(weight.name, made)
        if bias is not None:
            grown, old_bias = bias
            grown[rows] = old_bias[row_sources]
            self._put(op.inputs[2].name, grown)
        elif len(op.inputs) > 2:
            zeroed = self._large[op.inputs[2].name].detach().double().clone()
            zeroed[rows] = 0.0
            self._put(op.inputs[2].name, zeroed)

    def _identity_weight(self, op: Op) -> None:
        x, weight, out = op.inputs[0], op.inputs[1], op.outputs[0]
        channel = 1 if op.kind == "conv" else len(x.shape) - 1
        if any(each in self._lifted for each in (x, out)):
            raise UnsupportedNetworkError(f"{op} would have to pass on a sum that a layer normalisation reads")
        made = self._large[weight.name].detach().double().clone()
        columns, rows = self.places.of((x, channel)), self.places.of((out, channel))
        times = {self._repeated.get(self.places.root((each, channel)), 1) for each in (x, out)}
        if times != {1}:
            raise UnsupportedNetworkError(f"{op} is new and lies between features that are repeated")
        groups = op.options["groups"] if op.kind == "conv" else 1
        inner, outer = weight.shape[1], weight.shape[0] // groups
        at = columns - (rows // outer) * inner
        if bool((at < 0).any()) or bool((at >= inner).any()):
            raise UnsupportedNetworkError(f"{op} is new, and its groups keep it from passing its input on")
        made[rows] = self._blurred(torch.zeros_like(made[rows]), made)
        centre: tuple[Any, ...] = (rows, at, *(k // 2 for k in weight.shape[2:]))
        made[centre] = 1.0
        self._put(weight.name, made)
        if len(op.inputs) > 2:
            bias = self._large[op.inputs[2].name].detach().double().clone()
            bias[rows] = 0.0
            self._put(op.inputs[2].name, bias)

    def _identity_norm(self, op: Op) -> None:
        places = self.places.of((op.inputs[0], 1))
        scale = math.sqrt(1.0 + op.options["eps"])
        for value, number in zip(op.inputs[1:], (0.0, 1.0, scale, 0.0), strict=True):
            made = self._large[value.name].detach().double().clone()
            made[places] = number
            self._put(value.name, made)


def _grid(indices: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns indices that broadcast to all combinations."""
    num = len(indices)
    return tuple(index.view(*[-1 if d == axis else 1 for d in range(num)]) for axis, index in enumerate(indices))


def _product(ranges: Sequence[range]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for each in ranges:
        found = [(*before, i) for before in found for i in each]
    return found
