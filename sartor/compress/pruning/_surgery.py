"""A network without some of its channels: tensors cut, sizes written in modules put right, the result checked.

What a module remembers of its sizes (``out_channels``, ``num_heads``, ``normalized_shape``) is put right by the weights
of torch's own layers. For others it is found out: the smaller network is run, the first operation whose output has
another shape than the labels foretell is looked up, and numbers of its module that are the old size become the new one,
if the run then comes further. The result counts only if it computes what the whole network does with the removed
channels held at zero, in every operation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from sartor._modes import evaluating
from sartor.compress.pruning._trace import SILENT, Layers, Trace, Traced
from sartor.compress.pruning._units import Ids
from sartor.devices._execution import paths_of, tensors_in, unfused
from sartor.errors import UnsupportedNetworkError

TOLERANCE = 1e-4
"""Of outputs, relative to the largest: float32 sums in another order."""
_MAX_REPAIRS = 200


class Kept:
    """What is left when units go."""

    def __init__(self, trace: Trace, removed: Iterable[int]) -> None:
        self.trace = trace
        self.removed = np.unique(np.fromiter(removed, np.int64))

    def stays(self, labels: Ids) -> np.ndarray:
        """Returns for each label whether its unit stays."""
        return np.isin(self.trace.units.roots(labels), self.removed, invert=True)

    def mask(self, layers: Layers, shape: Sequence[int]) -> Tensor | None:
        """Returns which elements of a tensor stay, or None where all do."""
        mask: Tensor | None = None
        for layer in layers:
            own = torch.from_numpy(self.stays(layer.numpy()))
            if not bool(own.all()):
                mask = own if mask is None else mask & own
        return None if mask is None else mask.expand(tuple(shape))

    def shape(self, shape: Sequence[int], layers: Layers) -> tuple[int, ...]:
        """Returns the shape that is left of a tensor."""
        found = list(shape)
        for layer in layers:
            stays = self.stays(layer.numpy())
            for dim in range(layer.dim()):
                along = stays.any(tuple(other for other in range(layer.dim()) if other != dim))
                found[dim] = min(found[dim], int(along.sum()))
        return tuple(found)


def cut(network: nn.Module, inputs: tuple[Any, ...], trace: Trace, removed: Iterable[int]) -> nn.Module:
    """Returns a smaller copy of a network, checked against the whole one.

    Args:
        network: Left as it is.
        inputs: Example inputs, batch size 1.
        trace: Of the network.
        removed: Units that go.

    Raises:
        UnsupportedNetworkError: the network writes a size down where it cannot be found, or computes something else
            without them; the message names the module.
    """
    kept = Kept(trace, removed)
    smaller = _without(network, kept)
    _repair(smaller, inputs, kept)
    with ExitStack() as stack:
        _quiet(stack)
        whole = _masked(network, inputs, kept)
        ours = _run(smaller, inputs).outputs
    for wanted, found in zip(whole, ours, strict=True):
        if wanted.shape != found.shape:
            raise UnsupportedNetworkError(
                f"without these channels the network gives the shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
            )
        scale = max(1e-6, float(wanted.abs().max())) if wanted.numel() else 1.0
        apart = float((wanted - found).abs().max()) / scale if wanted.numel() else 0.0
        if not apart <= TOLERANCE:
            raise UnsupportedNetworkError(
                f"without these channels the network computes something else ({apart:.2g} of the output's scale)"
            )
    return smaller


def _quiet(stack: ExitStack) -> None:
    stack.enter_context(torch.random.fork_rng(devices=[]))
    stack.enter_context(unfused())
    stack.enter_context(torch.no_grad())


# --- tensors


def _without(network: nn.Module, kept: Kept) -> nn.Module:
    smaller = copy.deepcopy(network)
    done: dict[int, Tensor] = {}
    for path, module in smaller.named_modules():
        touched = False
        for own, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            name = f"{path}.{own}" if path else own
            if id(tensor) not in done:
                done[id(tensor)] = _smaller(tensor, name, kept)
            new = done[id(tensor)]
            if new is not tensor:
                setattr(module, own, new)
                touched = True
        if touched:
            _refit(module, path, kept)
    return smaller


def _smaller(tensor: Tensor, name: str, kept: Kept) -> Tensor:
    found = tensor.detach()
    for dim in range(tensor.dim()):
        labels = kept.trace.labels.get((name, dim))
        if labels is not None and not (stays := kept.stays(labels)).all():
            found = found.index_select(dim, torch.from_numpy(np.flatnonzero(stays)).to(found.device))
    if found.shape == tensor.shape:
        return tensor
    last = tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    found = found.clone(memory_format=torch.channels_last if last else torch.contiguous_format)
    return nn.Parameter(found, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else found


def _refit(module: nn.Module, path: str, kept: Kept) -> None:
    """Puts right what torch's own layers remember of their sizes."""
    if isinstance(module, _ConvNd):
        weight = module.weight
        if module.transposed:
            module.in_channels, module.out_channels = weight.shape[0], weight.shape[1] * module.groups
        else:
            read = kept.trace.reads.get(path)
            module.out_channels = weight.shape[0]
            module.in_channels = module.in_channels if read is None else int(kept.stays(read).sum())
            module.groups = module.in_channels // weight.shape[1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _NormBase):
        known = module.weight if module.weight is not None else module.running_mean
        module.num_features = module.num_features if known is None else len(known)
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.RNNBase):
        module.input_size = module.get_parameter("weight_ih_l0").shape[1]
        module.hidden_size = module.get_parameter("weight_hh_l0").shape[1]
        module.flatten_parameters()
    elif isinstance(module, nn.RNNCellBase):
        module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]


# --- sizes that modules write down


@dataclass(frozen=True)
class _Ran:
    """How far a run came.

    Attributes:
        operations: Name and shapes of the outputs of each operation.
        outputs: Of the network; empty where it failed.
        path: Module in which it failed.
        failure: What stopped it, or None.
    """

    operations: list[tuple[str, tuple[tuple[int, ...], ...]]]
    outputs: list[Tensor]
    path: str = ""
    failure: Exception | None = None


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in SILENT:
            self.operations.append((name, tuple(tuple(tensor.shape) for tensor in tensors_in(out))))
        return out


def _run(network: nn.Module, inputs: tuple[Any, ...]) -> _Ran:
    path = [""]
    handles = paths_of(network, path)
    try:
        with evaluating(network), _Watch() as watch:
            outputs = network(*inputs)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        AssertionError,
        AttributeError,
        ZeroDivisionError,
    ) as error:
        # A network of another size may fail in any way that its code has.
        return _Ran(watch.operations, [], path[-1], error)
    finally:
        for handle in handles:
            handle.remove()
    return _Ran(watch.operations, list(tensors_in(outputs)))


def _first_wrong(ran: _Ran, kept: Kept) -> int | None:
    """Returns the first operation that gives another shape than foretold, or that failed; None where all is well.

    From where the run takes another way than the traced one, only its failure tells.
    """
    for number, ((name, shapes), known) in enumerate(zip(ran.operations, kept.trace.operations, strict=False)):
        if name != known.name or len(shapes) != len(known.shapes):
            break
        for shape, whole, layers in zip(shapes, known.shapes, known.layers, strict=True):
            if shape != kept.shape(whole, layers):
                return number
    return None if ran.failure is None else len(ran.operations)


def _repair(network: nn.Module, inputs: tuple[Any, ...], kept: Kept) -> None:
    parts = dict(network.named_modules())
    with ExitStack() as stack:
        _quiet(stack)
        ran = _run(network, inputs)
        wrong = _first_wrong(ran, kept)
        for _ in range(_MAX_REPAIRS):
            if wrong is None:
                return
            further = _put_right(parts, ran, wrong, inputs, kept, network)
            if further is None:
                break
            ran, wrong = further
    if ran.failure is None:
        return  # the outputs decide
    raise UnsupportedNetworkError(
        f"{ran.path or type(network).__name__} writes a size down that does not follow its weights:"
        f" {str(ran.failure).strip().splitlines()[0] if str(ran.failure).strip() else type(ran.failure).__name__}"
    )


def _put_right(
    parts: dict[str, nn.Module], ran: _Ran, wrong: int, inputs: tuple[Any, ...], kept: Kept, network: nn.Module
) -> tuple[_Ran, int | None] | None:
    """Changes what a module remembers so that the run comes further; None where nothing helps."""
    known = kept.trace.operations
    place = known[wrong] if wrong < len(known) else None
    path = ran.path if ran.failure is not None and wrong == len(ran.operations) else place.path if place else ""
    if place is not None and place.path == path:
        tried = [[place], [operation for operation in known if operation.path == path]]
    else:
        tried = [[operation for operation in known if operation.path == path]]
    for operations in tried:
        sizes = _changed(operations, kept)
        for outer in _outwards(path):
            module = parts[outer]
            found = {
                name: new
                for name, value in vars(module).items()
                if not name.startswith("_") and name != "training" and (new := _resized(value, sizes)) is not None
            }
            for names in ([*found], *([name] for name in found if len(found) > 1)):
                if not names:
                    continue
                before = {name: getattr(module, name) for name in names}
                for name in names:
                    setattr(module, name, found[name])
                again = _run(network, inputs)
                reached = _first_wrong(again, kept)
                if reached is None or reached > wrong:
                    return again, reached
                for name, value in before.items():
                    setattr(module, name, value)
    return None


def _changed(operations: Sequence[Traced], kept: Kept) -> dict[int, int]:
    """Returns old size -> new size of what operations read and make."""
    sizes: dict[int, int] = {}
    for operation in operations:
        tensors = [*zip(operation.shapes, operation.layers, strict=True), *operation.inputs]
        for shape, layers in tensors:
            for old, new in zip(shape, kept.shape(shape, layers), strict=True):
                if old != new:
                    sizes.setdefault(old, new)
    return sizes


def _outwards(path: str) -> list[str]:
    names = path.split(".") if path else []
    return [".".join(names[:count]) for count in range(len(names), -1, -1)]


def _resized(value: Any, sizes: dict[int, int]) -> Any:
    """Returns a size, or a sequence with sizes, with new ones in place of old; None where there are none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return sizes.get(value)
    if isinstance(value, (tuple, list)) and value and all(type(item) is int for item in value):
        new = [sizes.get(item, item) for item in value]
        return None if new == list(value) else type(value)(new)
    return None


# --- the whole network with channels at zero


class _Masked(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Holds removed channels at zero after each operation, and takes statistics over the others."""

    def __init__(self, kept: Kept) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept, self._number = kept, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in SILENT:
            return func(*args, **kwargs)
        known = self._kept.trace.operations[self._number]
        self._number += 1
        shape, layers = known.inputs[0] if known.inputs else ((), ())
        mask = self._kept.mask(layers, shape) if name in _STATISTICS else None
        out = func(*args, **kwargs)
        if mask is not None:
            # Into the tensor that was made, since views behind it depend on how it lies in memory.
            next(tensors_in(out)).copy_(_STATISTICS[name](func, mask, args, kwargs))
        for tensor, whole, own in zip(tensors_in(out), known.shapes, known.layers, strict=True):
            stays = self._kept.mask(own, whole)
            if stays is not None and tensor.is_floating_point():
                tensor.masked_fill_(~stays, 0.0) if _is_own(tensor) else tensor.copy_(tensor * stays)
        return out


def _is_own(tensor: Tensor) -> bool:
    return all(stride or size <= 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def _normalised(image: Tensor, mask: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    count = mask.sum(dims, keepdim=True).clamp(min=1)
    mean = (image * mask).sum(dims, keepdim=True) / count
    variance = ((image - mean).square() * mask).sum(dims, keepdim=True) / count
    return (image - mean) * (variance + eps).rsqrt()


def _masked_layer_norm(func: Any, mask: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    image, shape, weight, bias, eps = args
    out = _normalised(image, mask, tuple(range(-len(shape), 0)), eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _masked_group_norm(func: Any, mask: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    image, weight, bias, _, channels, _, groups, eps = args
    folded = (image.shape[0], groups, -1)
    out = _normalised(image.reshape(folded), mask.reshape(folded), (2,), eps).reshape(image.shape)
    wide = (1, channels, *[1] * (image.dim() - 2))
    out = out if weight is None else out * weight.view(wide)
    return out if bias is None else out + bias.view(wide)


def _masked_mean(func: Any, mask: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wide = mask.to(args[0].dtype)
    share = func(wide, *args[1:], **kwargs)
    return func(args[0] * wide, *args[1:], **kwargs) / share.clamp(min=1 / max(1, math.prod(mask.shape)))


def _masked_largest(func: Any, mask: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return next(tensors_in(func(args[0].masked_fill(~mask, -math.inf), *args[1:], **kwargs)))


_STATISTICS = {
    "native_layer_norm": _masked_layer_norm,
    "native_group_norm": _masked_group_norm,
    "mean": _masked_mean,
    "amax": _masked_largest,
    "max": _masked_largest,
}


def _masked(network: nn.Module, inputs: tuple[Any, ...], kept: Kept) -> list[Tensor]:
    whole = copy.deepcopy(network).eval()
    for name, tensor in [*whole.named_parameters(), *whole.named_buffers()]:
        for dim in range(tensor.dim()):
            labels = kept.trace.labels.get((name, dim))
            if labels is not None and not (stays := kept.stays(labels)).all():
                tensor.index_fill_(dim, torch.from_numpy(np.flatnonzero(~stays)), 0.0)
    with _Masked(kept):
        outputs = whole(*inputs)
    return list(tensors_in(outputs))
