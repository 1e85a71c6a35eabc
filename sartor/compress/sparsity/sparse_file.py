"""ONNX files that leave zeros out: weights as the format's own sparse initialisers.

A sparse initialiser holds each weight that is not zero with an int64 place, 12 bytes instead of 4 for every weight, so
it pays from two thirds of zeros on. ONNX Runtime makes it dense again when it loads the file: the file is smaller, the
network neither smaller in memory nor faster.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sartor.compress.quantisation.weight_only import checked_paths
from sartor.errors import ExportError, InputError
from sartor.export._ort import need, session

FEATURE = "sparse weights in an ONNX file"
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_BATCH = 1


def write_sparse(source: str | Path, path: str | Path) -> int:
    """Writes an ONNX file with its zeros left out wherever that is smaller; returns the bytes of the new file.

    It is kept only if ONNX Runtime computes the very same from it.

    Args:
        source: An ONNX file, e.g. of `sartor.export.onnx.export_onnx`; left as it is.
        path: Where to write.

    Raises:
        ExportError: ONNX Runtime does not compute the same from it.
        InputError: no such file or folder, or no weight with enough zeros.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    source, path = checked_paths(source, path)
    onnx = need("onnx", FEATURE)
    model = onnx.load(source)
    kept, num = [], 0
    for entry in model.graph.initializer:
        values = onnx.numpy_helper.to_array(entry)
        places = np.flatnonzero(values).astype(np.int64)
        if values.ndim < 2 or len(places) * (values.itemsize + places.itemsize) >= values.nbytes:
            kept.append(entry)
            continue
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(onnx.numpy_helper.from_array(values.ravel()[places], entry.name))
        sparse.indices.CopyFrom(onnx.numpy_helper.from_array(places, f"{entry.name}.places"))
        sparse.dims.extend(values.shape)
        num += 1
    if not num:
        raise InputError(f"{source}: no weight has so many zeros (two thirds) that leaving them out is smaller")
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        onnx.save(model, partial)
        _check(source, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def _check(source: Path, made: Path) -> None:
    before, after = session(str(source), FEATURE), session(str(made), FEATURE)
    rng = np.random.default_rng(0)
    feeds = {
        entry.name: rng.random([size if isinstance(size, int) else _BATCH for size in entry.shape]).astype(
            _TYPES.get(entry.type, np.float32)
        )
        for entry in before.get_inputs()
    }
    for ours, theirs in zip(after.run(None, feeds), before.run(None, feeds), strict=True):
        if not np.array_equal(ours, theirs):
            raise ExportError(f"ONNX Runtime computes other numbers from sparse weights of {source}: nothing written")
