"""From an architecture to what the tree describes: partials called, choices replaced by what was chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sartor.space._calls import is_complete
from sartor.space._compile import (
    Call,
    Compiled,
    Compute,
    Entries,
    Fixed,
    Items,
    Pick,
    PickNumber,
    PickOrder,
    PickSubset,
    Plan,
    Splice,
)
from sartor.space._nodes import name_of


class _Spliced(list[Any]):
    """Repetitions on their way into a surrounding list or positional place."""


class Builder:
    """Builds one architecture. Weight sharing overrides `call` and `factory`, which are told the place, and `fixed`.

    A place is the path in the tree, with the labels of the options it lies under; unlike a key it does not restart at
    shared choices, so two uses of one shared choice are two places.

    Args:
        compiled: The tree.
        codes: Code of every slot, -1 where inactive.
        numbers: Slot of a float range -> its value.
    """

    def __init__(self, compiled: Compiled, codes: Sequence[int], numbers: dict[int, float]) -> None:
        self.compiled, self.codes, self.numbers = compiled, codes, numbers

    def call(self, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any], place: str) -> Any:
        """Returns the result of a complete partial."""
        try:
            return function(*arguments, **keywords)
        except Exception as error:
            error.add_note(f"while building {place or 'the root'}: {name_of(function)}")
            raise

    def factory(self, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any], place: str) -> Any:
        """Returns what is handed over for an incomplete partial, or for a recipe."""
        return partial(function, *arguments, **keywords)

    def fixed(self, value: Any) -> Any:
        """Returns what is handed over for a value without choices."""
        return value

    def build(self, plan: Plan, place: str = "") -> Any:
        """Returns what ``plan`` describes."""
        match plan:
            case Fixed(value):
                return self.fixed(value)
            case Pick(slot, options, node):
                code = self.codes[slot]
                return self.build(options[code], f"{place}[{node.labels[code]}]")
            case PickSubset(slot, items, node):
                taken: Any = self.compiled.slots[slot].domain
                names = node.names
                return {names[i]: self.build(items[i], f"{place}.{names[i]}") for i in taken.members(self.codes[slot])}
            case PickOrder(slot):
                return self.compiled.slots[slot].domain[self.codes[slot]]
            case PickNumber(slot):
                return self.numbers[slot]
            case Splice(times, items):
                count = self.build(times, f"{place}.times")
                return _Spliced(self.build(item, f"{place}.{i}") for i, item in enumerate(items[:count]))
            case Compute(function, arguments):
                return function(*(self.build(argument, place) for argument in arguments))
            case Items(kind, items):
                parts = self._spliced(items, place)
                if kind is list:
                    return parts
                return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
            case Entries(entries):
                return {name: self._whole(self.build(entry, f"{place}.{name}")) for name, entry in entries}
            case Call():
                return self._call(plan, place)

    def _call(self, plan: Call, place: str) -> Any:
        arguments: list[Any] = []
        for name, argument in plan.arguments:
            built = self.build(argument, f"{place}.{name}")
            if isinstance(built, _Spliced):
                arguments.extend(built)
            else:
                arguments.append(built)
        keywords = {
            name: self._whole(self.build(argument, f"{place}.{name}")) for name, argument in plan.keywords
        }
        if plan.recipe or not is_complete(plan.signature, arguments, keywords):
            return self.factory(plan.function, arguments, keywords, place)
        return self.call(plan.function, arguments, keywords, place)

    def _spliced(self, items: Sequence[Plan], place: str) -> list[Any]:
        parts: list[Any] = []
        for i, item in enumerate(items):
            built = self.build(item, f"{place}.{i}")
            if isinstance(built, _Spliced):
                parts.extend(built)
            else:
                parts.append(built)
        return parts

    @staticmethod
    def _whole(built: Any) -> Any:
        return list(built) if isinstance(built, _Spliced) else built
