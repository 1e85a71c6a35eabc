"""A space in words: printed as a tree, described as JSON, compared with another."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sartor.space._calls import argument_names
from sartor.space._compile import Compiled, Slot
from sartor.space._domains import Combinations, Domain, Interval, Orders
from sartor.space._nodes import (
    Derived,
    Factory,
    FloatRange,
    IntRange,
    OneOf,
    Permutation,
    Repeat,
    Shared,
    Subset,
    as_label,
    holds_choice,
    name_of,
)

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe(value: object) -> Any:
    """Returns a tree as JSON that is the same in every process: functions by name, no addresses."""
    match value:
        case Shared():
            return {"shared": value.name, "node": describe(value.node)}
        case IntRange():
            return {"integers": [value.low, value.high], "step": value.step, "log": value.log, "num": value.num}
        case OneOf():
            options = zip(value.labels, value.options, strict=True)
            return {"one of": [[label, None if _is_plain(option) else describe(option)] for label, option in options]}
        case Subset():
            items = zip(value.names, value.items, strict=True)
            return {"subset of": [[name, describe(item)] for name, item in items], "sizes": list(value.sizes)}
        case Permutation():
            return {"order of": list(value.items)}
        case FloatRange():
            return {"between": [value.low, value.high], "log": value.log}
        case Repeat():
            return {"repeat": describe(value.node), "times": describe(value.times)}
        case Derived():
            return {"derived": name_of(value.function), "from": [describe(argument) for argument in value.arguments]}
        case Factory():
            return {"recipe": describe(value.node)}
        case partial():
            names = [*argument_names(value), *value.keywords]
            parts = [*value.args, *value.keywords.values()]
            return {"call": name_of(value.func), "with": [[n, describe(p)] for n, p in zip(names, parts, strict=True)]}
        case list() | tuple():
            return [describe(item) for item in value]
        case dict():
            return {"entries": [[describe(name), describe(item)] for name, item in value.items()]}
    if _is_plain(value):
        return as_label(value)
    if isinstance(value, type) or inspect.isroutine(value):
        return {"name": name_of(value)}
    if isinstance(value, enum.Enum):
        return {"name": str(value)}
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {"value": name_of(type(value)), "with": [[f.name, describe(getattr(value, f.name))] for f in fields]}
    text = repr(value)
    return {"value": name_of(type(value)) if _ADDRESS.search(text) else text}


def _is_plain(value: object) -> bool:
    try:
        as_label(value)
    except TypeError:
        return False
    return True


def values_in_words(domain: Domain) -> str:
    """Returns the values of a choice in a few words."""
    match domain:
        case Combinations():
            sizes = " or ".join(map(str, domain.sizes))
            if len(domain.sizes) > 3:
                sizes = f"{domain.sizes[0]} to {domain.sizes[-1]}"
            return f"{sizes} of {', '.join(map(str, domain.names))}"
        case Orders():
            return f"an order of {', '.join(map(str, domain.items))}"
        case Interval():
            return f"{domain.low:g} to {domain.high:g}{' (log)' if domain.log else ''}"
    labels = list(map(str, domain))
    if len(labels) > 12:
        labels = [*labels[:5], f"... {len(labels)} values ...", *labels[-2:]]
    return " | ".join(labels)


class _Printer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shared: dict[str, Shared] = {}

    def add(self, depth: int, head: str, text: str) -> None:
        self.lines.append("  " * depth + (f"{head}: {text}" if head else text))

    def value(self, value: object, depth: int, head: str) -> None:
        if not holds_choice(value):
            self.add(depth, head, _short(value))
            return
        match value:
            case Shared():
                self.shared.setdefault(value.name, value)
                self.add(depth, head, f"= {value.name}")
            case Derived():
                for shared in _shared_in(value):
                    self.shared.setdefault(shared.name, shared)
                self.add(depth, head, f"= {_formula(value)}")
            case IntRange():
                self.add(depth, head, _integers(value))
            case OneOf():
                if not any(map(holds_choice, value.options)):
                    self.add(depth, head, " | ".join(_labels(value)))
                    return
                self.add(depth, head, "one of")
                for label, option in zip(value.labels, value.options, strict=True):
                    same = isinstance(option, partial) and str(label) == name_of(option.func).rpartition(".")[2]
                    self.value(option, depth + 1, "|" if same else f"| {label}")
            case Subset():
                sizes = " or ".join(map(str, value.sizes))
                if len(value.sizes) > 3:
                    sizes = f"{value.sizes[0]} to {value.sizes[-1]}"
                if not any(map(holds_choice, value.items)):
                    self.add(depth, head, f"{sizes} of {', '.join(map(str, value.names))}")
                    return
                self.add(depth, head, f"{sizes} of")
                for name, item in zip(value.names, value.items, strict=True):
                    self.value(item, depth + 1, str(name))
            case Permutation():
                self.add(depth, head, f"an order of {', '.join(map(str, value.items))}")
            case FloatRange():
                self.add(depth, head, f"{value.low:g} to {value.high:g}{' (log)' if value.log else ''}")
            case Repeat():
                self.add(depth, head, f"{self._times(value.times)} times")
                self.value(value.node, depth + 1, "")
            case Factory():
                self.value(value.node, depth, f"{head} (recipe)")
            case partial():
                self.add(depth, head, f"{name_of(value.func)}")
                names = [*argument_names(value), *value.keywords]
                for name, part in zip(names, [*value.args, *value.keywords.values()], strict=True):
                    self.value(part, depth + 1, name)
            case list() | tuple():
                if head:
                    self.add(depth, head, "")
                for first, last, item in _runs(value):
                    self.value(item, depth + bool(head), str(first) if first == last else f"{first} to {last}")
            case dict():
                if head:
                    self.add(depth, head, "")
                for name, item in value.items():
                    self.value(item, depth + bool(head), str(name))

    def _times(self, times: object) -> str:
        if isinstance(times, OneOf):
            return " | ".join(_labels(times))
        if isinstance(times, (Shared, Derived)):
            for shared in _shared_in(times):
                self.shared.setdefault(shared.name, shared)
            return _formula(times)
        return str(times)


def tree(value: object, rules: Sequence[str]) -> str:
    """Returns a space's tree and its rules as lines of text."""
    printer = _Printer()
    printer.value(value, 0, "")
    done: set[str] = set()
    while waiting := [name for name in printer.shared if name not in done]:
        for name in waiting:
            done.add(name)
            printer.value(printer.shared[name].node, 0, f"{name} (shared)")
    return "\n".join([*(line.rstrip(" :") if line.endswith(": ") else line for line in printer.lines), *rules])


def _runs(items: Sequence[object]) -> Iterator[tuple[int, int, object]]:
    """Yields runs of items that print alike, so that six equal places are one line."""
    first = 0
    for position in range(1, len(items) + 1):
        if position == len(items) or describe(items[position]) != describe(items[first]):
            yield first, position - 1, items[first]
            first = position


def _labels(choice: OneOf) -> list[str]:
    return [label if isinstance(label, str) else repr(label) for label in choice.labels]


def _integers(value: IntRange) -> str:
    if len(value.labels) <= 8:
        return " | ".join(_labels(value))
    how = ", log" if value.log else f", step {value.step}" if value.step > 1 else ""
    return f"{value.low} to {value.high}{how}"


def _short(value: object) -> str:
    if isinstance(value, partial):
        names = [*(f"{part}" for part in map(_short, value.args))]
        names += [f"{name}={_short(part)}" for name, part in value.keywords.items()]
        return f"{name_of(value.func)}({', '.join(names)})"
    if isinstance(value, Factory):
        return f"Factory({_short(value.node)})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_short(item)}' for name, item in value.items())}}}"
    if isinstance(value, type) or inspect.isroutine(value):
        return name_of(value)
    return _ADDRESS.sub("", repr(value))


_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
}


def _formula(value: object) -> str:
    if isinstance(value, Shared):
        return value.name
    if not isinstance(value, Derived):
        return _short(value)
    sign = _SIGNS.get(name_of(value.function))
    if sign and len(value.arguments) == 2:
        return f"({_formula(value.arguments[0])} {sign} {_formula(value.arguments[1])})"
    return f"{name_of(value.function)}({', '.join(map(_formula, value.arguments))})"


def _shared_in(value: object) -> Iterator[Shared]:
    if isinstance(value, Shared):
        yield value
    elif isinstance(value, Derived):
        for argument in value.arguments:
            yield from _shared_in(argument)


def condition(slot: Slot, compiled: Compiled) -> str:
    """Returns under which condition a slot is active, in words; empty when always."""
    if slot.when is None:
        return ""
    alternatives = []
    for literals in slot.when:
        parts = []
        for source, mask in literals:
            other = compiled.slots[source]
            if other.kind == "use":
                parts.append(f"{other.key[1:]} is in use")
                continue
            codes = [code for code in range(min(other.num_values, 64)) if mask[code]]
            shown = ", ".join(str(other.domain[code]) for code in codes[:4]) + (", ..." if len(codes) > 4 else "")
            parts.append(f"{other.key} is {shown}")
        alternatives.append(" and ".join(parts))
    return " or ".join(alternatives[:3]) + (" or ..." if len(alternatives) > 3 else "")


def differences(
    mine: Compiled, theirs: Compiled, rules: tuple[Mapping[str, object], Mapping[str, object]], tree_differs: bool
) -> list[str]:
    """Returns how the second space differs from the first, one sentence each."""
    found = []
    before = {slot.id: slot for slot in mine.slots if slot.kind != "use"}
    after = {slot.id: slot for slot in theirs.slots if slot.kind != "use"}
    for id in before.keys() - after.keys():
        found.append(f"{before[id].key}: there only before ({values_in_words(before[id].domain)})")
    for id in after.keys() - before.keys():
        found.append(f"{after[id].key}: there only now ({values_in_words(after[id].domain)})")
    for id in before.keys() & after.keys():
        old, new = values_in_words(before[id].domain), values_in_words(after[id].domain)
        if before[id].domain.signature() != after[id].domain.signature():
            found.append(f"{before[id].key}: {old} before, {new} now")
        elif condition(before[id], mine) != condition(after[id], theirs):
            was, is_now = condition(before[id], mine) or "always", condition(after[id], theirs) or "always"
            found.append(f"{before[id].key}: active when {was} before, when {is_now} now")
    found.sort()
    old_rules, new_rules = rules
    found += [f"{name}: there only before" for name in old_rules if name not in new_rules]
    found += [f"{name}: there only now" for name in new_rules if name not in old_rules]
    found += [f"{n}: allows other values now" for n in old_rules if n in new_rules and old_rules[n] != new_rules[n]]
    if not found and tree_differs:
        found.append("the choices are the same; fixed arguments or names of functions differ")
    return found
