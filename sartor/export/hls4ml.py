"""hls4ml, a project folder for AMD's high-level synthesis: the network as C++ that becomes a circuit on an FPGA.

- ``fixed16``, ``fixed8``: all weights and all that flows between layers in 16 or 8 bits of fixed point. Each layer's
  point is where its values on the calibration data need it, each weight tensor's where its squared error is least;
  batch normalisation is taken into the layer before it; scales and biases have 16 bits or more, sums all the bits that
  they can need. A scale is a power of two for a whole tensor, so ``fixed8`` loses more than the ``int8`` of other
  formats, which have a scale a channel.

The folder is hls4ml's own, for its Vitis backend; ``vitis-run --mode hls --tcl build_prj.tcl`` builds it. Images
flow through it place by place (``io_stream``), so that no layer waits for a whole one; features without places are all
there at once (``io_parallel``), as are the values of networks with overlapping pooling windows, which streams lack.
The part is that of the target ``kria-kv260``, the clock 200 MHz: change both in ``project.tcl``.

Here the design is compiled by the host's C++ compiler (g++) with the bit-exact types of the generated code, run and
compared with torch. That is slow and says nothing of the circuit's latency: `Exporter.emulated`.

**Resources.** Nothing here synthesises, so no LUT, flip-flop, DSP or BRAM is claimed. What hls4ml is told to
instantiate is known: the note gives the multipliers by the reuse factor, the least at which they fit into the part's
DSP slices, and the bits of the constants. It is marked as estimated: synthesis makes small products of LUTs, shares and
drops others.
"""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import ExportError
from sartor.export._exporter import Exporter, Loaded, Precision, converting, quiet
from sartor.export._ort import need
from sartor.registry import Spec

if TYPE_CHECKING:
    from torch import nn

    from sartor.export._hls_layers import Design

SPEC = Spec(
    "hls4ml", "sartor.export.hls4ml:EXPORTER",
    summary="hls4ml (.hls4ml, a folder): C++ for FPGAs by AMD Vitis; compiled and run here by g++",
    extra="hls4ml",
    citation="Fahim et al. 2021, arXiv:2103.05579",
)

FEATURE = "exporting to hls4ml"
EXTRA = "hls4ml"
BITS: Mapping[Precision, int] = {"fixed16": 16, "fixed8": 8}
PART, DSP_SLICES, CLOCK_NS = "xck26-sfvc784-2LV-c", 1248, 5
"""The Kria K26 of the KV260, named in AMD's DS987; its slices are those of the target ``kria-kv260``."""
PROJECT, LIBRARY = "network", "here"
ABOUT = "sartor.json"
"""File of the folder: the description, and the shapes that the C++ interface has flat."""
_BUILD_S = 600
"""After which compiling is given up: the networks of the images task take 10 to 60 s."""


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

    from sartor.devices._execution import tensors_in
    from sartor.export._hls_layers import read

    _compiler()
    with quiet():
        need("hls4ml", FEATURE, EXTRA)
    with converting(module, inputs, "hls4ml"):
        program = torch.export.export(module, inputs).run_decompositions({})
    design = read(program, [tuple(tensors_in(given)) for given in calibration], BITS[precision])
    reuse, multipliers = reuse_factor(design)
    # What it refuses it raises as plain Exceptions.
    with converting(module, inputs, "hls4ml", refusals=(Exception,)):
        _written(design, path, reuse)
    about = {
        "inputs": design.input_shapes, "outputs": design.output_shapes, "io_type": _io_type(design),
        "reuse_factor": reuse,
    }
    (path / ABOUT).write_text(json.dumps(about))
    return _notes(design, reuse, multipliers)


def _io_type(design: Design) -> str:
    return "io_stream" if design.streams else "io_parallel"


def reuse_factor(design: Design) -> tuple[int, int]:
    """Returns how often a multiplier is used for one place, and how many there are: the least that fit the part."""
    largest = max(design.products.values(), default=1)
    reuse = 1
    while True:
        multipliers = sum(math.ceil(products / reuse) for products in design.products.values())
        if multipliers <= DSP_SLICES or reuse >= largest:
            return reuse, multipliers
        reuse *= 2


def _notes(design: Design, reuse: int, multipliers: int) -> tuple[str, ...]:
    kept = design.weight_bits / 8 / 1024
    notes = [
        f"estimated, nothing was synthesised: about {multipliers} multipliers (reuse factor {reuse}; the part"
        f" {PART} has {DSP_SLICES} DSP slices), {kept:.1f} KiB of constants on the chip",
    ]
    if design.together:
        notes.append(
            f"the windows of {', '.join(design.together[:3])} overlap or are padded, which hls4ml's streams lack: all"
            " values of a layer are there at once (io_parallel), which small networks alone can afford"
        )
    return tuple(notes)


def _written(design: Design, path: Path, reuse: int) -> None:
    hls = need("hls4ml", FEATURE, EXTRA)
    config = hls.utils.config.create_config(
        output_dir=str(path), project_name=PROJECT, backend="Vitis", part=PART, clock_period=CLOCK_NS,
        io_type=_io_type(design),
    )
    config["HLSConfig"] = {
        "Model": {"Precision": {"default": "ap_fixed<16,6>"}, "ReuseFactor": reuse, "Strategy": "Resource"},
        "LayerName": {name: {"Precision": parts} for name, parts in design.precision.items()},
    }
    graph = need("hls4ml.model.graph", FEATURE, EXTRA).ModelGraph
    model = graph.from_layer_list(config, design.layers, design.inputs, design.outputs)
    model.write()
    _without_traces_of_here(path)


def _without_traces_of_here(path: Path) -> None:
    """Takes the folder that was written to, and the random name of the library, out of a project."""
    settings = path / "hls4ml_config.yml"
    lines = settings.read_text(encoding="utf-8").splitlines()
    # YAML quotes a name that could be read as a number, so the whole line goes.
    stamp = next(line.partition(": ")[2] for line in lines if line.startswith("Stamp: ")).strip("'")
    new = {"OutputDir: ": "OutputDir: .", "Stamp: ": f"Stamp: {LIBRARY}"}
    kept = [next((new[key] for key in new if line.startswith(key)), line) for line in lines]
    settings.write_text("\n".join(kept) + "\n", encoding="utf-8")
    script = path / "build_lib.sh"
    script.write_text(script.read_text(encoding="utf-8").replace(stamp, LIBRARY), encoding="utf-8")


def describe(path: Path, texts: Mapping[str, str]) -> None:
    """Puts the description into a file of the folder."""
    file = path / ABOUT
    about = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**about, **{key: json.loads(value) for key, value in texts.items()}}, indent=1))


# --- running


def _compiler() -> str:
    found = shutil.which("g++")
    if found is None:
        raise ExportError(
            "hls4ml's C++ is compiled here and compared with torch before it is kept, but there is no g++: install it"
            " (apt-get install g++)"
        )
    return found


def load(path: Path) -> Loaded:
    """Returns a project compiled for this machine: bit for bit what the circuit computes."""
    _compiler()
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    with TemporaryDirectory(prefix="sartor-") as folder:
        copied = Path(folder) / PROJECT
        shutil.copytree(path, copied)
        run = _interface(_built(copied), about["inputs"], about["outputs"])
        # The first call reads the weights from the folder, which is about to go.
        run([np.zeros((1, *shape), np.float32) for shape in about["inputs"]])

    def prepare(arrays: Sequence[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        shapes = [[1, *shape] for shape in about["inputs"]]
        if [list(array.shape) for array in arrays] != shapes:
            raise ExportError(
                f"the exported network takes inputs of shape {shapes}, got {[array.shape for array in arrays]}"
            )
        return lambda: run(arrays)

    return Loaded(prepare)


def _built(folder: Path) -> ctypes.CDLL:
    """Compiles a project where it lies."""
    try:
        done = subprocess.run(
            ["bash", "build_lib.sh"], cwd=folder, capture_output=True, text=True, timeout=_BUILD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"compiling the hls4ml project took more than {_BUILD_S // 60} minutes: the network is too large for it"
        ) from error
    libraries = sorted(folder.glob("firmware/*.so"))
    if done.returncode or not libraries:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-300:])
        raise ExportError(f"g++ does not compile the hls4ml project: {said}")
    return ctypes.CDLL(str(libraries[0]))


def _interface(
    library: ctypes.CDLL, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Returns a call of the top function, which takes and gives flat arrays with the channels last."""
    function = getattr(library, f"{PROJECT}_float")
    function.restype = None
    flat = np.ctypeslib.ndpointer(ctypes.c_float, flags="C_CONTIGUOUS")
    function.argtypes = [flat] * (len(inputs) + len(outputs))

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = [np.ascontiguousarray(np.moveaxis(array[0], 0, -1), np.float32).reshape(-1) for array in arrays]
        made = [np.zeros(math.prod(shape), np.float32) for shape in outputs]
        function(*given, *made)
        return [
            np.ascontiguousarray(np.moveaxis(array.reshape([*shape[1:], shape[0]]), -1, 0))[None]
            for array, shape in zip(made, outputs, strict=True)
        ]

    return run


EXPORTER = Exporter(
    name="hls4ml", title="hls4ml", suffix=".hls4ml", precisions=("fixed16", "fixed8"), extra=EXTRA,
    packages=("hls4ml",), write=write, load=load, describe=describe, folder=True, emulated=True,
)
