"""The executed graph of a network at the grain a person reads: leaf modules and the functions between them.

Used for the report's picture of an architecture and by device models that predict layer by layer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from sartor.devices._execution import Execution, Operation


MOST_CALLS = 4
"""Of one part by one module, that are drawn apart."""
MOST_OPERATIONS = 48
"""Of a module itself, that are drawn apart."""


@dataclass(frozen=True)
class Node:
    """A leaf module's call, a function between modules, an input or an output.

    Attributes:
        id: Position in the graph.
        name: Path of the module (``blocks.0.depthwise``), or of the module that called the function.
        label: What a person reads, e.g. ``Conv2d 3x3, stride 2``.
        kind: Class of the module, ATen name of the function, ``input`` or ``output``.
        shape: Of the output, with the batch dimension.
        params: Elements of the parameters first read here; over the graph each parameter counts once.
        macs: Multiply-accumulates.
        inputs: Ids of the nodes whose outputs it reads.
    """

    id: int
    name: str
    label: str
    kind: str
    shape: tuple[int, ...]
    params: int
    macs: int
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of execution; edges go forward."""

    nodes: tuple[Node, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns JSON-able plain values: ``{"nodes": [{"id": 0, "label": ...}, ...]}``."""
        return {
            "nodes": [
                {**vars(node), "shape": list(node.shape), "inputs": list(node.inputs)} for node in self.nodes
            ]
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Graph:
        """Reads what ``to_json`` returned.

        Raises:
            InputError: ``value`` is not a graph.
        """
        try:
            nodes = [
                Node(**{**node, "shape": tuple(node["shape"]), "inputs": tuple(node["inputs"])})
                for node in value["nodes"]
            ]
        except (KeyError, TypeError) as error:
            raise InputError(f"expected a graph {{'nodes': [...]}}, got {str(value)[:60]!r}") from error
        return cls(tuple(nodes))


def trace(module: nn.Module, inputs: tuple[Any, ...]) -> Graph:
    """Returns the graph of one forward pass of ``module`` in eval mode, executed on shapes alone.

    A module that calls no other is one node, whatever it does inside, and so is one that loops: it calls a part with
    parameters more than `MOST_CALLS` times, or runs more than `MOST_OPERATIONS` operations itself. Around such modules
    each operation is a node of its own. What computes nothing (identity, dropout and views) leaves no node.

    Example:
        >>> from torch import nn, zeros
        >>> [node.label for node in trace(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (zeros(1, 4),)).nodes]
        ['input', 'Linear 4 to 2', 'ReLU', 'output']
    """
    from sartor.devices._execution import execute

    return _graph(execute(module, inputs))


def _loops(execution: Execution) -> dict[int, int]:
    """Returns call -> the outermost call around it, or itself, that is of a module with a loop inside."""
    own = Counter(operation.call for operation in execution.operations if not operation.view)
    parts = Counter(
        (call.parent, id(call.module)) for call in execution.calls if next(call.module.parameters(), None) is not None
    )
    looping = {number for number, count in own.items() if count > MOST_OPERATIONS}
    looping |= {parent for (parent, _), count in parts.items() if count > MOST_CALLS}
    found: dict[int, int] = {}
    for number, call in enumerate(execution.calls):
        if call.parent in found:
            found[number] = found[call.parent]
        elif number in looping and number:  # one box for the whole network would say nothing
            found[number] = number
    return found


def _graph(execution: Execution) -> Graph:
    containers = {call.parent for call in execution.calls}
    if execution.calls and not type(execution.calls[0].module).__module__.startswith("torch.nn."):
        containers.add(0)  # one box for all of a hand-written network would say nothing
    loops = _loops(execution)
    containers -= set(loops)
    nodes: list[Node] = []
    made_by: dict[int, int] = {}
    counted: set[int] = set()

    def add(name: str, label: str, kind: str, shape: tuple[int, ...], operations: list[Operation]) -> None:
        reads = [storage for operation in operations for storage in operation.reads]
        own = {storage for storage in reads if storage in execution.parameters} - counted
        counted.update(own)
        nodes.append(
            Node(
                id=len(nodes), name=name, label=label, kind=kind, shape=shape,
                params=sum(execution.parameters[storage] for storage in own),
                macs=sum(operation.macs for operation in operations),
                inputs=tuple(dict.fromkeys(made_by[storage] for storage in reads if storage in made_by)),
            )
        )
        for operation in operations:
            for storage in () if operation.view else operation.writes:
                if storage not in execution.constants:
                    made_by[storage] = nodes[-1].id

    for i, (storage, shape) in enumerate(zip(execution.inputs, execution.input_shapes, strict=True)):
        label = "input" if len(execution.inputs) == 1 else f"input {i}"
        add("", label, "input", shape, [])
        made_by[storage] = nodes[-1].id
    position = 0
    while position < len(execution.operations):
        operation = execution.operations[position]
        shown = loops.get(operation.call, operation.call)
        call = execution.calls[shown]
        group = [operation]
        if shown not in containers:
            while (
                position + len(group) < len(execution.operations)
                and loops.get(own := execution.operations[position + len(group)].call, own) == shown
            ):
                group.append(execution.operations[position + len(group)])
            if not all(member.view for member in group):
                add(call.path, _label(call.module), type(call.module).__name__, group[-1].shape, group)
        elif not operation.view:
            label = _FUNCTIONS.get(operation.name, operation.name.strip("_"))
            add(call.path, label, operation.name, operation.shape, group)
        position += len(group)
    for i, (storage, shape) in enumerate(zip(execution.outputs, execution.output_shapes, strict=True)):
        label = "output" if len(execution.outputs) == 1 else f"output {i}"
        source = (made_by[storage],) if storage in made_by else ()
        nodes.append(Node(len(nodes), "", label, "output", shape, 0, 0, source))
    return Graph(tuple(nodes))


_FUNCTIONS = {
    "add": "+", "add_": "+", "sub": "-", "mul": "×", "mul_": "×", "div": "÷", "mm": "matmul", "bmm": "matmul",
    "addmm": "linear", "cat": "concat", "mean": "mean", "_softmax": "softmax", "_safe_softmax": "softmax",
    "max_pool2d_with_indices": "max pool", "avg_pool2d": "average pool", "_adaptive_avg_pool2d": "average pool",
    "native_batch_norm": "batch norm", "native_layer_norm": "layer norm", "clone": "copy",
}


def _label(module: nn.Module) -> str:
    """Returns the class with what tells two of its kind apart."""
    kind = type(module).__name__
    attributes = vars(module)
    parts = []
    kernel = attributes.get("kernel_size")
    if kernel is not None:
        kind += " " + ("x".join(map(str, kernel)) if isinstance(kernel, tuple) else str(kernel))
    if "in_features" in attributes and "out_features" in attributes:
        kind += f" {attributes['in_features']} to {attributes['out_features']}"
    for name, neutral in (("stride", 1), ("dilation", 1), ("groups", 1)):
        value = attributes.get(name)
        if isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        if value is None or value == neutral:
            continue
        if name == "groups" and value == attributes.get("in_channels") == attributes.get("out_channels"):
            kind = kind.replace("Conv", "depthwise Conv", 1)
        elif not (name == "stride" and attributes.get(name) == kernel):
            parts.append(f"{name} {'x'.join(map(str, value)) if isinstance(value, tuple) else value}")
    return ", ".join([kind, *parts])
