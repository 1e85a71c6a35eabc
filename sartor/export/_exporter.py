"""What all formats share: write beside, run, compare with torch, and only then take the file's name.

A format is a module with a ``SPEC`` and an `Exporter`; this one procedure exports to each.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from sartor._modes import evaluating
from sartor.errors import ExportError, InputError, near
from sartor.export._ort import need
from sartor.units import first_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import Node

Precision = Literal[
    "fp32", "fp16", "int8", "int8-weights", "int4-weights", "palette6", "palette4", "fixed16", "fixed8"
]
"""How numbers are kept in a file.

``int8`` quantises weights and activations by ranges seen on calibration data; ``int8-weights`` and ``int4-weights``
the weights alone; ``palette6`` and ``palette4`` keep 64 or 16 values a tensor; ``fixed16`` and ``fixed8`` keep weights
and activations in fixed point, the point of each tensor where calibration data need it.
"""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CALIBRATED: tuple[Precision, ...] = ("int8", "fixed16", "fixed8")
"""Precisions that need calibration data."""

TOLERANCES: Mapping[Precision, float] = {
    "fp32": 1e-4, "fp16": 2e-2, "int8": 0.3, "int8-weights": 0.1, "int4-weights": 0.6, "palette6": 0.2,
    "palette4": 0.6, "fixed16": 2e-2, "fixed8": 0.3,
}
"""Largest difference with which a file is kept: for fp32 and fp16 the largest of any output, relative to its scale;
for the others, where single outputs may be far off, the root mean square relative to that of the outputs. Networks of
the images task were within 1e-6, 1e-3, 0.03, 0.02 and 0.15 (int4-weights); a file that computes something else is
about 1 off."""

NUM_RANDOM_INPUTS = 3
TRACED_BATCH = 2
"""torch.export takes a dimension of size 1 for a constant."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


@dataclass(frozen=True)
class Loaded:
    """A file brought to run on one thread here.

    Attributes:
        prepare: Takes the input arrays; returns a call that runs once and returns the output arrays.
        dynamic_batch: It takes batches of any size; else of 1.
    """

    prepare: Callable[[Sequence[np.ndarray]], Callable[[], list[np.ndarray]]]
    dynamic_batch: bool = False

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs for a batch; row by row where the file takes one row."""
        rows = {len(array) for array in arrays if array.ndim}
        if self.dynamic_batch or rows <= {1}:
            return self.prepare(arrays)()
        if len(rows) != 1:
            raise InputError(f"expected inputs of one batch size, got {sorted(rows)}")
        found = []
        for row in range(rows.pop()):
            one = [np.ascontiguousarray(array[row : row + 1]) if array.ndim else array for array in arrays]
            found.append([np.array(output) for output in self.prepare(one)()])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


@dataclass(frozen=True)
class ExportReport:
    """What was written and how far it was checked.

    Attributes:
        path: The file, or the folder where the format is one.
        format: Name of the format.
        precision: See `Precision`.
        bytes: Size of all that was written.
        dynamic_batch: It takes batches of any size; else of size 1 only.
        max_difference: From torch, over all checked inputs and outputs, relative to the output's largest magnitude (or
            to 1 where that is less); None where nothing here runs the file.
        rms_difference: Root mean square of the difference over that of the outputs, or None.
        num_checked: Number of inputs on which it was compared with torch.
        notes: What a person must know, e.g. layers that kept a higher precision.
    """

    path: Path
    format: str
    precision: Precision
    bytes: int
    dynamic_batch: bool
    max_difference: float | None
    rms_difference: float | None
    num_checked: int
    notes: tuple[str, ...] = ()


class Write(Protocol):
    """Converts and writes a file; returns what a person must know."""

    def __call__(
        self,
        module: nn.Module,
        inputs: tuple[Any, ...],
        path: Path,
        precision: Precision,
        calibration: Sequence[tuple[Any, ...]],
        dynamic: bool,
        /,
    ) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        name: What a person types.
        title: What the format is called.
        suffix: Of its files, with the dot.
        precisions: That it has.
        extra: Group of dependencies.
        packages: Imported before anything is done.
        write: Converts; see `Write`.
        describe: Puts the description (key -> JSON text) into a written file, or None where the format has no place.
        load: Brings a file to run here.
        unrunnable: Why nothing here runs such files, or "" where something does.
        dynamic_batch: Whether batches of any size are tried.
        beside: Further suffixes of files written beside the main one.
        folder: What is written is a folder.
        emulated: What runs here imitates another machine's arithmetic: how long it takes says nothing.
    """

    name: str
    title: str
    suffix: str
    precisions: tuple[Precision, ...]
    extra: str
    packages: tuple[str, ...]
    write: Write
    load: Callable[[Path], Loaded]
    describe: Callable[[Path, Mapping[str, str]], None] | None = None
    unrunnable: Callable[[], str] = str
    dynamic_batch: bool = False
    beside: tuple[str, ...] = ()
    folder: bool = False
    emulated: bool = False

    @property
    def feature(self) -> str:
        """What needs the packages, for messages."""
        return f"exporting to {self.title}"

    def need(self) -> None:
        """Raises `MissingExtraError` where a package is not installed."""
        with quiet():
            for package in self.packages:
                need(package, self.feature, self.extra)

    def export(
        self,
        module: nn.Module,
        inputs: tuple[Any, ...],
        path: str | Path,
        *,
        precision: Precision = "fp32",
        calibration: Sequence[tuple[Any, ...]] = (),
        description: Mapping[str, Any] | None = None,
        dynamic_batch: bool | None = None,
        tolerance: float | None = None,
    ) -> ExportReport:
        """Writes a network, run and compared with torch before it is kept.

        The module, in whatever mode it is, is exported in eval mode and left as it was. Nothing is left behind when
        it fails; an older file stays.

        Args:
            module: The deployed network.
            inputs: Example inputs, batch size 1.
            path: Where to write; the folder must exist.
            precision: One of ``precisions``.
            calibration: Inputs, batch size 1 each, of the data the network is for: the ranges of ``int8`` are taken
                from them, and any precision but fp32 is compared on them. Without them inputs are random.
            description: JSON-able; put into the file where the format has a place for it.
            dynamic_batch: Whether it must take batches of any size; None takes what works, True raises where only a
                batch of 1 does.
            tolerance: In place of `TOLERANCES`.

        Raises:
            ExportError: the network cannot be converted (operator and layer are named), differs from torch, or cannot
                be written.
            InputError: no such precision or folder, no calibration data, or a description that is not JSON.
            MissingExtraError: a package is not installed.
        """
        path = Path(path)
        self._check(path, precision, calibration, dynamic_batch)
        self.need()
        described = json_texts(description or {})
        problems: list[ExportError] = []
        for dynamic in self._batches(inputs, dynamic_batch):
            try:
                return self._keep(module, inputs, path, precision, calibration, described, dynamic, tolerance)
            except ExportError as error:
                problems.append(error)
        if dynamic_batch:
            raise ExportError(
                f"{problems[-1]}. It was tried with batches of any size: leave the dynamic batch out where a batch of 1"
                " will do"
            ) from problems[-1]
        raise problems[-1]

    def _check(
        self, path: Path, precision: Precision, calibration: Sequence[tuple[Any, ...]], dynamic_batch: bool | None
    ) -> None:
        if precision not in self.precisions:
            raise InputError(
                f"{self.title} has no precision {precision!r}{near(precision, self.precisions)};"
                f" it has {', '.join(self.precisions)}"
            )
        if precision in CALIBRATED and not calibration:
            raise InputError(f"precision {precision} needs calibration data: inputs of the training part, got none")
        if dynamic_batch and not self.dynamic_batch:
            raise InputError(f"{self.title} files are written for a batch of 1: leave the dynamic batch out")
        if not path.parent.is_dir():
            raise InputError(f"no folder {path.parent} to write {path.name} into: make it first")
        if path.is_dir() and not (self.folder and path.suffix == self.suffix):
            raise InputError(f"expected a file to write, got the folder {path}")

    def _batches(self, inputs: tuple[Any, ...], wanted: bool | None) -> tuple[bool, ...]:
        if not self.dynamic_batch or wanted is False:
            return (False,)
        if wanted:
            return (True,)
        from sartor.devices._execution import tensors_in

        sizes = {tensor.shape[0] if tensor.dim() else None for tensor in tensors_in(inputs)}
        return (True, False) if sizes == {1} else (False,)

    def _keep(
        self,
        module: nn.Module,
        inputs: tuple[Any, ...],
        path: Path,
        precision: Precision,
        calibration: Sequence[tuple[Any, ...]],
        description: Mapping[str, str],
        dynamic: bool,
        tolerance: float | None,
    ) -> ExportReport:
        """Writes beside ``path``, checks what was written, and only then takes its name."""
        # The suffix stays at the end: readers tell formats by it.
        partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        try:
            try:
                with evaluating(module), random_state_of_its_own():
                    notes = self.write(module, inputs, partial, precision, calibration, dynamic)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                raise ExportError(f"cannot write {path}: {error.strerror}") from error
            if self.describe is not None:
                self.describe(partial, description)
            self._saved(partial, path)
            reason = self.unrunnable()
            worst = Differences() if reason else compare(
                self.load(partial), module, samples(inputs, () if precision == "fp32" else calibration, dynamic)
            )
            self._judge(worst, path, precision, tolerance, checked=not reason)
            size = sum(num_bytes(file) for file in self._files(partial))
            for suffix in (*self.beside, path.suffix):
                replace(partial.with_suffix(suffix), path.with_suffix(suffix))
        finally:
            for file in self._files(partial):
                shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        return ExportReport(
            path, self.name, precision, size, dynamic, None if reason else worst.largest,
            None if reason else worst.rms, worst.num_checked, (*notes, *([reason] if reason else [])),
        )

    def _files(self, path: Path) -> list[Path]:
        return [path, *(path.with_suffix(suffix) for suffix in self.beside)]

    def _saved(self, partial: Path, path: Path) -> None:
        try:
            for file in self._files(partial):
                if file.is_file():
                    with open(file, "rb") as stream:
                        os.fsync(stream.fileno())
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror}") from error

    def _judge(
        self, worst: Differences, path: Path, precision: Precision, tolerance: float | None, *, checked: bool
    ) -> None:
        allowed = TOLERANCES[precision] if tolerance is None else tolerance
        in_floats = precision in ("fp32", "fp16")
        found = worst.largest if in_floats else worst.rms
        if checked and worst.odd:
            raise ExportError(
                f"the exported network differs from torch: it gives {worst.odd} ({self.title} {precision}): {path} was"
                " not written; export to another format"
            )
        if checked and not found <= allowed:
            what = "of the output's scale" if in_floats else "of the outputs (root mean square)"
            raise ExportError(
                f"the exported network differs from torch by {found:.3g} {what}, more than the"
                f" {allowed:g} allowed (on {worst.num_checked} inputs, {self.title} {precision}): {path} was not"
                " written; take a finer precision or another format, or allow more by a tolerance"
            )


# --- packages and folders


def num_bytes(path: Path) -> int:
    """Returns the size of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def replace(source: Path, target: Path) -> None:
    """Renames a file or folder over an older one."""
    if not target.is_dir():
        os.replace(source, target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old)


def json_texts(description: Mapping[str, Any]) -> dict[str, str]:
    """Returns each entry as JSON text, beside Sartor's version.

    Raises:
        InputError: an entry is not JSON.
    """
    import json

    from sartor import __version__

    try:
        found = {key: json.dumps(value, allow_nan=False) for key, value in description.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a description that is JSON: {error}") from error
    return {"version": json.dumps(__version__), **found}


# --- running torch


@contextmanager
def random_state_of_its_own() -> Iterator[None]:
    """Has converters draw the same numbers each time, and puts all global generators back."""
    import random

    import torch

    plain, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)


_TRACING = ("torch.fx.experimental.symbolic_shapes", "torch.utils._pytree")
"""Loggers of torch.export, which have handlers of their own."""


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keeps what converters print, warn and log from the person: what matters is in their errors."""
    drop = _Drop()
    root = logging.getLogger()
    handlers = list(root.handlers)
    found = [root, *(logging.getLogger(name) for name in (*_TRACING, *loggers))]
    for logger in found:
        logger.addFilter(drop)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in found:
            logger.removeFilter(drop)
        # logging.warning() gives the root a handler where it has none, here one that writes into nothing.
        root.handlers[:] = handlers


class _Drop(logging.Filter):
    """Drops what converters say of packages that are not there and of graphs that they then raise about."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.CRITICAL


def compute(module: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Returns the output tensors of a module, without gradients."""
    import torch

    from sartor.devices._execution import tensors_in

    with torch.no_grad():
        return [tensor.detach() for tensor in tensors_in(module(*inputs))]


def arrays_of(inputs: tuple[Any, ...]) -> list[np.ndarray]:
    """Returns the tensors in inputs as arrays, in order."""
    from sartor.devices._execution import tensors_in

    return [tensor.detach().cpu().numpy() for tensor in tensors_in(inputs)]


def input_names(count: int) -> list[str]:
    """Returns the names that exported inputs have."""
    return names_of("input", count)


def names_of(kind: str, count: int) -> list[str]:
    """Returns ``kind`` for one, ``kind_0``, ``kind_1`` ... for several."""
    return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]


def position(name: str) -> int:
    """Returns the place of an input by the number at the end of its name; a single input has none."""
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else 0


def feeds_of(names: Iterable[str], arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays under the names that exported inputs have; one that a network does not read has none."""
    return {name: arrays[position(name)] for name in names}


# --- comparing


@dataclass
class Differences:
    """How far outputs are from torch's.

    Attributes:
        largest: Relative to the output's largest magnitude, or to 1 where that is less.
        squares, of: Sums of squares of differences and of torch's outputs.
        num_checked: Inputs compared.
        odd: What is no difference in value: another shape, or what is no number; else "".
    """

    largest: float = 0.0
    squares: float = 0.0
    of: float = 0.0
    num_checked: int = 0
    odd: str = ""

    @property
    def rms(self) -> float:
        if self.squares == 0.0:
            return 0.0
        return float(np.sqrt(self.squares / self.of)) if self.of else float("inf")

    def add(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Counts one output in; another shape, or what is no number, is infinitely far."""
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if a.shape != b.shape:
            self.largest = self.squares = float("inf")
            self.odd = self.odd or f"an output of shape {a.shape} where torch's is {b.shape}"
            return
        if b.size:
            found = float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b)))))
            self.largest = max(self.largest, found if np.isfinite(found) else float("inf"))
            if not np.isfinite(found):
                self.odd = self.odd or "an output that is not a number, or is infinite,"
            squares = float(np.sum((a - b) ** 2))
            self.squares += squares if np.isfinite(squares) else float("inf")
            self.of += float(np.sum(b**2))


def compare(loaded: Loaded, module: nn.Module, inputs: Sequence[tuple[Any, ...]]) -> Differences:
    """Returns how far a file is from the network on some inputs.

    Raises:
        ExportError: it does not run on them.
    """
    import torch

    found = Differences()
    with evaluating(module), torch.random.fork_rng(devices=[]):
        for given in inputs:
            wanted = [tensor.cpu().numpy() for tensor in compute(module, given)]
            ours = loaded.prepare(arrays_of(given))()
            if len(ours) != len(wanted):
                raise ExportError(f"the exported network has {len(ours)} outputs, torch's {len(wanted)}")
            for a, b in zip(ours, wanted, strict=True):
                found.add(a, b)
            found.num_checked += 1
    return found


def samples(
    inputs: tuple[Any, ...], calibration: Sequence[tuple[Any, ...]], dynamic: bool
) -> Sequence[tuple[Any, ...]]:
    """Returns what a file is compared on: the calibration data, or random inputs of one or several batch sizes."""
    import torch

    from sartor.devices._execution import map_tensors

    if calibration:
        return calibration
    generator = torch.Generator().manual_seed(0)
    batches = (1, TRACED_BATCH, 5) if dynamic else (1,)
    return [
        map_tensors(inputs, partial(_random_like, batch=batch, generator=generator))
        for _ in range(NUM_RANDOM_INPUTS)
        for batch in batches
    ]


def _random_like(tensor: Tensor, batch: int, generator: Any) -> Tensor:
    """Returns an input like the example: uniform 0..1 for real numbers, the example's own values otherwise."""
    import torch

    shape = (batch * tensor.shape[0], *tensor.shape[1:]) if tensor.dim() else tensor.shape
    if tensor.is_floating_point():
        return torch.rand(shape, generator=generator, dtype=tensor.dtype)
    index = torch.randint(tensor.numel(), shape, generator=generator)
    return tensor.reshape(-1)[index]


# --- what cannot be converted or run


def refused(arrays: Sequence[np.ndarray], error: BaseException) -> ExportError:
    """Returns the error of a file that does not run on some inputs."""
    return ExportError(
        f"the exported network does not run on inputs of shape {[array.shape for array in arrays]}:"
        f" {' '.join(str(error).split())[:400]}"
    )


def first_cause(error: BaseException) -> str:
    """Returns the first line of the error that began a chain of them."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


REFUSALS = (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError, IndexError, AssertionError)
"""What torch.export and the passes of converters raise, each in its own way, for networks that they do not take."""


@contextmanager
def converting(
    module: nn.Module,
    inputs: tuple[Any, ...],
    format_name: str,
    *loggers: str,
    refusals: tuple[type[Exception], ...] = REFUSALS,
) -> Iterator[None]:
    """Keeps a converter quiet; what it refuses is raised by operator and layer.

    Args:
        module: Converted.
        inputs: Example inputs of it.
        format_name: For the error.
        loggers: Of the converter.
        refusals: What it raises.

    Raises:
        ExportError: it refused.
    """
    problem: Exception | None = None
    with quiet(*loggers):
        try:
            yield
        except refusals as error:
            problem = error
    # Looking for the layer runs the network: not while everything is silenced.
    if problem is not None:
        raise unsupported(module, inputs, problem, format_name) from problem


def unsupported(module: nn.Module, inputs: tuple[Any, ...], error: BaseException, format_name: str) -> ExportError:
    """Returns an error that names the operator which a converter refused, and the layer that calls it."""
    cause = first_cause(error)
    if "data-dependent" in cause:
        layers = _layers_reading_values(module, inputs)
        where = f" in {_these(layers)}" if layers else ""
        return ExportError(
            f"{format_name} files have one path and fixed shapes, but{where} a value of a tensor decides what is"
            " computed: take torch.where instead of if, and sizes that are known instead of counted ones"
            f" ({cause[:200]})"
        )
    for operator in _operators_named(error):
        layers = layers_calling(module, inputs, operator) or _layers_traced(module, inputs, operator)
        if layers:
            return no_operator(format_name, operator, layers, cause)
    return ExportError(f"torch cannot export this network to {format_name}: {cause[:600]}")


_BY_VALUE = ("_local_scalar_dense", "nonzero", "masked_select")
"""Operators that read values out of tensors, or count them."""


def _layers_reading_values(module: nn.Module, inputs: tuple[Any, ...]) -> list[str]:
    """Returns the paths of the modules in whose forward values of tensors decide; "" is the network itself."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from sartor.devices._execution import paths_of

    stack, found = [""], []

    class Watcher(TorchDispatchMode):  # type: ignore[misc, no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.overloadpacket.__name__ in _BY_VALUE:
                found.append(stack[-1])
            return func(*args, **(kwargs or {}))

    with evaluating(module), ExitStack() as hooks:
        for handle in paths_of(module, stack):
            hooks.callback(handle.remove)
        with Watcher():  # type: ignore[no-untyped-call]
            compute(module, inputs)
    return list(dict.fromkeys(found))


def no_operator(format_name: str, operator: str, layers: Sequence[str], cause: str) -> ExportError:
    """Returns an error that names a torch operator, the layers that call it, and why it cannot be said."""
    return ExportError(
        f"{format_name} has no operator for torch's {operator}, which is called in {_these(layers)}: replace it"
        f" there, or export to another format ({cause[:300]})"
    )


def _these(layers: Sequence[str]) -> str:
    if not any(layers):
        return "the network itself"
    shown = first_of([repr(layer) if layer else "the network itself" for layer in layers], 3)
    return f"layer{'s' if len(layers) > 1 else ''} {shown}"


def _operators_named(error: BaseException) -> list[str]:
    """Returns the torch operators that a chain of errors names, the innermost error's first."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None:
        texts.insert(0, str(at))
        at = at.__cause__ or at.__context__
    found = re.findall(
        r"(?:aten|prims)[.:]+(\w+)|op(?:eration)?:? '(\w+)'|fx node .*, kind (\w+)|^node (\w+) \(",
        "\n".join(texts), re.MULTILINE,
    )
    return list(dict.fromkeys(next(filter(None, names)) for names in found))


def layers_calling(module: nn.Module, inputs: tuple[Any, ...], operator: str) -> list[str]:
    """Returns the paths of the modules whose forward runs an ATen operator; "" is the network itself."""
    from sartor.devices._execution import execute

    execution = execute(module, inputs)
    name = _plain(operator)
    return list(dict.fromkeys(
        execution.calls[operation.call].path
        for operation in execution.operations
        if _plain(operation.name) == name
    ))


def _layers_traced(module: nn.Module, inputs: tuple[Any, ...], operator: str) -> list[str]:
    """Returns the layers as torch.export sees them: functions are whole that run as several operators."""
    import torch

    try:
        with quiet(), evaluating(module):
            graph = torch.export.export(module, inputs).graph
    except REFUSALS:
        return []
    name = _plain(operator)
    return list(dict.fromkeys(path_of(node) for node in graph.nodes if _plain(operator_of(node)) == name))


def _plain(operator: str) -> str:
    """Returns what is the same in the names that torch and its decompositions give an operator."""
    return operator.replace("_", "")


def path_of(node: Node) -> str:
    """Returns the path of the module whose forward calls a node's operator; "" is the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def operator_of(node: Node) -> str:
    """Returns the name of an ATen operator, or "" for what is no call."""
    if node.op != "call_function":
        return ""
    target: Any = node.target
    return str(getattr(target, "overloadpacket", target).__name__)
