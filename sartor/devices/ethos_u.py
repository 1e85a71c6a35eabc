"""Memory and cycles of a network on an Arm Ethos-U55, by Arm's own compiler Vela.

The deployed network is written as an int8 .tflite (`sartor.export.litert`, ranges of random inputs: they change
numbers, not sizes) and compiled for an Ethos-U55 with 128 multiply-accumulators a cycle at 500 MHz, Vela's own
high-end embedded system, activations in SRAM and weights in flash. SRAM and flash are what the compiled network takes,
exactly. Cycles, and the latency that they are at 500 MHz, are Vela's estimate; operators that the unit lacks run on the
processor beside it and are not in them (the note says how many).
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from sartor.errors import ExportError
from sartor.registry import Spec
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate

SPEC = Spec(
    "ethos-u", "sartor.devices.ethos_u:EthosU",
    summary="sram_bytes, flash_bytes (exact), latency_ms (estimated): an Arm Ethos-U55-128, int8, by Vela",
    extra="micro",
    citation="https://pypi.org/project/ethos-u-vela",
)

FEATURE = "figures of Ethos-U"
CYCLES_ERROR = 1.0
"""Nobody here has compared Vela's cycles with a chip; Arm says of them that they are for comparing networks."""
_KIB = 1024


class EthosU:
    """Compiles for the unit; takes some seconds a network, nearly all of them for its conversion.

    Args:
        configuration: ``ethos-u55-32`` to ``ethos-u55-256``: a member of Arm's family.
    """

    figures: tuple[str, ...] = ("sram_bytes", "flash_bytes", "latency_ms")
    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self, *, configuration: str = "ethos-u55-128") -> None:
        self.configuration = configuration
        self.name = f"{configuration} (int8, Vela)"

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns memory and latency.

        Raises:
            ExportError: the network cannot be brought to LiteRT in int8, or not be compiled.
            MissingExtraError: a package is not installed.
        """
        return self.measure(candidate.deployed, candidate.inputs)

    def measure(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figures of a module on example inputs."""
        from sartor.devices.tflite_micro import write_int8
        from sartor.export._ort import need

        need("ethosu.vela", FEATURE, "micro")
        with TemporaryDirectory(prefix="sartor-") as folder:
            path = Path(folder) / "network.tflite"
            write_int8(module, inputs, path)
            done = subprocess.run(
                [sys.executable, "-m", "ethosu.vela", str(path), "--accelerator-config", self.configuration,
                 "--output-dir", folder],
                capture_output=True, text=True,
            )
            summaries = sorted(Path(folder).glob("network_summary_*.csv"))
            if done.returncode or not summaries:
                raise ExportError(f"Vela cannot compile this network: {(done.stderr or done.stdout).strip()[-500:]}")
            with summaries[0].open(newline="") as file:
                (row,) = csv.DictReader(file)
        beside = re.search(r"CPU operators = (\d+)", done.stdout)
        left = int(beside[1]) if beside else 0
        note = f"int8; {left} operators run on the processor beside it" if left else "int8"
        cycles = float(row["cycles_total"])
        flash = float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])
        return {
            "sram_bytes": Figure(round(float(row["sram_memory_used"]) * _KIB), "B", note=note),
            "flash_bytes": Figure(round(flash * _KIB), "B", note=note),
            "latency_ms": Figure(
                cycles / float(row["core_clock"]) * 1e3, "ms", error=CYCLES_ERROR, kind="estimated",
                note=f"{note}; {cycles:.0f} cycles by Vela's own model, which was not validated here",
            ),
        }
