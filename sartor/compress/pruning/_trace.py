"""Which channels can only go together, found by running the network once and following every channel.

Each place along each dimension of each parameter and buffer has a label. The network is run on example inputs; beside
every tensor goes, element by element, the label of the place that it stems from. Views, permutations, splits and
concats are done to the labels by the very operation that is done to the numbers, so nothing is guessed about them.
Element-wise operations join the labels that meet, a contraction joins the labels of what is summed over, and what an
operation does not explain is fixed. At the end joined labels are units: sets of places that stay or go together.

Where labels vary along two dimensions at once (channels cut into heads, or shuffled), what is removed must leave a
rectangle, so all but one of the dimensions are tied: along heads of an attention whole heads go, else the dimension
with the most places is left free.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sartor.compress.pruning._units import ANY, FIXED, Ids, Units
from sartor.devices._execution import paths_of, tensors_in, unfused

Layers = tuple[Tensor, ...]
"""Labels of a tensor's elements, each int64 of its shape; one for each dimension, or set of them, that has labels."""

SILENT = frozenset({"detach", "alias"})
"""Operations that a run has or has not, whatever is computed."""


@dataclass(frozen=True)
class Product:
    """A multiplication that costs: its multiply-accumulates, and the labels along each of its extents."""

    macs: int
    extents: tuple[Ids, ...]


@dataclass
class Traced:
    """An operation that ran.

    Attributes:
        name: ATen name.
        path: Module that ran it.
        shapes: Of its outputs.
        layers: Of its outputs.
        inputs: Shapes and layers of its tensor arguments.
    """

    name: str
    path: str
    shapes: tuple[tuple[int, ...], ...]
    layers: tuple[Layers, ...]
    inputs: tuple[tuple[tuple[int, ...], Layers], ...]


@dataclass
class Trace:
    """What one run told.

    Attributes:
        units: Joined labels.
        labels: (name of a parameter or buffer, dimension) -> labels along it.
        operations: In order.
        products: Those that cost.
        reads: Module with a convolution -> labels of the channels that it reads.
    """

    units: Units = field(default_factory=Units)
    labels: dict[tuple[str, int], Ids] = field(default_factory=dict)
    operations: list[Traced] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    reads: dict[str, Ids] = field(default_factory=dict)


def trace(module: nn.Module, inputs: tuple[Any, ...]) -> Trace:
    """Returns which places of a network's parameters belong together; the network is left as it is.

    Args:
        module: Run in eval mode, as a copy.
        inputs: Example inputs, of batch size 1.
    """
    network = copy.deepcopy(module).eval()
    tracer = _Tracer(network)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(unfused())
        stack.enter_context(torch.no_grad())
        stack.enter_context(tracer)
        outputs = network(*inputs)
    for name, part in network.named_modules():
        if isinstance(part, nn.RNNBase):
            tracer.same_hidden(name, part)
    return tracer.finish(outputs)


def _numpy(labels: Tensor) -> Ids:
    return np.asarray(labels.numpy(), np.int64)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows labels through one run."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = Trace()
        self.units = self.found.units
        self.path: list[str] = [""]
        paths_of(network, self.path)
        self._layers: dict[int, Layers] = {}
        self._kept: list[Tensor] = []
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            self._admit(tensor, self._places(name, tensor))

    def _places(self, name: str, tensor: Tensor) -> Layers:
        layers = []
        for dim, size in enumerate(tensor.shape):
            if size > 1 and tensor.is_floating_point():
                labels = self.units.new(size)
                self.found.labels[name, dim] = labels
                shape = [1] * tensor.dim()
                shape[dim] = size
                layers.append(torch.from_numpy(labels).view(shape).expand(tensor.shape))
        return tuple(layers)

    def _admit(self, tensor: Tensor, layers: Layers) -> None:
        self._layers[id(tensor)] = layers
        self._kept.append(tensor)

    def layers(self, tensor: Tensor) -> Layers:
        """Returns the labels of a tensor; a constant that nobody told of has none."""
        return self._layers.get(id(tensor), ())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = list(tensors_in((args, kwargs)))
        before = tuple((tuple(tensor.shape), self.layers(tensor)) for tensor in tensors)
        outputs = func(*args, **kwargs)
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        results = list(tensors_in(outputs))
        found = _RULES.get(name.rstrip("_") if name.endswith("_") and not name.startswith("_") else name, _unknown)(
            self, _Call(func, name, args, kwargs, given, tensors, results)
        )
        for tensor, layers in zip(results, found, strict=True):
            if name.endswith("_") or not any(tensor is argument for argument in tensors):
                self._admit(tensor, layers)
        if name not in SILENT:
            shapes = tuple(tuple(tensor.shape) for tensor in results)
            self.found.operations.append(Traced(name, self.path[-1], shapes, tuple(found), before))
        return outputs

    # --- labels along dimensions

    def varies(self, layer: Tensor) -> frozenset[int]:
        """Returns the dimensions along which the units of labels differ."""
        dims = [dim for dim in range(layer.dim()) if layer.shape[dim] > 1 and layer.stride(dim) != 0]
        if not dims:
            return frozenset()
        roots = self.units.roots(_numpy(layer))
        return frozenset(dim for dim in dims if bool((roots != roots.take([0], dim)).any()))

    def tie(self, layer: Tensor, dims: Iterable[int]) -> Tensor:
        """Joins labels along dimensions; returns the labels with nothing varying along these."""
        for dim in dims:
            first = layer.narrow(dim, 0, 1)
            self.units.union(_numpy(layer), _numpy(first))
            known = layer
            layer = first.expand(known.shape)
            if bool((first < 0).any()):  # a uniform constant says nothing: take what stands beside it
                layer = known.amax(dim, keepdim=True).expand(known.shape)
        return layer

    def only(self, layer: Tensor, dim: int) -> Tensor:
        """Returns labels that vary along one dimension at most, tying the others."""
        return self.tie(layer, self.varies(layer) - {dim})

    def rectangle(self, layer: Tensor) -> Tensor:
        """Returns labels that vary along the dimension with the most different slices alone, tying the others."""
        varying = self.varies(layer)
        if len(varying) < 2:
            return layer
        roots = self.units.roots(_numpy(layer))
        return self.tie(layer, varying - {max(varying, key=lambda dim: (_num_slices(roots, dim), dim))})

    def fix(self, layers: Iterable[Tensor], reason: str) -> None:
        for layer in layers:
            self.units.fix(np.unique(_numpy(layer)), reason)

    def combine(self, shape: Sequence[int], operands: Sequence[tuple[Sequence[int], Layers]], reason: str) -> Layers:
        """Returns the labels of what operands broadcast to ``shape`` make together, joining those that meet."""
        shape = tuple(shape)
        found: list[tuple[Tensor, frozenset[int], set[int]]] = []
        uniform = [_uniform(layers) for _, layers in operands]
        for number, (_, layers) in enumerate(operands):
            for layer in () if uniform[number] else layers:
                wide = layer.expand(shape)
                varying = self.varies(wide)
                if not varying:
                    self.fix([wide], reason)
                    continue
                owners = {number}
                met = [entry for entry in found if entry[1] & varying]
                if any(entry[1] != varying for entry in met):
                    # Labels along two dimensions meet labels along one of them: leave a rectangle first.
                    wide = self.rectangle(wide)
                    varying = self.varies(wide)
                    found = [(layer := self.rectangle(entry[0]), self.varies(layer), entry[2]) for entry in found]
                    met = [entry for entry in found if entry[1] & varying]
                found = [entry for entry in found if not entry[1] & varying]
                for other in met:
                    self.units.union(_numpy(wide), _numpy(other[0]))
                    wide = torch.where(wide < 0, other[0], wide)
                    owners |= other[2]
                varying = self.varies(wide)
                if varying:
                    found.append((wide, varying, owners))
        result = []
        for layer, varying, owners in found:
            for number, (own_shape, _) in enumerate(operands):
                if number in owners or uniform[number]:
                    continue
                padded = (1,) * (len(shape) - len(own_shape)) + tuple(own_shape)
                held = {dim for dim in varying if padded[dim] > 1}
                if held and varying - held:
                    layer = self.tie(layer, held)
                    varying = self.varies(layer)
                elif held:
                    self.fix([layer], reason)
                    varying = frozenset()
            if varying:
                result.append(layer)
        if not result and operands and all(uniform):
            return (torch.full(shape, ANY),)
        return tuple(result)

    def along(self, layers: Layers, dim: int) -> Ids | None:
        """Returns the labels along a dimension, others tied; None where nothing varies along it."""
        found: Ids | None = None
        for layer in layers:
            if dim in self.varies(layer):
                line = self.only(layer, dim).movedim(dim, 0).reshape(layer.shape[dim], -1)[:, 0]
                if found is not None:
                    self.units.union(found, _numpy(line))
                else:
                    found = _numpy(line)
        return found

    # --- the end

    def same_hidden(self, name: str, part: nn.RNNBase) -> None:
        """Layers and directions of one recurrent module have one hidden size."""
        lines = [
            self.found.labels[place, 1]
            for place, _ in part.named_parameters(name, recurse=False)
            if place.rpartition(".")[2].startswith("weight_hh") and (place, 1) in self.found.labels
        ]
        for line in lines[1:]:
            self.units.union(lines[0], line)

    def finish(self, outputs: Any) -> Trace:
        """Fixes what comes out, leaves rectangles, and returns what was found."""
        for tensor in tensors_in(outputs):
            self.fix(self.layers(tensor), "it is an output of the network")
        joint = [
            layer
            for operation in self.found.operations
            for layers in operation.layers
            for layer in layers
            if sum(layer.shape[dim] > 1 and layer.stride(dim) != 0 for dim in range(layer.dim())) > 1
        ]
        while joint:
            left = []
            for layer in joint:
                if self.rectangle(layer) is not layer:
                    left.append(layer)
            joint = left
        return self.found


def _num_slices(roots: Ids, dim: int) -> int:
    return len(np.unique(np.moveaxis(roots, dim, 0).reshape(roots.shape[dim], -1), axis=0))


def _uniform(layers: Layers) -> bool:
    return len(layers) == 1 and bool((layers[0] == ANY).all())


@dataclass(frozen=True)
class _Call:
    """A call of an operation: its arguments by place and by name, its tensors, what it returned."""

    func: Any
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    tensors: list[Tensor]
    results: list[Tensor]


_Rule = Callable[[_Tracer, _Call], list[Layers]]


def _unknown(tracer: _Tracer, call: _Call) -> list[Layers]:
    for tensor in call.tensors:
        tracer.fix(tracer.layers(tensor), f"{call.name} is no operation that is understood")
    return [() for _ in call.results]


def _elementwise(tracer: _Tracer, call: _Call) -> list[Layers]:
    operands = [(tuple(tensor.shape), tracer.layers(tensor)) for tensor in call.tensors if tensor.dim()]
    reason = f"{call.name} puts it together with something whose size cannot change"
    return [tracer.combine(result.shape, operands, reason) for result in call.results]


def _same(tracer: _Tracer, call: _Call) -> list[Layers]:
    return [tracer.layers(call.tensors[0])] * len(call.results)


def _uniform_constant(tracer: _Tracer, call: _Call) -> list[Layers]:
    return [(torch.full(result.shape, ANY),) if result.dim() else () for result in call.results]


def _constant(tracer: _Tracer, call: _Call) -> list[Layers]:
    return [() for _ in call.results]


def _view(tracer: _Tracer, call: _Call) -> list[Layers]:
    """Does to the labels what is done to the numbers."""
    func = torch.ops.aten.reshape if call.name in ("view", "_unsafe_view", "_reshape_alias") else call.func
    rest = (call.args[1],) if func is torch.ops.aten.reshape else call.args[1:]
    found: list[list[Tensor]] = [[] for _ in call.results]
    for layer in tracer.layers(call.args[0]):
        for place, part in zip(found, tensors_in(func(layer, *rest, **call.kwargs)), strict=True):
            place.append(part)
    return [tuple(layers) for layers in found]


def _cut(tracer: _Tracer, call: _Call) -> list[Layers]:
    """Equal parts stay equal, since where a network cuts is often half of what comes."""
    dim = call.given.get("dim", 0) % call.args[0].dim()
    sizes = {result.shape[dim] for result in call.results}
    if len(sizes) == 1 and len(call.results) > 1:
        for layer in tracer.layers(call.args[0]):
            if dim in tracer.varies(layer):
                size = sizes.pop()
                folded = layer.reshape(*layer.shape[:dim], -1, size, *layer.shape[dim + 1 :])
                tracer.tie(folded, [dim])
                sizes = {size}
    return _view(tracer, call)


def _slice(tracer: _Tracer, call: _Call) -> list[Layers]:
    dim = call.given.get("dim", 0) % call.args[0].dim()
    whole, part = call.args[0].shape[dim], call.results[0].shape[dim]
    if part < whole and part and whole % part == 0 and (call.given.get("start") or 0) % part == 0:
        for layer in tracer.layers(call.args[0]):
            if dim in tracer.varies(layer):
                tracer.tie(layer.reshape(*layer.shape[:dim], -1, part, *layer.shape[dim + 1 :]), [dim])
    return _view(tracer, call)


def _cat(tracer: _Tracer, call: _Call) -> list[Layers]:
    parts = [tensor for tensor in call.args[0] if not (tensor.dim() == 1 and not len(tensor))]
    dim = call.given.get("dim", 0) % call.results[0].dim()
    slots: dict[frozenset[int], list[Tensor | None]] = {}
    for number, part in enumerate(parts):
        for layer in tracer.layers(part):
            if _uniform((layer,)):
                continue
            key = (tracer.varies(layer) - {dim}) or frozenset({dim})
            places = slots.setdefault(key, [None] * len(parts))
            known = places[number]
            if known is not None:
                tracer.units.union(_numpy(known), _numpy(layer))
            places[number] = layer
    found = []
    for places in slots.values():
        filled = []
        for part, place in zip(parts, places, strict=True):
            empty = ANY if _uniform(tracer.layers(part)) else FIXED
            filled.append(torch.full(part.shape, empty) if place is None else place)
        found.append(torch.cat(filled, dim))
    if not found and parts and all(_uniform(tracer.layers(part)) for part in parts):
        return [(torch.full(call.results[0].shape, ANY),)]
    return [tuple(found)]


def _stack(tracer: _Tracer, call: _Call) -> list[Layers]:
    dim = call.given.get("dim", 0) % call.results[0].dim()
    operands = [
        (tuple(tensor.unsqueeze(dim).shape), tuple(layer.unsqueeze(dim) for layer in tracer.layers(tensor)))
        for tensor in call.args[0]
    ]
    # Parts that lie behind one another are of one shape, so what goes from one goes from all.
    joined = tracer.combine(operands[0][0], operands, "stack puts it beside something whose size cannot change")
    return [tuple(layer.expand(call.results[0].shape) for layer in joined)]


def _pad(tracer: _Tracer, call: _Call) -> list[Layers]:
    pads = call.args[1]
    if call.name != "constant_pad_nd":
        return _places(tracer, call)
    return [tuple(torch.ops.aten.constant_pad_nd(layer, pads, ANY) for layer in tracer.layers(call.args[0]))]


def _repeat(tracer: _Tracer, call: _Call) -> list[Layers]:
    return [tuple(layer.repeat(call.args[1]) for layer in tracer.layers(call.args[0]))]


def _copy(tracer: _Tracer, call: _Call) -> list[Layers]:
    """Writes into a tensor, perhaps into a part of another."""
    target, source = call.args[0], call.args[1]
    layers, given = tracer.layers(target), tracer.layers(source)
    if not layers and not given:
        return [()]
    if (
        len(layers) == 1
        and len(given) == 1
        and all(stride or size == 1 for stride, size in zip(layers[0].stride(), layers[0].shape, strict=True))
    ):
        layers[0].copy_(given[0].expand(layers[0].shape))
        return [layers]
    reason = "it is written into a part of another tensor"
    tracer.fix([*layers, *given], reason)
    return [()]


def _index(tracer: _Tracer, call: _Call) -> list[Layers]:
    return [tuple(call.func(layer, *call.args[1:]) for layer in tracer.layers(call.args[0]))]


def _embedding(tracer: _Tracer, call: _Call) -> list[Layers]:
    weight, places = call.args[0], call.args[1]
    return [tuple(torch.ops.aten.embedding(layer, places) for layer in tracer.layers(weight))]


def _places(tracer: _Tracer, call: _Call) -> list[Layers]:
    """Pooling, scaling and padding of images: each channel by itself."""
    image = call.args[0]
    found: list[list[Tensor]] = [[] for _ in call.results]
    dim = 1 if image.dim() == call.results[0].dim() and image.dim() > 2 else 0
    for layer in tracer.layers(image):
        line = tracer.only(layer, dim)
        for dim_other in range(layer.dim()):
            if dim_other != dim:
                line = line.narrow(dim_other, 0, 1)
        for place, result in zip(found, call.results, strict=True):
            place.append(line.expand(result.shape))
    return [tuple(layers) for layers in found]


def _unfold(tracer: _Tracer, call: _Call) -> list[Layers]:
    image, result = call.args[0], call.results[0]
    line = tracer.along(tracer.layers(image), 1)
    if line is None:
        return [()]
    repeated = torch.from_numpy(line).repeat_interleave(result.shape[1] // len(line))
    return [(repeated[None, :, None].expand(result.shape),)]


def _reduce(tracer: _Tracer, call: _Call) -> list[Layers]:
    image = call.args[0]
    given = call.given.get("dim")
    if given is None or (isinstance(given, (list, tuple)) and not given):
        dims = set(range(image.dim()))
    else:
        dims = {dim % image.dim() for dim in (given if isinstance(given, (list, tuple)) else [given])}
    kept = []
    for layer in tracer.layers(image):
        varying = tracer.varies(layer)
        if varying & dims and varying - dims:
            layer = tracer.tie(layer, varying & dims)
        if tracer.varies(layer) - dims:
            for dim in dims:
                layer = layer.narrow(dim, 0, 1)
            kept.append(layer)
    found = []
    for result in call.results:
        flat = result.dim() < image.dim()
        own = [layer.squeeze(tuple(dims)) if flat else layer for layer in kept]
        found.append(tuple(layer.expand(result.shape) for layer in own))
    return found


def _softmax(tracer: _Tracer, call: _Call) -> list[Layers]:
    dim = call.args[1] % call.args[0].dim()
    for layer in tracer.layers(call.args[0]):
        if dim in tracer.varies(layer):
            tracer.fix([layer], f"{call.name} is taken over it")
    return _elementwise(tracer, call)


# --- contractions


def _contracted(tracer: _Tracer, layers: Layers, depth: int, other: int) -> tuple[Ids | None, Layers]:
    """Returns the labels along the dimension that is summed over, and the layers that stay.

    Where they vary along the batch of a batched product as well, its entries are heads: each is one unit.
    """
    line: Ids | None = None
    kept = []
    for layer in layers:
        varying = tracer.varies(layer)
        if depth in varying and other in varying:
            layer = tracer.tie(layer, [other])
            varying = tracer.varies(layer)
        if depth in varying and 0 in varying and depth != 0:
            layer = tracer.tie(layer, [depth])
            varying = tracer.varies(layer)
        if depth in varying:
            found = tracer.along((layer,), depth)
            if line is not None and found is not None:
                tracer.units.union(line, found)
            line = found if line is None else line
        elif varying:
            if 0 in varying and depth != 0:
                layer = tracer.only(layer, 0)
            kept.append(layer.narrow(depth, 0, 1))
    return line, tuple(kept)


def _multiply(tracer: _Tracer, call: _Call, left: Tensor, right: Tensor) -> Layers:
    """The labels of ``left @ right``, of shapes (i, k) and (k, j), or with a batch before."""
    result = call.results[0]
    batched = left.dim() == 3
    shapes = [tuple(tensor.shape) if batched else (1, *tensor.shape) for tensor in (left, right)]
    sides = [tracer.layers(tensor) for tensor in (left, right)]
    blank = [_uniform(layers) for layers in sides]
    lifted = [
        () if blank[n] else tuple(layer if batched else layer.unsqueeze(0) for layer in layers)
        for n, layers in enumerate(sides)
    ]
    first, rows = _contracted(tracer, lifted[0], 2, 1)
    second, columns = _contracted(tracer, lifted[1], 1, 2)
    if first is not None and second is not None:
        tracer.units.union(first, second)
    elif first is not None and not blank[1]:
        tracer.units.fix(first, f"{call.name} sums over it together with something whose size cannot change")
    elif second is not None and not blank[0]:
        tracer.units.fix(second, f"{call.name} sums over it together with something whose size cannot change")
    (batch, height, depth), width = shapes[0], shapes[1][2]
    empty = (torch.full((1, 1, 1), ANY),)
    operands = [
        ((batch, height, 1), empty if blank[0] else rows),
        ((batch, 1, width), empty if blank[1] else columns),
    ]
    found = tracer.combine((batch, height, width), operands, f"{call.name} keeps it beside something of fixed size")
    if any(blank):
        found = tuple(layer for layer in found if not _uniform((layer,)))
    extents = [line for line in (first if first is not None else second,) if line is not None]
    extents += [
        line for layer in found for dim in tracer.varies(layer) if (line := tracer.along((layer,), dim)) is not None
    ]
    tracer.found.products.append(Product(math.prod((batch, height, depth, width)), tuple(extents)))
    return tuple(layer if batched else layer.squeeze(0) for layer in found) if result.dim() else ()


def _mm(tracer: _Tracer, call: _Call) -> list[Layers]:
    return [_multiply(tracer, call, call.args[0], call.args[1])]


def _addmm(tracer: _Tracer, call: _Call) -> list[Layers]:
    bias, left, right = call.args[:3]
    found = _multiply(tracer, call, left, right)
    shape = call.results[0].shape
    operands = [(tuple(shape), found), (tuple(bias.shape), tracer.layers(bias))]
    return [tracer.combine(shape, operands, "a bias is added to it")]


def _convolution(tracer: _Tracer, call: _Call) -> list[Layers]:
    image, weight, bias = call.args[:3]
    transposed, groups = bool(call.args[6]), int(call.args[8])
    result = call.results[0]
    come = tracer.along(tracer.layers(image), 1)
    rows, columns = (tracer.along(tracer.layers(weight), dim) for dim in (0, 1))
    for layer in tracer.layers(weight):
        if tracer.varies(layer) - {0, 1}:
            tracer.fix([layer], "it is a place of a kernel")
    num_in, num_out = image.shape[1], result.shape[1]
    if come is not None:
        tracer.found.reads[tracer.path[-1]] = come
    fixed = f"{tracer.path[-1] or 'a convolution'} reads it together with something whose size cannot change"
    # Of a grouped convolution the first dimension of the weight runs over all groups, the second within one.
    over_all, within = rows, columns
    if groups == 1:
        read, made = (rows, columns) if transposed else (columns, rows)
        _meet(tracer, come, read, fixed)
        go, inner = made, read
    elif weight.shape[1] == 1 and not transposed:
        if over_all is None:
            over_all = np.full(num_out, FIXED)
        _meet(tracer, come, None if come is None else over_all[:: num_out // num_in], fixed)
        tracer.units.union(over_all, np.repeat(over_all[:: num_out // num_in], num_out // num_in))
        go, inner = over_all, None
    else:
        all_side = come if transposed else None
        one = np.full(num_in, FIXED) if come is None else come
        ends = np.full(weight.shape[0], FIXED) if over_all is None else over_all
        short = np.full(weight.shape[1], FIXED) if within is None else within
        incoming, outgoing = one.reshape(groups, -1), ends.reshape(groups, -1)
        whole = min(incoming.shape[1], num_out // groups) < groups
        if transposed:
            _meet(tracer, all_side, ends, fixed)
            outgoing = np.broadcast_to(short, (groups, len(short)))
        if whole and not transposed:
            # More groups than channels in one: groups go as a whole.
            tracer.units.union(incoming, incoming[:, :1])
            tracer.units.union(outgoing, incoming[:, :1])
            tracer.units.fix(short, "it is a channel within a group, of which whole ones go")
        else:
            # Each group loses the same channels.
            tracer.units.union(incoming, incoming[:1])
            tracer.units.union(outgoing, outgoing[:1])
            if not transposed:
                tracer.units.union(incoming[0], short)
        go = np.ascontiguousarray(outgoing).reshape(-1)
        inner = short if not transposed else one
    if bias is not None:
        given = tracer.along(tracer.layers(bias), 0)
        _meet(tracer, go, given, "a bias is added to it")
    extents = tuple(line for line in (go, inner) if line is not None)
    elements = (image if transposed else result).numel()
    tracer.found.products.append(Product(elements * math.prod(weight.shape[1:]), extents))
    if go is None:
        return [()]
    shape = [1] * result.dim()
    shape[1] = num_out
    return [(torch.from_numpy(np.array(go)).view(shape).expand(result.shape),)]


def _meet(tracer: _Tracer, left: Ids | None, right: Ids | None, reason: str) -> None:
    if left is not None and right is not None:
        tracer.units.union(left, right)
    elif left is not None or right is not None:
        tracer.units.fix(left if left is not None else right, reason)  # type: ignore[arg-type]


# --- normalisation


def _batch_norm(tracer: _Tracer, call: _Call) -> list[Layers]:
    image = call.args[0]
    shape = (1, image.shape[1], *[1] * (image.dim() - 2))
    operands = [(tuple(image.shape), tuple(tracer.only(layer, 1) for layer in tracer.layers(image)))]
    for tensor in call.tensors[1:]:
        operands.append((shape, tuple(layer.view(shape) for layer in tracer.layers(tensor))))
    found = tracer.combine(image.shape, operands, "a normalisation holds numbers for it")
    return [found, *[() for _ in call.results[1:]]]


def _layer_norm(tracer: _Tracer, call: _Call) -> list[Layers]:
    operands = [(tuple(tensor.shape), tracer.layers(tensor)) for tensor in call.tensors]
    found = tracer.combine(call.results[0].shape, operands, "a normalisation holds numbers for it")
    return [found, *[() for _ in call.results[1:]]]


def _group_norm(tracer: _Tracer, call: _Call) -> list[Layers]:
    image, groups = call.args[0], int(call.given["group"])
    channels = image.shape[1]
    found = _batch_norm(tracer, call)
    line = tracer.along(found[0], 1)
    if line is not None and 1 < groups < channels:
        folded = line.reshape(groups, -1)
        tracer.units.union(folded, folded[:1])
    return found


_VIEWS = (
    "view _unsafe_view _reshape_alias permute transpose t select expand unsqueeze squeeze alias detach clone contiguous"
    " flip roll index_select narrow movedim pixel_shuffle pixel_unshuffle diagonal unbind channel_shuffle"
    " native_channel_shuffle lift_fresh as_strided"
)
_SAMES = "_to_copy native_dropout dropout bernoulli cumsum tril triu lift_fresh_copy"
_UNIFORM = (
    "zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full zero fill scalar_tensor empty new_empty"
    " empty_like new_empty_strided empty_strided"
)
_CONSTANT = "arange linspace rand randn rand_like randn_like randint tensor eye sym_size _local_scalar_dense"
_REDUCE = (
    "mean sum amax amin var std var_mean std_mean prod logsumexp any all max min argmax argmin norm linalg_vector_norm"
    " median nanmean"
)
_IMAGES = (
    "max_pool2d_with_indices max_pool1d max_pool2d max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d"
    " adaptive_avg_pool1d _adaptive_avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d"
    " upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_bilinear2d"
    " upsample_bicubic2d upsample_linear1d upsample_trilinear3d _upsample_bilinear2d_aa reflection_pad1d"
    " reflection_pad2d replication_pad1d replication_pad2d"
)
_ELEMENTWISE = (
    "add sub rsub mul div pow relu gelu silu hardswish hardsigmoid hardtanh sigmoid tanh elu leaky_relu"
    " _prelu_kernel prelu softplus mish exp log log1p sqrt rsqrt square abs neg reciprocal clamp clamp_min"
    " clamp_max maximum minimum where masked_fill erf sin cos sign floor round ceil threshold lerp addcmul addcdiv"
    " expm1 log_sigmoid_forward selu celu eq ne lt le gt ge logical_and logical_or logical_not bitwise_not"
    " bitwise_and isnan isinf remainder fmod atan2 glu_part softshrink hardshrink rrelu_with_noise fmax fmin"
)


def _glu(tracer: _Tracer, call: _Call) -> list[Layers]:
    image = call.args[0]
    dim = call.given.get("dim", -1) % image.dim()
    shape = call.results[0].shape
    halves = [
        (tuple(shape), tuple(layer.narrow(dim, start, shape[dim]) for layer in tracer.layers(image)))
        for start in (0, shape[dim])
    ]
    return [tracer.combine(shape, halves, "it is a half of a gated pair")]


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_VIEWS.split(), _view),
    **dict.fromkeys(_SAMES.split(), _same),
    **dict.fromkeys(_UNIFORM.split(), _uniform_constant),
    **dict.fromkeys(_CONSTANT.split(), _constant),
    **dict.fromkeys(_REDUCE.split(), _reduce),
    **dict.fromkeys(_IMAGES.split(), _places),
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(
        ["split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk"], _cut
    ),
    "slice": _slice,
    "cat": _cat,
    "stack": _stack,
    "constant_pad_nd": _pad,
    "repeat": _repeat,
    "copy": _copy,
    "index": _index,
    "embedding": _embedding,
    "im2col": _unfold,
    "glu": _glu,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "_log_softmax": _softmax,
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "batch_norm": _batch_norm,
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "native_group_norm": _group_norm,
}
