"""Devices described in files: what a processor can do at most, each number with where it is from.

A target is a TOML file, shipped (``raspberry-pi-4``) or your own (a path):

    name = "my-board"
    title = "what a person reads"
    kind = "cpu"

    [peak.int8]
    value = 4.0
    unit = "GOP/s"          # a multiply-accumulate is two operations
    source = "data sheet, page 7"

    [bandwidth]
    value = 1.6
    unit = "GB/s"
    source = "measured with STREAM"

| table | what | units |
|---|---|---|
| ``peak.PRECISION`` | operations a second; ``fp32``, ``fp16``, ``bf16``, ``int8``, ``int4`` | GFLOP/s, GOP/s, TOP/s |
| ``bandwidth`` | of the memory that holds activations and weights | MB/s, GB/s |
| ``memory.sram``, ``.flash``, ``.dram`` | how much there is | KiB, MiB, GiB, kB, MB, GB |
| ``energy.operation.PRECISION`` | of one operation, half a multiply-accumulate | pJ, nJ |
| ``energy.byte.LEVEL`` | of a byte moved; ``sram``, ``dram`` | pJ/B, nJ/B |
| ``power`` | while it computes at its peak | W, mW |

Every number needs a value, a unit and a source; a unit that is not of its table is an error that names file and key.
What nobody has published reliably is left out, and the figures that need it are not given.
A shipped number whose source says 'not opened' was taken over from others who quote that source.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sartor.errors import InputError, near

__all__ = ["Kind", "Precision", "Quantity", "Target", "load_target", "target_names"]

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4"]
Kind = Literal["cpu", "gpu", "npu", "mcu", "fpga", "asic"]
BITS: Mapping[Precision, int] = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8, "int4": 4}

_UNITS: Mapping[str, Mapping[str, float]] = {
    "operations a second": {
        "MOP/s": 1e6, "GOP/s": 1e9, "TOP/s": 1e12, "MFLOP/s": 1e6, "GFLOP/s": 1e9, "TFLOP/s": 1e12,
    },
    "bytes a second": {"MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12},
    "bytes": {
        "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
    },
    "joules": {"fJ": 1e-15, "pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6},
    "joules a byte": {"fJ/B": 1e-15, "pJ/B": 1e-12, "nJ/B": 1e-9},
    "watts": {"mW": 1e-3, "W": 1.0},
}
_LEVELS = ("sram", "flash", "dram")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Quantity:
    """A number with its unit and where it is from.

    Attributes:
        value: As the file has it, in ``unit``.
        unit: As the file has it.
        source: Where it is from, in words that a reader can follow.
        si: The value in operations a second, bytes a second, bytes, joules, joules a byte or watts.
    """

    value: float
    unit: str
    source: str
    si: float


@dataclass(frozen=True)
class Target:
    """What a device can do at most.

    Attributes:
        name: What a person types.
        title: What it is.
        kind: Sort of processor.
        peak: Precision -> operations a second; a multiply-accumulate is two.
        bandwidth: Of the memory, or None when unknown.
        memory: ``sram``, ``flash``, ``dram`` -> bytes.
        operation_energy: Precision -> of one operation.
        byte_energy: ``sram``, ``dram`` -> of a byte moved.
        power: At its peak, or None.
        notes: What a reader must know.
        file: Where it was read.
    """

    name: str
    title: str
    kind: Kind
    peak: Mapping[Precision, Quantity]
    bandwidth: Quantity | None = None
    memory: Mapping[str, Quantity] = field(default_factory=dict)
    operation_energy: Mapping[Precision, Quantity] = field(default_factory=dict)
    byte_energy: Mapping[str, Quantity] = field(default_factory=dict)
    power: Quantity | None = None
    notes: str = ""
    file: Path | None = None

    def numbers(self) -> Iterator[tuple[str, Quantity]]:
        """Yields every number under the key that the file has it by."""
        for precision, quantity in self.peak.items():
            yield f"peak.{precision}", quantity
        if self.bandwidth is not None:
            yield "bandwidth", self.bandwidth
        for level, quantity in self.memory.items():
            yield f"memory.{level}", quantity
        for precision, quantity in self.operation_energy.items():
            yield f"energy.operation.{precision}", quantity
        for level, quantity in self.byte_energy.items():
            yield f"energy.byte.{level}", quantity
        if self.power is not None:
            yield "power", self.power


@cache
def target_names() -> tuple[str, ...]:
    """Returns the names of the shipped targets, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_target(name: str | Path) -> Target:
    """Returns a target by the name of a shipped one or by the path of a TOML file.

    Raises:
        InputError: no such target, or the file is not one: what is wrong, with file and key.
    """
    text = str(name)
    path = _FOLDER / f"{text}.toml" if text in target_names() else Path(text)
    if path.suffix != ".toml":
        raise InputError(f"unknown target {text!r}{near(text, target_names())}; a file of your own ends in .toml")
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the device file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the device file {path} is not TOML: {error}") from error
    return _target(read, path)


def _target(read: Mapping[str, Any], path: Path) -> Target:
    known = {"name", "title", "kind", "notes", "peak", "bandwidth", "memory", "energy", "power"}
    for key in read:
        if key not in known:
            raise InputError(f"{path}: unknown key {key!r}{near(key, known)}")
    kind = read.get("kind")
    if kind not in get_args(Kind):
        raise InputError(f"{path}: kind: expected one of {', '.join(get_args(Kind))}, got {kind!r}")
    energy = _table(read, "energy", path)
    for key in energy:
        if key not in ("operation", "byte"):
            raise InputError(f"{path}: unknown key 'energy.{key}'; expected energy.operation and energy.byte")
    precisions = get_args(Precision)
    quantities = {
        "peak": _quantities(_table(read, "peak", path), "peak", "operations a second", precisions, path),
        "memory": _quantities(_table(read, "memory", path), "memory", "bytes", _LEVELS, path),
        "operation": _quantities(
            _table(energy, "operation", path), "energy.operation", "joules", precisions, path
        ),
        "byte": _quantities(_table(energy, "byte", path), "energy.byte", "joules a byte", _LEVELS, path),
    }
    single = {
        key: _quantity(read[key], key, what, path) if key in read else None
        for key, what in (("bandwidth", "bytes a second"), ("power", "watts"))
    }
    return Target(
        name=_text(read, "name", path),
        title=_text(read, "title", path),
        kind=cast(Kind, kind),
        peak=cast(Mapping[Precision, Quantity], quantities["peak"]),
        bandwidth=single["bandwidth"],
        memory=quantities["memory"],
        operation_energy=cast(Mapping[Precision, Quantity], quantities["operation"]),
        byte_energy=quantities["byte"],
        power=single["power"],
        notes=str(read.get("notes", "")),
        file=path,
    )


def _text(read: Mapping[str, Any], key: str, path: Path) -> str:
    value = read.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: expected a text {key}, got {value!r}")
    return value


def _table(read: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = read.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{path}: {key}: expected a table, got {value!r}")
    return value


def _quantities(
    table: Mapping[str, Any], key: str, what: str, allowed: tuple[str, ...], path: Path
) -> dict[str, Quantity]:
    for name in table:
        if name not in allowed:
            raise InputError(f"{path}: unknown key '{key}.{name}'; expected one of {', '.join(allowed)}")
    return {name: _quantity(entry, f"{key}.{name}", what, path) for name, entry in table.items()}


def _quantity(entry: Any, key: str, what: str, path: Path) -> Quantity:
    if not isinstance(entry, dict) or set(entry) != {"value", "unit", "source"}:
        got = sorted(entry) if isinstance(entry, dict) else repr(entry)
        raise InputError(f"{path}: {key}: expected a value, a unit and a source, got {got}")
    value, unit, source = entry["value"], entry["unit"], entry["source"]
    units = _UNITS[what]
    if unit not in units:
        raise InputError(f"{path}: {key}: {unit!r} is no unit of {what}; expected one of {', '.join(units)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{path}: {key}: expected a positive number, got {value!r}")
    if not isinstance(source, str) or not source.strip():
        raise InputError(f"{path}: {key}: expected a source: where is {value:g} {unit} from?")
    return Quantity(float(value), unit, source, float(value) * units[unit])
