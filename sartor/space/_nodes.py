"""The words a search space is written in: choices, repeats, shared and derived values.

They are plain descriptions. `sartor.space.Space` gives them meaning; until then nothing is sampled or built.
"""

from __future__ import annotations

import inspect
import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeAlias

from sartor.errors import SpaceError

Label: TypeAlias = "bool | int | float | str | None | tuple[Label, ...]"
"""The name of an option in an architecture: what JSON can carry, lists as tuples."""


def as_label(value: object) -> Label:
    """Returns ``value`` as a label: lists as tuples, numpy scalars as Python numbers.

    Raises:
        TypeError: When JSON could not carry it (an object, a not-a-number).
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no JSON form")
        return float(value)
    if isinstance(value, (list, tuple)):
        return tuple(as_label(item) for item in value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return as_label(value.item())
    raise TypeError(f"{value!r} has no JSON form")


def typed(label: object) -> object:
    """Returns a key under which labels are equal only when their types are too: 1, 1.0 and True are three labels."""
    if isinstance(label, tuple):
        return (tuple, *(typed(item) for item in label))
    return (type(label), label)


class _Node:
    """What all words have in common: arithmetic on them is refused unless the choice has a name."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        word = type(self).__name__
        raise SpaceError(
            f"arithmetic on a bare {word}: the result would not follow the choice. Name it, "
            f"then compute from the name: Shared('name', {word}(...)) * 2, or Derived(function, shared)"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = _refuse
    __int__ = __float__ = __index__ = _refuse  # type: ignore[assignment]


class OneOf(_Node):
    """One of several options, which may themselves hold choices.

    Args:
        options: Values, functions, classes or partials. Their labels are the values themselves, or the function's name
            (with its fixed arguments where the name alone is not distinct).
        labelled: Options with the label they have in an architecture: the literature's operation names.

    Raises:
        SpaceError: No option; labels that are not distinct or have no JSON form; a bare ``nn.Module`` class beside
            partials.

    Example:
        >>> OneOf(3, 5, 7).labels
        (3, 5, 7)
    """

    __slots__ = ("labels", "options")

    def __init__(self, *options: Any, **labelled: Any) -> None:
        self.options: tuple[Any, ...] = (*options, *labelled.values())
        if not self.options:
            raise SpaceError("OneOf needs at least one option")
        _refuse_bare_modules(self.options)
        labels = [_label_of(option) for option in options] + list(labelled)
        keys = [typed(label) for label in labels]
        for position, option in enumerate(options):
            if isinstance(option, partial) and keys.count(keys[position]) > 1:
                labels[position] = f"{labels[position]}({_fixed_arguments(option)})"
        if len({typed(label) for label in labels}) < len(labels):
            raise SpaceError(f"the options of a OneOf must be distinct, got {labels}; label them: OneOf(a=..., b=...)")
        self.labels: tuple[Label, ...] = tuple(labels)

    def __repr__(self) -> str:
        return f"OneOf({', '.join(map(repr, self.labels))})"


class IntRange(OneOf):
    """One of the integers from ``low`` to ``high``, both included.

    Args:
        low: Smallest.
        high: Largest.
        step: Distance between neighbours, on a linear scale.
        log: Space them evenly in the logarithm instead.
        num: How many on a logarithmic scale before rounding makes some equal (9 unless given).

    Raises:
        SpaceError: An empty range, or arguments that contradict each other.

    Example:
        >>> IntRange(16, 512, log=True, num=6).labels
        (16, 32, 64, 128, 256, 512)
    """

    __slots__ = ("high", "log", "low", "num", "step")

    def __init__(self, low: int, high: int, step: int = 1, log: bool = False, num: int | None = None) -> None:
        if high < low or step < 1 or (num is not None and num < 1):
            raise SpaceError(f"IntRange needs low <= high, step >= 1 and num >= 1, got {low}, {high}, {step}, {num}")
        if log and (low < 1 or step != 1):
            raise SpaceError(f"a logarithmic IntRange starts at 1 or above and takes num instead of step, got {low}")
        if num is not None and not log:
            raise SpaceError("num goes with log=True; on a linear scale give the step")
        if log:
            count = num or 9
            ratio = math.log(high / low) / max(count - 1, 1)
            values = sorted({round(low * math.exp(ratio * index)) for index in range(count)})
        else:
            values = list(range(low, high + 1, step))
        super().__init__(*values)
        self.low, self.high, self.step, self.log, self.num = low, high, step, log, num


class Subset(_Node):
    """A combination of items, without order; items may hold choices of their own. Builds ``{label: value}``.

    Args:
        options: Items; in a mapping the keys are their labels, in a sequence their positions are.
        size: How many are taken, or the sizes that are allowed.

    Raises:
        SpaceError: A size that cannot be taken, labels without a JSON form.

    Example:
        >>> Subset(["a", "b", "c"], size=2).sizes
        (2,)
    """

    __slots__ = ("items", "names", "sizes")

    def __init__(self, options: Sequence[Any] | Mapping[Any, Any], size: int | Iterable[int]) -> None:
        names = list(options) if isinstance(options, Mapping) else range(len(options))
        self.items: tuple[Any, ...] = tuple(options.values() if isinstance(options, Mapping) else options)
        _refuse_bare_modules(self.items)
        try:
            self.names: tuple[Label, ...] = tuple(as_label(name) for name in names)
        except TypeError as error:
            raise SpaceError(f"the labels of a Subset are strings, numbers or tuples of them: {error}") from error
        self.sizes: tuple[int, ...] = (size,) if isinstance(size, int) else tuple(sorted(set(size)))
        if not self.sizes or any(not 0 <= each <= len(self.items) for each in self.sizes):
            raise SpaceError(f"a Subset of {len(self.items)} items takes sizes from 0 to that, got {list(self.sizes)}")

    def __repr__(self) -> str:
        return f"Subset({list(self.names)}, size={list(self.sizes)})"


class Permutation(_Node):
    """An order of distinct plain values. Builds a tuple.

    Raises:
        SpaceError: Items that are equal or have no JSON form.
    """

    __slots__ = ("items",)

    def __init__(self, *items: Any) -> None:
        try:
            self.items: tuple[Label, ...] = tuple(as_label(item) for item in items)
        except TypeError as error:
            raise SpaceError(f"a Permutation orders plain values: {error}") from error
        if not items or len({typed(item) for item in self.items}) < len(items):
            raise SpaceError(f"a Permutation needs distinct items, got {list(items)}")

    def __repr__(self) -> str:
        return f"Permutation({', '.join(map(repr, self.items))})"


class FloatRange(_Node):
    """A real number between ``low`` and ``high``: sampled (evenly in its logarithm with ``log``), but not counted."""

    __slots__ = ("high", "log", "low")

    def __init__(self, low: float, high: float, log: bool = False) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high) or (log and low <= 0):
            raise SpaceError(f"FloatRange needs low < high, above zero where log=True, got {low}, {high}, log={log}")
        self.low, self.high, self.log = float(low), float(high), log

    def value(self, share: float) -> float:
        """Returns the number at ``share`` (0 to 1) of the way from low to high."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def share(self, value: float) -> float:
        """Returns how far ``value`` is on the way from low (0) to high (1): the inverse of `value`."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def __repr__(self) -> str:
        return f"FloatRange({self.low:g}, {self.high:g}{', log=True' if self.log else ''})"


class _Named(_Node):
    """Values that follow a named choice: arithmetic on them gives another."""

    __slots__ = ()

    def _undecided(self) -> NoReturn:
        raise SpaceError(f"{self!r} has no value before an architecture is built: use Derived(int, shared)")

    __int__ = __float__ = __index__ = _undecided  # type: ignore[assignment]

    def __add__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.add, self, other)

    def __radd__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.add, other, self)

    def __sub__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.sub, other, self)

    def __mul__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.mod, other, self)

    def __pow__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Derived:  # type: ignore[override]
        return Derived(operator.pow, other, self)

    def __neg__(self) -> Derived:  # type: ignore[override]
        return Derived(operator.neg, self)

    def __abs__(self) -> Derived:  # type: ignore[override]
        return Derived(operator.abs, self)


class Shared(_Named):
    """One choice wherever its name appears; its key in an architecture is the name, and paths restart there.

    Sharing is by name, never by object. Two places may differ in fixed arguments, not in choices. Choices are shared,
    weights are not. Arithmetic gives a `Derived`: ``width * 2``.

    Args:
        name: Unique in the space.
        node: Holds the choices.
    """

    __slots__ = ("name", "node")

    def __init__(self, name: str, node: Any) -> None:
        if not isinstance(name, str) or not name:
            raise SpaceError(f"a Shared needs a name, got {name!r}")
        self.name, self.node = name, node

    def __repr__(self) -> str:
        return f"Shared({self.name!r}, {self.node!r})"


class Derived(_Named):
    """A value computed from shared choices when the network is built.

    Args:
        function: Called with the values of ``arguments``; importable if the space is to be pickled.
        arguments: `Shared` or `Derived` values; anything without choices is passed as it is.

    Raises:
        SpaceError: A bare choice among the arguments: nothing else could refer to it.
    """

    __slots__ = ("arguments", "function")

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        if not callable(function):
            raise SpaceError(f"Derived needs a function first, got {function!r}")
        for argument in arguments:
            if holds_choice(argument) and not isinstance(argument, _Named):
                raise SpaceError(f"Derived computes from shared choices; name this one: Shared('name', {argument!r})")
        if not any(isinstance(argument, _Named) for argument in arguments):
            raise SpaceError("Derived needs at least one Shared to compute from")
        self.function, self.arguments = function, arguments

    def __repr__(self) -> str:
        return f"Derived({name_of(self.function)}, {', '.join(map(repr, self.arguments))})"


class Repeat(_Node):
    """A part several times over; each repetition chooses for itself.

    Spliced into a list or a positional place; a list where it is a keyword argument.

    Args:
        node: What is repeated.
        times: A number, a `OneOf` of numbers, or a `Shared` one (or computed from one `Shared`).
    """

    __slots__ = ("node", "times")

    def __init__(self, node: Any, times: int | OneOf | Shared | Derived) -> None:
        if isinstance(times, bool) or not isinstance(times, (int, OneOf, Shared, Derived)):
            raise SpaceError(f"times is a number, a OneOf of numbers or a Shared one, got {times!r}")
        self.node, self.times = node, times

    def __repr__(self) -> str:
        return f"Repeat({self.node!r}, times={self.times!r})"


class Factory(_Node):
    """Hands a complete partial over uncalled: ``act=Factory(partial(nn.LeakyReLU, 0.2))``."""

    __slots__ = ("node",)

    def __init__(self, node: partial[Any]) -> None:
        if not isinstance(node, partial):
            raise SpaceError(f"Factory takes a partial, got {node!r}; other values are handed over as they are anyway")
        self.node = node

    def __repr__(self) -> str:
        return f"Factory({self.node!r})"


NODES = (OneOf, Subset, Permutation, FloatRange, Repeat, Shared, Derived, Factory)
CHOICES = (OneOf, Subset, Permutation, FloatRange)


def holds_choice(value: object) -> bool:
    """Whether anything in ``value`` is undecided."""
    if isinstance(value, (*CHOICES, Repeat, Shared, Derived)):
        return True
    if isinstance(value, Factory):
        return holds_choice(value.node)
    if isinstance(value, partial):
        return any(map(holds_choice, value.args)) or any(map(holds_choice, value.keywords.values()))
    if isinstance(value, (list, tuple)):
        return any(map(holds_choice, value))
    if isinstance(value, dict):
        return any(map(holds_choice, value.values()))
    return False


def name_of(function: object) -> str:
    """Returns the qualified name of a function or class, without its module."""
    if isinstance(function, partial):
        return name_of(function.func)
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def _label_of(option: object) -> Label:
    if isinstance(option, Shared):
        return option.name
    if isinstance(option, Factory):
        return _label_of(option.node)
    if isinstance(option, partial):
        return name_of(option.func).rpartition(".")[2]
    if isinstance(option, Repeat):
        return "Repeat"
    if isinstance(option, type) or inspect.isroutine(option):
        return name_of(option).rpartition(".")[2]
    if holds_choice(option):
        raise SpaceError(f"an option that is itself {type(option).__name__} needs a label: OneOf(label={option!r})")
    try:
        return as_label(option)
    except TypeError as error:
        raise SpaceError(f"an option needs a label that JSON can carry: {error}; write OneOf(label=...)") from error


def _fixed_arguments(option: partial[Any]) -> str:
    given = [repr(value) for value in option.args if not holds_choice(value)]
    given += [f"{name}={value!r}" for name, value in option.keywords.items() if not holds_choice(value)]
    return ", ".join(given)


def _refuse_bare_modules(options: Sequence[object]) -> None:
    torch = sys.modules.get("torch")
    if torch is None or not any(isinstance(option, (partial, Factory, Repeat, Shared)) for option in options):
        return
    for option in options:
        if isinstance(option, type) and issubclass(option, torch.nn.Module):
            raise SpaceError(
                f"{option.__name__} is a bare class beside partials and would be handed over uncalled; "
                f"write partial({option.__name__}) to have one built"
            )
