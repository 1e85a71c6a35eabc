"""Latency and energy of a network on an accelerator, layer by layer, by ZigZag.

ZigZag (Mei et al. 2021, doi:10.1109/TC.2021.3059962) searches for each convolution and matrix product how its loops are
spread over the array and ordered in time, and counts what then moves between the levels of memory. Here the levels are
those of `sartor.devices.accelerator.Chip`: a byte of weight and a sum in each of the 16 by 16 units, a buffer for all
operands, a memory off the chip. Numbers are 8 bits wide, sums 16.

Layers are handed over as loop nests, not as ONNX, whose reader there knows few graphs; each distinct one is looked at
once. It stands beside ``--device accelerator``, whose formula takes microseconds and whose mapping is a choice of the
search: this one takes seconds a layer, finds the mapping itself, and tells how far that formula is to be believed.
Activation, pooling and addition are not counted. No chip was measured.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from sartor.devices.accelerator import SIDE, Chip, Layer
from sartor.devices.kernels import Kernel, kernels_of
from sartor.errors import InputError
from sartor.registry import Spec
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate

__all__ = ["LayerCost", "ZigZag"]

SPEC = Spec(
    "zigzag", "sartor.devices.zigzag:ZigZag",
    summary="latency_ms, energy_mj: an accelerator, each layer under the best mapping that ZigZag finds",
    extra="zigzag",
    citation="Mei et al. 2021, doi:10.1109/TC.2021.3059962",
)

FEATURE = "estimates by ZigZag"
_LOOPS = 4
"""Prime factors of a layer's loops that are ordered in all ways; six take ten times as long for some per cent."""
_SPREADINGS = 3
"""Ways of spreading over the array that are tried."""
_BUFFER_BITS = 1024
"""That pass between buffer and array in a cycle: four bytes for each unit of a side, in and out."""
_PICO = 1e-12
_NUM_TOLD = 3


@dataclass(frozen=True)
class LayerCost:
    """Of one layer.

    Attributes:
        path: Of the module that runs it.
        energy_mj: Millijoules.
        latency_ms: Milliseconds.
    """

    path: str
    energy_mj: float
    latency_ms: float


class ZigZag:
    """Estimates by ZigZag; takes seconds for each layer that it has not seen yet.

    Args:
        target: See `sartor.devices.accelerator.Chip.of`.

    Raises:
        InputError: the target lacks what the model reads.
    """

    figures: tuple[str, ...] = ("latency_ms", "energy_mj")
    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self, target: str = "accelerator-45nm") -> None:
        self._chip = Chip.of(target)
        self.name = f"ZigZag {self._chip.name}"
        self._shapes: dict[Any, Any] = {}
        self._known: dict[str, tuple[float, float]] = {}

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns latency and energy.

        Raises:
            InputError: the network has no convolution or matrix product, or there is no mapping of one; it is named.
            MissingExtraError: a package is not installed.
        """
        return self.measure(candidate.deployed, candidate.inputs)

    def measure(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figures of a module on example inputs."""
        layers = self.layers(module, inputs)
        energy, latency = sum(each.energy_mj for each in layers), sum(each.latency_ms for each in layers)
        costly = sorted(layers, key=lambda each: -each.energy_mj)[:_NUM_TOLD]
        told = ", ".join(f"{each.path} {each.energy_mj / energy:.0%}" for each in costly)
        note = f"ZigZag's model of {self._chip.name}, int8, not validated on a chip; most energy: {told}"
        return {
            "latency_ms": Figure(latency, "ms", error=None, kind="estimated", note=note),
            "energy_mj": Figure(energy, "mJ", error=None, kind="estimated", note=note),
        }

    def layers(self, module: nn.Module, inputs: tuple[Any, ...]) -> list[LayerCost]:
        """Returns the cost of each convolution and matrix product, in order of execution."""
        from sartor.export._ort import need

        for package in ("zigzag", "six"):  # it lacks six among its own requirements
            need(package, FEATURE, "zigzag")
        found = []
        for kernel in kernels_of(module, inputs, self._shapes):
            nest = _nest(kernel)
            if nest is None:
                continue
            key = repr(nest)
            if key not in self._known:
                with TemporaryDirectory(prefix="sartor-") as folder:
                    self._known[key] = _run(nest, kernel.path, self._chip, Path(folder))
            energy, cycles = self._known[key]
            found.append(LayerCost(kernel.path, energy * _PICO * 1e3, cycles / self._chip.hertz * 1e3))
        if not found:
            raise InputError(f"{FEATURE}: this network has no convolution or matrix product")
        return found


def _nest(kernel: Kernel) -> dict[str, Any] | None:
    """Returns a kernel as a loop nest in the words of ZigZag's files, or None where it multiplies nothing."""
    layer = Layer.of(kernel)
    if layer is None:
        return None
    shared = {
        "id": 0, "name": "layer", "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
        "operand_source": {"W": 0, "I": 0},
    }
    if len(kernel.output) != 4 or len(kernel.input) != 4:
        return {
            **shared, "operator_type": "Gemm", "equation": "O[d][k]+=I[d][c]*W[c][k]", "dimension_relations": [],
            "loop_dims": ["C", "D", "K"], "loop_sizes": [layer.in_channels, layer.height, layer.out_channels],
        }
    side = math.isqrt(layer.window)
    window = (side, side) if side * side == layer.window else (layer.window, 1)
    places, read = (layer.width, layer.height), (kernel.input[3], kernel.input[2])
    strides = [max(1, round(r / p)) for r, p in zip(read, places, strict=True)]
    beyond = [
        max(0, (p - 1) * s + w - r) for p, s, w, r in zip(places, strides, window, read, strict=True)
    ]
    return {
        **shared, "operator_type": "Conv", "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [f"ix={strides[0]}*ox+1*fx", f"iy={strides[1]}*oy+1*fy"],
        "loop_dims": ["B", "K", "G", "OX", "OY", "C", "FX", "FY"],
        "loop_sizes": [1, layer.out_channels, layer.groups, *places, layer.in_channels, *window],
        "pr_loop_dims": ["IX", "IY"], "pr_loop_sizes": list(read),
        "padding": [[each // 2, each - each // 2] for each in beyond],
    }


def _run(nest: Mapping[str, Any], path: str, chip: Chip, folder: Path) -> tuple[float, float]:
    """Returns picojoules and cycles of a layer. ZigZag's own entry point draws and saves what nobody asked for."""
    import yaml
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.opt.loma.engine import NoValidLoopOrderingFoundException
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.main import MainStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.workload_parser import WorkloadParserStage
    from zigzag.stages.results.reduce_stages import MinimalEDPStage, SumStage
    from zigzag.stages.workload_iterator import WorkloadStage

    accelerator, mapping = folder / "accelerator.yaml", folder / "mapping.yaml"
    # Levels are read in the order in which they are written, the nearest to the array first.
    accelerator.write_text(yaml.safe_dump(_described(chip), sort_keys=False), encoding="utf-8")
    links = {"O": "O", "W": "I2", "I": "I1"}
    mapping.write_text(yaml.safe_dump([{"name": "default", "memory_operand_links": links}]), encoding="utf-8")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        found = MainStage(
            list_of_callables=[
                WorkloadParserStage, AcceleratorParserStage, SumStage, WorkloadStage, MinimalEDPStage,
                SpatialMappingGeneratorStage, MinimalEDPStage, TemporalMappingGeneratorStage, CostModelStage,
            ],
            accelerator=str(accelerator), workload=[dict(nest)], mapping=str(mapping), dump_folder=str(folder),
            loma_lpf_limit=_LOOPS, loma_show_progress_bar=False, nb_mappings_generated=_SPREADINGS,
            enable_mix_spatial_mapping_generation=False, access_same_data_considered_as_no_access=True,
            temporal_mapping_type=TemporalMappingType("uneven"),
        ).run()
    except NoValidLoopOrderingFoundException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{FEATURE}: there is no mapping of {path or 'the network'}: {reason}") from error
    finally:
        logging.disable(before)
    return float(found[0][0].energy_total), float(found[0][0].latency_total2)


def _described(chip: Chip) -> dict[str, Any]:
    """Returns the chip in the words of ZigZag's files: bits, bits a cycle, picojoules an access of a port's width."""
    memory_bits = max(8, round(8 * chip.bandwidth / chip.hertz / 8) * 8)
    dimensions = ["D1", "D2"]

    def memory(bits: int, picojoules: float, ports: Mapping[str, tuple[str, int, list[str]]], served: bool) -> Any:
        allocated = [each for _, _, allocation in ports.values() for each in allocation]
        return {
            "size": bits, "r_cost": picojoules, "w_cost": picojoules, "area": 0, "latency": 1,
            "operands": sorted({each.partition(",")[0] for each in allocated}),
            "ports": [
                {"name": name, "type": kind, "bandwidth_min": width, "bandwidth_max": width, "allocation": allocation}
                for name, (kind, width, allocation) in ports.items()
            ],
            "served_dimensions": list(dimensions) if served else [],
        }

    def moved(joules_a_byte: float, width: int) -> float:
        return joules_a_byte / _PICO * width / 8

    down, up = ["I1, tl", "I2, tl", "O, tl", "O, th"], ["I1, fh", "I2, fh", "O, fh", "O, fl"]
    return {
        "name": "chip",
        "memories": {
            "weights": memory(
                8, 0.0, {"r_port_1": ("read", 8, ["I2, tl"]), "w_port_1": ("write", 8, ["I2, fh"])}, False
            ),
            "sums": memory(
                32, 0.0,
                {
                    "r_port_1": ("read", 32, ["O, tl"]), "r_port_2": ("read", 32, ["O, th"]),
                    "w_port_1": ("write", 32, ["O, fh"]), "w_port_2": ("write", 32, ["O, fl"]),
                },
                False,
            ),
            "buffer": memory(
                int(chip.buffer_bytes) * 8, moved(chip.buffer_j, _BUFFER_BITS),
                {"r_port_1": ("read", _BUFFER_BITS, down), "w_port_1": ("write", _BUFFER_BITS, up)}, True,
            ),
            "memory": memory(
                10**12, moved(chip.memory_j, memory_bits), {"rw_port_1": ("read_write", memory_bits, down + up)}, True
            ),
        },
        "operational_array": {
            "unit_energy": 2 * chip.operation_j / _PICO, "unit_area": 1, "dimensions": dimensions,
            "sizes": [SIDE, SIDE],
        },
    }
