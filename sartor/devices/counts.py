"""Exact counts of a network: parameters, multiply-accumulates, peak activation memory, model size.

One forward pass is executed on shapes alone (``sartor.devices._execution``), in eval mode, on the candidate's
example inputs (batch size 1). Definitions:

- ``params``: elements of all parameters, frozen ones included, shared ones once.
- ``macs``: multiply-accumulates of convolutions, matrix products and attention, as the ATen operations executed; half
  of the FLOPs of ``torch.utils.flop_counter``. Element-wise work, pooling and normalisation count nothing.
- ``peak_memory_bytes``: the largest sum of activations alive at once. An operation's output is alive from the
  operation until the last one that reads or changes it; the network's inputs from the beginning until their last
  use; its outputs until the end. Views and in-place results share storage and count once. What nothing reads (the
  indices of a max pooling, the statistics of a normalisation) is not counted, nor are parameters, buffers and the
  scratch memory inside an operation. Runtimes add their own: a microcontroller's arena was measured at twice this.
- ``model_bytes``: parameters and buffers at their dtypes, shared ones once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sartor.registry import Spec
from sartor.trials import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from sartor.contracts import Candidate
    from sartor.devices._execution import Execution

SPEC = Spec(
    "counts", "sartor.devices.counts:Counts",
    summary="params, macs, peak_memory_bytes, model_bytes: exact, without running the network",
)


class Counts:
    """Exact counts of the deployed network; the same on every machine.

    Example:
        >>> from torch import nn, zeros
        >>> figures = Counts().count(nn.Linear(4, 2), (zeros(1, 4),))
        >>> figures["params"].value, figures["macs"].value, figures["peak_memory_bytes"].value
        (10, 8, 24)
    """

    name = "counts"
    figures: tuple[str, ...] = ("params", "macs", "peak_memory_bytes", "model_bytes")
    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self) -> None:
        self._shapes: dict[Any, Any] = {}

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns the four figures, each exact."""
        return self.count(candidate.deployed, candidate.inputs)

    def count(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figures of a module on example inputs."""
        from sartor.devices._execution import execute

        execution = execute(module, inputs, self._shapes)
        note = "counted on a real forward pass: the network cannot run on shapes alone" if execution.real else ""
        return {
            "params": Figure(num_params(module)),
            "macs": Figure(sum(operation.macs for operation in execution.operations), note=note),
            "peak_memory_bytes": Figure(peak_memory_bytes(execution), "B", note=note),
            "model_bytes": Figure(model_bytes(module), "B"),
        }


def num_params(module: nn.Module) -> int:
    """Returns the number of elements of all parameters; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_bytes(module: nn.Module) -> int:
    """Returns the bytes of parameters and buffers at their dtypes; a shared one counts once."""
    from itertools import chain

    return sum(tensor.numel() * tensor.element_size() for tensor in chain(module.parameters(), module.buffers()))


def peak_memory_bytes(execution: Execution) -> int:
    """Returns the largest sum of live activations, in bytes, by the definition above."""
    born: dict[int, int] = dict.fromkeys(execution.inputs, 0)
    last: dict[int, int] = dict.fromkeys(execution.inputs, 0)
    for time, operation in enumerate(execution.operations):
        if operation.view:
            continue
        for storage in operation.writes:
            if storage not in execution.constants:
                born.setdefault(storage, time)
        for storage in (*operation.reads, *(s for s in operation.writes if born.get(s, time) < time)):
            if storage in born:
                last[storage] = time
    end = len(execution.operations)
    for storage in execution.outputs:
        if storage in born:
            last[storage] = end
    change = [0] * (end + 2)
    for storage, time in last.items():
        change[born[storage]] += execution.storage_bytes[storage]
        change[time + 1] -= execution.storage_bytes[storage]
    peak = alive = 0
    for difference in change:
        alive += difference
        peak = max(peak, alive)
    return peak
