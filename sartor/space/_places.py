"""Which module was built where in the tree, and the tensors that each place owns."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from sartor.space._build import Builder
from sartor.space._compile import Call, Compiled, Compute, Entries, Items, Pick, PickOrder, PickSubset, Plan, Splice


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


class PlacingBuilder(Builder):
    """Builds an architecture and keeps where each of its modules came from.

    A partial that its receiver calls several times makes one place each time. ``read`` has the slots that the partial
    of a place reads itself, its values and which modules it is given, without those that these read in turn.
    """

    def __init__(self, compiled: Compiled, codes: Sequence[int], numbers: dict[int, float]) -> None:
        super().__init__(compiled, codes, numbers)
        self.places: dict[int, str] = {}
        self.read: dict[str, tuple[int, ...]] = {}
        self._made: list[nn.Module] = []
        self._calls: dict[str, int] = {}
        self._copies: dict[int, Any] = {}

    def call(self, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any], place: str) -> Any:
        made = super().call(function, arguments, keywords, place)
        if isinstance(made, nn.Module) and id(made) not in self.places:
            number = self._calls[place] = self._calls.get(place, 0) + 1
            own = place if number == 1 else f"{place}#{number}"
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
                shaped_like = parametrised.get(id(module), (module, name))
                found.append(Owned(place, below + name, module, name, parameter, False, shaped_like))
        if isinstance(module, _NormBase):
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    found.append(Owned(place, below + name, module, name, buffer, True, (module, name)))
        if is_parametrized(module):
            originals: Any = module.parametrizations
            parametrised.update((id(held), (module, name)) for name, held in originals.items())
        for name, child in module.named_children():
            walk(child, place, below + name)

    walk(network, "", "")
    return found
