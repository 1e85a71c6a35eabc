"""NAS-Bench-201: 15,625 cells on CIFAR-10, CIFAR-100 and ImageNet16-120.

Dong and Yang 2020, arXiv:2001.00326; the space is ``sartor.spaces.nasbench201``. Figures are percentages.

Clean: observed and judged by the test accuracy after 200 epochs, mean over all seeds, as no mean validation accuracy is
at hand. Noisy: one training is observed, on CIFAR-10 its validation accuracy, otherwise its test accuracy. At 12 epochs
the validation accuracy of the benchmark's short training is observed.

Every cell was trained, also those that compute the same function: 6,466 classes by
`sartor.spaces.nasbench201.canonical` (column ``iso``: the lowest row of the class), of which 1,350 have several cells.
In 66 of these the figures on CIFAR-10 are equal; half of the others are more than .3 points apart on CIFAR-10, .6 on
CIFAR-100 and .7 on ImageNet16-120, as they were trained from different weights. Each cell is therefore a row.

Costs: parameters and multiply-accumulates are exact. Latencies of 27 devices were measured by HELP (Lee et al. 2021,
arXiv:2106.08630) and HW-NAS-Bench (Li et al. 2021, arXiv:2103.10584), in the names of which a number is the batch size;
``edgegpu``, ``edgetpu``, ``raspi4``, ``pixel3``, ``eyeriss`` and ``fpga`` with the energies are HW-NAS-Bench's for the
data set. The two agree on CIFAR-10. No publication states an error. Of measured figures it is taken from the table:
cells of one class with equal operations are one network, and nine in ten of these 8,835 cells differ from the mean of
their network by at most the error given (.002 to .015 for the largest batch on a GPU, up to .06 for small ones, .08 to
.3 for phones and Raspberry Pi). That is how far a figure can be repeated, not how far it holds elsewhere. Eyeriss and
FPGA figures come from models of their makers, whose error is unknown.

Scores: synflow, logsynflow, naswot, nregions from FreeREA (Cavagnero et al. 2022, arXiv:2207.05135) and zen and the
others from NAS-Bench-Suite-Zero (Krishnakumar et al. 2022, arXiv:2210.03230), the latter for cells with a live path,
on CIFAR-10 and ImageNet16-120.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError, near
from sartor.estimators.tables._files import Column, read
from sartor.estimators.tables._table import Cost, Protocol, Table, cleaned
from sartor.registry import Spec
from sartor.space import OneOf, Space
from sartor.spaces.nasbench201 import EDGES, OPERATIONS, graph
from sartor.trials import Fidelity

SPEC = Spec(
    "nasbench201",
    "sartor.estimators.tables.nasbench201:nasbench201",
    "15,625 cells on cifar10, cifar100, imagenet16-120; 12 and 200 epochs; latency of 27 devices",
    extra="tables",
    citation="Dong and Yang 2020, arXiv:2001.00326",
)

Dataset = Literal["cifar10", "cifar100", "imagenet16-120"]
NUM_CELLS = 15_625
_PREFIX = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}
_SINGLE = {"cifar10": "c10_val200_run", "cifar100": "c100_test200_runA", "imagenet16-120": "in16_test200_runA"}
_PARAMS_BEYOND_CIFAR10 = {"cifar10": 0, "cifar100": 5_850, "imagenet16-120": 7_150}
"""Of the linear layer, for classes beyond ten."""
_MACS = {
    "cifar10": (7_783_040, 35_389_440, 3_932_160),
    "cifar100": (7_788_800, 35_389_440, 3_932_160),
    "imagenet16-120": (1_953_280, 8_847_360, 983_040),
}
"""Of the skeleton, of each 3x3 and of each 1x1 convolution of the cell."""
_GPUS = ("1080ti", "titanx", "titanxp", "titan_rtx", "2080ti")
_OTHERS = (
    *("silver_4114", "silver_4210r", "gold_6226", "gold_6240"),
    *("samsung_a50", "samsung_s7", "essential_ph_1", "pixel2", "pixel3", "raspi4", "eyeriss", "fpga"),
)
DEVICES = (*(f"{gpu}_{batch}" for gpu in _GPUS for batch in (1, 32, 256)), *_OTHERS)
"""Of HELP."""
_HARDWARE = ("edgegpu", "raspi4", "edgetpu", "pixel3", "eyeriss", "fpga")
_WITH_ENERGY = ("edgegpu", "eyeriss", "fpga")
_MODELLED = ("eyeriss", "fpga")
_SUITE = ("epe_nas", "fisher", "grad_norm", "grasp", "jacov", "l2_norm", "nwot", "plain", "snip")


def nasbench201(folder: str | Path, dataset: Dataset = "cifar10") -> Table:
    """Returns the table of one data set, from ``nasbench201*.parquet``.

    Raises:
        InputError: An unknown data set; a file that is missing or not as expected.
    """
    if dataset not in _PREFIX:
        raise InputError(f"unknown data set {dataset!r} of nasbench201{near(dataset, _PREFIX)}")
    prefix = _PREFIX[dataset]
    codes = [f"e{i}" for i in range(len(EDGES))]
    figures = [f"{prefix}_{name}" for name in ("test200", "val12", "test12", "test200_runB")] + [_SINGLE[dataset]]
    columns = read(folder, "nasbench201.parquet", ["idx", *codes, "iso", *figures, "c10_params_m"], num_rows=NUM_CELLS)
    rows = np.stack([columns[name] for name in codes], 1).astype(np.int8)
    _check_rows(folder, columns["idx"], rows)
    base, per_3x3, per_1x1 = _MACS[dataset]
    macs = base + per_3x3 * (rows == 3).sum(1) + per_1x1 * (rows == 2).sum(1)
    params = np.rint(columns["c10_params_m"] * 1e6) + _PARAMS_BEYOND_CIFAR10[dataset]
    test = f"{prefix}_test200"
    return Table(
        name=f"nasbench201/{dataset}",
        space=space(),
        codes=rows,
        columns={name: columns[name].astype(np.float64) for name in (*figures, "iso")},
        protocols={"clean": Protocol(test, test), "noisy": Protocol(_SINGLE[dataset], test)},
        fidelities={Fidelity(12, "epochs"): f"{prefix}_val12", Fidelity(200, "epochs"): test},
        unit="%",
        scores=_scores(folder, prefix),
        costs={"params": Cost(params), "macs": Cost(macs.astype(np.float64))},
        devices=_devices(folder, prefix, _networks(rows, columns["iso"])),
    )


def space() -> Space:
    """Returns the architectures of ``sartor.spaces.nasbench201`` without networks, so that nothing loads torch."""
    return Space({"cell": {"edges": [OneOf(*OPERATIONS) for _ in EDGES]}}, graph=graph)


def _check_rows(folder: str | Path, index: Column, rows: Column) -> None:
    if not np.array_equal(index, np.arange(NUM_CELLS)):
        raise InputError(f"{folder}/nasbench201.parquet: column 'idx' does not count from 0 to {NUM_CELLS - 1:,}")
    if rows.min() < 0 or rows.max() >= len(OPERATIONS):
        raise InputError(f"{folder}/nasbench201.parquet: an operation of e0 to e5 is not from 0 to 4")


def _scores(folder: str | Path, prefix: str) -> dict[str, Column]:
    names = ["synflow", "logsynflow", "naswot", "zen"] + (["nregions"] if prefix != "in16" else [])
    own = [f"{prefix}_{name}" for name in names]
    found = read(folder, "nasbench201_zerocost.parquet", own, num_rows=NUM_CELLS, unbounded=own)
    scores = {name: cleaned(found[f"{prefix}_{name}"]) for name in names}
    if prefix != "c100":
        suite = read(folder, f"nasbench201_proxies13_{prefix}.parquet", ["idx", *_SUITE], unbounded=_SUITE)
        for name in _SUITE:
            values = np.full(NUM_CELLS, -np.inf)
            values[suite["idx"]] = suite[name]
            scores[name] = cleaned(values)
    return scores


def _networks(rows: Column, classes: Column) -> npt.NDArray[np.int64]:
    """Returns a number of each cell that is equal for isomorphic ones with equal operations, ``[n]``."""
    counts = np.stack([(rows == operation).sum(1) for operation in range(len(OPERATIONS))], 1)
    inverse: npt.NDArray[np.int64] = np.unique(np.c_[classes, counts], axis=0, return_inverse=True)[1].reshape(-1)
    return inverse


def _repeated(values: Column, networks: npt.NDArray[np.int64]) -> float:
    """Returns the relative deviation from their network's mean that nine in ten cells of equal networks keep."""
    num = np.bincount(networks)
    mean = np.bincount(networks, values) / num
    deviations = np.abs(values / mean[networks] - 1)[num[networks] > 1]
    return float(np.quantile(deviations, 0.9))


def _devices(folder: str | Path, prefix: str, networks: npt.NDArray[np.int64]) -> dict[str, dict[str, Cost]]:
    measured = read(folder, "nasbench201_latency.parquet", DEVICES, num_rows=NUM_CELLS)
    names = [f"{prefix}_{device}_latency_ms" for device in _HARDWARE]
    names += [f"{prefix}_{device}_energy_mj" for device in _WITH_ENERGY]
    hardware = read(folder, "nasbench201_hardware.parquet", names, num_rows=NUM_CELLS)

    def cost(device: str, values: Column, note: str = "") -> Cost:
        if device in _MODELLED:
            return Cost(values, "estimated", None, note)
        return Cost(values, "measured", _repeated(values, networks), note)

    # HELP measured networks for CIFAR-10; HW-NAS-Bench has each data set, and the same figures on CIFAR-10.
    note = "" if prefix == "c10" else "of the network for CIFAR-10"
    devices = {device: {"latency_ms": cost(device, measured[device], note)} for device in DEVICES}
    for device in _HARDWARE:
        figures = ("latency_ms", "energy_mj") if device in _WITH_ENERGY else ("latency_ms",)
        for figure in figures:
            devices.setdefault(device, {})[figure] = cost(device, hardware[f"{prefix}_{device}_{figure}"])
    return devices
