"""Configurations of runs: their fingerprint, and what differs between two in words."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sartor.errors import InputError

FREE = frozenset({"budget", "trials", "workers", "command", "describe", "space_text"})
"""Keys that may change on resume: how long and on how many processes, and texts that other keys already pin."""

_MISSING = object()
_SHOWN_LINES = 6
_SHOWN_WIDTH = 60


def normalised(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``config`` as it comes back from JSON: tuples are lists, keys are text.

    Raises:
        InputError: a value is not JSON; the message names its key.
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        try:
            found[str(key)] = json.loads(json.dumps(value))
        except (TypeError, ValueError) as error:
            raise InputError(f"the configuration of a run holds JSON values; {key!r} does not: {error}") from error
    return found


def fingerprint(config: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits of what must not change on resume."""
    kept = {key: value for key, value in normalised(config).items() if key not in FREE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns dotted key -> value, without nesting: ``{"task.options.size": 32}``."""
    return dict(_flat(dict(config), ""))


def _short(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_WIDTH else text[: _SHOWN_WIDTH - 3] + "..."


def _space_lines(old: str, new: str) -> list[str]:
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    changed = [f"{line[0]} {line[1:].strip()}" for line in lines if line[0] in "+-"]
    rest = len(changed) - _SHOWN_LINES
    return changed[:_SHOWN_LINES] + ([f"and {rest} more lines"] if rest > 0 else [])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns one text for each key that must not differ but does: ``seed: 0 -> 1``.

    For a different space it shows the lines of the two trees that differ, when both configurations have
    ``space_text``.
    """
    first, second = normalised(old), normalised(new)
    found = []
    for key in [*first, *(key for key in second if key not in first)]:
        if key in FREE or first.get(key, _MISSING) == second.get(key, _MISSING):
            continue
        if key == "space" and isinstance(first.get("space_text"), str) and isinstance(second.get("space_text"), str):
            lines = _space_lines(first["space_text"], second["space_text"])
            found.append("space: " + ("; ".join(lines) or f"{_short(first.get(key))} -> {_short(second.get(key))}"))
            continue
        olds = flat({key: first[key]}) if key in first else {}
        news = flat({key: second[key]}) if key in second else {}
        for name in [*olds, *(name for name in news if name not in olds)]:
            was, now = olds.get(name, _MISSING), news.get(name, _MISSING)
            if was != now:
                found.append(f"{name}: {_short(was)} -> {_short(now)}")
    return found
