"""Fewer bits, as the last step of compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from sartor.errors import InputError, near
from sartor.registry import CompressorSpec
from sartor.units import listed

if TYPE_CHECKING:
    from torch import nn

    from sartor.compress._contract import Outcome, StepContext

SPEC = CompressorSpec(
    "quantise",
    "sartor.compress.steps.quantise:quantise",
    summary="fewer bits: an int8 file for ONNX Runtime, or weights alone on a grid",
    citation="Jacob et al. 2018, arXiv:1712.05877; Esser et al. 2020, arXiv:1902.08153; Dong et al. 2019,"
    " arXiv:1905.03696",
    extra="onnx",
    options="sartor.compress.steps.quantise:Options",
)

Method = Literal["static", "aware", "weight-only", "mixed"]


@dataclass(frozen=True)
class Options:
    """Options of quantise.

    Attributes:
        method: An int8 file from calibration inputs (static), or after training under quantisation (aware); weights
            alone on a grid (weight-only), or with more bits where they matter (mixed).
        bits: Of weights: 8 for static; the mean of all weights for mixed.
        rows: Of training data to calibrate on.
        skip: Layers to leave alone, by name, with commas between; of aware, weight-only and mixed.
    """

    method: Method = "static"
    bits: int = 8
    rows: int = 256
    skip: str = ""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"method: there is no {self.method!r}{near(self.method, get_args(Method))}")
        if not 2 <= self.bits <= 8:
            raise InputError(f"bits: expected 2 to 8, got {self.bits}")
        if self.method == "static" and (self.bits != 8 or self.skip):
            raise InputError("static has 8 bits in all layers: leave out bits and skip, or use another method")
        if self.rows < 1:
            raise InputError(f"rows: expected at least 1, got {self.rows}")


def quantise(network: nn.Module, options: Options, context: StepContext) -> Outcome:
    """Returns the network with an int8 file, or with weights on a grid."""
    from sartor.compress import Outcome
    from sartor.compress.quantisation.weight_only import quantise_weights, quantised_bytes

    skip = list(listed(options.skip))
    if options.method == "static":
        return _as_file(network, options, context, {})
    if options.method == "aware":
        return _aware(network, options, context, skip)
    if options.method == "mixed":
        bits: int | dict[str, int] = context.stage("bits", lambda: _mixed(network, options, context, skip))
    else:
        bits = options.bits
    made = quantise_weights(network, bits, skip=skip)
    record = {"bits": bits, "bytes": quantised_bytes(network, bits, skip=skip)}
    context.say(f"weights take {record['bytes']:,} bytes; a runtime with float kernels is not faster for it")
    return Outcome(made, record)


def _mixed(network: nn.Module, options: Options, context: StepContext, skip: list[str]) -> dict[str, int]:
    from sartor.compress.quantisation.mixed import choose_bits, sensitivities, weight_bytes
    from sartor.compress.quantisation.uniform import MAX_BITS, MIN_BITS

    tried = range(MIN_BITS, MAX_BITS + 1)
    table = sensitivities(network, context.batches(4), context.loss, bits=tried, skip=skip)
    costs = weight_bytes(network, table)
    return choose_bits(table, costs, sum(row[options.bits] for row in costs.values()))


def _aware(network: nn.Module, options: Options, context: StepContext, skip: list[str]) -> Outcome:
    from sartor.compress.calibration import network_inputs
    from sartor.compress.quantisation.aware import convert, prepare

    if not context.epochs > 0:
        raise InputError("quantise.method aware trains the network: give it epochs, or use static")
    inputs = network_inputs(network, context.batches(4), context.loss)
    prepared = prepare(network, inputs, options.bits, skip=skip)
    trained = context.fine_tune("aware", prepared, epochs=context.epochs)
    return _as_file(convert(trained), options, context, {"bits": options.bits})


def _as_file(network: nn.Module, options: Options, context: StepContext, record: dict[str, Any]) -> Outcome:
    from sartor.compress import Outcome
    from sartor.compress.onnx_file import OnnxFile
    from sartor.compress.quantisation.static import quantise_static
    from sartor.export.onnx import export_onnx

    source, path = context.folder / "float.onnx", context.folder / "int8.onnx"
    export_onnx(context.deploy(network), context.inputs, source, description=context.task.describe())
    try:
        calibration = context.deployed_inputs(options.rows)
    except InputError as error:
        raise InputError(f"{error}; quantise.method=weight-only needs none") from error
    report = quantise_static(source, path, calibration)
    found = {
        **record, "bytes": report.bytes, "bytes_before": report.bytes_before, "layers_quantised": report.num_quantised,
    }  # fmt: skip
    return Outcome(network, found, file=path, runs=OnnxFile(path, context.deploy(network)))
