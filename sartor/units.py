"""Quantities as people write them: ``1ms``, ``200k``, ``2MiB``, ``10m``; parsed to the one unit a figure is kept in.

The canonical name of a figure carries its unit (``latency_ms``, ``peak_memory_bytes``); a bare number is taken
in that unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sartor.errors import InputError, near

_TIME_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_ENERGY_J = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_COUNT = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}

FIGURES: dict[str, str] = {
    "latency_ms": "ms",
    "energy_mj": "mJ",
    "peak_memory_bytes": "B",
    "params": "",
    "macs": "",
    "model_bytes": "B",
    "arena_bytes": "B",
    "sram_bytes": "B",
    "flash_bytes": "B",
}
"""Canonical cost figure -> its unit ("" is a count)."""

ALIASES: dict[str, str] = {
    "latency": "latency_ms",
    "energy": "energy_mj",
    "peak_memory": "peak_memory_bytes",
    "memory": "peak_memory_bytes",
    "parameters": "params",
    "size": "model_bytes",
    "arena": "arena_bytes",
    "sram": "sram_bytes",
    "flash": "flash_bytes",
}


def canonical(name: str) -> str:
    """Returns the canonical name of a cost figure: ``latency`` -> ``latency_ms``, ``latency@pi`` -> ``latency_ms@pi``.

    Raises:
        InputError: no such figure; the message names the nearest.
    """
    figure, device = of_device(name.strip())
    found = ALIASES.get(figure, figure)
    if found in ("area", "area_mm2"):
        raise InputError("area is not estimated: no model of it was validated, and sums of parts were found 73% low")
    if found not in FIGURES:
        raise InputError(f"unknown limit {figure!r}{near(figure, [*FIGURES, *ALIASES])}")
    return on_device(found, device)


def listed(text: str) -> tuple[str, ...]:
    """Returns the names in a text that separates them by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def first_of(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Returns the first of some names as a sentence lists them, and how many more there are."""
    rest = len(names) - most
    return between.join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def of_device(name: str) -> tuple[str, str | None]:
    """Splits ``latency_ms@pi`` into the figure and the device; one of the only device has none."""
    figure, at, device = name.partition("@")
    return figure, device if at else None


def on_device(figure: str, device: str | None) -> str:
    """Returns the name of a figure on one of several devices, ``latency_ms@pi``."""
    return figure if device is None else f"{figure}@{device}"


def unit_of(name: str) -> str | None:
    """Returns the unit of a figure of any device ("" of a count), or None where it is no cost figure."""
    return FIGURES.get(of_device(name)[0])


def _split(text: str, what: str) -> tuple[float, str]:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ]*)\s*", text)
    if not match:
        raise InputError(f"{what}: expected a number with a unit such as 1ms, 200k or 2MiB, got {text!r}")
    return float(match[1]), match[2]


def _scale(unit: str, table: dict[str, float] | dict[str, int], what: str, text: str) -> float:
    if unit not in table:
        raise InputError(f"{what}: unknown unit {unit!r} in {text!r}; one of {', '.join(u for u in table if u)}")
    return float(table[unit])


def parse_figure(name: str, text: str | float) -> float:
    """Returns ``text`` in the unit of the canonical figure ``name`` (``latency_ms``: ms, ``model_bytes``: bytes)."""
    if isinstance(text, (int, float)):
        value = float(text)
    else:
        number, unit = _split(text, name)
        kind = FIGURES[of_device(name)[0]]
        if kind == "ms":
            value = number if not unit else number * _scale(unit, _TIME_S, name, text) * 1e3
        elif kind == "mJ":
            value = number if not unit else number * _scale(unit, _ENERGY_J, name, text) * 1e3
        elif kind == "B":
            short = {"k": 2**10, "K": 2**10, "M": 2**20, "G": 2**30}
            value = number if not unit else number * _scale(unit, _BYTES | short, name, text)
        else:
            value = number * _scale(unit, _COUNT, name, text)
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name}: expected a positive number, got {text!r}")
    return value


def parse_duration_s(text: str | float) -> float:
    """Returns seconds for ``30s``, ``10m``, ``1.5h`` or ``1h30m``; a bare number is seconds."""
    if isinstance(text, (int, float)):
        value = float(text)
    else:
        parts = re.findall(r"[0-9]*\.?[0-9]+\s*[A-Za-zµ]*", text)
        if not parts or "".join(parts).replace(" ", "") != text.replace(" ", ""):
            raise InputError(f"expected a duration such as 90s, 10m or 1h30m, got {text!r}")
        value = 0.0
        for part in parts:
            number, unit = _split(part, "duration")
            value += number * (_scale(unit, _TIME_S, "duration", text) if unit else 1.0)
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"expected a duration above zero, got {text!r}")
    return value


def format_figure(name: str, value: float) -> str:
    """Returns a short human text, e.g. ``0.147 ms``, ``87.3k``, ``1.2 MiB``."""
    unit = unit_of(name)
    if unit in ("ms", "mJ"):
        return f"{value:.3g} {unit}"
    if unit == "B":
        for power, label in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value >= power:
                return f"{value / power:.3g} {label}"
        return f"{value:.0f} B"
    if unit is not None:
        for size, label in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:.3g}{label}"
        return f"{value:.0f}"
    return f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Returns e.g. ``8.2 s``, ``3m 05s``, ``2h 10m``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
