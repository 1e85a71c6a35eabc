"""One execution of a network without arithmetic: which operations ran, what each read, wrote and multiplied.

The network runs on meta tensors (shapes without data) as a shallow copy whose parameters are meta tensors too, so
that neither it nor the global random state is touched. A dispatch mode sees each ATen operation below autograd, with
composite ones (linear, matmul, attention, recurrent layers) already taken apart. Shapes of operations seen before
are looked up: the meta kernels of batch normalisation and convolution are Python and cost more than all the rest.

A network whose control flow reads its data, or that calls an operation without a meta kernel, is executed for real
instead, once; ``Execution.real`` says so. What is counted is the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


@dataclass(frozen=True)
class Operation:
    """One executed ATen operation.

    Attributes:
        name: ATen name without overload, e.g. ``convolution``.
        call: Index into ``Execution.calls`` of the innermost module that ran it.
        macs: Multiply-accumulates.
        reads: Storages that it read, by index into ``Execution.storage_bytes``.
        writes: Storages that it made or changed.
        shape: Of its first output.
        view: Its outputs only look at the storage of an input.
        given: Shapes of the tensors among its arguments, in their order.
        window: Kernel of a pooling.
    """

    name: str
    call: int
    macs: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    shape: tuple[int, ...]
    view: bool
    given: tuple[tuple[int, ...], ...] = ()
    window: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module; ``parent`` is the index of the call that contains it, -1 for the network itself."""

    path: str
    module: nn.Module
    parent: int


@dataclass(frozen=True)
class Execution:
    """What one forward pass did.

    Attributes:
        operations: In order.
        calls: Module calls in the order they began; the first is the network.
        storage_bytes: Size of each storage met.
        inputs: Storages of the network's inputs, in order.
        input_shapes: Their shapes.
        outputs: Storages of its outputs.
        output_shapes: Their shapes.
        parameters: Storage -> number of elements, for the parameters that were read.
        constants: Storages that no operation made and that are not inputs: parameters, buffers, constants.
        real: The network was executed with real data, since it cannot run without.
    """

    operations: tuple[Operation, ...]
    calls: tuple[ModuleCall, ...]
    storage_bytes: tuple[int, ...]
    inputs: tuple[int, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    parameters: Mapping[int, int]
    constants: frozenset[int]
    real: bool


ShapeTable = dict[Any, Any]
"""Operation and argument shapes -> output shapes; grows with the distinct operations met."""


def execute(module: nn.Module, inputs: tuple[Any, ...], shapes: ShapeTable | None = None) -> Execution:
    """Returns what a forward pass of ``module`` in eval mode does; neither it nor the random state is changed.

    Args:
        module: Any module; run as a shallow copy.
        inputs: Positional arguments; tensors in them may sit in lists, tuples and dicts.
        shapes: Reused between calls to save time.
    """
    try:
        return _execute(module, inputs, {} if shapes is None else shapes, real=False)
    except (RuntimeError, TypeError, ValueError, IndexError):
        # Data-dependent control flow and missing meta kernels have no exception of their own. A defect of the
        # network itself raises again below, with the real data in its message.
        return _execute(module, inputs, {}, real=True)


def _execute(module: nn.Module, inputs: tuple[Any, ...], shapes: ShapeTable, *, real: bool) -> Execution:
    recorder = _Recorder(shapes, real=real)
    with ExitStack() as stack:
        if real:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(unfused())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        network = recorder.copy(module)
        network.eval()
        arguments = map_tensors(inputs, recorder.admit_input)
        stack.enter_context(recorder)
        outputs = network(*arguments)
    return recorder.finish(outputs)


@contextmanager
def unfused() -> Iterator[None]:
    """Has attention and recurrent layers compute matrix products, as exporters and other runtimes see them."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


# --- multiply-accumulates


def paths_of(network: nn.Module, stack: list[str]) -> list[Any]:
    """Lets ``stack`` hold the names of the modules that are running; returns the handles of the hooks."""

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: stack.append(name)

    def leave(*_: Any) -> None:
        stack.pop()

    handles: list[Any] = []
    for name, part in network.named_modules():
        handles.append(part.register_forward_pre_hook(enter(name)))
        handles.append(part.register_forward_hook(leave))
    return handles


def _mm(args: tuple[Any, ...], out: Tensor) -> int:
    return int(out.numel() * args[0].shape[-1])


def _addmm(args: tuple[Any, ...], out: Tensor) -> int:
    return int(out.numel() * args[1].shape[-1])


def _addbmm(args: tuple[Any, ...], out: Tensor) -> int:
    return int(out.numel() * args[1].shape[0] * args[1].shape[-1])


def _dot(args: tuple[Any, ...], out: Tensor) -> int:
    return int(args[0].numel())


def _convolution(args: tuple[Any, ...], out: Tensor) -> int:
    image, weight, transposed = args[0], args[1], bool(args[6])
    # A weight has shape (out, in / groups, *kernel); transposed, (in, out / groups, *kernel).
    return int((image if transposed else out).numel() * math.prod(weight.shape[1:]))


def _attention(args: tuple[Any, ...], out: Any) -> int:
    query, key, value = args[:3]
    pairs = query.shape[:-1].numel() * key.shape[-2]
    return int(pairs * (query.shape[-1] + value.shape[-1]))


_MACS: Mapping[Any, Callable[[tuple[Any, ...], Any], int]] = {
    aten.mm: _mm, aten.bmm: _mm, aten.mv: _mm,
    aten.addmm: _addmm, aten.baddbmm: _addmm, aten.addmv: _addmm, aten._addmm_activation: _addmm,
    aten.addbmm: _addbmm,
    aten.dot: _dot, aten.vdot: _dot,
    aten.convolution: _convolution, aten._convolution: _convolution, aten.convolution_overrideable: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
}


_POOLINGS = {
    aten.max_pool2d_with_indices, aten.max_pool2d, aten.avg_pool2d, aten.avg_pool1d, aten.avg_pool3d,
    aten.max_pool3d_with_indices,
}


# --- recording


def map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Returns ``value`` with ``function`` applied to each tensor in its lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        items = [map_tensors(item, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yields the tensors in lists, tuples, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name))


def _scan(values: Iterable[Any], tensors: list[Tensor]) -> tuple[Any, ...]:
    """Appends the tensors in ``values`` to ``tensors`` and returns what decides the shapes of the outputs."""
    key: list[Any] = []
    for value in values:
        if type(value) in _PLAIN:
            # 1, 1.0 and True are equal but promote types differently.
            key.append((type(value), value))
        elif isinstance(value, Tensor):
            tensors.append(value)
            key.append((value.shape, value.stride(), value.dtype))
        elif isinstance(value, (list, tuple)):
            key.append(_scan(value, tensors))
        else:
            key.append(value)
    return tuple(key)


def _like(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided:
        raise NotImplementedError(f"no meta execution with a tensor of layout {tensor.layout}")
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


class _Template:
    """What a fresh output looks like."""

    __slots__ = ("dtype", "shape", "stride")

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.stride, self.dtype = tensor.shape, tensor.stride(), tensor.dtype

    def make(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


def _make(template: Any) -> Any:
    if isinstance(template, _Template):
        return template.make()
    if isinstance(template, (list, tuple)):
        return type(template)(_make(item) for item in template)
    return template


# What nn.Module itself keeps beside parameters, buffers and children: hooks and flags, never tensors.
_BOOKKEEPING = frozenset(nn.Module().__dict__) - {"_parameters", "_buffers", "_modules"}
_PLAIN = (int, bool, float, str, type(None))


def _holds_tensors(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return False
    if kind is list or kind is tuple:
        return any(isinstance(item, Tensor) for item in value)
    if kind is dict:
        return any(isinstance(item, Tensor) for item in value.values())
    return isinstance(value, Tensor)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation; with ``real`` it lets them compute, else it runs them on meta tensors."""

    def __init__(self, shapes: ShapeTable, *, real: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shapes, self._real = shapes, real
        self._operations: list[Operation] = []
        self._calls: list[ModuleCall] = []
        self._stack = [-1]
        self._storage_bytes: list[int] = []
        # Tensor -> storage, by id; all tensors met are kept until the end, so that no id is used again.
        self._index: dict[int, int] = {}
        self._kept: list[Tensor] = []
        self._standins: dict[int, Tensor] = {}
        self._copies: dict[int, nn.Module] = {}
        self._inputs: list[tuple[int, tuple[int, ...]]] = []
        self._parameters: dict[int, int] = {}
        self._constants: set[int] = set()

    # --- the copy that is run

    def copy(self, module: nn.Module, path: str = "") -> nn.Module:
        """Returns a shallow copy of a module tree with stand-ins for its tensors, whose calls are recorded."""
        if id(module) in self._copies:
            return self._copies[id(module)]
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(f"module {path or type(module).__name__!r} is TorchScript: give the Python module")
        copied: nn.Module = object.__new__(type(module))
        self._copies[id(module)] = copied
        attributes = copied.__dict__
        attributes.update(module.__dict__)
        for name, value in module.__dict__.items():
            if name in _BOOKKEEPING:
                continue
            if name == "_modules":
                attributes[name] = {
                    key: child if child is None else self.copy(child, f"{path}.{key}" if path else key)
                    for key, child in value.items()
                }
            elif _holds_tensors(value):
                # Lists too: recurrent layers keep their weights in one, beside the registered parameters.
                attributes[name] = map_tensors(value, self._standin)
        forward = copied.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(ModuleCall(path, module, self._stack[-1]))
            self._stack.append(len(self._calls) - 1)
            try:
                return forward(*args, **kwargs)
            finally:
                self._stack.pop()

        attributes["forward"] = recorded
        return copied

    def _standin(self, tensor: Tensor) -> Tensor:
        found = self._standins.get(id(tensor))
        if found is None:
            if self._real:
                # Buffers may be changed by forward; parameters are only read.
                found = tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()
            else:
                found = _like(tensor)
            self._standins[id(tensor)] = found
            self._kept.append(tensor)
            index = self._admit(found)
            self._constants.add(index)
            if isinstance(tensor, nn.Parameter):
                self._parameters[index] = tensor.numel()
        return found

    def admit_input(self, tensor: Tensor) -> Tensor:
        """Returns the stand-in of an input, with a storage of its own of just its size."""
        tensor = tensor.detach()
        standin = tensor.clone() if self._real else _like(tensor.contiguous())
        self._inputs.append((self._admit(standin), tuple(standin.shape)))
        return standin

    def _admit(self, tensor: Tensor) -> int:
        """Returns the index of a tensor's new storage."""
        index = self._index[id(tensor)] = len(self._storage_bytes)
        self._storage_bytes.append(tensor.untyped_storage().nbytes())
        self._kept.append(tensor)
        return index

    # --- operations

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors: list[Tensor] = []
        key = (func, _scan(args, tensors), tuple(kwargs), _scan(kwargs.values(), tensors))
        if not self._real and not all(tensor.is_meta for tensor in tensors):
            # A constant made from Python values, or a tensor that is neither parameter nor buffer.
            args, kwargs = map_tensors(args, self._on_meta), map_tensors(kwargs, self._on_meta)
            return self.__torch_dispatch__(func, types, args, kwargs)
        reads = []
        for tensor in tensors:
            index = self._index.get(id(tensor))
            if index is None:
                index = self._admit(tensor)
                self._constants.add(index)
            reads.append(index)
        mutable = func._schema.is_mutable
        known = len(self._storage_bytes)
        if self._real:
            out, fresh = func(*args, **kwargs), False
        else:
            out, fresh = self._run(func, args, kwargs, key, tensors)
        outputs = list(tensors_in(out))
        written = self._written(outputs, tensors, fresh)
        if mutable and not outputs:
            written = [self._index[id(tensor)] for tensor in tensors_in(args[:1])]
        if written:
            count = _MACS.get(func.overloadpacket)
            self._operations.append(
                Operation(
                    name=func.overloadpacket.__name__,
                    call=self._stack[-1],
                    macs=count(args, out) if count else 0,
                    reads=tuple(dict.fromkeys(reads)),
                    writes=tuple(dict.fromkeys(written)),
                    shape=tuple(outputs[0].shape) if outputs else (),
                    view=not mutable and bool(reads) and all(index < known for index in written),
                    given=tuple(tuple(tensor.shape) for tensor in tensors),
                    window=tuple(args[1]) if func.overloadpacket in _POOLINGS else (),
                )
            )
        return out

    def _on_meta(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.is_meta else self._standin(tensor)

    def _written(self, outputs: list[Tensor], tensors: list[Tensor], fresh: bool) -> list[int]:
        written = []
        given: dict[int, int] | None = None
        for tensor in outputs:
            index = self._index.get(id(tensor))
            if index is None and not fresh:
                if given is None:
                    given = {t.untyped_storage()._cdata: self._index[id(t)] for t in tensors}
                index = given.get(tensor.untyped_storage()._cdata)
                if index is not None:
                    self._index[id(tensor)] = index
                    self._kept.append(tensor)
            written.append(self._admit(tensor) if index is None else index)
        return written

    def _run(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any, tensors: list[Tensor]
    ) -> tuple[Any, bool]:
        """Returns the outputs on meta, and whether their storages are surely new."""
        traits = self._shapes.get(func)
        if traits is None:
            schema = func._schema
            aliases = schema.is_mutable or any(value.alias_info is not None for value in schema.returns)
            takes_device = any(argument.name == "device" for argument in schema.arguments)
            traits = self._shapes[func] = [aliases, takes_device]
        aliases, takes_device = traits
        if not aliases and key in self._shapes:
            return _make(self._shapes[key]), True
        if takes_device:
            kwargs = {**kwargs, "device": torch.device("meta")}
        out = func(*args, **kwargs)
        if aliases:
            return out, False
        given = {tensor.untyped_storage()._cdata for tensor in tensors}
        if any(tensor.untyped_storage()._cdata in given for tensor in tensors_in(out)):
            # Some operations (_unsafe_view, unsafe_split) return views that their schema does not declare.
            traits[0] = True
            return out, False
        self._shapes[key] = map_tensors(out, _Template)
        return out, True

    def finish(self, outputs: Any) -> Execution:
        found = []
        for tensor in tensors_in(outputs):
            index = self._index.get(id(tensor))
            found.append((self._admit(tensor) if index is None else index, tuple(tensor.shape)))
        return Execution(
            operations=tuple(self._operations),
            calls=tuple(self._calls),
            storage_bytes=tuple(self._storage_bytes),
            inputs=tuple(index for index, _ in self._inputs),
            input_shapes=tuple(shape for _, shape in self._inputs),
            outputs=tuple(index for index, _ in found),
            output_shapes=tuple(shape for _, shape in found),
            parameters=dict(self._parameters),
            constants=frozenset(self._constants),
            real=self._real,
        )
