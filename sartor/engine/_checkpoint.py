"""Checkpoints and kept results: a temporary file, then a rename, so that a kill leaves the old one or the new one."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ZIP = b"PK"


def checkpoint_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.checkpoint.pt"


def _replace(path: Path, content: bytes | memoryview, *, durable: bool) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(path: Path, state: Mapping[str, Any], *, durable: bool = False) -> None:
    """Writes ``state`` whole or not at all; without loading torch where nothing else has, as no tensor can be in it.

    Args:
        path: File to replace.
        state: Nested dicts, lists, plain values, arrays, tensors.
        durable: Waits until it is on the disk, against a power cut.

    Raises:
        OSError: no space left, among others.
    """
    if "torch" in sys.modules:
        import torch

        # By memory, as torch reports a full disk as an internal error of its own.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        _replace(path, buffer.getbuffer(), durable=durable)
    else:
        _replace(path, pickle.dumps(dict(state), protocol=5), durable=durable)


class _PlainUnpickler(pickle.Unpickler):
    """Reads values and numpy arrays, and nothing that runs code."""

    _ALLOWED = frozenset({
        ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"), ("builtins", "set"), ("builtins", "frozenset"),
        ("builtins", "complex"), ("builtins", "bytearray"), ("collections", "OrderedDict"),
    })

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"a checkpoint holds plain values, arrays and tensors, not {module}.{name}")
        return super().find_class(module, name)


def _numpy_parts() -> list[Any]:
    """Returns what pickled arrays and numbers of numpy are made of: torch refuses them unless told they are safe."""
    import numpy as np

    core = importlib.import_module("numpy._core.multiarray" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else
                                   "numpy.core.multiarray")
    kinds = [type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"]
    # An empty array is made of a call of bytes.
    return [core._reconstruct, core.scalar, np.ndarray, np.dtype, bytes, *kinds]


def load(path: Path) -> dict[str, Any] | None:
    """Returns what was saved at ``path``, or None where nothing is.

    Raises:
        pickle.UnpicklingError: the file is damaged or holds other than plain values.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    found: dict[str, Any]
    if content.startswith(_ZIP):
        import torch

        try:
            with torch.serialization.safe_globals(_numpy_parts()):
                found = torch.load(io.BytesIO(content), weights_only=True)
        except RuntimeError as error:
            raise pickle.UnpicklingError(f"{path.name} is damaged: {error}") from error
    else:
        try:
            found = _PlainUnpickler(io.BytesIO(content)).load()
        except (EOFError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise pickle.UnpicklingError(f"{path.name} is damaged: {error}") from error
    return found
