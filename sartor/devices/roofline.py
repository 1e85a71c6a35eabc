"""Latency and energy of a network on a described target, kernel by kernel, by the roofline.

A kernel takes the longer of two times: its operations at the target's peak, its bytes at the memory's bandwidth
(Williams, Waterman, Patterson 2009, doi:10.1145/1498765.1498785); kernels follow one another. It is a lower bound that
knows nothing of how well a kernel is written, of overheads a call and of caches: use it to order networks for a device
that is not at hand, and to see what binds them; measure or calibrate for more.

**Bytes.** A kernel reads its inputs and weights and writes its output, at the precision. Where the target's file says
how much memory is on the chip, the weights are not moved if all fit, and a kernel's activations are not if they do; the
network's inputs and outputs always are.

**Energy.** Operations times the energy of one, bytes moved times the energy of one, where the target's file has these.

**Error.** None stated: nothing but `python benchmarks/devices.py --only roofline` says how far these are from a
published measurement (its docstring has the figures); so `Figure.error` is None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sartor.devices.targets import BITS, Precision, Target, load_target
from sartor.errors import InputError, near
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate
    from sartor.devices.kernels import Kernel

__all__ = ["Roofline"]

_FULL_BITS = 32


class Roofline:
    """A described target as a device.

    Args:
        target: Name of a shipped target, or the path of a TOML file.
        precision: At which the network is taken to run; by default fp32 where the target's file has it, else the first
            of fp16, bf16, int8, int4 that it has.
        sha256: Of the file, when it must be the one that was there before.

    Raises:
        InputError: no such target, its file is wrong or another one, or it has no peak at that precision.
    """

    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self, target: str, precision: Precision | None = None, sha256: str | None = None) -> None:
        self.target = load_target(target)
        check_unchanged(self.target.file, sha256)
        self.precision = _precision(self.target, precision)
        self.name = f"{self.target.name} ({self.precision}, roofline)"
        self._energy = self.target.operation_energy.get(self.precision)
        self.figures: tuple[str, ...] = ("latency_ms", "energy_mj") if self._energy else ("latency_ms",)
        self._shapes: dict[Any, Any] = {}

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns latency and, where the target's file has energies, energy; both estimated."""
        return self.estimate(candidate.deployed, candidate.inputs)

    def estimate(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figures of a module on example inputs."""
        from sartor.devices.kernels import kernels_of

        kernels = kernels_of(module, inputs, self._shapes)
        moved = self._moved_bytes(kernels)
        peak = self.target.peak[self.precision].si
        bandwidth = self.target.bandwidth
        seconds = 0.0
        bound = {"operations": 0.0, "memory": 0.0}
        for kernel, num_bytes in zip(kernels, moved, strict=True):
            computing = operations(kernel) / peak
            moving = num_bytes / bandwidth.si if bandwidth else 0.0
            seconds += max(computing, moving)
            bound["operations" if computing >= moving else "memory"] += max(computing, moving)
        share = bound["memory"] / seconds if seconds else 0.0
        method = f"roofline of {self.target.name} at {self.precision}, not validated; {share:.0%} of it bound by memory"
        if bandwidth is None:
            method = f"roofline of {self.target.name} at {self.precision} without memory, not validated"
        figures = {"latency_ms": Figure(seconds * 1e3, "ms", error=None, kind="estimated", note=method)}
        if self._energy is not None:
            figures["energy_mj"] = self._energy_of(kernels, sum(moved))
        return figures

    def _moved_bytes(self, kernels: tuple[Kernel, ...]) -> list[float]:
        """Returns the bytes that each kernel moves over the memory's bus."""
        scale = BITS[self.precision] / _FULL_BITS
        sram = self.target.memory.get("sram")
        room = sram.si if sram else 0.0
        weights_stay = sum(kernel.weight_bytes for kernel in kernels) * scale <= room
        moved = []
        for number, kernel in enumerate(kernels):
            if kernel.kind == "reshape":
                moved.append(0.0)
                continue
            stays = (kernel.read_bytes + kernel.write_bytes) * scale <= room
            read = kernel.read_bytes if number == 0 or not stays else 0
            written = kernel.write_bytes if number == len(kernels) - 1 or not stays else 0
            moved.append((read + written + (0 if weights_stay else kernel.weight_bytes)) * scale)
        return moved

    def _energy_of(self, kernels: tuple[Kernel, ...], moved: float) -> Figure:
        assert self._energy is not None
        scale = BITS[self.precision] / _FULL_BITS
        joules = sum(map(operations, kernels)) * self._energy.si
        counted = ["operations"]
        touched = sum(kernel.bytes for kernel in kernels if kernel.kind != "reshape") * scale
        for level, num_bytes in (("dram", moved), ("sram", touched)):
            energy = self.target.byte_energy.get(level)
            if energy is not None:
                joules += num_bytes * energy.si
                counted.append(f"bytes from {level}")
        note = f"{', '.join(counted)} of {self.target.name} at {self.precision}, not validated"
        return Figure(joules * 1e3, "mJ", error=None, kind="estimated", note=note)


def operations(kernel: Kernel) -> int:
    """Returns the operations of a kernel: two a multiply-accumulate, else one an element that it makes."""
    if kernel.macs:
        return 2 * kernel.macs
    return 0 if kernel.kind in ("reshape", "transpose", "concat") else kernel.elements


def _precision(target: Target, wanted: str | None) -> Precision:
    if not target.peak:
        raise InputError(
            f"target {target.name} has no peak operations a second, since none is reliably known: no latency can be"
            f" estimated. {target.notes}".strip()
        )
    if wanted is None:
        return next(precision for precision in get_args(Precision) if precision in target.peak)
    if wanted not in target.peak:
        raise InputError(f"target {target.name} has no peak at {wanted!r}{near(wanted, target.peak)}")
    found: Precision = wanted  # type: ignore[assignment]
    return found


def check_unchanged(file: Path | None, sha256: str | None) -> None:
    """Raises when a device file is not the one that a run began with.

    Raises:
        InputError: it was changed or is gone.
    """
    if sha256 is None or file is None:
        return
    try:
        found = file_sha256(file)
    except OSError as error:
        raise InputError(f"cannot read the device file {file}: {error.strerror}") from error
    if found != sha256:
        raise InputError(
            f"the device file {file} is not the one that this run began with: put that one back, or start a new search"
        )


def file_sha256(file: str | Path) -> str:
    """Returns the hexadecimal SHA-256 of a file."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
