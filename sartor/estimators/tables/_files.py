"""Reads columns of a benchmark's files and says what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, MissingExtraError, near

Column = npt.NDArray[Any]


def read(
    folder: str | Path,
    file: str,
    columns: Sequence[str],
    *,
    num_rows: int | None = None,
    unbounded: Sequence[str] = (),
) -> dict[str, Column]:
    """Returns columns of a parquet file by name: numbers as float64 or integers as they are, text as objects.

    Args:
        folder: Where the file is.
        file: Its name.
        columns: Wanted.
        num_rows: That it must have.
        unbounded: Those of ``columns`` that may hold gaps, NaN and infinities; gaps become NaN.

    Raises:
        InputError: No such file, not parquet, damaged, no such column, another number of rows, a gap, NaN, infinity.
        MissingExtraError: pyarrow is not installed.
    """
    path = Path(folder) / file
    if not path.is_file():
        raise InputError(
            f"expected the table {file} in {folder}, found none; --table DIR names the folder of the benchmark's files"
        )
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("a table", "pyarrow", "tables") from error
    try:
        known = pq.read_schema(path).names
        missing = [name for name in columns if name not in known]
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}{near(missing[0], known)}")
        table = pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as parquet: {error}") from error
    if num_rows is not None and len(table) != num_rows:
        raise InputError(f"{path} has {len(table):,} rows, expected {num_rows:,}")
    return {name: _column(table[name], name, path, name in unbounded) for name in columns}


def _column(values: Any, name: str, path: Path, unbounded: bool) -> Column:
    import pyarrow as pa

    gaps = values.null_count
    if gaps and not unbounded:
        raise InputError(f"{path}: column {name!r} is empty in {gaps:,} of {len(values):,} rows")
    if pa.types.is_floating(values.type) or (gaps and pa.types.is_integer(values.type)):
        column = values.cast(pa.float64()).to_numpy(zero_copy_only=False) if gaps else values.to_numpy()
        column = np.asarray(column, np.float64)
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad) and not unbounded:
            raise InputError(
                f"{path}: column {name!r} is {column[bad[0]]} in row {bad[0]:,}; not finite in all: {len(bad):,}"
            )
        return column
    return np.asarray(values.to_numpy())


def digits(texts: Sequence[str], length: int, base: int, where: str) -> npt.NDArray[np.int8]:
    """Returns texts of digits as codes, ``[n, length]``.

    Raises:
        InputError: A text of another length, or a digit that is not below ``base``; ``where`` names the file.
    """
    allowed = set("0123456789"[:base])
    for row, text in enumerate(texts):
        if len(text) != length or set(text) - allowed:
            raise InputError(
                f"{where}: column 'arch' is {text!r} in row {row:,}, expected {length} digits below {base}"
            )
    flat = np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), length)
    return (flat - ord("0")).astype(np.int8)
