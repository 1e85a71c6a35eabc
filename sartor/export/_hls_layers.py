"""A torch network as the layers that hls4ml knows, with the fixed-point type of each number.

hls4ml's own reader of torch modules knows modules by their class: it has no depthwise convolution, no mean over places
and no buffers. Here the network is read from torch.export's graph, so that what is called counts, and handed to hls4ml
as the list of layers that its own readers make.

Places come last in torch and first in hls4ml: all is turned here, weights included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ExportError
from sartor.export._exporter import no_operator, operator_of, path_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node

FORMAT = "hls4ml"
HELPER_BITS = 16
"""Of scales and biases, which are few: at least so many, and at least twice the bits of weights."""
_GUARD_BITS = 8
"""Behind the point of a mean's sum, against what its division cuts off."""
_TABLE_SIZE = 4096
"""Of sigmoid and tanh: hls4ml's own 1,024 entries are off by up to 0.008, which 16 bits can better."""
_SLOPE = 1 / 6
"""Of torch's hard sigmoid."""


@dataclass(frozen=True)
class Fixed:
    """A fixed-point type: ``bits`` in all, ``integer`` of them before the point, rounded and saturating."""

    bits: int
    integer: int
    signed: bool

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}fixed<{self.bits},{self.integer},AP_RND,AP_SAT>"

    @property
    def step(self) -> float:
        return float(2.0 ** (self.integer - self.bits))

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Returns the nearest values of the type."""
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        high = 2 ** (self.bits - self.signed) - 1
        return np.asarray(np.clip(np.rint(values / self.step), low, high) * self.step)


def fixed(low: float, high: float, bits: int) -> Fixed:
    """Returns the finest type of ``bits`` for values from ``low`` to ``high``; unsigned where none is negative.

    The largest value may be one step above what the type reaches: it is then one step off.
    """
    largest = max(high, -low)
    integer = math.ceil(math.log2(largest)) if largest > 0 else 0
    return Fixed(bits, integer + (low < 0), low < 0)


def fixed_for(values: np.ndarray, bits: int) -> Fixed:
    """Returns the type of ``bits`` with the least squared error on weights: it may cut the largest off."""
    widest = fixed(float(values.min(initial=0.0)), float(values.max(initial=0.0)), bits)
    tried = [Fixed(bits, widest.integer - less, widest.signed) for less in range(3)]
    return min(tried, key=lambda each: float(np.sum((each.rounded(values) - values) ** 2)))


@dataclass
class Design:
    """What is handed to hls4ml.

    Attributes:
        layers: Its layers, in order.
        precision: Layer -> part (``result``, ``weight``, ``bias``, ``accum`` ...) -> type.
        inputs, outputs: Names of layers.
        input_shapes, output_shapes: Of one row each, as torch has them.
        products: Layer -> multiplications for one output place, all of which may be done at once.
        weight_bits: Of all constants.
        streams: Values can flow from layer to layer place by place; else all are there at once.
        together: Why not, layers by their path.
    """

    layers: list[dict[str, Any]] = field(default_factory=list)
    precision: dict[str, dict[str, str]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    input_shapes: list[list[int]] = field(default_factory=list)
    output_shapes: list[list[int]] = field(default_factory=list)
    products: dict[str, int] = field(default_factory=dict)
    weight_bits: int = 0
    together: list[str] = field(default_factory=list)

    @property
    def streams(self) -> bool:
        return not self.together and any(len(shape) > 1 for shape in self.input_shapes)


def read(
    program: ExportedProgram, rows: Sequence[tuple[Tensor, ...]], bits: int
) -> Design:
    """Returns the design of a network.

    Args:
        program: Exported for a batch of 1, functional.
        rows: Inputs, each with a batch of 1, from which each value takes its range.
        bits: Of weights and of what flows between layers.

    Raises:
        ExportError: a layer that hls4ml has not, named.
    """
    return _Reader(program, rows, bits).read()


def arguments(node: Node) -> dict[str, Any]:
    """Returns all arguments of an operator by the names of its schema, those left out with their defaults."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    found: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments):
        given = node.kwargs.get(argument.name, argument.default_value)
        found[argument.name] = node.args[place] if place < len(node.args) else given
    return found


class _Reader:
    """Reads a graph once, front to back."""

    def __init__(self, program: ExportedProgram, rows: Sequence[tuple[Tensor, ...]], bits: int) -> None:
        self.graph = program.graph_module
        self.bits = bits
        self.helper_bits = max(HELPER_BITS, 2 * bits)
        self.constants = _constants(program)
        self.inputs = [
            node for node in self.graph.graph.nodes if node.op == "placeholder" and node.name not in self.constants
        ]
        self.ranges = _ranges(self.graph, self.constants, rows)
        self.design = Design()
        self.layer_of: dict[Node, str] = {}
        self.types: dict[str, Fixed] = {}
        self.flat: dict[Node, tuple[int, ...]] = {}
        """Flattened nodes -> (channels, places ...) before. Their layers are not flattened, as hls4ml's streams have no
        activation behind that, and their elements are in hls4ml's order, not in torch's."""
        self.rows: dict[str, str] = {}
        """Layer -> the layer that flattens it."""

    def read(self) -> Design:
        for node in self.inputs:
            self._input(node)
        for node in self.graph.graph.nodes:
            if node.op == "call_function" and node not in self.layer_of:
                self._call(node)
            elif node.op == "output":
                self._outputs(node)
        return self.design

    # --- parts

    def _input(self, node: Node) -> None:
        if not node.meta["val"].is_floating_point():
            raise ExportError(
                f"{FORMAT} takes real numbers, but the input {node.name!r} has {node.meta['val'].dtype}: export to"
                " another format"
            )
        shape = self._shape(node)
        name = f"in{len(self.design.inputs)}"
        self.design.layers.append({"class_name": "InputLayer", "name": name, "input_shape": _last(shape)})
        self.design.inputs.append(name)
        self.design.input_shapes.append(list(shape))
        self.layer_of[node] = name
        self._result(name, node, self.bits)

    def _outputs(self, node: Node) -> None:
        given: Any = node.args[0]
        for each in given:
            name = self.layer_of.get(each)
            if name is not None and each in self.flat and _one_place(self.flat[each]):
                name = self.flattened(each)
            elif each in self.flat:
                name = None
            if name is None or name in self.design.inputs or name in self.design.outputs:
                raise ExportError(
                    f"{FORMAT} writes what a layer computes, once each and not flattened, but an output of the network"
                    f" is {getattr(each, 'name', each)!r}: let it end in a layer of its own"
                )
            self.design.outputs.append(name)
            self.design.output_shapes.append(list(self._shape(each)))

    def _call(self, node: Node) -> None:
        operator = operator_of(node)
        read = _OPERATORS.get(operator)
        if read is None:
            raise self.lacks(node, f"it has {', '.join(sorted(_SHOWN))}")
        read(self, node)

    def lacks(self, node: Node, why: str) -> ExportError:
        """Returns the error for an operator that cannot be said by a layer."""
        return no_operator(FORMAT, operator_of(node), [path_of(node)], why)

    def value(self, node: Node, argument: Any) -> str:
        """Returns the layer that computes an argument.

        Raises:
            ExportError: it is a constant.
        """
        if argument not in self.layer_of:
            raise self.lacks(node, "it takes no constant here")
        return self.layer_of[argument]

    def ordered(self, node: Node, argument: Any) -> str:
        """Returns the layer of an argument whose elements are in torch's order."""
        if argument in self.flat:
            if not _one_place(self.flat[argument]):
                raise self.lacks(node, "behind a flattening it has activations and linear layers alone")
            return self.flattened(argument)
        return self.value(node, argument)

    def flattened(self, argument: Node) -> str:
        """Returns the layer that makes a row of a flattened value."""
        source = self.layer_of[argument]
        if source not in self.rows:
            name = f"{argument.name}_{len(self.design.layers)}"
            shape = [math.prod(self.flat[argument])]
            self.design.layers.append(
                {"class_name": "Reshape", "name": name, "inputs": [source], "target_shape": shape}
            )
            # A stream that is flattened keeps its type.
            self.types[name] = self.types[source]
            self.design.precision[name] = {"result": str(self.types[source])}
            self.rows[source] = name
        return self.rows[source]

    def optional(self, node: Node, argument: Any) -> np.ndarray | None:
        """Returns the value of a constant argument, or None for none."""
        return None if argument is None else self.constant(node, argument)

    def constant(self, node: Node, argument: Any) -> np.ndarray:
        """Returns the value of a constant argument."""
        if argument not in self.layer_of and getattr(argument, "name", "") in self.constants:
            return np.asarray(self.constants[argument.name].detach().numpy(), np.float64)
        raise self.lacks(node, "its weights are no constants")

    def _shape(self, node: Node) -> tuple[int, ...]:
        """Returns the shape of one row."""
        shape = tuple(int(size) for size in node.meta["val"].shape)
        if not 2 <= len(shape) <= 4 or shape[0] != 1:
            what = "tensors of 2 to 4 dimensions, the first a batch of 1"
            if node.op == "placeholder":
                raise ExportError(
                    f"{FORMAT} takes {what}, but the input {node.name!r} is {shape}: export to another format"
                )
            raise self.lacks(node, f"it takes {what}, got {shape}")
        return shape[1:]

    def add(
        self, node: Node, kind: str, inputs: Sequence[str], value: Node | None = None, *, bits: int = 0, **entries: Any
    ) -> str:
        """Adds a layer; returns its name.

        Args:
            node: What it computes.
            kind: Class of the layer.
            inputs: Layers that it reads.
            value: Node whose value it has, where that is a later one.
            bits: Of its result.
            entries: Of the layer.
        """
        value = value or node
        name = f"{node.name}_{len(self.design.layers)}"
        self.design.layers.append({"class_name": kind, "name": name, "inputs": list(inputs), **entries})
        self._result(name, value, bits or self._bits_behind(value))
        self.layer_of[node] = self.layer_of[value] = name
        return name

    def _bits_behind(self, node: Node) -> int:
        """Returns the bits of a value: twice as many where only an activation reads it, which rounds it again."""
        readers = [operator_of(user) for user in node.users]
        return 2 * self.bits if len(readers) == 1 and readers[0] in _ACTIVATIONS else self.bits

    def _result(self, name: str, node: Node, bits: int) -> None:
        low, high = self.ranges[node.name]
        self.types[name] = fixed(low, high, bits)
        self.design.precision[name] = {"result": str(self.types[name])}

    def weight(self, name: str, part: str, values: np.ndarray, bits: int) -> np.ndarray:
        """Returns weights rounded to the type that they are given."""
        chosen = fixed_for(values, bits)
        self.design.precision[name][part] = str(chosen)
        self.design.weight_bits += bits * values.size
        return chosen.rounded(values)

    def product(
        self, node: Node, kind: str, source: str, weight: np.ndarray, bias: np.ndarray | None, multiplications: int,
        key: str = "weight", **entries: Any,
    ) -> None:
        """Adds a layer of products and sums, with the normalisation behind it taken in.

        ``weight`` has the outputs last.
        """
        norm = _normalisation_behind(node)
        value = node
        if norm is not None:
            scale, shift = self.normalisation(norm)
            weight = weight * (scale.reshape(-1, 1) if key == "depthwise" else scale)
            bias = shift + (0.0 if bias is None else bias * scale)
            value = _first_of(norm)
            self.layer_of[norm] = ""
        name = self.add(node, kind, [source], value, **entries)
        if norm is not None:
            self.layer_of[norm] = name
        layer = self.design.layers[-1]
        layer[f"{key}_data"] = self.weight(name, "weight", weight, self.bits)
        layer["bias_data"] = None if bias is None else self.weight(name, "bias", bias, self.helper_bits)
        self.design.precision[name]["accum"] = "auto"
        self.design.products[name] = multiplications

    def normalisation(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """Returns scale and shift of a batch normalisation."""
        given = arguments(node)
        gamma, beta, mean, variance = (
            self.optional(node, given[name]) for name in ("weight", "bias", "running_mean", "running_var")
        )
        if mean is None or variance is None:
            raise self.lacks(node, "it has no running mean and variance")
        scale = (1.0 if gamma is None else gamma) / np.sqrt(variance + given["eps"])
        return scale, (0.0 if beta is None else beta) - mean * scale

    def affine(
        self, node: Node, source: Node, scale: np.ndarray, shift: np.ndarray, value: Node | None = None
    ) -> None:
        """Adds a scale and a shift a channel; with what does the same next, one layer is made.

        ``value`` is the node that has its value, where that is a later one.
        """
        begin = value = value or node
        while (following := self._affine_behind(value)) is not None:
            a, b = self._scale_and_shift(following, value)
            scale, shift, value = scale * a, shift * a + b, following
            self.layer_of[value] = ""
        channels = self._shape(source)[0]
        name = self.add(
            node, "BatchNormalization", [self.ordered(node, source)], value, n_in=math.prod(self._shape(source)),
            n_filt=channels if len(self._shape(source)) > 1 else -1, use_gamma=True, use_beta=True,
        )
        layer = self.design.layers[-1]
        for part, values in (("scale", scale), ("bias", shift)):
            wide = np.broadcast_to(values, (channels,)).astype(np.float64)
            layer[f"{part}_data"] = self.weight(name, part, wide, self.helper_bits)
        while begin is not value:
            self.layer_of[begin] = name
            (begin,) = begin.users
        self.design.products[name] = channels

    def _affine_behind(self, node: Node) -> Node | None:
        if len(node.users) != 1:
            return None
        (user,) = node.users
        return user if operator_of(user) in _AFFINE and self._scale_and_shift(user, node) is not None else None

    def _scale_and_shift(self, node: Node, source: Any) -> Any:
        """Returns what a node multiplies ``source`` by and adds to it, a channel, or None where that is no constant."""
        given = arguments(node)
        first, other = given["self"], given["other"]
        if given.get("alpha", 1) != 1:
            return None
        turned = other is source
        if turned:
            first, other = other, first
        if first is not source or other is source or not self._is_constant(other):
            return None
        values = self._a_channel(other, len(source.meta["val"].shape))
        if values is None:
            return None
        match operator_of(node):
            case "add":
                return np.ones(1), values
            case "sub":
                return (-np.ones(1), values) if turned else (np.ones(1), -values)
            case "mul":
                return values, np.zeros(1)
            case _:
                return None if turned else (1 / values, np.zeros(1))

    def _is_constant(self, argument: Any) -> bool:
        return isinstance(argument, (int, float)) or getattr(argument, "name", "") in self.constants

    def _a_channel(self, argument: Any, rank: int) -> np.ndarray | None:
        """Returns a constant as one number, or one a channel of a value of ``rank`` dimensions; else None."""
        values = np.asarray(
            argument if isinstance(argument, (int, float)) else self.constants[argument.name].detach().numpy(),
            np.float64,
        )
        if values.size == 1:
            return values.reshape(1)
        axes = (1,) * (rank - values.ndim) + values.shape
        return values.reshape(-1) if len(axes) == rank and axes[1] == values.size else None

    def alias(self, node: Node, source: Node) -> None:
        """Has a node be another's value."""
        self.layer_of[node] = self.value(node, source)
        if source in self.flat:
            self.flat[node] = self.flat[source]
        self.ranges[node.name] = self.ranges[source.name]


# --- operators: each adds the layers of one call


def _convolution(reader: _Reader, node: Node) -> None:
    given = arguments(node)
    source, groups, weight = given["input"], given["groups"], reader.constant(node, given["weight"])
    dims = weight.ndim - 2
    if isinstance(given["padding"], str) or any(size != 1 for size in _each(given["dilation"], dims)):
        raise reader.lacks(node, "it has no dilation, and padding as numbers alone")
    stride, padding = _each(given["stride"], dims), _each(given["padding"], dims)
    shape, out = reader._shape(source), reader._shape(node)
    depthwise = groups > 1
    if depthwise and not groups == shape[0] == out[0]:
        raise reader.lacks(node, f"it has groups of one channel, or one group, got {groups} for {shape[0]} channels")
    entries: dict[str, Any] = {
        "data_format": "channels_last", "n_chan": shape[0], "n_filt": out[0],
        **_sizes("in", shape[1:]), **_sizes("out", out[1:]), **_sizes("filt", weight.shape[2:]),
        **_sizes("stride", stride), **_paddings(padding), "dilation": 1,
    }
    kind = f"{'Depthwise' if depthwise else ''}Conv{dims}D"
    if depthwise:
        entries["depth_multiplier"] = 1
        weight = np.moveaxis(weight, (0, 1), (-2, -1))
    else:
        weight = np.moveaxis(weight, (1, 0), (-2, -1))
    reader.product(
        node, kind, reader.ordered(node, source), weight, reader.optional(node, given["bias"]), weight.size,
        "depthwise" if depthwise else "weight", **entries,
    )


def _linear(reader: _Reader, node: Node) -> None:
    given = arguments(node)
    source, weight = given["input"], reader.constant(node, given["weight"])
    if len(reader._shape(source)) != 1:
        raise reader.lacks(node, "its linear layers read rows of features, without places")
    read = reader.value(node, source)
    if source in reader.flat:
        read = reader.flattened(source)
        channels, *places = reader.flat[source]
        weight = np.moveaxis(weight.reshape(len(weight), channels, *places), 1, -1).reshape(len(weight), -1)
    bias = reader.optional(node, given["bias"])
    reader.product(
        node, "Dense", read, weight.T, bias, weight.size, n_in=weight.shape[1],
        n_out=weight.shape[0], use_bias=bias is not None,
    )


def _batch_norm(reader: _Reader, node: Node) -> None:
    scale, shift = reader.normalisation(node)
    reader.affine(node, arguments(node)["input"], scale, shift, _first_of(node))


def _activation(kind: str, name: str, **entries: Any) -> Callable[[_Reader, Node], None]:
    def add(reader: _Reader, node: Node) -> None:
        source = arguments(node)["self"]
        if source in reader.flat:
            reader.flat[node] = reader.flat[source]
        by_table = name in ("sigmoid", "tanh")
        table: dict[str, Any] = {"table_size": _TABLE_SIZE} if by_table else {}
        added = reader.add(
            node, kind, [reader.value(node, source)], activation=name, n_in=math.prod(reader._shape(node)), **table,
            **entries,
        )
        if by_table:
            reader.design.precision[added]["table"] = str(fixed(-float(name == "tanh"), 1.0, reader.helper_bits))

    return add


def _arithmetic(op: str) -> Callable[[_Reader, Node], None]:
    def add(reader: _Reader, node: Node) -> None:
        given = arguments(node)
        if given.get("alpha", 1) != 1 or given.get("rounding_mode") is not None:
            raise reader.lacks(node, "it takes two values alone")
        sides = (given["self"], given["other"])
        values = [side for side in sides if not reader._is_constant(side)]
        if len(values) == 1:
            found = reader._scale_and_shift(node, values[0])
            if found is None:
                raise reader.lacks(node, "with a constant it takes one number, or one a channel")
            reader.affine(node, values[0], *found)
            return
        if not op:
            raise reader.lacks(node, "it divides by constants alone")
        shape = reader._shape(node)
        names = [_spread(reader, node, side, shape) for side in sides]
        reader.add(node, "Merge", names, op=op)
        reader.design.products[reader.layer_of[node]] = shape[0] if op == "multiply" else 0

    return add


def _spread(reader: _Reader, node: Node, argument: Any, shape: tuple[int, ...]) -> str:
    """Returns the layer of an argument, copied to all places where it has one alone."""
    name = reader.ordered(node, argument)
    own = reader._shape(argument)
    if own == shape:
        return name
    if len(shape) != 3 or own != (shape[0], 1, 1):
        raise reader.lacks(node, f"it has no {own} with {shape}: equal shapes, or one number a channel")
    spread = f"{node.name}_{len(reader.design.layers)}"
    reader.design.layers.append({
        "class_name": "Resize", "name": spread, "inputs": [name], "data_format": "channels_last", "in_height": 1,
        "in_width": 1, "out_height": shape[1], "out_width": shape[2], "n_chan": shape[0], "algorithm": "nearest",
        "align_corners": False,
    })
    reader.types[spread] = reader.types[name]
    reader.design.precision[spread] = {"result": str(reader.types[name])}
    return spread


def _mean(reader: _Reader, node: Node) -> None:
    given = arguments(node)
    source, dims = given["self"], given.get("dim")
    rank = len(reader._shape(source)) + 1
    if dims is None or rank < 3 or sorted(dim % rank for dim in dims) != list(range(2, rank)):
        raise reader.lacks(node, "it has the mean over all places alone")
    _global_pool(reader, node, source, given["keepdim"])


def _adaptive(reader: _Reader, node: Node) -> None:
    given = arguments(node)
    if any(size != 1 for size in given["output_size"]):
        raise reader.lacks(node, "it pools to one place, or by a window")
    _global_pool(reader, node, given["self"], keep=True)


def _global_pool(reader: _Reader, node: Node, source: Node, keep: bool) -> None:
    shape = reader._shape(source)
    dims, places = len(shape) - 1, math.prod(shape[1:])
    sizes = _sizes("in", shape[1:]) if dims == 2 else {"n_in": shape[1]}
    read = reader.ordered(node, source)
    name = reader.add(
        node, f"GlobalAveragePooling{dims}D", [read], data_format="channels_last", n_filt=shape[0], **sizes
    )
    reader.design.precision[name]["accum"] = _accumulator(reader.types[read], places)
    if keep:
        reader.add(node, "Reshape", [name], target_shape=[*[1] * dims, shape[0]])


def _accumulator(read: Fixed, places: int) -> str:
    """Returns the type of a sum over places that is divided."""
    more = math.ceil(math.log2(places)) if places > 1 else 0
    return f"ap_fixed<{read.bits + more + 1 + _GUARD_BITS},{read.integer + more + 1}>"


def _pool(kind: str) -> Callable[[_Reader, Node], None]:
    def add(reader: _Reader, node: Node) -> None:
        given = arguments(node)
        source = given["self"]
        value = _first_of(node) if operator_of(node).endswith("_with_indices") else node
        shape, out = reader._shape(source), reader._shape(value)
        dims = len(shape) - 1
        window, padding = _each(given["kernel_size"], dims), _each(given["padding"], dims)
        stride = _each(given["stride"], dims) if given["stride"] else window
        if any(size != 1 for size in _each(given.get("dilation", 1), dims)):
            raise reader.lacks(node, "it has no dilation")
        if given.get("divisor_override") is not None:
            raise reader.lacks(node, "it divides by the size of the window alone")
        whole = tuple((s + 2 * p - w) // st + 1 for s, p, w, st in zip(shape[1:], padding, window, stride, strict=True))
        if whole != out[1:]:
            raise reader.lacks(node, f"it has whole windows alone, and {shape[1:]} leaves a part of one (ceil_mode)")
        read = reader.ordered(node, source)
        if window != stride or any(padding):
            where = path_of(node)
            reader.design.together.append(repr(where) if where else "the network itself")
        names = ("in", "out", "pool", "stride") if dims == 2 else ("n_in", "n_out", "pool_width", "stride_width")
        sizes: dict[str, Any] = {}
        for name, values in zip(names, (shape[1:], out[1:], window, stride), strict=True):
            sizes |= _sizes(name, values) if dims == 2 else {name: values[0]}
        name = reader.add(
            node, f"{'Max' if kind == 'Max' else 'Average'}Pooling{dims}D", [read], value,
            data_format="channels_last", n_filt=shape[0], count_pad=given.get("count_include_pad", False), **sizes,
            **_paddings(padding),
        )
        if kind == "Max":
            reader.types[name] = reader.types[read]
            reader.design.precision[name] = {"result": str(reader.types[read]), "accum": str(reader.types[read])}
        else:
            reader.design.precision[name]["accum"] = _accumulator(reader.types[read], math.prod(window))

    return add


def _concatenate(reader: _Reader, node: Node) -> None:
    given = arguments(node)
    values = list(given["tensors"])
    if given["dim"] % len(node.meta["val"].shape) != 1:
        raise reader.lacks(node, "it joins channels alone")
    names = [reader.ordered(node, value) for value in values]
    shape = reader._shape(node)
    rank = len(shape)
    channels = [reader._shape(value)[0] for value in values]
    while len(names) > 1:
        # hls4ml joins two at a time.
        joined = reader.add(
            node, "Concatenate", names[:2], op=f"concatenate{rank}d", axis=rank, shape=[*shape[1:], sum(channels[:2])]
        )
        names[:2], channels[:2] = [joined], [sum(channels[:2])]
    reader.layer_of[node] = names[0]


def _reshape(reader: _Reader, node: Node) -> None:
    source: Any = node.args[0]
    before, after = reader._shape(source), reader._shape(node)
    if before == after:
        reader.alias(node, source)
        return
    if len(after) == 1:
        reader.alias(node, source)
        reader.flat[node] = before
        return
    if before[0] != after[0] or not _one_place(before) or not _one_place(after):
        raise reader.lacks(node, f"it flattens, or adds places of size 1, but not {before} to {after}")
    name = reader.ordered(node, source)
    made = reader.add(node, "Reshape", [name], target_shape=_last(after))
    # Rounding again would cost a little.
    reader.types[made] = reader.types[name]
    reader.design.precision[made] = {"result": str(reader.types[name])}


def _same(reader: _Reader, node: Node) -> None:
    source: Any = node.args[0]
    reader.alias(node, source)


def _item(reader: _Reader, node: Node) -> None:
    source: Any = node.args[0]
    raise reader.lacks(source, "its other outputs are not known")


_ACTIVATIONS: Mapping[str, Callable[[_Reader, Node], None]] = {
    "relu": _activation("Activation", "relu"),
    "sigmoid": _activation("Activation", "sigmoid"),
    "tanh": _activation("Activation", "tanh"),
    "hardsigmoid": _activation("HardActivation", "hard_sigmoid", slope=_SLOPE, shift=0.5),
}
_AFFINE: Mapping[str, Callable[[_Reader, Node], None]] = {
    "add": _arithmetic("add"), "sub": _arithmetic("subtract"), "mul": _arithmetic("multiply"), "div": _arithmetic(""),
}
_SHOWN: Mapping[str, Callable[[_Reader, Node], None]] = {
    **_ACTIVATIONS, **_AFFINE, "conv1d": _convolution, "conv2d": _convolution, "linear": _linear, "mean": _mean,
    "max_pool2d": _pool("Max"), "avg_pool2d": _pool("Average"), "cat": _concatenate, "flatten": _reshape,
    "batch_norm": _batch_norm,
}
_OPERATORS: Mapping[str, Callable[[_Reader, Node], None]] = {
    **_SHOWN,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "max_pool2d_with_indices": _pool("Max"),
    "avg_pool1d": _pool("Average"),
    "adaptive_avg_pool1d": _adaptive, "adaptive_avg_pool2d": _adaptive, "_adaptive_avg_pool2d": _adaptive,
    "view": _reshape, "reshape": _reshape, "_unsafe_view": _reshape, "squeeze": _reshape, "unsqueeze": _reshape,
    "dropout": _same, "clone": _same, "contiguous": _same, "alias": _same, "detach": _same, "_to_copy": _same,
    "getitem": _item,
}


# --- shapes


def _one_place(shape: Sequence[int]) -> bool:
    """Whether a shape has one place, so that its elements are its channels."""
    return math.prod(shape[1:]) == 1


def _last(shape: Sequence[int]) -> list[int]:
    """Returns a shape with the channels behind the places."""
    return [*shape[1:], shape[0]]


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """Returns an argument that torch takes as a number or as one a dimension."""
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    return values * dims if len(values) == 1 else values


def _sizes(name: str, sizes: Sequence[int]) -> dict[str, Any]:
    """Returns hls4ml's entries of sizes."""
    return {f"{name}_{side}": int(size) for side, size in zip(("height", "width")[-len(sizes) :], sizes, strict=True)}


def _paddings(padding: Sequence[int]) -> dict[str, Any]:
    """Returns hls4ml's entries of padding on both sides."""
    sides = (("pad_top", "pad_bottom"), ("pad_left", "pad_right"))[-len(padding) :]
    return {side: int(size) for pair, size in zip(sides, padding, strict=True) for side in pair}


# --- graphs


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Returns what a graph takes beside the inputs, by the name of its placeholder."""
    signature = program.graph_signature
    found = {}
    for kinds in (
        signature.inputs_to_parameters, signature.inputs_to_buffers, signature.inputs_to_lifted_tensor_constants
    ):
        for name, target in kinds.items():
            found[name] = program.state_dict[target] if target in program.state_dict else program.constants[target]
    return found


def _ranges(
    graph: Any, constants: Mapping[str, Tensor], rows: Sequence[tuple[Tensor, ...]]
) -> dict[str, tuple[float, float]]:
    """Returns the smallest and largest value of each node over rows."""
    import torch

    found: dict[str, tuple[float, float]] = {}

    class Watcher(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                low, high = found.get(n.name, (float("inf"), float("-inf")))
                found[n.name] = min(low, float(value.min())), max(high, float(value.max()))
            return value

    places = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    watcher = Watcher(graph)
    with torch.no_grad():
        for row in rows:
            left = iter(row)
            watcher.run(*[constants[name] if name in constants else next(left) for name in places])
    return found


def _normalisation_behind(node: Node) -> Node | None:
    """Returns the batch normalisation that alone reads a node, or None."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if operator_of(user) == "_native_batch_norm_legit_no_training" else None


def _first_of(node: Node) -> Node:
    """Returns the node that takes the first of several outputs."""
    return next(user for user in node.users if user.args[1] == 0)
