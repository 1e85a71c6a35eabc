"""Whether a Core ML program is eligible for the Apple Neural Engine: a linter over the converted program.

Core ML alone decides, on the device, where each operation runs, and Apple publishes no rules: what is checked here was
found by others by experiment (each rule names where it is from) and may differ between chips. A program without
findings is *eligible*; only Xcode's performance report, or ``MLComputePlan`` on the device, says where it runs.

Some rules forbid (the operation goes to the processor or the graphics unit), some only slow down. The chips and their
stated peaks are in ``ane_chips.toml`` and in the targets ``apple-*-ane``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sartor.errors import InputError
from sartor.export._exporter import quiet
from sartor.export._ort import need
from sartor.export.coreml import model_file

FEATURE = "checking for the Apple Neural Engine"

GUIDE = "ane-guide.readthedocs.io, ch. 17"
OPERATIONS = "ane-guide.readthedocs.io, ch. 4"
LAYERS = "github.com/hollance/neural-engine, unsupported-layers.md"
TRANSFORMERS = "machinelearning.apple.com/research/neural-engine-transformers"
SHAPES = "coremltools guide, Flexible Input Shapes; developer.apple.com/forums/thread/724930"

MAX_SIDE, MAX_CHANNELS = 16_384, 65_536
MAX_KERNEL_WIDTH, MAX_POOL_KERNEL, MAX_POOL_STRIDE = 13, 13, 2
MAX_RANK = 4
MAX_OPERAND_BYTES = 2 * 2**20
MAX_ARG_AXIS = 2_048
RECURRENT = ("lstm", "gru", "rnn")
CONVOLUTIONS = ("conv", "conv_transpose")
POOLS = ("max_pool", "avg_pool", "l2_pool")
SCATTERS = ("scatter", "scatter_along_axis", "scatter_nd")
DATA_DEPENDENT = ("non_zero", "non_maximum_suppression", "cond", "while_loop", "topk", "argsort")
_CONSTANTS = ("const",)
_COMPUTED_CONSTANTS = "constexpr_"


@dataclass(frozen=True)
class Finding:
    """One thing that keeps an operation from the Neural Engine, or slows it there.

    Attributes:
        rule: Short name.
        operation: ``kind`` and the name of its output in the program.
        severity: ``forbids`` or ``slows``.
        found: What is there.
        change: What to do.
        source: Where the rule is from.
    """

    rule: str
    operation: str
    severity: Literal["forbids", "slows"]
    found: str
    change: str
    source: str


@dataclass(frozen=True)
class Verdict:
    """What the linter says of a program.

    Attributes:
        findings: In the order of the program.
        num_operations: Of the program, constants not counted.
        num_eligible: Operations that no rule forbids.
    """

    findings: tuple[Finding, ...]
    num_operations: int
    num_eligible: int

    @property
    def is_eligible(self) -> bool:
        return self.num_eligible == self.num_operations and not any(
            f.severity == "forbids" for f in self.findings
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "eligible": self.is_eligible, "num_operations": self.num_operations, "num_eligible": self.num_eligible,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        if self.is_eligible:
            return (
                f"eligible: no rule forbids any of its {self.num_operations} operations;"
                " where they run is for Core ML to choose, on the device"
            )
        return (
            f"not eligible as a whole: {self.num_eligible} of {self.num_operations} operations are eligible;"
            " Core ML would split the program or leave the Neural Engine out"
        )


@dataclass(frozen=True)
class Chip:
    """One Neural Engine.

    Attributes:
        name: Of the chip.
        year: When it came out.
        tops: Stated peak, trillion operations a second, or None where no reliable figure is known.
        w8a8: 8-bit weights with 8-bit activations are accelerated.
        source: Of the figure.
        notes: What else matters.
    """

    name: str
    year: int
    source: str
    tops: float | None = None
    w8a8: bool = False
    notes: str = ""


@cache
def chips() -> tuple[Chip, ...]:
    """Returns the known chips, A11 to M5; their peaks are those of the targets of the same names."""
    from sartor.devices.targets import load_target

    with open(Path(__file__).with_name("ane_chips.toml"), "rb") as file:
        entries = tomllib.load(file)["chip"]
    found = []
    for entry in entries:
        target = load_target(f"apple-{entry['name'].lower().replace(' ', '-')}-ane")
        peak = next(iter(target.peak.values()), None)
        stated: dict[str, Any] = {} if peak is None else {"tops": peak.value, "source": peak.source}
        found.append(Chip(**entry, **stated))
    return tuple(found)


@dataclass(frozen=True)
class Operation:
    """One operation of a program.

    Attributes:
        kind: Without version, e.g. ``conv``.
        name: Of its first output.
        inputs: Argument -> names of the values bound to it.
        values: Argument -> constant integers or booleans given to it.
        shapes: Of all operands that are no constants, outputs included; a dimension that varies is None.
        bits: Of the same, of each element; 0 where unknown.
        types: Of the same: ``float16``, ``float32``, ``int32`` ...
        weight_shape: Of the argument ``weight``, or ().
    """

    kind: str
    name: str
    values: Mapping[str, tuple[int, ...]]
    shapes: tuple[tuple[int | None, ...], ...]
    bits: tuple[int, ...]
    types: tuple[str, ...]
    weight_shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


Rule = Callable[[Operation], Iterator[Finding]]


def check(path: str | Path) -> Verdict:
    """Returns what keeps a Core ML program from the Neural Engine.

    Args:
        path: A .mlpackage, or a .mlmodel that holds an ML program.

    Raises:
        InputError: no such file, no Core ML, or an old neural network that is no ML program.
        MissingExtraError: coremltools is not installed.
    """
    spec = _spec(Path(path))
    findings = list(_inputs(spec))
    operations = list(program(spec))
    forbidden = set()
    for i, operation in enumerate(operations):
        for rule in RULES:
            for finding in rule(operation):
                findings.append(finding)
                if finding.severity == "forbids":
                    forbidden.add(i)
    return Verdict(tuple(findings), len(operations), len(operations) - len(forbidden))


# --- rules


def _finding(
    operation: Operation, rule: str, found: str, change: str, source: str,
    severity: Literal["forbids", "slows"] = "forbids",
) -> Finding:
    return Finding(rule, str(operation), severity, found, change, source)


def _float16(operation: Operation) -> Iterator[Finding]:
    wide = sorted({kind for kind in operation.types if kind in ("float32", "float64")})
    # The casts at the border are the ones that make the rest float16.
    if wide and operation.kind != "cast":
        yield _finding(
            operation, "float16", f"computes in {', '.join(wide)}",
            "convert with precision fp16 (compute_precision FLOAT16)", GUIDE,
        )


def _integers(operation: Operation) -> Iterator[Finding]:
    if any(kind.startswith(("int", "uint")) and kind.endswith(("32", "64")) for kind in operation.types):
        yield _finding(
            operation, "float16", "works on 32-bit integers",
            "compute indices ahead, as constants, or outside the file", GUIDE,
        )


def _rank(operation: Operation) -> Iterator[Finding]:
    rank = max((len(shape) for shape in operation.shapes), default=0)
    if rank > MAX_RANK:
        yield _finding(
            operation, "rank", f"an operand of rank {rank}",
            f"reshape to rank {MAX_RANK}, (batch, channels, height, width), for all of the network", TRANSFORMERS,
        )


def _dynamic(operation: Operation) -> Iterator[Finding]:
    if any(None in shape for shape in operation.shapes):
        yield _finding(
            operation, "static shapes", "an operand whose shape is not known before it runs",
            "give fixed input shapes, or enumerate them (EnumeratedShapes)", SHAPES,
        )


def _sides(operation: Operation) -> Iterator[Finding]:
    for shape in operation.shapes:
        known = [size or 1 for size in shape]
        if len(known) == MAX_RANK and (max(known[2:]) > MAX_SIDE or known[1] > MAX_CHANNELS):
            yield _finding(
                operation, "sizes", f"an operand of shape {tuple(shape)}",
                f"keep width and height within {MAX_SIDE}, channels within {MAX_CHANNELS}: split or move what is long"
                " into the channels", GUIDE,
            )
            return
        if len(known) < MAX_RANK and known and max(known) > MAX_CHANNELS:
            yield _finding(
                operation, "sizes", f"an operand of shape {tuple(shape)}", f"keep sides within {MAX_SIDE}", GUIDE
            )
            return


def _convolution(operation: Operation) -> Iterator[Finding]:
    if operation.kind not in CONVOLUTIONS:
        return
    kernel = operation.weight_shape[2:]
    if len(kernel) > 2:
        yield _finding(
            operation, "convolution", "a three-dimensional convolution", "use two-dimensional ones, a slice each",
            OPERATIONS,
        )
    elif kernel and (kernel[-1] or 1) > MAX_KERNEL_WIDTH:
        yield _finding(
            operation, "kernel", f"a kernel {kernel[-1]} wide",
            f"keep kernels within {MAX_KERNEL_WIDTH}, e.g. two smaller ones in a row", GUIDE,
        )
    if any(rate > 1 for rate in operation.values.get("dilations", ())):
        yield _finding(
            operation, "dilation", f"dilation {operation.values['dilations']}",
            "prefer kernels without dilation: on older chips it goes to another unit", LAYERS, "slows",
        )


def _pool(operation: Operation) -> Iterator[Finding]:
    if operation.kind not in POOLS:
        return
    kernel, strides = operation.values.get("kernel_sizes", ()), operation.values.get("strides", ())
    if any(size > MAX_POOL_KERNEL for size in kernel):
        yield _finding(
            operation, "pool", f"a pooling kernel of {kernel}",
            f"keep it within {MAX_POOL_KERNEL}, or take the mean over whole sides (global pooling)", LAYERS,
        )
    if any(stride > MAX_POOL_STRIDE for stride in strides):
        yield _finding(
            operation, "pool", f"a pooling stride of {strides}",
            f"keep it within {MAX_POOL_STRIDE}: pool twice", LAYERS,
        )


def _kinds(operation: Operation) -> Iterator[Finding]:
    if operation.kind in RECURRENT:
        yield _finding(
            operation, "recurrent", "a recurrent layer", "use convolutions or attention over the sequence", OPERATIONS
        )
    elif operation.kind in SCATTERS:
        yield _finding(operation, "scatter", "writes by index", "multiply by a one-hot mask instead", OPERATIONS)
    elif operation.kind in DATA_DEPENDENT:
        yield _finding(
            operation, "data-dependent", "what it does depends on the data", "do it outside of the file", LAYERS
        )
    elif operation.kind == "reduce_prod":
        yield _finding(operation, "reduce_prod", "a product over an axis", "sum logarithms", OPERATIONS)
    elif operation.kind.startswith("custom"):
        yield _finding(operation, "custom", "a custom layer", "express it by operations of the format", LAYERS)
    elif operation.kind in ("gather", "gather_nd", "gather_along_axis"):
        yield _finding(
            operation, "gather", "reads by index", "multiply by a one-hot mask, or look up outside of the file", LAYERS
        )
    elif operation.kind in ("reduce_argmax", "reduce_argmin"):
        size = max((max((s or 1 for s in shape), default=1) for shape in operation.shapes), default=1)
        if size > MAX_ARG_AXIS:
            yield _finding(
                operation, "arg", f"over an axis of {size}", f"keep the axis within {MAX_ARG_AXIS}", GUIDE
            )


def _operand(operation: Operation) -> Iterator[Finding]:
    sizes = [
        math.prod(size or 1 for size in shape) * bits // 8
        for shape, bits in zip(operation.shapes, operation.bits, strict=True)
    ]
    if max(sizes, default=0) >= MAX_OPERAND_BYTES:
        yield _finding(
            operation, "operand", f"an operand of {max(sizes) / 2**20:.1f} MiB",
            "keep the largest live operand under 2 MiB (fewer channels or an earlier stride): beyond, it is cut into"
            " tiles and streams from memory", GUIDE, "slows",
        )


RULES: tuple[Rule, ...] = (
    _float16, _integers, _rank, _dynamic, _sides, _convolution, _pool, _kinds, _operand,
)


def _inputs(spec: Any) -> Iterator[Finding]:
    """Yields findings of the declared inputs: ranges of shapes."""
    for entry in spec.description.input:
        array = entry.type.multiArrayType
        if array.WhichOneof("ShapeFlexibility") == "shapeRange":
            yield Finding(
                "static shapes", f"input {entry.name!r}", "forbids", "a range of shapes",
                "give a fixed shape, or enumerate the shapes (EnumeratedShapes)", SHAPES,
            )


# --- reading the program


def _spec(path: Path) -> Any:
    if not path.exists():
        raise InputError(f"no file {path}: expected a .mlpackage of sartor export --format coreml")
    if path.suffix not in (".mlpackage", ".mlmodel"):
        raise InputError(f"expected a Core ML .mlpackage or .mlmodel, got {path}")
    with quiet("coremltools"):
        ct = need("coremltools", FEATURE, "coreml")
        errors = need("google.protobuf.message", FEATURE, "coreml")
        try:
            if path.is_dir():
                path = model_file(path)
            spec = ct.utils.load_spec(str(path))
        except errors.DecodeError as error:
            raise InputError(f"{path} is not a Core ML model, or damaged: {error}") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise InputError(
            f"{path} holds a {spec.WhichOneof('Type')}, not an ML program: convert it with convert_to='mlprogram'"
        )
    return spec


def program(spec: Any) -> Iterator[Operation]:
    """Yields the operations of a program's functions, constants left out, those of inner blocks included."""
    for function in spec.mlProgram.functions.values():
        types = {entry.name: entry.type for entry in function.inputs}
        block = function.block_specializations[function.opset]
        yield from _block(block, types, {})


def _block(block: Any, types: dict[str, Any], constants: dict[str, tuple[int, ...]]) -> Iterator[Operation]:
    for entry in block.inputs:
        types[entry.name] = entry.type
    for operation in block.operations:
        for output in operation.outputs:
            types[output.name] = output.type
        if operation.type in _CONSTANTS or operation.type.startswith(_COMPUTED_CONSTANTS):
            for output in operation.outputs:
                constants[output.name] = _integers_of(operation.attributes["val"])
            continue
        yield _operation(operation, types, constants)
        for inner in operation.blocks:
            yield from _block(inner, types, constants)


def _operation(operation: Any, types: Mapping[str, Any], constants: Mapping[str, tuple[int, ...]]) -> Operation:
    values: dict[str, tuple[int, ...]] = {}
    operands: list[Any] = []
    weight: tuple[int | None, ...] = ()
    for name, argument in operation.inputs.items():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "value":
                values[name] = _integers_of(binding.value)
            elif binding.name in constants:
                values[name] = constants[binding.name]
                if name == "weight":
                    weight = _shape(types[binding.name])
            elif binding.name in types:
                operands.append(types[binding.name])
    operands += [output.type for output in operation.outputs]
    tensors = [kind for kind in operands if kind.WhichOneof("type") == "tensorType"]
    return Operation(
        kind=operation.type.rpartition(".")[2],
        name=operation.outputs[0].name if operation.outputs else "",
        values=values,
        shapes=tuple(_shape(kind) for kind in tensors),
        bits=tuple(_bits(_type_name(kind)) for kind in tensors),
        types=tuple(_type_name(kind) for kind in tensors),
        weight_shape=weight,
    )


def _shape(kind: Any) -> tuple[int | None, ...]:
    return tuple(
        dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
        for dimension in kind.tensorType.dimensions
    )


def _type_name(kind: Any) -> str:
    name = type(kind.tensorType).DESCRIPTOR.fields_by_name["dataType"].enum_type
    return str(name.values_by_number[kind.tensorType.dataType].name).lower()


def _bits(name: str) -> int:
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits) if digits else 8


def _integers_of(value: Any) -> tuple[int, ...]:
    """Returns the integers or booleans of a constant; of others, and of those kept in a file, none."""
    tensor = value.immediateValue.tensor
    kind = tensor.WhichOneof("value")
    return tuple(int(v) for v in getattr(tensor, kind).values) if kind in ("ints", "longInts", "bools") else ()
