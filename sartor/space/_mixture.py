"""The continuous relaxation of a space: every alternative at once, summed under weights.

Liu et al. 2019, "DARTS: Differentiable Architecture Search", arXiv:1806.09055, for any tree: an option that is a module
is a term of a sum; a value expands at the partial that receives it, one term for each combination; a number of
repetitions is a gate between a repetition and its input. The tree is relaxed, not its constraints: an architecture is
derived by `Space.argmax`, which respects them.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from sartor.errors import ShapesDifferError, SpaceError, near
from sartor.space._build import Builder, _Spliced
from sartor.space._compile import (
    Call,
    Compute,
    Entries,
    Items,
    Pick,
    PickNumber,
    PickOrder,
    PickSubset,
    Plan,
    Splice,
)
from sartor.space._constraints import Given, matches
from sartor.space._nodes import name_of
from sartor.space._places import seeded, slots_above_calls

if TYPE_CHECKING:
    from sartor.space._nodes import Label
    from sartor.space._space import Space

Weights: TypeAlias = "Mapping[str, Tensor | Mapping[Label, Tensor]]"
"""Key -> weights of its values in their order, ``[values]``; or only those present, value -> scalar."""
_Term: TypeAlias = tuple[tuple[int, int], ...]
"""Slots and codes under which an alternative is the one chosen."""
Around: TypeAlias = "Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]"
"""Given the factory of a mixed operation, returns the factory that its receiver calls instead."""


class _Frame:
    """The weights of the forward pass that is running.

    Attributes:
        values: Slot -> weight of each code, None where it is absent; None outside a forward pass.
        shares: Slot of a `Subset` -> factor of each item, where they were given.
        is_checking: Whether shapes are compared.
    """

    def __init__(self) -> None:
        self.values: dict[int, list[Tensor | None]] | None = None
        self.shares: dict[int, list[Tensor | None]] = {}
        self.is_checking = False

    def of(self, slot: int) -> list[Tensor | None]:
        """Returns the weights of a choice."""
        if self.values is None:
            raise SpaceError(
                "the weights of a mixture are there during its forward only: a part of it cannot be run, or "
                "checkpointed, by itself"
            )
        return self.values[slot]

    def weight(self, term: _Term) -> Tensor | None:
        """Returns the product of the weights of a term, None where one of them is absent."""
        product: Tensor | None = None
        for slot, code in term:
            weight = self.of(slot)[code]
            if weight is None:
                return None
            product = weight if product is None else product * weight
        return product


class _Transparent(nn.Module):
    """Stands where another module was expected: attributes that receivers read are those of what it holds."""

    def __init__(self, frame: _Frame) -> None:
        super().__init__()
        self.frame = frame

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or not self.__dict__.get("_modules"):
                raise
        return self.held(name)

    def held(self, name: str) -> Any:
        """Returns the attribute of what it holds."""
        (child,) = self._modules.values()
        return getattr(child, name)


class Mixed(_Transparent):
    """The weighted sum of alternatives; those whose weight is absent are not computed."""

    def __init__(
        self,
        frame: _Frame,
        keys: Sequence[str],
        labels: Sequence[str],
        terms: Sequence[_Term],
        alternatives: Sequence[nn.Module],
    ) -> None:
        super().__init__(frame)
        self.alternatives = nn.ModuleList(alternatives)
        self.keys, self.labels, self.terms = tuple(keys), tuple(labels), tuple(terms)

    @property
    def choice(self) -> str:
        """The choices between the alternatives, in words."""
        return " and ".join(self.keys)

    def _between(self, one: int, other: int) -> list[str]:
        """Returns the keys of the choices in which two alternatives differ."""
        pairs = zip(self.keys, self.terms[one], self.terms[other], strict=True)
        return [key for key, mine, theirs in pairs if mine != theirs]

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        total: Any = None
        shapes: list[tuple[int, Any]] = []
        for place, (term, alternative) in enumerate(zip(self.terms, self.alternatives, strict=True)):
            weight = self.frame.weight(term)
            if weight is None:
                continue
            output = alternative(*inputs, **keywords)
            if self.frame.is_checking:
                shapes.append((place, _shapes(output)))
                first = shapes[0][0]
                if shapes[0][1] != shapes[-1][1]:
                    raise ShapesDifferError(
                        f"the alternatives of {self.choice} cannot be mixed, their outputs differ in shape: "
                        f"{self.labels[first]} gives {shapes[0][1]}, {self.labels[place]} gives {shapes[-1][1]}",
                        self._between(first, place),
                    )
            total = _plus(total, output, weight)
        if total is None:
            raise SpaceError(f"no alternative of {self.choice} has a weight")
        return total

    def held(self, name: str) -> Any:
        """Returns the attribute, e.g. ``out_channels``, where all alternatives that have it agree."""
        values = {
            place: getattr(alternative, name)
            for place, alternative in enumerate(self.alternatives)
            if hasattr(alternative, name)
        }
        if not values:
            raise AttributeError(f"no alternative of {self.choice} has {name!r}")
        (first_place, first), *others = values.items()
        for place, value in others:
            if value is not first and (isinstance(value, Tensor) or value != first):
                said = ", ".join(f"{self.labels[each]} has {_described(value)}" for each, value in values.items())
                raise ShapesDifferError(
                    f"the alternatives of {self.choice} cannot be mixed, they differ in {name}: {said}",
                    self._between(first_place, place),
                )
        return first


class Gate(_Transparent):
    """A repetition that some values of ``times`` leave out: its output and its input, by their weights."""

    def __init__(self, frame: _Frame, name: str, slot: int, codes: Sequence[int], repetition: nn.Module) -> None:
        super().__init__(frame)
        self.repetition = repetition
        self.choice, self.slot, self.codes = name, slot, frozenset(codes)

    def forward(self, x: Any, *inputs: Any, **keywords: Any) -> Any:
        weights = self.frame.of(self.slot)
        inside = [weight for code, weight in enumerate(weights) if code in self.codes and weight is not None]
        outside = [weight for code, weight in enumerate(weights) if code not in self.codes and weight is not None]
        if not inside and not outside:
            raise SpaceError(f"no alternative of {self.choice} has a weight")
        total: Any = None
        if inside:
            output = self.repetition(x, *inputs, **keywords)
            if self.frame.is_checking and _shapes(output) != _shapes(x):
                raise ShapesDifferError(
                    f"{self.choice} cannot be mixed: leaving a repetition out needs equal shapes, it maps {_shapes(x)} "
                    f"to {_shapes(output)}",
                    [self.choice],
                )
            total = _plus(total, output, _sum(inside))
        return _plus(total, x, _sum(outside)) if outside else total


class Scaled(_Transparent):
    """An item of a `Subset`, times its share where shares are given."""

    def __init__(self, frame: _Frame, slot: int, position: int, item: nn.Module) -> None:
        super().__init__(frame)
        self.item, self.slot, self.position = item, slot, position

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        output = self.item(*inputs, **keywords)
        share = self.frame.shares.get(self.slot)
        if share is None:
            return output
        weight = share[self.position]
        return _plus(None, output, weight if weight is not None else torch.zeros(()))


def _sum(weights: Sequence[Tensor]) -> Tensor:
    total = weights[0]
    for weight in weights[1:]:
        total = total + weight
    return total


def _plus(total: Any, output: Any, weight: Tensor) -> Any:
    """Returns ``total + weight * output``, inside tuples and lists too."""
    if isinstance(output, Tensor):
        return output * weight if total is None else torch.addcmul(total, output, weight)
    if isinstance(output, (tuple, list)):
        parts = [_plus(None if total is None else total[i], part, weight) for i, part in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    raise SpaceError(f"alternatives that give {type(output).__name__} cannot be mixed: tensors, or tuples of them, can")


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (tuple, list)):
        return tuple(map(_shapes, value))
    return type(value).__name__


class Mixture(nn.Module):
    """All architectures of a space at once; ``forward`` takes the weights of the alternatives beside the inputs.

    An option that is a module is a term of a weighted sum. A value expands at the partial that receives it: one term
    for each combination of values, weighted by their product. A repetition that some values of ``times`` leave out is
    mixed with its input. Of a `Subset` all items are kept, and scaled where shares are given. Every alternative has
    weights of its own; a choice that is `Shared` is weighted alike wherever it is used. Choices narrowed by
    `Space.given` are not relaxed, nor are those above them that this decides; other constraints are not looked at
    before an architecture is derived by `Space.argmax`.

    Args:
        space: What is relaxed.
        example_inputs: Of the network; run once, so that alternatives which cannot be summed are refused here.
        part: Entry of a dict space, as for `Space.build`.
        max_combinations: Most terms into which values expand at one partial (those of a mobile bottleneck are up to
            108). Each is a module with weights of its own: memory and time of a step grow by as many times.
        seed: Of the initial weights.
        around: Is given the factory of each `OneOf` whose options wait for arguments of their receiver; what it returns
            is called by the receiver instead. So an operation may be mixed on other arguments than it is asked for.

    Raises:
        ShapesDifferError: Alternatives whose outputs or channels differ; the choice and the shapes are named.
        SpaceError: A value that no module receives, a float range without a given number, too many combinations.

    Attributes:
        choices: Key -> values, of the choices that ``forward`` needs weights for.
        subsets: Key -> labels of the items, of subsets that ``forward`` takes shares for.

    Example:
        >>> from functools import partial
        >>> from sartor.space import OneOf, Space
        >>> space = Space(partial(nn.Sequential, OneOf(linear=partial(nn.Linear, 4, 4), skip=partial(nn.Identity))))
        >>> mixture = space.mixture((torch.zeros(1, 4),))
        >>> mixture.choices
        {'0': ('linear', 'skip')}
        >>> mixture(torch.zeros(1, 4), weights={"0": torch.tensor([0.5, 0.5])}).shape
        torch.Size([1, 4])
    """

    def __init__(
        self,
        space: Space,
        example_inputs: Sequence[Any],
        part: str | None = None,
        max_combinations: int = 128,
        seed: int = 0,
        around: Around | None = None,
    ) -> None:
        super().__init__()
        if isinstance(example_inputs, Tensor):
            raise SpaceError("example_inputs are what the network is called with, a tuple: (x,) for one tensor x")
        self.space = space
        self.frame = _Frame()
        plan, place = space._part(part)
        with seeded(seed):
            network = _Relaxer(space, self.frame, max_combinations, around).build(plan, place)
        if not isinstance(network, nn.Module):
            raise SpaceError(f"a mixture needs a space that builds a module, this one builds {_kind(network)}")
        self.network = network
        slots: dict[int, None] = {}
        subsets: dict[int, None] = {}
        for module in network.modules():
            match module:
                case Mixed():
                    slots.update(dict.fromkeys(slot for term in module.terms for slot, _ in term))
                case Gate():
                    slots.setdefault(module.slot)
                case Scaled():
                    subsets.setdefault(module.slot)
        self._slots, self._subsets = self._by_key(slots), self._by_key(subsets)
        own = space._compiled.slots
        self.choices: dict[str, tuple[Label, ...]] = {
            key: tuple(own[slot].domain) for key, slot in self._slots.items()
        }
        self.subsets: dict[str, tuple[Label, ...]] = {
            key: own[slot].node.names for key, slot in self._subsets.items()
        }
        self._check(example_inputs)

    def _by_key(self, slots: Iterable[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for slot in sorted(slots):
            key = self.space._compiled.slots[slot].key
            if key in found:
                raise SpaceError(
                    f"two choices under different options have the key {key!r}; a mixture has both at once: name one "
                    "of them, Shared('name', ...)"
                )
            found[key] = slot
        return found

    def _check(self, example_inputs: Sequence[Any]) -> None:
        uniform = {key: torch.full((len(values),), 1 / len(values)) for key, values in self.choices.items()}
        self.frame.is_checking = True
        self.eval()
        try:
            with torch.no_grad():
                self(*example_inputs, weights=uniform)
        finally:
            self.frame.is_checking = False
            self.train()

    def forward(self, *inputs: Any, weights: Weights, **keywords: Any) -> Any:
        """Returns the output of the weighted network.

        Args:
            inputs: Of the network.
            weights: For each of ``choices`` a tensor ``[values]``, or value -> scalar tensor with only those that are
                to be computed. For each of ``subsets`` perhaps the same over its items.
            keywords: Of the network.

        Raises:
            SpaceError: Weights missing, of an unknown choice or value, or too few of them.
        """
        frame = self.frame
        for key in weights:
            if key not in self._slots and key not in self._subsets:
                raise SpaceError(f"the mixture has no choice {key!r}{near(key, (*self.choices, *self.subsets))}")
        values: dict[int, list[Tensor | None]] = {}
        for key, slot in self._slots.items():
            if key not in weights:
                raise SpaceError(f"the mixture needs weights of {key}: one for each of {list(self.choices[key])}")
            values[slot] = _listed(key, self.choices[key], weights[key])
        frame.shares = {
            slot: _listed(key, self.subsets[key], weights[key]) for key, slot in self._subsets.items() if key in weights
        }
        frame.values = values
        try:
            return self.network(*inputs, **keywords)
        finally:
            frame.values, frame.shares = None, {}


def _listed(key: str, labels: Sequence[Label], weights: Tensor | Mapping[Label, Tensor]) -> list[Tensor | None]:
    """Returns one weight for each value, None where it is absent."""
    if isinstance(weights, Tensor):
        if weights.shape != (len(labels),):
            raise SpaceError(f"{key} needs weights of shape ({len(labels)},), got {tuple(weights.shape)}")
        return list(weights.unbind())
    unknown = [label for label in weights if label not in labels]
    if unknown:
        raise SpaceError(f"{key} has no value {unknown[0]!r}{near(str(unknown[0]), map(str, labels))}")
    for label, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.dim():
            given = f"of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else repr(weight)
            raise SpaceError(f"{key} needs a tensor without dimensions for {label!r}, got one {given}")
    return [weights.get(label) for label in labels]


class _Relaxer(Builder):
    """Builds all alternatives; ``codes`` has those of the value choices that are being expanded, -1 elsewhere."""

    def __init__(self, space: Space, frame: _Frame, max_combinations: int, around: Around | None) -> None:
        compiled = space._compiled
        super().__init__(compiled, [-1] * len(compiled.slots), {})
        self.frame, self.max_combinations, self.around = frame, max_combinations, around
        self._copies: dict[int, Any] = {}
        self._numbers = dict(space._rules.fixed)
        for constraint in space._constraints:
            if isinstance(constraint, Given):
                for key in matches(constraint.key, list(compiled.by_key)):
                    for slot in compiled.by_key[key]:
                        code = compiled.slots[slot].domain.code(constraint.value)
                        if compiled.slots[slot].kind == "choice" and code is not None:
                            self.codes[slot] = code  # type: ignore[index]
                    if key == constraint.key and len(compiled.by_key[key]) == 1:
                        self._decide_above(compiled.by_key[key][0])

    def _decide_above(self, slot: int) -> None:
        """Takes as chosen what the choices above one must be for it to be there, where one value alone does."""
        when = self.compiled.slots[slot].when
        for above, mask in when[0] if when is not None and len(when) == 1 else ():
            codes = [code for code in range(self.compiled.slots[above].num_values) if mask[code]]
            if self.compiled.slots[above].kind == "choice" and len(codes) == 1:
                self.codes[above] = codes[0]  # type: ignore[index]
            self._decide_above(above)

    def fixed(self, value: Any) -> Any:
        return copy.deepcopy(value, self._copies) if isinstance(value, nn.Module) else value

    def build(self, plan: Plan, place: str = "") -> Any:
        match plan:
            case Pick(slot, options, node) if self.codes[slot] < 0:
                return self._pick(slot, options, [str(label) for label in node.labels], place)
            case PickSubset(slot, items, node) if self.codes[slot] < 0:
                return {
                    name: self._scaled(slot, i, self.build(item, f"{place}.{name}"))
                    for i, (name, item) in enumerate(zip(node.names, items, strict=True))
                }
            case PickOrder(slot) if self.codes[slot] < 0:
                raise self._unread(slot)
            case PickNumber(slot):
                key = self.compiled.slots[slot].key
                if key not in self._numbers:
                    raise SpaceError(f"{key} is a float range, which a mixture cannot relax: give it a number first")
                return self._numbers[key]
            case Splice(times, items):
                return self._repeated(times, items, place)
            case _:
                return super().build(plan, place)

    def _key(self, slot: int) -> str:
        return self.compiled.slots[slot].key

    def _unread(self, slot: int) -> SpaceError:
        return SpaceError(f"{self._key(slot)} is a value that no module receives, which a mixture cannot relax")

    def _pick(self, slot: int, options: Sequence[Plan], labels: Sequence[str], place: str) -> Any:
        if not any(map(_makes_module, options)):
            raise self._unread(slot)
        built = [self.build(option, f"{place}[{label}]") for option, label in zip(options, labels, strict=True)]
        mixed = self._mixed([self._key(slot)], labels, [((slot, code),) for code in range(len(built))], built)
        return mixed if self.around is None or isinstance(mixed, nn.Module) else self.around(mixed)

    def _mixed(
        self, own: Sequence[str], labels: Sequence[str], terms: Sequence[_Term], built: Sequence[Any]
    ) -> Any:
        if all(isinstance(each, nn.Module) for each in built):
            return Mixed(self.frame, own, labels, terms, built)
        if all(map(callable, built)):
            # A receiver calls what waits for arguments, and takes modules among the alternatives as they are.
            def make(*arguments: Any, **keywords: Any) -> Any:
                made = [each if isinstance(each, nn.Module) else each(*arguments, **keywords) for each in built]
                return self._mixed(own, labels, terms, made)

            return make
        kinds = ", ".join(f"{label}: {_kind(each)}" for label, each in zip(labels, built, strict=True))
        raise SpaceError(
            f"the alternatives of {' and '.join(own)} cannot be mixed, all must be modules or what waits for "
            f"arguments: {kinds}"
        )

    def _scaled(self, slot: int, position: int, item: Any) -> Any:
        if isinstance(item, nn.Module):
            return Scaled(self.frame, slot, position, item)
        if callable(item):
            return lambda *arguments, **keywords: self._scaled(slot, position, item(*arguments, **keywords))
        return item

    def _repeated(self, times: Plan, items: Sequence[Plan], place: str) -> Any:
        slots = [slot for slot in dict.fromkeys(slots_above_calls(times)) if self.codes[slot] < 0]
        if not slots:
            return super().build(Splice(times, tuple(items)), place)
        (slot,) = slots  # times is computed from one choice
        counts: list[int] = []
        for code in range(self.compiled.slots[slot].num_values):
            with self._expanded({slot: code}):
                counts.append(self.build(times, place))
        parts = _Spliced()
        for i, item in enumerate(items[: max(counts)]):
            inside = [code for code, count in enumerate(counts) if count > i]
            built = self.build(item, f"{place}.{i}")
            parts.append(built if len(inside) == len(counts) else self._gated(slot, inside, built))
        return parts

    def _gated(self, slot: int, inside: Sequence[int], built: Any) -> Any:
        if isinstance(built, nn.Module):
            return Gate(self.frame, self._key(slot), slot, inside, built)
        if callable(built):
            return lambda *arguments, **keywords: self._gated(slot, inside, built(*arguments, **keywords))
        raise SpaceError(f"{self._key(slot)} repeats {_kind(built)}, which a mixture cannot leave out: modules it can")

    def _call(self, plan: Call, place: str) -> Any:
        arguments = (argument for _, argument in (*plan.arguments, *plan.keywords))
        received = (slot for argument in arguments for slot in _slots_of_values(argument))
        own = [slot for slot in dict.fromkeys(received) if self.codes[slot] < 0]
        if not own:
            return super()._call(plan, place)
        domains = [self.compiled.slots[slot].domain for slot in own]
        keys = [self._key(slot) for slot in own]
        number = math.prod(map(len, domains))
        if number > self.max_combinations:
            raise SpaceError(
                f"{name_of(plan.function)} at {place.removeprefix('.') or 'the root'} receives {', '.join(keys)}: "
                f"{number:,} combinations, more than max_combinations={self.max_combinations}; narrow them by given()"
            )
        built, terms, labels = [], [], []
        for codes in itertools.product(*(range(len(domain)) for domain in domains)):
            with self._expanded(dict(zip(own, codes, strict=True))):
                built.append(super()._call(plan, place))
            terms.append(tuple(zip(own, codes, strict=True)))
            values = (f"{key}={domain[code]}" for key, domain, code in zip(keys, domains, codes, strict=True))
            labels.append(", ".join(values))
        if not any(isinstance(each, nn.Module) or callable(each) for each in built):
            raise SpaceError(f"{', '.join(keys)}: {name_of(plan.function)} makes {_kind(built[0])}, no module")
        return self._mixed(keys, labels, terms, built)

    @contextlib.contextmanager
    def _expanded(self, codes: Mapping[int, int]) -> Iterator[None]:
        """Within the context these values are taken as chosen."""
        before = self.codes
        self.codes = [codes.get(slot, code) for slot, code in enumerate(before)]
        try:
            yield
        finally:
            self.codes = before


def _makes_module(plan: Plan) -> bool:
    """Whether a module comes out of a plan somewhere; a function is taken to make one."""
    match plan:
        case Call(function, _, _, recipe):
            return not recipe and (not isinstance(function, type) or issubclass(function, nn.Module))
        case Pick(_, options, _):
            return any(map(_makes_module, options))
        case PickSubset(_, items, _) | Splice(_, items) | Items(_, items):
            return any(map(_makes_module, items))
        case Entries(entries):
            return any(_makes_module(entry) for _, entry in entries)
        case _:
            return False


def _slots_of_values(plan: Plan) -> Iterator[int]:
    """Yields the slots of what a partial receives as values, beside modules too."""
    match plan:
        case Items(_, items) | Splice(_, items) if _makes_module(plan):
            for item in items:
                yield from _slots_of_values(item)
        case Entries(entries) if _makes_module(plan):
            for _, entry in entries:
                yield from _slots_of_values(entry)
        case _ if not _makes_module(plan):
            yield from _slots_in(plan)


def _slots_in(plan: Plan) -> Iterator[int]:
    """Yields all slots of a plan."""
    match plan:
        case Pick(slot, options, _):
            yield slot
            parts = options
        case PickSubset(slot, items, _):
            yield slot
            parts = items
        case PickOrder(slot):
            yield slot
            parts = ()
        case Splice(times, items):
            parts = (times, *items)
        case Compute(_, arguments):
            parts = arguments
        case Items(_, items):
            parts = items
        case Entries(entries):
            parts = tuple(entry for _, entry in entries)
        case Call(_, named, keywords, _):
            parts = tuple(part for _, part in (*named, *keywords))
        case _:
            parts = ()
    for part in parts:
        yield from _slots_in(part)


def _described(value: Any) -> str:
    return f"a tensor of {tuple(value.shape)}" if isinstance(value, Tensor) else str(value)


def _kind(value: Any) -> str:
    if isinstance(value, partial):
        return f"partial({name_of(value)}, ...), which lacks arguments"
    return name_of(value) if isinstance(value, type) else type(value).__name__
