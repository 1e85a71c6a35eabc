"""NAS-Bench-101: 423,624 cells on CIFAR-10.

Ying et al. 2019, arXiv:1902.09635; the space is ``sartor.spaces.nasbench101``. Figures are shares from 0 to 1.

Clean: observed and judged by the test accuracy after 108 epochs, mean of three trainings. There is no noisy protocol:
the accuracy of one training is at hand for 292 cells alone. Each class of isomorphic cells is one row, whose numbering
of vertices is the table's; any other of the class finds it. Scores: zen, for 10,250 cells; the others have its minimum.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from sartor.errors import InputError, near
from sartor.estimators.tables._files import read
from sartor.estimators.tables._table import Cost, Kept, Protocol, Table, cleaned
from sartor.registry import Spec
from sartor.spaces.nasbench101 import EDGES, OPERATIONS, key, keys, wired
from sartor.trials import Fidelity

SPEC = Spec(
    "nasbench101",
    "sartor.estimators.tables.nasbench101:nasbench101",
    "423,624 cells on cifar10; 108 epochs",
    extra="tables",
    citation="Ying et al. 2019, arXiv:1902.09635",
)

NUM_CELLS = 423_624
_FILE = "nasbench101.parquet"
_NUM_INNER = 5


def nasbench101(folder: str | Path, dataset: Literal["cifar10"] = "cifar10") -> Table:
    """Returns the table, from ``nasbench101.parquet``.

    Raises:
        InputError: An unknown data set; a file that is missing or not as expected.
    """
    if dataset != "cifar10":
        raise InputError(f"unknown data set {dataset!r} of nasbench101{near(dataset, ['cifar10'])}")
    names = ["n_vertices", "edges", "ops", "test_acc108", "params", "zen"]
    columns = read(folder, _FILE, names, num_rows=NUM_CELLS, unbounded=["zen"])
    num_vertices, edges, operations = (columns[name].astype(np.int64) for name in names[:3])
    rows = np.empty((NUM_CELLS, len(EDGES) + _NUM_INNER), np.int8)
    found = np.empty(NUM_CELLS, np.int64)
    for num in range(2, _NUM_INNER + 3):
        at = np.flatnonzero(num_vertices == num)
        num_before = (num - 1) * (num - 2) // 2
        # Edges into the output move behind those into vertices that the cell does not have.
        moved = edges[at] & (1 << num_before) - 1 | edges[at] >> num_before << len(EDGES) - _NUM_INNER - 1
        shown = operations[at] * 3 ** (_NUM_INNER + 2 - num)
        if (moved >> len(EDGES)).any() or (shown >= 3**_NUM_INNER).any() or (operations[at] < 0).any():
            raise InputError(f"{folder}/{_FILE}: columns 'edges' and 'ops' do not fit {num} vertices")
        found[at] = keys(num - 2, moved, shown)
        rows[at, : len(EDGES)] = moved[:, None] >> np.arange(len(EDGES)) & 1
        rows[at, len(EDGES) :] = shown[:, None] // 3 ** np.arange(_NUM_INNER - 1, -1, -1) % len(OPERATIONS)
    if not ((num_vertices >= 2) & (num_vertices <= _NUM_INNER + 2)).all():
        raise InputError(f"{folder}/{_FILE}: column 'n_vertices' is not from 2 to {_NUM_INNER + 2}")
    name, plain = "nasbench101/cifar10", wired()
    kept = Kept(name, plain, rows, found, key)
    return Table(
        name=name,
        space=plain.modulo(kept, name="row of the table", rows=rows),
        codes=rows,
        columns={"test_acc108": columns["test_acc108"]},
        protocols={"clean": Protocol("test_acc108", "test_acc108")},
        fidelities={Fidelity(108, "epochs"): "test_acc108"},
        scores={"zen": cleaned(columns["zen"])},
        costs={"params": Cost(columns["params"].astype(np.float64))},
        keys=found,
        key=key,
    )
