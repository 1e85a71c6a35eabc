"""ExecuTorch, one .pte file for phones and microcontrollers, for XNNPACK where that has the operator.

- ``fp32``.
- ``int8``: torch's quantisation of an exported graph with XNNPACK's rules: symmetric weights a channel, activations
  a tensor, ranges seen on the calibration data.

The batch is of 1: the memory of a program is planned when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ExportError
from sartor.export._exporter import REFUSALS, Exporter, Loaded, Precision, converting, first_cause, quiet, refused
from sartor.export._ort import need
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

SPEC = Spec(
    "executorch", "sartor.export.executorch:EXPORTER",
    summary="ExecuTorch (.pte) with XNNPACK: Android, iOS, embedded Linux",
    extra="executorch",
    citation="https://docs.pytorch.org/executorch",
)

FEATURE = "exporting to ExecuTorch"
EXTRA = "executorch"
_PARTITIONER = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
_QUANTISER = "executorch.backends.xnnpack.quantizer.xnnpack_quantizer"


def write(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: Path,
    precision: Precision,
    calibration: Sequence[tuple[Any, ...]],
    dynamic: bool,
) -> tuple[str, ...]:
    """Converts and writes; see `sartor.export.Exporter`."""
    import torch
    from torch._export import verifier

    with quiet():
        exir = need("executorch.exir", FEATURE, EXTRA)
        errors = need("executorch.exir.error", FEATURE, EXTRA)
        partitioner = need(_PARTITIONER, FEATURE, EXTRA).XnnpackPartitioner()
    refusals = (errors.ExportError, errors.InternalError, verifier.SpecViolationError, *REFUSALS)
    with converting(module, inputs, "ExecuTorch", refusals=refusals):
        program = torch.export.export(module, inputs)
        if precision == "int8":
            program = torch.export.export(_quantised(program.module(), calibration), inputs)
        lowered = exir.to_edge_transform_and_lower(program, partitioner=[partitioner])
        path.write_bytes(lowered.to_executorch().buffer)
    delegated = _num_delegated(lowered)
    return () if delegated else ("no operator runs in XNNPACK: all use the slow portable kernels",)


def _num_delegated(lowered: Any) -> int:
    graph = lowered.exported_program().graph
    return sum("executorch_call_delegate" in str(node.target) for node in graph.nodes if node.op == "call_function")


def _quantised(graph: Any, calibration: Sequence[tuple[Any, ...]]) -> Any:
    import torch

    rules = need(_QUANTISER, FEATURE, EXTRA)
    steps = need("torchao.quantization.pt2e.quantize_pt2e", FEATURE, EXTRA)
    quantiser = rules.XNNPACKQuantizer().set_global(rules.get_symmetric_quantization_config(is_per_channel=True))
    prepared = steps.prepare_pt2e(graph, quantiser)
    with torch.no_grad():
        for given in calibration:
            prepared(*given)
    return steps.convert_pt2e(prepared)


def load(path: Path) -> Loaded:
    """Returns a program brought to run by ExecuTorch's own runtime."""
    with quiet():
        runtime = need("executorch.runtime", FEATURE, EXTRA)
    try:
        # The program owns the memory of the method.
        program = runtime.Runtime.get().load_program(path.read_bytes())
        method = program.load_method("forward")
    except RuntimeError as error:
        raise ExportError(f"ExecuTorch cannot load {path.name}: {first_cause(error)}") from error

    def prepare(arrays: Sequence[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        import torch

        given = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]

        def run() -> list[np.ndarray]:
            try:
                return [output.numpy() for output in method.execute(given)]
            except RuntimeError as error:
                raise refused(arrays, error) from error

        run.program = program  # type: ignore[attr-defined]
        return run

    return Loaded(prepare)


EXPORTER = Exporter(
    name="executorch", title="ExecuTorch", suffix=".pte", precisions=("fp32", "int8"), extra=EXTRA,
    packages=("executorch", "torchao"), write=write, load=load,
)
