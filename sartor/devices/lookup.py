"""Latency of a network as the sum of its operators' measured ones: a lookup table.

As ProxylessNAS (Cai et al. 2019, arXiv:1812.00332) and FBNet (Wu et al. 2019, arXiv:1812.03443) search with. A table
knows what was in the networks that it was built from and nothing else, so build it from networks that hold every
operator of a space; where one is missing, that is an error which names it, not a guess. The predictor
(``sartor.devices.predictor``) interpolates instead.

Once-for-All's published table of a Note 10 is ``sartor.estimators.tables.ofa.Note10``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sartor.devices._blocked import Step, steps_of
from sartor.devices.predictor import Measured, Validation, timed_steps
from sartor.errors import InputError
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate

__all__ = ["LookupTable", "build", "content_of"]


def build(networks: Sequence[Measured]) -> tuple[int, dict[str, float]]:
    """Returns the width of the runtime's blocked layout and each operator's mean time in milliseconds.

    Args:
        networks: Measured and profiled; what the profiler adds to a network is taken off its operators evenly.

    Raises:
        InputError: none was profiled.
    """
    block, rows = timed_steps(networks)
    if not rows:
        raise InputError("expected networks that were profiled, to build a table of operators")
    times: dict[str, list[float]] = defaultdict(list)
    for step, ms in rows:
        times[key_of(step)].append(ms)
    return block, {key: float(np.mean(values)) for key, values in sorted(times.items())}


def content_of(networks: Sequence[Measured], held_out: Sequence[Measured], device: str) -> dict[str, Any]:
    """Returns a device file's content: the table, and its error on networks that it was not built from.

    Raises:
        InputError: none was profiled, or none of those held out consists of known operators alone.
    """
    from sartor.devices.named import FORMAT

    block, table = build(networks)
    predicted, measured = [], []
    for network in held_out:
        keys = [key_of(step) for step in steps_of(network.kernels, block)]
        if all(key in table for key in keys):
            predicted.append(sum(table[key] for key in keys))
            measured.append(network.latency_ms)
    if not measured:
        raise InputError("no network held out consists of the table's operators alone: measure more networks")
    validation = Validation.of(np.array(predicted), np.array(measured))
    return {
        "format": FORMAT, "kind": "lookup", "device": device, "block": block, "operators_ms": table,
        "validation": vars(validation),
    }


def key_of(step: Step) -> str:
    """Returns what tells an operator apart, as people can read it."""
    work = f", {step.macs:.0f} macs" if step.weight or step.kind in ("linear", "matmul") else ""
    return f"{step.kind}: {step.write:.0f} elements{work}"


class LookupTable:
    """A table of operators as a device.

    Args:
        file: The JSON file.
        sha256: Of the file, when it must be the one that was there before.

    Raises:
        InputError: the file cannot be used or is another one.
    """

    figures: tuple[str, ...] = ("latency_ms",)
    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self, file: str, sha256: str | None = None) -> None:
        from sartor.devices.named import read_device_file

        content = read_device_file(Path(file), sha256)
        try:
            self._table = {str(key): float(value) for key, value in content["operators_ms"].items()}
            self._block = int(content["block"])
            self.validation = Validation(**content["validation"])
            device = str(content["device"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file} is no lookup table: {error!r}") from error
        self.name = f"lookup table of {device}"
        self._shapes: dict[Any, Any] = {}

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns the sum of the operators' times.

        Raises:
            InputError: an operator is not in the table.
        """
        return self.estimate(candidate.deployed, candidate.inputs)

    def estimate(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figure of a module on example inputs."""
        from sartor.devices.kernels import kernels_of

        total = 0.0
        for step in steps_of(kernels_of(module, inputs, self._shapes), self._block):
            key = key_of(step)
            if key not in self._table:
                raise InputError(f"{self.name} has no operator {key}: build it from networks that have it")
            total += self._table[key]
        return {"latency_ms": self.validation.figure(total, f"sum of {self.name}")}

    def describe(self) -> list[str]:
        """Returns what a person should know of it."""
        return [f"{len(self._table)} operators", f"error: {self.validation}"]
