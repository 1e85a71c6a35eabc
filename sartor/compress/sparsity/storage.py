"""Zeros kept out of files: each weight in the layout that takes the fewest bytes.

| layout | bytes for a matrix of r rows, c columns, k of them not zero |
|---|---|
| dense | 4 r c |
| bitmap | 4 k + r c / 8 |
| csr | 4 k + k i + 4 (r + 1), i the bytes of a column's number (2 up to 65,536 columns, else 4) |
| coo | 4 k + 4 k, a place in the flattened weight each (8 k from 2^31 places on) |

At half the weights the bitmap is the smallest, CSR from 94% zeros on (with 2 bytes a column). Only files and downloads
shrink: a loaded network is dense again and runs as fast as before; see ``speed``.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import InputError, RecordError, near

Layout = Literal["dense", "bitmap", "csr", "coo"]

_FORMAT = "sartor.sparse/1"
_NARROW = 2**16
_WIDE = 2**31


@dataclass(frozen=True)
class Stored:
    """What a tensor takes in each layout.

    Attributes:
        name: Of the parameter or buffer.
        shape: Of it.
        nonzero: Elements that are not zero.
        bytes: Layout -> bytes.
    """

    name: str
    shape: tuple[int, ...]
    nonzero: int
    bytes: Mapping[Layout, int]

    @property
    def smallest(self) -> Layout:
        """The layout with the fewest bytes; of equal ones the first."""
        return min(self.bytes, key=self.bytes.__getitem__)


def storage(module: nn.Module) -> tuple[Stored, ...]:
    """Returns what each parameter and buffer takes; those of fewer than two dimensions are dense only."""
    return tuple(_stored(name, tensor.detach()) for name, tensor in module.state_dict().items())


def _stored(name: str, tensor: Tensor) -> Stored:
    nonzero, size = int(torch.count_nonzero(tensor)), tensor.element_size()
    found: dict[Layout, int] = {"dense": tensor.numel() * size}
    if tensor.ndim > 1:
        rows, columns = tensor.shape[0], tensor[0].numel() if len(tensor) else 0
        found["bitmap"] = nonzero * size + -(-tensor.numel() // 8)
        found["csr"] = nonzero * (size + (2 if columns <= _NARROW else 4)) + 4 * (rows + 1)
        found["coo"] = nonzero * (size + (4 if tensor.numel() < _WIDE else 8))
    return Stored(name, tuple(tensor.shape), nonzero, found)


def total_bytes(stored: tuple[Stored, ...], layout: Layout | None = None) -> int:
    """Returns the bytes of all tensors in a layout (those it is not for dense), or of each in its smallest."""
    return sum(entry.bytes.get(layout or entry.smallest, entry.bytes["dense"]) for entry in stored)


def save_sparse(module: nn.Module, path: str | Path) -> int:
    """Writes the parameters and buffers of a network, each in its smallest layout; returns the bytes of the file.

    Written beside ``path`` first, so that an older file stays until the new one is whole.

    Raises:
        InputError: the folder does not exist.
        RecordError: it cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent} to write {path.name} into: make it first")
    packed = {}
    for entry, tensor in zip(storage(module), module.state_dict().values(), strict=True):
        packed[entry.name] = {
            "layout": entry.smallest, "shape": list(entry.shape), **_PACK[entry.smallest](tensor.detach().cpu()),
        }  # fmt: skip
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save({"format": _FORMAT, "tensors": packed}, partial)
        os.replace(partial, path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def load_sparse(module: nn.Module, path: str | Path) -> nn.Module:
    """Puts what `save_sparse` wrote into a network of the same architecture; returns it.

    Raises:
        InputError: no such file, another kind of file, or weights that do not fit; the network is left as it was.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a file of sparse weights, there is no {path}")
    try:
        read = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} cannot be read as sparse weights: {error}") from error
    if not isinstance(read, dict) or read.get("format") != _FORMAT:
        raise InputError(f"{path} holds no sparse weights of Sartor: expected what save_sparse wrote")
    own = module.state_dict()
    packed: Mapping[str, Mapping[str, Any]] = read["tensors"]
    for name, entry in packed.items():
        if name not in own:
            raise InputError(f"{path}: the network has no {name!r}{near(name, own)}")
        if tuple(entry["shape"]) != tuple(own[name].shape):
            raise InputError(
                f"{path}: {name} has shape {tuple(entry['shape'])}, in the network"
                f" {tuple(own[name].shape)}"
            )
    if missing := [name for name in own if name not in packed]:
        raise InputError(f"{path} lacks {', '.join(missing)}")
    module.load_state_dict({name: _UNPACK[entry["layout"]](entry) for name, entry in packed.items()})
    return module


def _pack_csr(tensor: Tensor) -> dict[str, Tensor]:
    rows = tensor.reshape(tensor.shape[0], -1)
    row, column = rows.nonzero(as_tuple=True)
    starts = torch.zeros(len(rows) + 1, dtype=torch.int32)
    starts[1:] = torch.bincount(row, minlength=len(rows)).cumsum(0)
    narrow = torch.uint16 if rows.shape[1] <= _NARROW else torch.int32
    return {"starts": starts, "columns": column.to(narrow), "values": rows[row, column]}


def _unpack_csr(entry: Mapping[str, Any]) -> Tensor:
    shape, values = entry["shape"], entry["values"]
    made = torch.zeros(shape[0], int(np.prod(shape[1:])), dtype=values.dtype)
    row = torch.repeat_interleave(torch.arange(shape[0]), entry["starts"].diff().long())
    made[row, entry["columns"].long()] = values
    return made.reshape(shape)


def _pack_coo(tensor: Tensor) -> dict[str, Tensor]:
    flat = tensor.reshape(-1)
    place = flat.nonzero()[:, 0]
    return {"places": place.to(torch.int32 if len(flat) < _WIDE else torch.int64), "values": flat[place]}


def _unpack_coo(entry: Mapping[str, Any]) -> Tensor:
    values = entry["values"]
    made = torch.zeros(int(np.prod(entry["shape"])), dtype=values.dtype)
    made[entry["places"].long()] = values
    return made.reshape(entry["shape"])


def _pack_bitmap(tensor: Tensor) -> dict[str, Tensor]:
    flat = tensor.reshape(-1)
    return {"bits": torch.from_numpy(np.packbits((flat != 0).numpy())), "values": flat[flat != 0]}


def _unpack_bitmap(entry: Mapping[str, Any]) -> Tensor:
    values, num = entry["values"], int(np.prod(entry["shape"]))
    made = torch.zeros(num, dtype=values.dtype)
    made[torch.from_numpy(np.unpackbits(entry["bits"].numpy(), count=num)).bool()] = values
    return made.reshape(entry["shape"])


_PACK: Mapping[Layout, Callable[[Tensor], dict[str, Tensor]]] = {
    "dense": lambda tensor: {"values": tensor.clone()}, "bitmap": _pack_bitmap, "csr": _pack_csr, "coo": _pack_coo,
}  # fmt: skip
_UNPACK: Mapping[str, Callable[[Mapping[str, Any]], Tensor]] = {
    "dense": lambda entry: entry["values"], "bitmap": _unpack_bitmap, "csr": _unpack_csr, "coo": _unpack_coo,
}  # fmt: skip
