"""Weight sharing: one store of weights, and every architecture of a space on windows of it.

The store is addressed by place: where in the tree a module was made, and the tensor's name below it. An architecture's
own network is built once, stripped of its parameters, and run on windows of the store; so any module works unchanged,
and what is run is what would be built. Single-path weight sharing goes back to Guo et al. 2020, arXiv:1904.00420,
slicing to Yu et al. 2019 (slimmable networks, arXiv:1812.08928) and Cai et al. 2020 (Once-for-All, arXiv:1908.09791).
"""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sartor.errors import SpaceError, near
from sartor.space import _vary
from sartor.space._architecture import Architecture
from sartor.space._places import KeptModules, Owned, PlacingBuilder, seeded
from sartor.space._windows import WINDOWS, Window, plain_window, tiled

if TYPE_CHECKING:
    from sartor.space._space import Space

_MAX_SKELETONS = 256
"""Networks kept for reuse; they hold no weights."""
_MAX_COMBINATIONS = 256
"""Combinations of one place's choices that are built to learn which shapes there are."""
_MAX_PAIRED = 1_000
"""Values of two choices of a place, for all pairs of these, that are built where its combinations are more."""
_QUIET = 100
"""Random architectures in a row that must bring no new shape before all are taken to be known."""
_MAX_RANDOM = 2_000
_WITHOUT_DOTS = str.maketrans({".": "/", "/": "%2F", "%": "%25"})
"""Names of parameters hold no dots; a slash of a label is told apart from one that was a dot."""
_LIST_UP_TO = 256
"""Spaces of so few architectures are built in full instead."""


@dataclass(eq=False)
class _Skeleton:
    """An architecture's network without weights, and where each of them comes from.

    Attributes:
        network: The network.
        plan: Name in the store, what of the network holds the tensor, name there, and window (None for the whole).
    """

    network: nn.Module
    plan: list[tuple[str, dict[str, Any], str, Callable[[Tensor], Tensor] | None]]


@dataclass(frozen=True)
class SharedTensor:
    """One tensor of the store and who uses which part of it.

    Attributes:
        name: In the store.
        kind: Class of the module that holds it.
        shape: Of the tensor in the store.
        windows: Shapes in which it is used, in the order found.
        settings: Choices that its place reads -> values under which this tensor is used.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    windows: tuple[tuple[int, ...], ...]
    settings: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Sharing:
    """What a supernet shares; prints as a table."""

    tensors: tuple[SharedTensor, ...]

    def __str__(self) -> str:
        lines = []
        for tensor in self.tensors:
            shapes = sorted(tensor.windows, key=math.prod)
            used = [" x ".join(map(str, shape)) or "scalar" for shape in (tensor.shape, shapes[0])]
            used_in = f"{used[0]}, {len(shapes)} windows from {used[1]}" if len(shapes) > 1 else used[0]
            choices = [f"{key} in {', '.join(map(str, values))}" for key, values in tensor.settings.items()]
            when = f"  for {'; '.join(choices)}" if choices else ""
            lines.append(f"{tensor.name}  {tensor.kind}  {used_in}{when}")
        return "\n".join(lines)


@dataclass(eq=False)
class _Entry:
    """What is known of a tensor while the store is laid out."""

    tensor: Tensor
    owner: nn.Module
    is_buffer: bool
    requires_grad: bool
    windows: dict[tuple[int, ...], None] = field(default_factory=dict)
    settings: dict[str, dict[Any, None]] = field(default_factory=dict)
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=set)


class Supernet(nn.Module):
    """Weights for all architectures of a space; ``forward`` takes the architecture beside the inputs.

    Weights are stored by place. Options that are modules have weights of their own; values that only change shapes
    share: a smaller tensor is the leading part of the larger one, of a convolution's kernel the centre, of packed
    projections and gates the leading part of each. Values that rename parameters (a depth inside somebody's
    ``Sequential``) get weights of their own, unless they are named ``elastic``. `sharing` tells what shares what.

    Buffers of normalisations are stored and windowed too; other buffers belong to an architecture's network and are as
    they were built, the same in `child`: what training changes in them (estimates of a spectral norm) is not kept.
    Weight decay acts on whole stored tensors, also outside the window in use. Constructors must follow from their
    arguments: a module that was built with the same plain arguments at the same place is not built again to learn its
    shapes.

    Args:
        space: Whose architectures.
        part: Entry of a dict space, as for `Space.build`.
        elastic: Choices (keys or globs) that share weights by name although they add or remove some.
        separate: Choices whose values get weights of their own at the places that read them.
        windows: Module class -> function of (module, name, stored tensor, shape) giving the part of that shape, for
            modules whose leading part is not the smaller module's. `torch.nn.MultiheadAttention` and the recurrent
            networks and cells of torch need none.
        examples: Architectures to lay the store out for, beside those found by trying every option of every choice,
            every combination of choices that one place reads, and random ones until these bring nothing new.
        seed: Initial weights are those of the largest architecture built under this seed.

    Raises:
        SpaceError: Tensors that cannot share (named with both shapes), a key without a choice, or a tree that builds
            no module.

    Example:
        >>> from functools import partial
        >>> from sartor.space import OneOf, Space
        >>> space = Space(partial(nn.Linear, 4, out_features=OneOf(2, 3)))
        >>> supernet = space.supernet()
        >>> supernet(torch.zeros(1, 4), arch=space.architecture({"out_features": 2})).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        space: Space,
        part: str | None = None,
        elastic: Sequence[str] = (),
        separate: Sequence[str] = (),
        windows: Mapping[type[nn.Module], Window] | None = None,
        examples: Sequence[Mapping[str, Any]] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.space, self.seed, self._entry = space, seed, part
        self._windows = {**WINDOWS, **(windows or {})}
        self._elastic, self._separate = _slots_named(space, elastic), _slots_named(space, separate)
        self._signatures: dict[str, list[tuple[str, ...]]] = {}
        self._skeletons: OrderedDict[Architecture, _Skeleton] = OrderedDict()
        entries = self._lay_out([space.architecture(example) for example in examples])
        if not entries:
            raise SpaceError("a supernet needs a space that builds modules with weights")
        shared = []
        for name, entry in entries.items():
            if entry.is_buffer:
                self.register_buffer(name, entry.tensor)
            else:
                self.register_parameter(name, nn.Parameter(entry.tensor, entry.requires_grad))
            settings = {key: tuple(values) for key, values in entry.settings.items()}
            shape = tuple(entry.tensor.shape)
            shared.append(SharedTensor(name, type(entry.owner).__name__, shape, tuple(entry.windows), settings))
        self._sharing = Sharing(tuple(shared))

    # ---- layout

    def _lay_out(self, examples: Sequence[Architecture]) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        cover = _Cover(self.space)
        kept = KeptModules()
        for architecture in itertools.chain(cover, examples):
            builder, network = self._built(architecture, kept)
            cover.saw(builder)
            cover.is_new = False
            for name, owned in self._named(builder, network):
                cover.has_new_names |= name not in entries
                cover.is_new |= self._enter(entries, name, owned, builder)
        return entries

    def _enter(self, entries: dict[str, _Entry], name: str, owned: Owned, builder: PlacingBuilder) -> bool:
        """Notes one tensor of a built network; returns whether the store had to change for it."""
        shape = tuple(owned.tensor.shape)
        entry = entries.get(name)
        codes = tuple(builder.codes[slot] for slot in builder.read.get(owned.place, ()))
        if entry is not None:
            entry.requires_grad |= owned.tensor.requires_grad
            if (shape, codes) in entry.seen:
                return False
        tensor = owned.tensor.detach()
        is_new = entry is None
        if entry is None:
            entry = entries[name] = _Entry(tensor.clone(), owned.module, owned.is_buffer, owned.tensor.requires_grad)
        elif entry.tensor.dim() != tensor.dim():
            raise SpaceError(
                f"{name} has the shapes {tuple(entry.tensor.shape)} and {shape}, which cannot be shared: "
                "name the choice between them in separate="
            )
        else:
            largest = tuple(map(max, entry.tensor.shape, shape))
            if largest != tuple(entry.tensor.shape):
                grown = tiled(tensor, largest).clone()
                if largest != shape:  # neither is the larger: what is there stays
                    grown[tuple(map(slice, entry.tensor.shape))] = entry.tensor
                entry.tensor, entry.owner, is_new = grown, owned.module, True
        entry.windows.setdefault(shape)
        entry.seen.add((shape, codes))
        for slot, code in zip(builder.read.get(owned.place, ()), codes, strict=True):
            if code >= 0:
                key = self.space._compiled.slots[slot].key
                entry.settings.setdefault(key, {}).setdefault(self.space._compiled.slots[slot].domain[code])
        return is_new

    def _built(
        self, architecture: Mapping[str, Any], kept: KeptModules | None = None
    ) -> tuple[PlacingBuilder, nn.Module]:
        plan, place = self.space._part(self._entry)
        builder = PlacingBuilder(self.space._compiled, *self.space._parse(architecture), kept)
        with seeded(self.seed):
            network = builder.build(plan, place)
        if not isinstance(network, nn.Module):
            raise SpaceError(f"a supernet needs a space that builds a module, this one builds {network!r}")
        return builder, network

    def _named(self, builder: PlacingBuilder, network: nn.Module) -> Iterator[tuple[str, Owned]]:
        """Yields each tensor of a built network with its name in the store; a tensor of two modules has one name."""
        owned = builder.owned(network)
        by_place: dict[str, list[str]] = {}
        for each in owned:
            by_place.setdefault(each.place, []).append(f"{each.relative}:{each.tensor.dim()}")
        called = {
            place: self._place(place, tuple(signature), builder).removeprefix(".").translate(_WITHOUT_DOTS)
            for place, signature in by_place.items()
        }
        names: dict[int, str] = {}
        for each in owned:
            name = f"{called[each.place]}:{each.relative.translate(_WITHOUT_DOTS)}"
            yield names.setdefault(id(each.tensor), name), each

    def _place(self, place: str, signature: tuple[str, ...], builder: PlacingBuilder) -> str:
        """Returns the place as it is called in the store: apart from others of the tree that own other tensors."""
        read = builder.read.get(place, ())
        slots = self.space._compiled.slots
        apart = [slot for slot in read if slot in self._separate and builder.codes[slot] >= 0]
        if apart:
            settings = (f"{slots[slot].key}={slots[slot].domain[builder.codes[slot]]}" for slot in apart)
            place += f"{{{','.join(settings)}}}"
        if self._elastic.intersection(read):
            return place
        known = self._signatures.setdefault(place, [])
        if signature not in known:
            known.append(signature)
        number = known.index(signature)
        return f"{place}~{number}" if number else place

    # ---- use

    def _window_of(self, owned: Owned) -> Callable[[Tensor], Tensor]:
        """Returns what takes the part of a stored tensor that a network wants."""
        module, name = owned.shaped_like
        shape, is_trained = owned.tensor.shape, owned.tensor.requires_grad  # and not the tensor, which is to go
        window = next((self._windows[kind] for kind in type(module).__mro__ if kind in self._windows), plain_window)

        def part(stored: Tensor) -> Tensor:
            taken = window(module, name, stored, shape)
            if taken.shape != shape:
                raise SpaceError(
                    f"the window for {name} of {type(module).__name__} gives {tuple(taken.shape)} of the stored "
                    f"{tuple(stored.shape)}, its module needs {tuple(shape)}"
                )
            return taken if is_trained else taken.detach()

        return part

    def _stored(self, name: str, owned: Owned, architecture: Mapping[str, Any]) -> Tensor:
        stored = self._buffers.get(name) if owned.is_buffer else self._parameters.get(name)
        if (
            stored is None
            or stored.dim() != owned.tensor.dim()
            or any(large < small for large, small in zip(stored.shape, owned.tensor.shape, strict=True))
        ):
            has = "no such tensor" if stored is None else f"one of {tuple(stored.shape)}"
            raise SpaceError(
                f"the supernet was not laid out for {dict(architecture)}: {name} needs "
                f"{tuple(owned.tensor.shape)}, the store has {has}. Give this architecture in examples="
            )
        return stored

    def _prepared(self, architecture: Mapping[str, Any]) -> tuple[nn.Module, list[tuple[str, Owned, Tensor]]]:
        """Returns the architecture's network as the store is (device, precision, mode), and what it needs of it."""
        # What is kept must not be an inference tensor, which no later training could use.
        with torch.inference_mode(False):
            builder, network = self._built(architecture)
            found = [
                (name, owned, self._stored(name, owned, architecture)) for name, owned in self._named(builder, network)
            ]
            device = next(itertools.chain(self.parameters(), self.buffers())).device
            converted = (each.dtype for _, owned, each in found if each.dtype != owned.tensor.dtype)
            network.to(device=device, dtype=next(converted, None))
        network.train(self.training)
        return network, found

    def _skeleton(self, architecture: Architecture) -> _Skeleton:
        known = self._skeletons.get(architecture)
        if known is not None:
            self._skeletons.move_to_end(architecture)
            return known
        network, found = self._prepared(architecture)
        plan = []
        for name, owned, stored in found:
            is_frozen = stored.requires_grad and not owned.tensor.requires_grad
            is_whole = stored.shape == owned.tensor.shape and not is_frozen
            window = None if is_whole else self._window_of(owned)
            held: dict[str, Any] = owned.module._buffers if owned.is_buffer else owned.module._parameters
            held[owned.name] = None
            plan.append((name, held, owned.name, window))
        made = self._skeletons[architecture] = _Skeleton(network, plan)
        if len(self._skeletons) > _MAX_SKELETONS:
            self._skeletons.popitem(last=False)
        return made

    def network(self, arch: Mapping[str, Any]) -> nn.Module:
        """Returns the architecture's own network on windows of the store as they are now.

        Its parameters are windows, which neither an optimiser nor a copy can take (proxies, pruning and export want
        `child`). It is to be used at once: the next call for this architecture takes them again.

        Raises:
            SpaceError: Not of this space, or one that the store was not laid out for.
        """
        skeleton = self._skeleton(arch if isinstance(arch, Architecture) else self.space.architecture(arch))
        parameters, buffers = self._parameters, self._buffers
        # With gradients whatever the mode: torch rounds otherwise for tensors that require none.
        with torch.inference_mode(False):
            for name, held, own, window in skeleton.plan:
                stored = parameters.get(name)
                tensor: Any = buffers[name] if stored is None else stored
                held[own] = tensor if window is None else window(tensor)
        network = skeleton.network
        if network.training != self.training:
            network.train(self.training)
        return network

    def forward(self, *inputs: Any, arch: Mapping[str, Any], **keywords: Any) -> Any:
        """Returns what the network of ``arch`` gives for ``inputs``."""
        return self.network(arch)(*inputs, **keywords)

    def child(self, arch: Mapping[str, Any]) -> nn.Module:
        """Returns the architecture's stand-alone network with a copy of its weights: the same output to the last bit.

        Raises:
            SpaceError: Not of this space, or one that the store was not laid out for.
        """
        network, found = self._prepared(arch)
        with torch.inference_mode(False), torch.no_grad():
            for _, owned, stored in found:
                getattr(owned.module, owned.name).copy_(self._window_of(owned)(stored))
        return network

    def sharing(self) -> Sharing:
        """Returns which tensors there are, in which shapes and for which values each is used."""
        return self._sharing

    # ---- what nn.Module must be told

    def _apply(self, function: Callable[..., Any], recurse: bool = True) -> Self:
        self._skeletons.clear()  # their own buffers would stay behind
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_skeletons": OrderedDict()}

    def extra_repr(self) -> str:
        return f"{len(self._sharing.tensors)} tensors for {self.space!r}"


def _slots_named(space: Space, patterns: Sequence[str]) -> frozenset[int]:
    compiled = space._compiled
    found: set[int] = set()
    for pattern in patterns:
        keys = [key for key in compiled.by_key if fnmatch.fnmatchcase(key, pattern)]
        if not keys:
            raise SpaceError(f"no choice has the key {pattern!r}{near(pattern, space.keys)}")
        found.update(index for key in keys for index in compiled.by_key[key])
    return frozenset(found)


class _Cover:
    """Architectures from which the shapes of all are learned, the largest first.

    Attributes:
        is_new: To be set to whether the last one brought something new.
        has_new_names: To be set where it brought a tensor that none before had.
    """

    def __init__(self, space: Space) -> None:
        self._space = space._derived(space._constraints, None)
        self._slots = space._compiled.slots
        self._wishes = {index: _vary.by_size(slot.domain) for index, slot in enumerate(self._slots)}
        self._combinations: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
        self._seen: set[tuple[int, ...]] = set()
        self.is_new, self.has_new_names = True, False

    def saw(self, builder: PlacingBuilder) -> None:
        """Notes which combinations of choices the places of a built architecture read."""
        for read in builder.read.values():
            slots = tuple(slot for slot in read if self._slots[slot].kind == "choice")
            if len(slots) > 1:
                self._combinations.setdefault(slots, {})[tuple(builder.codes[slot] for slot in slots)] = None

    def __iter__(self) -> Iterator[Architecture]:
        try:
            if self._space._compiled.book.floats == () and self._space.count() <= _LIST_UP_TO:
                yield from self._new(self._forced({}))
                yield from self._space
                return
        except SpaceError:  # too many to count by hand
            pass
        yield from self._new(self._forced({}))
        for index, slot in enumerate(self._slots):
            if slot.kind == "choice" and len(slot.domain) <= _MAX_COMBINATIONS:
                for code in range(len(slot.domain)):
                    yield from self._new(self._forced({index: code}))
        yield from self._combined()
        rng = np.random.default_rng(0)
        quiet = 0
        for _ in range(_MAX_RANDOM):
            if quiet >= _QUIET:
                return
            yield self._space.sample_choices(rng)
            quiet = 0 if self.is_new else quiet + 1

    def _combined(self) -> Iterator[Architecture]:
        """Yields every combination of the choices of a place; where these are too many, of any two of them if these are
        few, with the largest of the others. What is built may have places that were not seen before: they are next.
        """
        tried: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        done: set[tuple[int, ...]] = set()
        while found := [slots for slots in self._combinations if slots not in done]:
            for slots in found:
                done.add(slots)
                if self._num_combinations(slots) <= _MAX_COMBINATIONS:
                    for codes in itertools.product(*(range(len(self._slots[slot].domain)) for slot in slots)):
                        if codes not in self._combinations[slots] and (slots, codes) not in tried:
                            yield from self._new(self._forced(self._with_others(slots, codes, tried)))
                    continue
                pairs = [pair for pair in itertools.combinations(slots, 2) if pair not in done]
                if sum(map(self._num_combinations, pairs)) <= _MAX_PAIRED:
                    done.update(pairs)
                    for pair in pairs:
                        yield from self._paired(pair, slots)

    def _paired(self, pair: tuple[int, int], slots: tuple[int, ...]) -> Iterator[Architecture]:
        """Yields every combination of two choices of a place; where one has tensors of its own, with each value of each
        other choice beside.
        """
        for codes in itertools.product(*(range(len(self._slots[slot].domain)) for slot in pair)):
            forced = dict(zip(pair, codes, strict=True))
            self.has_new_names = False
            yield from self._new(self._forced(forced))
            if self.has_new_names:
                for slot in slots:
                    for code in range(len(self._slots[slot].domain)) if slot not in pair else ():
                        yield from self._new(self._forced({**forced, slot: code}))

    def _num_combinations(self, slots: tuple[int, ...]) -> int:
        return math.prod(len(self._slots[slot].domain) for slot in slots)

    def _with_others(
        self, slots: tuple[int, ...], codes: tuple[int, ...], tried: set[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> dict[int, int]:
        """Returns one combination of a place, with open ones of places that can be beside it and share no choice."""
        forced = dict(zip(slots, codes, strict=True))
        tried.add((slots, codes))
        for others, seen in self._combinations.items():
            if self._num_combinations(others) > _MAX_COMBINATIONS or not forced.keys().isdisjoint(others):
                continue
            if self._above({**forced, **dict.fromkeys(others, 0)}) is None:
                continue
            for own in itertools.product(*(range(len(self._slots[slot].domain)) for slot in others)):
                if own not in seen and (others, own) not in tried:
                    tried.add((others, own))
                    forced |= zip(others, own, strict=True)
                    break
        return forced

    def _above(self, slots: Mapping[int, int]) -> dict[int, npt.NDArray[np.bool_]] | None:
        """Returns the codes that the options above must have for the choices to be active; None where not all can be.

        Of several ways to be active the first counts.

        Args:
            slots: Choices, with their codes.
        """
        found: dict[int, npt.NDArray[np.bool_]] = {}
        open_ = list(slots)
        for slot in open_:
            for source, mask in (self._slots[slot].when or ((),))[0]:
                allowed = np.frombuffer(bytes(mask), np.uint8)[:-1].astype(bool)
                if source in slots:
                    if not allowed[slots[source]]:
                        return None
                    continue
                if source not in found:
                    open_.append(source)
                found[source] = found.get(source, True) & allowed
                if not found[source].any():
                    return None
        return found

    def _new(self, architecture: Architecture | None) -> Iterator[Architecture]:
        if architecture is None:
            return
        codes = tuple(self._space._parse(architecture)[0])
        if codes not in self._seen:
            self._seen.add(codes)
            yield architecture

    def _forced(self, forced: Mapping[int, int]) -> Architecture | None:
        """Returns the largest legal architecture with these codes, as many of them as can hold, or None.

        Options that they lie under are wished for too: a code says nothing where its choice is not active.
        """
        wishes = dict(self._wishes)
        for slot, allowed in (self._above(forced) or {}).items():
            wishes[slot] = self._wishes[slot] + 1e3 * allowed
        for slot, code in forced.items():
            wish = np.zeros(len(self._slots[slot].domain))
            wish[code] = 1e3
            wishes[slot] = wish
        codes = _vary._nearest(self._space, wishes, {})
        if codes is None:
            raise SpaceError("no architecture satisfies the constraints: " + self._space._constraint_names())
        return _vary._finish(self._space, codes, {}, None)
