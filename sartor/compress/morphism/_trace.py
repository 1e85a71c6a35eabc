"""What a network computes on example inputs: operations in order, and the tensors that they read and give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sartor._modes import evaluating
from sartor.errors import UnsupportedNetworkError

KINDS: Mapping[str, str] = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "add_": "add",
    "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul", "mul_": "mul", "multiply": "mul",
    "__sub__": "sub", "__rsub__": "rsub", "sub_": "sub", "__truediv__": "div", "__div__": "div", "true_divide": "div",
    "__matmul__": "matmul", "bmm": "matmul", "concat": "cat", "concatenate": "cat", "__getitem__": "getitem",
    "conv1d": "conv", "conv2d": "conv", "conv3d": "conv", "relu_": "relu", "relu6_": "relu6",
    "view": "reshape", "flatten": "reshape", "unflatten": "reshape", "reshape": "reshape", "squeeze": "reshape",
    "unsqueeze": "reshape", "transpose": "permute", "permute": "permute", "swapaxes": "permute", "t": "permute",
    "contiguous": "pass", "clone": "pass", "detach": "pass", "to": "pass", "float": "pass", "double": "pass",
    "dropout": "pass", "dropout1d": "pass", "dropout2d": "pass", "dropout3d": "pass", "feature_dropout": "pass",
    "alpha_dropout": "pass", "type_as": "pass", "_softmax": "softmax",
}  # fmt: skip
"""Names of torch's functions -> the kind of operation that they are."""


@dataclass(eq=False)
class Value:
    """A tensor of a trace.

    Attributes:
        index: Position among the values.
        shape: Of it.
        op: What gave it; None for an input, a parameter or a buffer.
        name: Of a parameter or buffer (``blocks.0.conv.weight``), ``input 0`` of an input, else empty.
    """

    index: int
    shape: tuple[int, ...]
    op: Op | None = None
    name: str = ""


@dataclass(eq=False)
class Op:
    """One call of a torch function.

    Attributes:
        kind: See `KINDS`; the function's own name where that lists none.
        place: Path of the innermost module that called it, and how often that had called this kind before.
        inputs: Tensors that it reads, in order of its arguments.
        outputs: Tensors that it gives.
        fixed: Its other arguments, with ``...`` in the place of tensors, printable.
        options: Of some kinds, by name (``stride``, ``groups``, ``permutation``).
    """

    kind: str
    place: tuple[str, int]
    inputs: list[Value]
    outputs: list[Value]
    fixed: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} in {self.place[0] or 'the network itself'}"


@dataclass(eq=False)
class Trace:
    """A network's operations in the order of their calls, and its outputs."""

    ops: list[Op] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)


class _Recorder(TorchFunctionMode):
    def __init__(self, network: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.trace = Trace()
        self.path: list[str] = [""]
        self.counts: dict[tuple[str, str], int] = {}
        self.kept: list[Tensor] = []
        self.known: dict[int, Value] = {}
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            self.add(tensor, name=name)
        for number, tensor in enumerate(inputs):
            self.trace.inputs.append(self.add(tensor, name=f"input {number}"))

    def add(self, tensor: Tensor, op: Op | None = None, name: str = "") -> Value:
        value = Value(len(self.trace.values), tuple(tensor.shape), op, name)
        self.trace.values.append(value)
        self.known[id(tensor)] = value
        # Kept alive, so that no later tensor has its identity.
        self.kept.append(tensor)
        return value

    def value(self, tensor: Tensor) -> Value:
        return self.known[id(tensor)] if id(tensor) in self.known else self.add(tensor)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        outputs = [item for item in _flat(result) if isinstance(item, Tensor)]
        name = getattr(func, "__name__", str(func))
        if not outputs:
            return result
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", name)
            if name in ("data", "grad", "device"):
                return result
        kind = KINDS.get(name, name)
        inputs = [self.value(item) for item in (*_flat(args), *_flat(kwargs)) if isinstance(item, Tensor)]
        before = [value.shape for value in inputs]
        counted = (self.path[-1], kind)
        place = (self.path[-1], self.counts.get(counted, 0))
        self.counts[counted] = place[1] + 1
        fixed = repr((_without_tensors(args), _without_tensors(kwargs)))
        op = Op(kind, place, inputs, [], fixed, {})
        op.outputs = [self.add(output, op) for output in outputs]
        op.options = _options(op, name, args, kwargs, before)
        self.trace.ops.append(op)
        return result


def _flat(item: Any) -> Iterator[Any]:
    if isinstance(item, (list, tuple)):
        for each in item:
            yield from _flat(each)
    elif isinstance(item, Mapping):
        for each in item.values():
            yield from _flat(each)
    else:
        yield item


def _without_tensors(item: Any) -> Any:
    if isinstance(item, Tensor):
        return ...
    if isinstance(item, (list, tuple)):
        return [_without_tensors(each) for each in item]
    if isinstance(item, Mapping):
        return {key: _without_tensors(each) for key, each in item.items()}
    return item


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _options(
    op: Op, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], before: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """Returns what the rules of a kind read of its arguments, in one form whatever form they had."""
    if op.kind == "conv":
        dims = len(op.inputs[0].shape) - 2
        defaults = (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
        found = {key: _argument(args, kwargs, i, key, default) for i, (key, default) in enumerate(defaults, 3)}
        for key in ("stride", "padding", "dilation"):
            if not isinstance(found[key], str):
                each = [found[key]] if isinstance(found[key], int) else list(found[key])
                found[key] = tuple(each * dims if len(each) == 1 else each)
        if isinstance(found["padding"], str):
            kernel = op.inputs[1].shape[2:]
            same = [d * (k - 1) for d, k in zip(found["dilation"], kernel, strict=True)]
            if found["padding"] == "valid":
                found["padding"] = (0,) * dims
            elif all(total % 2 == 0 for total in same):
                found["padding"] = tuple(total // 2 for total in same)
        return found
    if op.kind == "permute":
        num = len(before[0])
        order = list(range(num))
        if name == "permute":
            given = args[1:] if len(args) > 1 else kwargs["dims"]
            order = [int(d) % num for d in _flat(tuple(given))]
        elif name == "t":
            order.reverse()
        else:
            a, b = (int(_argument(args, kwargs, i, f"dim{i - 1}", 0)) % num for i in (1, 2))
            order[a], order[b] = b, a
        return {"permutation": tuple(order)}
    if op.kind in ("cat", "softmax", "log_softmax", "chunk", "split", "unbind", "glu"):
        position = 2 if op.kind in ("chunk", "split") else 1
        dim = _argument(args, kwargs, position, "dim", -1 if op.kind == "glu" else 0)
        return {"dim": int(dim if dim is not None else -1) % len(before[0])}
    if op.kind in ("mean", "sum", "amax", "amin", "std", "var"):
        over = _argument(args, kwargs, 1, "dim", None)
        listed = range(len(before[0])) if over is None else list(_flat((over,)))
        keep = bool(_argument(args, kwargs, 2, "keepdim", False))
        return {"dims": tuple(int(d) % len(before[0]) for d in listed), "keep": keep}
    if op.kind == "batch_norm":
        return {"eps": float(_argument(args, kwargs, 7, "eps", 1e-5))}
    if op.kind in ("layer_norm", "rms_norm"):
        shape = _argument(args, kwargs, 1, "normalized_shape", ())
        eps = _argument(args, kwargs, 4 if op.kind == "layer_norm" else 3, "eps", None)
        return {"num": len(tuple(shape)), "eps": eps}
    if op.kind == "pad":
        return {"num": len(_argument(args, kwargs, 1, "pad", ())) // 2}
    if op.kind == "roll":
        dims = _argument(args, kwargs, 2, "dims", ())
        listed = [dims] if isinstance(dims, int) else list(dims)
        return {"dims": tuple(int(d) % len(before[0]) for d in listed or range(len(before[0])))}
    if op.kind == "group_norm":
        return {"groups": int(_argument(args, kwargs, 1, "num_groups", 1))}
    if op.kind == "scaled_dot_product_attention":
        return {"scale": kwargs.get("scale"), "mask": len(op.inputs) > 3}
    if op.kind == "getitem":
        return {"index": _without_tensors(args[1]), "by_tensor": len(op.inputs) > 1}
    return {}


def trace(network: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    """Returns what ``network`` computes on ``inputs`` in eval mode.

    Raises:
        UnsupportedNetworkError: it cannot be run on these inputs, or gives no tensor.
    """
    recorder = _Recorder(network, inputs)
    hooks = []
    for path, module in network.named_modules():
        # Default arguments bind the path of this turn of the loop.
        hooks.append(module.register_forward_pre_hook(lambda m, i, path=path: recorder.path.append(path)))
        hooks.append(module.register_forward_hook(lambda m, i, o: _pop(recorder.path), always_call=True))
    try:
        with evaluating(network), torch.random.fork_rng(devices=[]), torch.enable_grad(), recorder:
            result = network(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise UnsupportedNetworkError(
            f"{type(network).__name__} cannot be run on inputs of shapes {[tuple(x.shape) for x in inputs]}: {error}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [item for item in _flat(result) if isinstance(item, Tensor)]
    if not outputs:
        raise UnsupportedNetworkError(f"{type(network).__name__} gives no tensor, got {type(result).__name__}")
    recorder.trace.outputs = [recorder.value(output) for output in outputs]
    return recorder.trace


def _pop(path: list[str]) -> None:
    path.pop()
