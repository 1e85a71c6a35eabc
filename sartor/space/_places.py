"""Which module was built where in the tree, and the tensors that each place owns."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from sartor.errors import SpaceError
from sartor.space._build import Builder
from sartor.space._compile import Call, Compiled, Compute, Entries, Items, Pick, PickOrder, PickSubset, Plan, Splice
from sartor.space._nodes import typed

_MAX_KEPT_BYTES = 2**27
"""Weights of modules that are kept while a store is laid out: 128 MiB."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the context the CPU's global generators of torch, of numpy and of Python start from ``seed``.

    They are put back as they were on leaving; those of accelerators are not touched.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@dataclass(frozen=True, eq=False)
class Owned:
    """A parameter, or a buffer of a normalisation, of a built network.

    Attributes:
        place: Of the partial that made the module it lies in.
        relative: Name below the module that the place made.
        module: Holds it.
        name: Its name there.
        tensor: Itself.
        is_buffer: Whether it is a buffer.
        shaped_like: Module and name of the tensor whose windows it takes: its own, or what it parametrises.
    """

    place: str
    relative: str
    module: nn.Module
    name: str
    tensor: Tensor
    is_buffer: bool
    shaped_like: tuple[nn.Module, str]

    @property
    def identity(self) -> tuple[str, int, int]:
        return self.relative, id(self.module), id(self.tensor)


class KeptModules:
    """Modules that are found again where a network differs little from those before, instead of being built anew.

    Only for learning which tensors there are: a receiver may have changed their values. A module whose tensors were
    replaced, added or tied by its receiver is not kept.
    """

    def __init__(self) -> None:
        self._modules: dict[Hashable, tuple[nn.Module, list[tuple[str, int, int]]]] = {}
        self._num_bytes = 0

    def key(
        self, place: str, number: int, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]
    ) -> Hashable | None:
        """Returns what a module follows from, None where that is more than plain values."""
        values = (*arguments, *keywords.values())
        if not isinstance(function, (type, FunctionType)) or not all(map(_is_plain, values)):
            return None
        return place, number, function, tuple(keywords), tuple(map(typed, values))

    def get(self, key: Hashable | None) -> nn.Module | None:
        """Returns the module of a key, None where it was not kept."""
        return self._modules[key][0] if key in self._modules else None

    def add(self, key: Hashable, module: nn.Module, place: str) -> None:
        """Keeps a module as it was made, while there is room."""
        owned = owned_tensors(module, {id(module): place})
        num_bytes = sum(each.tensor.numel() * each.tensor.element_size() for each in owned)
        if self._num_bytes + num_bytes <= _MAX_KEPT_BYTES:
            self._num_bytes += num_bytes
            self._modules[key] = module, [each.identity for each in owned]

    def check(self, keys: Mapping[str, Hashable], found: Sequence[Owned]) -> None:
        """Lets go of the modules of a network (place -> key) whose tensors are not those that they were made with."""
        by_place: dict[str, list[tuple[str, int, int]]] = {}
        for each in found:
            by_place.setdefault(each.place, []).append(each.identity)
        for place, key in keys.items():
            if key in self._modules and self._modules[key][1] != by_place.get(place, []):
                del self._modules[key]


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, type))


class PlacingBuilder(Builder):
    """Builds an architecture and keeps where each of its modules came from.

    A partial that its receiver calls several times makes one place each time. ``read`` has the slots that the partial
    of a place reads itself, its values and which modules it is given, without those that these read in turn.

    Args:
        compiled: The tree.
        codes: Code of every slot, -1 where inactive.
        numbers: Slot of a float range -> its value.
        kept: Modules of networks that were built before and are not needed any more; None builds all anew.
    """

    def __init__(
        self, compiled: Compiled, codes: Sequence[int], numbers: dict[int, float], kept: KeptModules | None = None
    ) -> None:
        super().__init__(compiled, codes, numbers)
        self._kept = kept
        self._keys: dict[str, Hashable] = {}
        self.places: dict[int, str] = {}
        self.read: dict[str, tuple[int, ...]] = {}
        self._made: list[nn.Module] = []
        self._calls: dict[str, int] = {}
        self._copies: dict[int, Any] = {}

    def call(self, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any], place: str) -> Any:
        number = self._calls.get(place, 0) + 1
        key = self._kept.key(place, number, function, arguments, keywords) if self._kept else None
        made = self._kept.get(key) if self._kept else None
        if made is None:
            made = super().call(function, arguments, keywords, place)
            if self._kept and key is not None and isinstance(made, nn.Module):
                self._kept.add(key, made, place)
        if isinstance(made, nn.Module) and id(made) not in self.places:
            self._calls[place] = number
            own = place if number == 1 else f"{place}#{number}"
            if key is not None:
                self._keys[own] = key
            self.places[id(made)] = own
            self.read[own] = self.read.get(place, ())
            self._made.append(made)  # an id must not be given away again
        return made

    def factory(self, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any], place: str) -> Any:
        def make(*more: Any, **named: Any) -> Any:
            return self.call(function, [*arguments, *more], {**keywords, **named}, place)

        # A receiver may look at what it was given: the function and the arguments stay readable.
        return _Factory(make, function, arguments, keywords)

    def fixed(self, value: Any) -> Any:
        # Its weights go to the store; the tree must keep its own, for the next network too.
        return copy.deepcopy(value, self._copies) if isinstance(value, nn.Module) else value

    def owned(self, network: nn.Module) -> list[Owned]:
        """Returns the tensors of the network that was built."""
        found = owned_tensors(network, self.places)
        if self._kept is not None:
            self._kept.check(self._keys, found)
        return found

    def _call(self, plan: Call, place: str) -> Any:
        self.read[place] = tuple(dict.fromkeys(slots_read(plan)))
        return super()._call(plan, place)


class _Factory(partial[Any]):
    """A partial whose calls are noticed."""

    _make: Callable[..., Any]

    def __new__(
        cls, make: Callable[..., Any], function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]
    ) -> _Factory:
        made = super().__new__(cls, function, *arguments, **keywords)
        made._make = make
        return made

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Any:
        return self._make(*arguments, **keywords)


def slots_read(plan: Call) -> Iterator[int]:
    """Yields the slots that decide a partial's arguments, but not those that partials among them read."""
    for _, argument in (*plan.arguments, *plan.keywords):
        yield from slots_above_calls(argument)


def slots_above_calls(plan: Plan) -> Iterator[int]:
    """Yields the slots of a plan that are not inside a partial of it."""
    match plan:
        case Pick(slot, options, _):
            yield slot
            for option in options:
                yield from slots_above_calls(option)
        case PickSubset(slot, items, _):
            yield slot
            for item in items:
                yield from slots_above_calls(item)
        case PickOrder(slot):
            yield slot
        case Splice(times, items):
            yield from slots_above_calls(times)
            for item in items:
                yield from slots_above_calls(item)
        case Compute(_, arguments):
            for argument in arguments:
                yield from slots_above_calls(argument)
        case Items(_, items):
            for item in items:
                yield from slots_above_calls(item)
        case Entries(entries):
            for _, entry in entries:
                yield from slots_above_calls(entry)


def owned_tensors(network: nn.Module, places: Mapping[int, str]) -> list[Owned]:
    """Returns all parameters and the buffers of normalisations; one held by two modules is listed for both."""
    found: list[Owned] = []
    seen: set[int] = set()
    parametrised: dict[int, tuple[nn.Module, str]] = {}

    def walk(module: nn.Module, place: str, relative: str) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        if id(module) in places:
            place, relative = places[id(module)], ""
        below = f"{relative}." if relative else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if is_lazy(parameter):
                    raise SpaceError(
                        f"{type(module).__name__} at {place.removeprefix('.') or 'the root'} has no shape before its "
                        "network runs, so that nothing can be shared: write the module with its input size instead"
                    )
                shaped_like = parametrised.get(id(module), (module, name))
                found.append(Owned(place, below + name, module, name, parameter, False, shaped_like))
        if isinstance(module, _NormBase):
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    found.append(Owned(place, below + name, module, name, buffer, True, (module, name)))
        originals = module._modules.get("parametrizations")
        if isinstance(originals, nn.ModuleDict):
            parametrised.update((id(held), (module, name)) for name, held in originals.items())
        for name, child in module._modules.items():
            if child is not None:
                walk(child, place, below + name)

    walk(network, "", "")
    return found
