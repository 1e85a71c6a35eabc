"""NAS-Bench-Macro: 6,561 chains of eight layers on CIFAR-10.

Su et al. 2021, arXiv:2103.11922; the space is ``sartor.spaces.nasbench_macro``. Figures are percentages of the test
part.

Clean: observed and judged by the mean of three trainings of 50 epochs, each with the best of its epochs. Noisy: the
first training is observed. An identity that keeps the shape may stand before or behind a block of its stage: the 6,561
rows are 3,969 networks, each trained once, and rows of one network have equal figures. They have equal graphs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from sartor.errors import InputError, near
from sartor.estimators.tables._files import digits, read
from sartor.estimators.tables._table import Cost, Protocol, Table
from sartor.registry import Spec
from sartor.spaces.nasbench_macro import BLOCKS, wired
from sartor.trials import Fidelity

SPEC = Spec(
    "nasbench_macro",
    "sartor.estimators.tables.nasbench_macro:nasbench_macro",
    "6,561 chains of eight layers on cifar10; three trainings each",
    extra="tables",
    citation="Su et al. 2021, arXiv:2103.11922",
)

NUM_CHAINS = 6_561
_FILE = "nasbench_macro.parquet"
_LENGTH = 8


def nasbench_macro(folder: str | Path, dataset: Literal["cifar10"] = "cifar10") -> Table:
    """Returns the table, from ``nasbench_macro.parquet``.

    Raises:
        InputError: An unknown data set; a file that is missing or not as expected.
    """
    if dataset != "cifar10":
        raise InputError(f"unknown data set {dataset!r} of nasbench_macro{near(dataset, ['cifar10'])}")
    figures = ["acc_run0", "acc_run1", "acc_run2", "mean_acc"]
    columns = read(folder, _FILE, ["arch", *figures, "params", "flops"], num_rows=NUM_CHAINS)
    return Table(
        name="nasbench_macro/cifar10",
        space=wired(),
        codes=digits(columns["arch"].tolist(), _LENGTH, len(BLOCKS), f"{folder}/{_FILE}"),
        columns={name: columns[name] for name in figures},
        protocols={"clean": Protocol("mean_acc", "mean_acc"), "noisy": Protocol("acc_run0", "mean_acc")},
        fidelities={Fidelity(50, "epochs"): "mean_acc"},
        unit="%",
        costs={"params": Cost(columns["params"].astype(np.float64)), "macs": Cost(columns["flops"].astype(np.float64))},
    )
