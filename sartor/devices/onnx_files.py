"""ONNX files measured as they are, on this machine or on another, and folders of them to carry there by hand.

Random numbers of the declared shapes are the inputs; a dimension without a size is 1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.devices.cpu import CpuLatency
from sartor.errors import InputError
from sartor.trials import Figure

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["check_model", "measure_file", "measure_model", "pack", "unpack"]

FEATURE = "measuring ONNX files"
INDEX, FIGURES = "networks.json", "figures.json"
"""Files of a folder to carry: what is in it, and what was measured."""
_FORMAT = "sartor-pack-1"
_TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


def check_model(model: bytes) -> None:
    """Raises where bytes from elsewhere are no ONNX model, or one that refers to files.

    Raises:
        InputError: as said.
        MissingExtraError: onnx is not installed.
    """
    from sartor.export._ort import need

    onnx = need("onnx", FEATURE)
    decode = need("google.protobuf.message", FEATURE).DecodeError
    try:
        parsed = onnx.load_model_from_string(model)
    except decode as error:
        raise InputError("expected an ONNX file, got other bytes") from error
    if not parsed.graph.node:
        raise InputError("expected an ONNX file with operators, got none")
    # What a model says of files is read by the runtime, wherever they are.
    parts = (parsed.graph, *parsed.functions)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for part in parts for tensor in _tensors(part)):
        raise InputError("the ONNX file keeps weights in other files: save it with its weights inside")


def _tensors(part: Any) -> Iterator[Any]:
    """Yields every tensor of a graph or function, those inside of it included."""
    yield from getattr(part, "initializer", ())
    for sparse in getattr(part, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in part.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _tensors(inner)


def measure_model(model: bytes, device: CpuLatency | None = None) -> dict[str, Figure]:
    """Returns latency and energy of an ONNX model on this machine.

    Raises:
        InputError: it does not load or run, or has inputs that cannot be made up.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    from sartor.export._ort import need, session

    check_model(model)
    state = need("onnxruntime.capi.onnxruntime_pybind11_state", FEATURE)
    refused = (
        state.Fail, state.InvalidArgument, state.RuntimeException, state.InvalidGraph, state.NotImplemented,
        state.InvalidProtobuf,
    )
    try:
        runtime = session(model, FEATURE)
        feeds = _feeds(runtime)
        runtime.run(None, feeds)
    except refused as error:
        first = str(error).splitlines()[0]
        raise InputError(f"ONNX Runtime does not run the network: {first}") from error
    return (device or CpuLatency()).time(lambda: runtime.run(None, feeds))


def _feeds(runtime: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for entry in runtime.get_inputs():
        if entry.type not in _TYPES:
            raise InputError(f"input {entry.name} is a {entry.type}: expected numbers")
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in entry.shape]
        kind = _TYPES[entry.type]
        made = rng.random(shape) if np.issubdtype(kind, np.floating) else np.zeros(shape)
        feeds[entry.name] = np.asarray(made, kind)
    return feeds


def measure_file(file: Path, device: str) -> Mapping[str, Figure]:
    """Returns the figures of a file on ``cpu`` or on ``http://HOST:PORT``.

    Raises:
        InputError: no such file, or another device.
        RemoteError: the other machine does not answer.
    """
    from sartor.devices.named import find_device
    from sartor.devices.remote import Remote

    model = _read(file)
    found = find_device(device).device
    if isinstance(found, Remote):
        return found.measure_model(model)
    if isinstance(found, CpuLatency) and found.runtime == "onnxruntime":
        return measure_model(model, found)
    raise InputError(f"ONNX files are measured on cpu or http://HOST:PORT, not on {device}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error


def pack(files: Mapping[str, Path], folder: Path) -> Path:
    """Copies networks into a new folder to carry to another machine; ``sartor measure run`` measures them there.

    Args:
        files: Name -> ONNX file.
        folder: Must not exist.

    Raises:
        InputError: no files, one cannot be read, or the folder exists.
    """
    if not files:
        raise InputError("expected at least one network to pack")
    models = {name: _read(file) for name, file in files.items()}
    for name, model in models.items():
        if not name or "/" in name or name.startswith("."):
            raise InputError(f"expected a plain name of a network, got {name!r}")
        check_model(model)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise InputError(f"{folder} exists: give a new folder") from error
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model)
    (folder / INDEX).write_text(json.dumps({"format": _FORMAT, "networks": sorted(models)}, indent=1))
    return folder


def run_pack(folder: Path) -> Path:
    """Measures the networks of a folder on this machine and writes the figures into it; goes on where it was.

    Raises:
        InputError: it is no such folder, or a network cannot be measured.
    """
    device = CpuLatency()
    names, out = _index(folder), folder / FIGURES
    found: dict[str, Any] = _figures(out) if out.exists() else {"device": device.name, "networks": {}}
    if found["device"] != device.name:
        raise InputError(f"{out} was begun on {found['device']}, this is {device.name}: remove it first")
    for name in names:
        if name not in found["networks"]:
            figures = measure_model(_read(folder / f"{name}.onnx"), device)
            found["networks"][name] = {key: figure.to_json() for key, figure in figures.items()}
            partial = out.with_suffix(f".{os.getpid()}.part")
            partial.write_text(json.dumps({"format": _FORMAT, **found}, indent=1))
            os.replace(partial, out)
    return out


def unpack(folder: Path) -> tuple[str, dict[str, dict[str, Figure]]]:
    """Returns the device that a folder was measured on, and the figures of each network.

    Raises:
        InputError: it was not measured, or not all of it.
    """
    names, out = _index(folder), folder / FIGURES
    if not out.exists():
        raise InputError(f"{folder} has no {FIGURES}: run sartor measure run {folder} on the other machine first")
    found = _figures(out)
    missing = [name for name in names if name not in found["networks"]]
    if missing:
        raise InputError(f"{out} lacks {', '.join(missing)}: run sartor measure run {folder} there again")
    return str(found["device"]), {
        name: {key: Figure.from_json(value) for key, value in found["networks"][name].items()} for name in names
    }


def _index(folder: Path) -> list[str]:
    try:
        content = json.loads((folder / INDEX).read_text())
        if content["format"] != _FORMAT:
            raise KeyError("format")
        return [str(name) for name in content["networks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no folder that sartor measure pack wrote: it has no readable {INDEX}") from error


def _figures(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        return {"device": content["device"], "networks": dict(content["networks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} cannot be read: {error!r}; remove it and measure again") from error
