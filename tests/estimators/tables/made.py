"""Small tables and files made up for tests. Not a test module."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from sartor.estimators.tables._table import Cost, Protocol, Table
from sartor.space import OneOf, Space
from sartor.trials import Fidelity

SHORT, FULL = Fidelity(1, "epochs"), Fidelity(10, "epochs")


def small(**changes: Any) -> Table:
    """Twenty-seven architectures, three numbers from 0 to 2 each: the more in sum the better; noise hides the best."""
    space = Space({name: OneOf(0, 1, 2) for name in "abc"})
    codes = np.array(list(itertools.product(range(3), repeat=3)), np.int8)
    total = codes.sum(1).astype(np.float64)
    noisy = total.copy()
    noisy[codes.tolist().index([0, 1, 2])] = 9.0
    given: dict[str, Any] = {
        "name": "small/made",
        "space": space,
        "codes": codes,
        "columns": {"mean": total, "run": noisy, "short": total / 2},
        "protocols": {"clean": Protocol("mean", "mean"), "noisy": Protocol("run", "mean")},
        "fidelities": {SHORT: "short", FULL: "mean"},
        "costs": {"params": Cost(100.0 + total)},
        "devices": {"phone": {"latency_ms": Cost(1.0 + codes[:, 0], "measured", 0.05, "batch 1")}},
    }
    return Table(**(given | changes))


def macro_columns() -> dict[str, list[Any]]:
    """Columns of a NAS-Bench-Macro of invented figures: each 1 is worth one point, each 2 two."""
    texts = ["".join(digits) for digits in itertools.product("012", repeat=8)]
    worth = [float(sum(map(int, text))) for text in texts]
    runs = {f"acc_run{i}": worth for i in range(3)}
    params = [1000 + int(value) for value in worth]
    return {"arch": texts, **runs, "mean_acc": worth, "params": params, "flops": params}


def write(folder: Path, file: str, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), folder / file)
