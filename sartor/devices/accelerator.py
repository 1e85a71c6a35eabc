"""Latency and energy of a network on an accelerator whose mapping, bit widths and sparsity are choices of the search.

A compact analytic model in the manner of Timeloop and ZigZag (Parashar et al. 2019, doi:10.1109/ISPASS.2019.00042; Mei
et al. 2021, doi:10.1109/TC.2021.3059962): an array of multiply-accumulate units, a buffer on the chip and a memory off
it. Each convolution or matrix product is a loop nest over output channels, input channels, output places and window; a
`Mapping` says

- what is spread over the array: output and input channels, so that weights stay in it (``weights``), or output channels
  and output places, so that sums do (``outputs``; the two dataflows that Chen et al. 2016, doi:10.1109/ISCA.2016.40
  compare under these names);
- how the layer is cut into tiles of output channels and output rows that fit the buffer;
- which tiles stay while the others pass: weights are read once and inputs once for each tile of channels, or the
  reverse.

Energy is counted by level: operations, bytes between array and buffer, bytes between buffer and memory, each times its
energy in the target's file. A layer takes the longer of its cycles on the array and its bytes over the memory's
bandwidth. Bytes shrink with the bit width; the energy of an operation is that of int8 for int4 too, as Horowitz' table
has none of less. Two of four weights (``2:4``, Mishra et al. 2021, arXiv:2104.08378) halve operations and cycles, and
store two bits of position beside each weight kept.

Everything else (activation, pooling, addition) moves its bytes through the buffer alone. The error is unknown: the
order of mappings is what it is for; no chip was measured.

**Choices.** ``hardware(parts)`` gives those of a space's parts, named by the paths of their modules:

    Space({"network": network, "hardware": hardware(["blocks.0", "blocks.1"])})
"""

from __future__ import annotations

import math
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from sartor.devices.kernels import Kernel, kernels_of
from sartor.devices.targets import load_target
from sartor.errors import InputError
from sartor.registry import Spec
from sartor.trials import Figure

if TYPE_CHECKING:
    from sartor.contracts import Candidate

__all__ = ["Accelerator", "Chip", "Cost", "Layer", "Mapping", "best_mapping", "hardware", "layer_cost"]

SPEC = Spec(
    "accelerator", "sartor.devices.accelerator:Accelerator",
    summary="latency_ms, energy_mj: analytic, of an array with a buffer; reads hardware.* choices of the space",
    citation="Parashar et al. 2019, doi:10.1109/ISPASS.2019.00042",
)

Dataflow = Literal["weights", "outputs"]
Stays = Literal["weights", "inputs"]
Sparsity = Literal["dense", "2:4"]
TILES = (8, 16, 32, 64, 128)
"""Output channels of a tile to choose from."""
ROWS = (1, 2, 4, 8, 16, 32)
"""Output rows of a tile to choose from."""
ROOT = "hardware"
_SUM_BYTES = 4
SIDE = 16
"""Units along each side of the array."""


@dataclass(frozen=True)
class Mapping:
    """How a layer runs.

    Attributes:
        dataflow: What stays in the array.
        channels: Output channels of a tile.
        rows: Output rows of a tile.
        stays: What stays in the buffer while the other passes.
    """

    dataflow: Dataflow = "weights"
    channels: int = 32
    rows: int = 8
    stays: Stays = "weights"


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product as a loop nest.

    Attributes:
        out_channels, in_channels: Of one group.
        groups: How many such.
        height, width: Of the output; a matrix product has its rows as height.
        window: Places of the window.
        inputs: Elements that it reads, all groups together.
    """

    out_channels: int
    in_channels: int
    groups: int
    height: int
    width: int
    window: int
    inputs: int

    @property
    def macs(self) -> int:
        return self.out_channels * self.in_channels * self.groups * self.height * self.width * self.window

    @property
    def weights(self) -> int:
        return self.out_channels * self.in_channels * self.groups * self.window

    @property
    def outputs(self) -> int:
        return self.out_channels * self.groups * self.height * self.width

    @classmethod
    def of(cls, kernel: Kernel) -> Layer | None:
        """Returns the loop nest of a kernel, or None where it multiplies nothing."""
        if not kernel.macs:
            return None
        if len(kernel.output) == 4 and kernel.kind in ("convolution", "pointwise", "depthwise", "grouped"):
            channels, height, width = kernel.output[1:]
            into = kernel.input[1] // kernel.groups
            return cls(
                channels // kernel.groups, into, kernel.groups, height, width, kernel.size, math.prod(kernel.input)
            )
        columns = kernel.output[-1]
        rows = max(1, kernel.elements // columns)
        depth = max(1, kernel.macs // (rows * columns))
        return cls(columns, depth, 1, rows, 1, 1, rows * depth)


@dataclass(frozen=True)
class Cost:
    """Of one layer.

    Attributes:
        cycles: On the array.
        operations: Done, two a multiply-accumulate.
        buffer_bytes: Between array and buffer.
        memory_bytes: Between buffer and memory.
    """

    cycles: float
    operations: float
    buffer_bytes: float
    memory_bytes: float


def layer_cost(
    layer: Layer, mapping: Mapping, *, buffer_bytes: float, bits: int = 8, sparsity: Sparsity = "dense"
) -> Cost:
    """Returns what a layer costs under a mapping; a tile that does not fit the buffer is halved until it does.

    Args:
        layer: The loop nest.
        mapping: How it runs.
        buffer_bytes: Size of the buffer.
        bits: Of weights and activations, 4 or 8.
        sparsity: Of the weights.
    """
    each = bits / 8
    # Of four weights two are kept, each with two bits that say where.
    weight_each, kept = (each, 1.0) if sparsity == "dense" else (0.5 * (each + 2 / 8), 0.5)
    depthwise = layer.groups > 1 and layer.out_channels == 1
    # Groups are walked one after the other, but channels of a depthwise layer lie side by side like output channels.
    out = layer.groups if depthwise else layer.out_channels
    repeats = 1 if depthwise else layer.groups
    channels, rows = min(mapping.channels, out), min(mapping.rows, layer.height)
    inputs = layer.inputs / repeats
    halo = max(1.0, math.sqrt(layer.window)) - 1

    def tile_bytes(channels: int, rows: int) -> float:
        taken = inputs * min(1.0, (rows + halo) / max(1, layer.height)) * (channels / out if depthwise else 1)
        weights = channels * layer.in_channels * layer.window
        return weights * weight_each + taken * each + channels * rows * layer.width * _SUM_BYTES

    while tile_bytes(channels, rows) > buffer_bytes and (channels > 1 or rows > 1):
        if rows > 1:
            rows = -(-rows // 2)
        else:
            channels = -(-channels // 2)
    tiles_out, tiles_rows = math.ceil(out / channels), math.ceil(layer.height / rows)
    weights = layer.weights / repeats * weight_each
    read = inputs * each * min(float(tiles_rows), 1 + halo * (tiles_rows - 1) / max(1, layer.height))
    # A depthwise tile needs its own channels of the input only, so nothing is read again for other tiles.
    again_in = 1 if depthwise or mapping.stays == "inputs" else tiles_out
    again_weights = tiles_rows if mapping.stays == "inputs" and tiles_out > 1 else 1
    memory = read * again_in + weights * again_weights + layer.outputs / repeats * each
    work = layer.macs / repeats * kept
    along_out = min(SIDE, channels)
    if mapping.dataflow == "weights":
        along = min(SIDE, layer.in_channels)
        steps = (
            tiles_out * math.ceil(channels / SIDE) * math.ceil(layer.in_channels / SIDE)
            * layer.height * layer.width * layer.window * kept
        )
        # Weights are brought once a tile; inputs serve all output channels; sums go to the buffer and back.
        moved = (
            layer.weights / repeats * weight_each * tiles_rows
            + work / along_out * each
            + 2 * work / along * _SUM_BYTES
        )
    else:
        places = rows * layer.width
        along = min(SIDE, places)
        steps = (
            tiles_out * math.ceil(channels / SIDE) * tiles_rows * math.ceil(places / SIDE)
            * layer.in_channels * layer.window * kept
        )
        # Sums stay until they are done; weights serve all places, inputs all output channels.
        moved = work / along * weight_each + work / along_out * each + layer.outputs / repeats * each
    return Cost(steps * repeats, 2 * work * repeats, moved * repeats, memory * repeats)


@lru_cache(maxsize=100_000)
def best_mapping(layer: Layer, buffer_bytes: float, bits: int = 8, sparsity: Sparsity = "dense") -> Mapping:
    """Returns the mapping of least product of energy and delay, in units of Eyeriss' table, by trying all.

    The relative energies (an access of the buffer 6, of the memory 200 times an operation) are those of Chen et al.
    2016, doi:10.1109/ISCA.2016.40, Table IV.
    """

    def score(mapping: Mapping) -> float:
        cost = layer_cost(layer, mapping, buffer_bytes=buffer_bytes, bits=bits, sparsity=sparsity)
        return (cost.operations / 2 + 6 * cost.buffer_bytes + 200 * cost.memory_bytes) * cost.cycles

    return min(
        (
            Mapping(dataflow, channels, rows, stays)
            for dataflow in get_args(Dataflow) for channels in TILES for rows in ROWS for stays in get_args(Stays)
        ),
        key=score,
    )


def hardware(
    parts: Sequence[str], *, bits: Sequence[int] = (8, 4), sparsity: Sequence[Sparsity] = ("dense", "2:4")
) -> dict[str, Any]:
    """Returns the choices of hardware of some parts of a network, to put under ``"hardware"`` beside ``"network"``.

    Args:
        parts: Paths of modules (``blocks.1``); a layer takes the choices of the longest path that begins its own.
        bits: Widths to choose from.
        sparsity: To choose from.
    """
    from sartor.space import OneOf, Shared

    def choice(part: str, name: str, *options: object) -> Any:
        return options[0] if len(options) == 1 else Shared(f"{ROOT}.{part}.{name}", OneOf(*options))

    return {
        part: {
            "bits": choice(part, "bits", *bits),
            "sparsity": choice(part, "sparsity", *sparsity),
            "dataflow": choice(part, "dataflow", *get_args(Dataflow)),
            "channels": choice(part, "channels", *TILES),
            "rows": choice(part, "rows", *ROWS),
            "stays": choice(part, "stays", *get_args(Stays)),
        }
        for part in parts
    }


@dataclass(frozen=True)
class Chip:
    """An array of 16 by 16 units with the buffer, memory and energies of a target's file.

    Attributes:
        name: Of the target.
        hertz: Of its clock.
        operation_j: An int8 operation, half a multiply-accumulate.
        buffer_bytes: Size of the buffer.
        buffer_j, memory_j: A byte to or from buffer and memory.
        bandwidth: Of the memory, bytes a second.
    """

    name: str
    hertz: float
    operation_j: float
    buffer_bytes: float
    buffer_j: float
    memory_j: float
    bandwidth: float

    @classmethod
    def of(cls, target: str) -> Chip:
        """Returns what the models of accelerators read from a target.

        Args:
            target: Shipped target or path of a TOML file; needs a peak at int8, a bandwidth, ``memory.sram``, and
                energies of an int8 operation and of bytes from ``sram`` and ``dram``.

        Raises:
            InputError: the target lacks one of these.
        """
        found = load_target(target)
        if found.bandwidth is None:
            raise InputError(f"target {found.name} has no bandwidth: models of accelerators need it")
        try:
            return cls(
                found.name, found.peak["int8"].si / (2 * SIDE**2), found.operation_energy["int8"].si,
                found.memory["sram"].si, found.byte_energy["sram"].si, found.byte_energy["dram"].si,
                found.bandwidth.si,
            )
        except KeyError as error:
            raise InputError(f"target {found.name} has no {error}: models of accelerators need it") from error


class Accelerator:
    """The analytic model of an array of 16 by 16 units.

    Args:
        target: See `Chip.of`.

    Raises:
        InputError: the target lacks what the model reads.
    """

    name = "accelerator"
    figures: tuple[str, ...] = ("latency_ms", "energy_mj")
    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self, target: str = "accelerator-45nm") -> None:
        self._chip = Chip.of(target)
        self.name = f"accelerator {self._chip.name}"
        self._shapes: dict[Any, Any] = {}

    def cost(self, candidate: Candidate) -> MappingType[str, Figure]:
        """Returns latency and energy under the mapping, widths and sparsity that the architecture chose."""
        kernels = kernels_of(candidate.deployed, candidate.inputs, self._shapes)
        return self.estimate(kernels, candidate.architecture)

    def estimate(self, kernels: Sequence[Kernel], choices: MappingType[str, Any]) -> dict[str, Figure]:
        """Returns the figures of kernels; a layer without choices runs in int8, dense, under its best mapping."""
        parts, chip = _parts(choices), self._chip
        seconds = joules = 0.0
        for kernel in kernels:
            if kernel.kind == "reshape":
                continue
            own = parts.get(_part(kernel.path, parts), {})
            bits, sparsity = int(own.get("bits", 8)), own.get("sparsity", "dense")
            layer = Layer.of(kernel)
            if layer is None:
                moved = (kernel.read_bytes + kernel.write_bytes) / 4 * bits / 8
                joules += moved * chip.buffer_j + kernel.elements * chip.operation_j
                seconds += kernel.elements / SIDE**2 / chip.hertz
                continue
            mapping = _mapping(own) or best_mapping(layer, chip.buffer_bytes, bits, sparsity)
            cost = layer_cost(layer, mapping, buffer_bytes=chip.buffer_bytes, bits=bits, sparsity=sparsity)
            seconds += max(cost.cycles / chip.hertz, cost.memory_bytes / chip.bandwidth)
            joules += (
                cost.operations * chip.operation_j
                + cost.buffer_bytes * chip.buffer_j
                + cost.memory_bytes * chip.memory_j
            )
        note = f"analytic model of {self.name}, not validated on a chip"
        return {
            "latency_ms": Figure(seconds * 1e3, "ms", error=None, kind="estimated", note=note),
            "energy_mj": Figure(joules * 1e3, "mJ", error=None, kind="estimated", note=note),
        }


def _parts(choices: MappingType[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns part -> choice -> value of the keys ``hardware.PART.CHOICE``."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in choices.items():
        if key.startswith(f"{ROOT}."):
            part, _, name = key.removeprefix(f"{ROOT}.").rpartition(".")
            found.setdefault(part, {})[name] = value
    return found


def _part(path: str, parts: MappingType[str, Any]) -> str:
    inside = [part for part in parts if path == part or path.startswith(f"{part}.") or not part]
    return max(inside, key=len, default="")


def _mapping(own: MappingType[str, Any]) -> Mapping | None:
    if not {"dataflow", "channels", "rows", "stays"} & set(own):
        return None
    plain = Mapping()
    return Mapping(
        own.get("dataflow", plain.dataflow), int(own.get("channels", plain.channels)),
        int(own.get("rows", plain.rows)), own.get("stays", plain.stays),
    )
