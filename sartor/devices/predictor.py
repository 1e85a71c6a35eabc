"""Latency of a network predicted operator by operator, from a few networks measured and profiled on the device.

In two steps, both by non-negative least squares on relative errors (a time is a sum of non-negative parts; nn-Meter,
Zhang et al. 2021, doi:10.1145/3458864.3467882, predicts by kernels too, from thousands of measured ones):

1. Each operation of the runtime's own graph (``sartor.devices._blocked``: convolutions by kind, layout and padding,
   and the copies between layouts) takes a constant and so much a multiply-accumulate, an element read, written, of
   weights, a vector of outputs and a place of the window. These are learnt by kind from the operators that ONNX
   Runtime's profiler timed inside the calibration networks. The profiler slows each operator by a few microseconds;
   what it adds to a network, over the latency measured without it, is taken off evenly.
2. A network takes the sum of its operations, each kind corrected by a factor, and so much an operation. The factors are
   drawn to 1, as there are more kinds than a few networks can tell apart.

Where a device gives no profile, a network's latency is fitted on the totals of a few families of kinds alone.

Prediction needs no measurement and no runtime: one execution on shapes, some milliseconds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sartor.devices._blocked import Step, steps_of
from sartor.devices._profile import Timed
from sartor.devices.kernels import Kernel
from sartor.errors import InputError
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate

__all__ = ["Measured", "PredictedLatency", "Predictor", "Validation", "fit", "timed_steps", "validate"]

Array = npt.NDArray[np.float64]

FEWEST = 5
"""Networks that a predictor can be fitted on."""
_FOLDS = 5
_DRAWN_TO_ONE = 1.0
"""Weight of the factors' distance to 1, in units of one network's relative error."""
_SHORT_MS = 1.5e-3
"""Operators shorter than this count by their absolute error: the profiler tells microseconds."""
_LEAST_MS = 2e-4
_SMALLEST = (1.0, 1e5, 1e4, 1e4, 1e4, 1.6e4, 1e3)
"""What features are divided by, so that coefficients are of one size: milliseconds of about a thousand cycles."""
_FAMILIES: Mapping[str, str] = {
    "convolution": "convolution", "grouped": "convolution", "pointwise": "pointwise", "depthwise": "depthwise",
    "linear": "matrix", "matmul": "matrix", "average_pool": "pool", "max_pool": "pool",
}


@dataclass(frozen=True)
class Measured:
    """A calibration network.

    Attributes:
        name: For messages.
        kernels: Of ``sartor.devices.kernels.kernels_of``.
        latency_ms: Measured.
        profile: Its operators as timed, or nothing.
    """

    name: str
    kernels: tuple[Kernel, ...]
    latency_ms: float
    profile: tuple[Timed, ...] = ()


@dataclass(frozen=True)
class Validation:
    """How far predictions were off on networks that were held out.

    Attributes:
        num_networks: Held out, each once.
        mean, p90: Of the relative error.
        spearman: Rank correlation.
    """

    num_networks: int
    mean: float
    p90: float
    spearman: float

    @classmethod
    def of(cls, predicted: Array, measured: Array) -> Validation:
        """Compares predictions with measurements, ``[n]`` milliseconds each."""
        from scipy.stats import spearmanr

        error = np.abs(predicted / measured - 1)
        rank = float(spearmanr(predicted, measured).statistic) if len(measured) > 2 else math.nan
        return cls(len(measured), float(error.mean()), float(np.percentile(error, 90)), rank)

    def figure(self, latency_ms: float, how: str) -> Figure:
        """Returns a latency that was found in this way, with the error at the 90th percentile."""
        error = max(round(self.p90, 4), 1e-4)
        return Figure(latency_ms, "ms", error=error, kind="estimated", note=f"{how}: {self}")

    def __str__(self) -> str:
        return (
            f"{self.mean:.1%} mean and {self.p90:.1%} 90th percentile error, Spearman {self.spearman:.3f},"
            f" on {self.num_networks} networks held out"
        )


@dataclass(frozen=True)
class Predictor:
    """What was learnt.

    Attributes:
        block: Channels in a block of the runtime's layout; 1 without.
        operators: Kind -> milliseconds a unit of each feature; empty where nothing was profiled.
        factors: Kind (or family and feature) -> correction.
        per_step_ms: Of each operation, beyond its own.
        constant_ms: Of a network.
    """

    block: int
    operators: Mapping[str, tuple[float, ...]]
    factors: Mapping[str, float]
    per_step_ms: float
    constant_ms: float

    def predict_ms(self, kernels: Sequence[Kernel]) -> float:
        """Returns the latency of a network in milliseconds."""
        steps = steps_of(kernels, self.block)
        parts = _parts(steps, self.operators)
        return self.constant_ms + self.per_step_ms * len(steps) + sum(
            self.factors.get(kind, 1.0 if self.operators else 0.0) * value for kind, value in parts.items()
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "block": self.block,
            "operators": {kind: list(values) for kind, values in self.operators.items()},
            "factors": dict(self.factors),
            "per_step_ms": self.per_step_ms,
            "constant_ms": self.constant_ms,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Predictor:
        operators = {kind: tuple(map(float, values)) for kind, values in value["operators"].items()}
        factors = {kind: float(factor) for kind, factor in value["factors"].items()}
        return cls(int(value["block"]), operators, factors, float(value["per_step_ms"]), float(value["constant_ms"]))


def fit(networks: Sequence[Measured]) -> Predictor:
    """Returns what a few networks teach.

    Raises:
        InputError: fewer than 5, or a latency that is not positive.
    """
    from scipy.optimize import nnls

    if len(networks) < FEWEST:
        raise InputError(f"expected at least {FEWEST} networks to calibrate on, got {len(networks)}")
    for network in networks:
        if not (math.isfinite(network.latency_ms) and network.latency_ms > 0):
            raise InputError(f"network {network.name}: expected a positive latency, got {network.latency_ms} ms")
    block, rows = timed_steps(networks)
    operators = _operators(rows)
    steps = [steps_of(network.kernels, block) for network in networks]
    parts = [_parts(each, operators) for each in steps]
    kinds = sorted({kind for each in parts for kind in each})
    columns = np.array(
        [
            [*(each.get(kind, 0.0) for kind in kinds), 1e-3 * len(own), 1e-3]
            for each, own in zip(parts, steps, strict=True)
        ]
    )
    measured = np.array([network.latency_ms for network in networks])
    if operators:
        prior, strength = np.array([1.0] * len(kinds) + [0.0, 0.0]), np.full(len(kinds) + 2, _DRAWN_TO_ONE)
    else:
        prior = np.zeros(len(kinds) + 2)
        strength = 1e-3 * (columns / measured[:, None]).mean(0)
    stacked = np.vstack([columns / measured[:, None], np.diag(strength)])
    found, _ = nnls(stacked, np.concatenate([np.ones(len(networks)), strength * prior]))
    factors = dict(zip(kinds, map(float, found), strict=False))
    return Predictor(block, operators, factors, float(found[-2]) * 1e-3, float(found[-1]) * 1e-3)


def validate(networks: Sequence[Measured], *, seed: int = 0) -> Validation:
    """Returns the error on the networks themselves, each predicted by a fit that did not see it (five folds).

    Raises:
        InputError: too few networks to hold any out.
    """
    order = np.random.default_rng(seed).permutation(len(networks))
    predicted = np.zeros(len(networks))
    for fold in range(_FOLDS):
        held = set(order[fold::_FOLDS].tolist())
        model = fit([network for i, network in enumerate(networks) if i not in held])
        for i in held:
            predicted[i] = model.predict_ms(networks[i].kernels)
    return Validation.of(predicted, np.array([network.latency_ms for network in networks]))


class PredictedLatency:
    """A calibrated device: what ``sartor devices calibrate`` wrote.

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
            self.predictor = Predictor.from_json(content["predictor"])
            self.validation = Validation(**content["validation"])
            self.device = str(content["device"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file} is no calibrated device: {error!r}; calibrate again") from error
        self.name = f"predicted latency on {self.device}"
        self._shapes: dict[Any, Any] = {}

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns the predicted latency, with the error that it was validated to."""
        return self.predict(candidate.deployed, candidate.inputs)

    def predict(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figure of a module on example inputs."""
        from sartor.devices.kernels import kernels_of

        value = self.predictor.predict_ms(kernels_of(module, inputs, self._shapes))
        return {"latency_ms": self.validation.figure(value, f"predicted operator by operator for {self.device}")}

    def describe(self) -> list[str]:
        """Returns what a person should know of it."""
        return [f"calibrated for {self.device}", f"error: {self.validation}"]


# --- features


def _features(step: Step) -> Array:
    """Returns count, multiply-accumulates, elements read, written, of weights, vectors of outputs, places by window."""
    values = (
        1.0, step.macs, step.read, step.write, step.weight, step.places * step.channels_out, step.places * step.size
    )
    windowed = step.kind.split()[0] in ("convolution", "pointwise", "depthwise")
    kept = values if windowed else (*values[:5], 0.0, 0.0)
    return np.asarray(kept, np.float64) / np.asarray(_SMALLEST, np.float64)


def _parts(steps: Sequence[Step], operators: Mapping[str, tuple[float, ...]]) -> dict[str, float]:
    """Returns milliseconds by kind, or, where no operators are known, features by family."""
    found: dict[str, float] = defaultdict(float)
    for step in steps:
        features = _features(step)
        if operators:
            found[step.kind] += float(features @ np.array(_coefficients(step.kind, operators)))
            continue
        family = _FAMILIES.get(step.kind.split()[0], "other")
        for name, value in zip(("count", "macs", "moved"), (1.0, features[1], features[2:5].sum()), strict=True):
            found[f"{family}.{name}"] += float(value) * 1e-3
    return dict(found)


def _coefficients(kind: str, operators: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """Returns those of the kind, else of the same in another layout, else of any."""
    if kind in operators:
        return operators[kind]
    same = [values for name, values in operators.items() if name.split()[0] == kind.split()[0]]
    if same:
        return same[0]
    return tuple(np.median(np.array(list(operators.values())), 0).tolist())


# --- what was profiled


_OPERATORS: Mapping[str, str] = {
    "ReorderOutput": "reorder out", "ReorderInput": "reorder in", "Relu": "activation", "Gelu": "gelu",
    "HardSigmoid": "activation", "Sigmoid": "activation", "Tanh": "activation", "Clip": "activation",
    "HardSwish": "activation", "QuickGelu": "gelu", "LeakyRelu": "activation", "Elu": "activation",
    "Add": "add", "Sub": "add", "Sum": "add", "Mul": "multiply", "Div": "multiply", "Concat": "concat", "Pad": "concat",
    "SkipLayerNormalization": "layer_norm", "LayerNormalization": "layer_norm", "ReduceMean": "reduce",
    "GlobalAveragePool": "reduce", "ReduceSum": "reduce", "Gemm": "linear", "MatMul": "linear",
    "FusedMatMul": "matmul", "Softmax": "softmax", "LogSoftmax": "softmax", "Reshape": "reshape",
    "Transpose": "transpose", "Slice": "slice", "BatchNormalization": "normalise",
}
_POOLS = {"AveragePool": "average_pool", "MaxPool": "max_pool"}


def _block(timed: Sequence[Timed]) -> int:
    """Returns the width of the runtime's blocked layout, to which its activations are padded; 1 where there is none."""
    if not any(each.kind in ("ReorderOutput", "ReorderInput") for each in timed):
        return 16 if not timed else 1
    inputs = [each.inputs[0][1] for each in timed if each.kind == "ReorderOutput" and len(each.inputs[0]) == 4]
    return next((block for block in (16, 8) if inputs and all(size % block == 0 for size in inputs)), 1)


def timed_steps(networks: Sequence[Measured]) -> tuple[int, list[tuple[Step, float]]]:
    """Returns the width of the runtime's blocked layout, and each profiled operator with its time in milliseconds.

    Without what the profiler adds: the operators of a network take, with nothing else, its latency.
    """
    networks = [network for network in networks if network.profile]
    block = _block([timed for network in networks for timed in network.profile])
    rows: list[tuple[Step, float]] = []
    for network in networks:
        steps = steps_of(network.kernels, block)
        windows = {(s.kind, s.read, s.write): s.size for s in steps}
        added = sum(timed.ms for timed in network.profile) - network.latency_ms
        each = added / len(network.profile)
        for timed in network.profile:
            step = _step(timed, block)
            if step.kind.split()[0] in _POOLS.values():
                size = windows.get((step.kind, step.read, step.write), step.size)
                step = replace(step, size=size, macs=size * step.write)
            rows.append((step, max(timed.ms - each, _LEAST_MS)))
    return block, rows


def _operators(rows: Sequence[tuple[Step, float]]) -> dict[str, tuple[float, ...]]:
    from scipy.optimize import nnls

    by_kind: dict[str, list[tuple[Array, float]]] = defaultdict(list)
    for step, ms in rows:
        by_kind[step.kind].append((_features(step), ms))
    found = {}
    for kind, pairs in by_kind.items():
        features, values = np.array([f for f, _ in pairs]), np.array([value for _, value in pairs])
        weights = 1.0 / np.maximum(values, _SHORT_MS)
        coefficients, _ = nnls(features * weights[:, None], values * weights)
        found[kind] = tuple(map(float, coefficients))
    return found


def _step(timed: Timed, block: int) -> Step:
    """Returns a timed operator in the words of ``sartor.devices._blocked``."""
    sizes = [float(math.prod(shape)) for shape in timed.inputs]
    elements, read = float(math.prod(timed.output)), sizes[0] if sizes else 0.0
    first = timed.inputs[0] if timed.inputs else ()
    if timed.kind == "Conv" and len(timed.output) == 4:
        weight, channels, out = timed.inputs[1], first[1], timed.output[1]
        size, each, places = math.prod(weight[2:]), weight[1], float(math.prod(timed.output[2:]))
        if each == 1 and channels == out > 1:
            kind = "depthwise blocked" if size > 1 else "normalise blocked"
            if block == 1 or out % block:
                kind = "depthwise"
        elif channels != each:
            kind = "grouped blocked" if block > 1 and each % block == 0 else "grouped"
        else:
            kind = "pointwise" if size == 1 else "convolution"
            if block > 1 and out % block == 0:
                kind += " direct" if channels < block else " blocked" if channels % block == 0 else ""
        summed = elements if len(timed.inputs) > 3 else 0.0
        return Step(
            kind, places * out * each * size, read + summed, sizes[1], elements, places, float(size), float(channels),
            float(out),
        )
    if timed.kind in _POOLS:
        whole = block > 1 and len(first) == 4 and first[1] % block == 0
        kind = _POOLS[timed.kind] + (" blocked" if whole else "")
        return Step(kind, 9 * elements, read, 0.0, elements, elements, 9.0, 0.0, 0.0)
    kind = _OPERATORS.get(timed.kind, "other")
    if kind == "normalise":
        return Step(kind, elements, read, sum(sizes[1:]), elements, elements, 1.0, 0.0, 0.0)
    if kind == "linear" and len(timed.inputs) > 1 and len(timed.inputs[1]) > 2:
        kind = "matmul"
    matrix = kind in ("linear", "matmul")
    macs = elements * (first[-1] if matrix and first else 1)
    if kind in ("add", "multiply", "matmul"):
        read = sum(sizes[:2])
    elif kind == "concat":
        read = elements
    return Step(kind, macs, read, 0.0, elements, elements, 1.0, 0.0, 0.0)
