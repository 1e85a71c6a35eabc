"""The memory arena of a network on a microcontroller, by TensorFlow Lite Micro's own allocator.

The deployed network is written as an int8 .tflite (`sartor.export.litert`), loaded by TensorFlow Lite Micro on this
machine with an allocator that keeps account, and run once. The arena holds activations (planned to share room), scratch
memory and the interpreter's own structures; weights stay in flash. Ranges are taken from random inputs: they change
numbers, not sizes.

The allocator is the one that a microcontroller runs, but this build of it is for 64 bits: the part that holds
structures (the note says how much) is up to twice as large as on a Cortex-M, and kernels optimised for one
(CMSIS-NN) may want other scratch memory.
"""

from __future__ import annotations

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
    "tflite-micro", "sartor.devices.tflite_micro:Arena",
    summary="arena_bytes: memory on a microcontroller, int8, by TensorFlow Lite Micro's own allocator",
    extra="micro",
    citation="David et al. 2021, arXiv:2010.08678",
)

FEATURE = "the arena on a microcontroller"
_MOST_BYTES = 256 * 2**20
_NUM_RANGES = 4
_RUN = """
import sys
import numpy as np
from tflite_micro import runtime

interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))
for i in range(int(sys.argv[3])):
    details = interpreter.get_input_details(i)
    interpreter.set_input(np.zeros(details["shape"], details["dtype"]), i)
interpreter.invoke()
interpreter.print_allocations()
"""


class Arena:
    """Measures the arena; takes some seconds a network, nearly all of them for its conversion."""

    name = "tflite-micro (int8)"
    figures: tuple[str, ...] = ("arena_bytes",)
    needs: Literal["architecture", "network", "trained"] = "network"

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns the arena.

        Raises:
            ExportError: the network cannot be brought to LiteRT in int8, or has an operator that TensorFlow Lite
                Micro lacks.
            MissingExtraError: a package is not installed.
        """
        return self.measure(candidate.deployed, candidate.inputs)

    def measure(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figure of a module on example inputs."""
        from sartor.devices._execution import tensors_in
        from sartor.export._ort import need

        need("tflite_micro", FEATURE, "micro")
        with TemporaryDirectory(prefix="sartor-") as folder:
            path = Path(folder) / "network.tflite"
            write_int8(module, inputs, path)
            count = len(list(tensors_in(inputs)))
            # In a process of its own: it tells its account to the standard error, and ends the process where it fails.
            found = subprocess.run(
                [sys.executable, "-c", _RUN, str(path), str(_MOST_BYTES), str(count)], capture_output=True, text=True
            )
        sizes = dict(re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", found.stderr))
        if found.returncode or "total" not in sizes:
            lines = [line for line in found.stderr.splitlines() if line.strip()]
            raise ExportError(
                f"TensorFlow Lite Micro cannot run this network: {' '.join(lines[-3:])[:500] or found.returncode}"
            )
        note = f"int8; {int(sizes['head'])} B for activations, {int(sizes['tail'])} B for structures, of a 64-bit build"
        return {"arena_bytes": Figure(int(sizes["total"]), "B", note=note)}


def write_int8(module: nn.Module, inputs: tuple[Any, ...], path: Path) -> None:
    """Writes an int8 .tflite whose ranges are those of random inputs: for sizes and cycles, not to be used."""
    from sartor._modes import evaluating
    from sartor.export._exporter import random_state_of_its_own, samples
    from sartor.export.litert import EXPORTER, write

    EXPORTER.need()
    with evaluating(module), random_state_of_its_own():
        write(module, inputs, path, "int8", samples(inputs, (), False)[:_NUM_RANGES], False)
