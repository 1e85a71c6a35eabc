"""Latency of 5,000 networks of FBNet's space on 27 devices.

Space: Wu et al. 2019, "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search",
arXiv:1812.03443: 22 layers of nine blocks. Measured by HELP (Lee et al. 2021, arXiv:2106.08630) and HW-NAS-Bench (Li et
al. 2021, arXiv:2103.10584), in milliseconds; the number behind a GPU is the batch size. No error is published.

The data set is a device, and its latency what a search makes small. The space holds the 5,000 networks alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import InputError, near
from sartor.estimators.tables._files import read
from sartor.estimators.tables._table import Cost, Protocol, Table, only
from sartor.registry import Spec
from sartor.space import Graph, OneOf, Space
from sartor.trials import Fidelity

SPEC = Spec(
    "fbnet",
    "sartor.estimators.tables.fbnet:fbnet",
    "latency of 5,000 networks of FBNet's space on 27 devices",
    extra="tables",
    citation="Wu et al. 2019, arXiv:1812.03443",
)

BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
NUM_LAYERS = 22
NUM_NETWORKS = 5_000
DEVICES = (
    *(f"{gpu}_{batch}" for gpu in ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp") for batch in (1, 32, 64)),
    *("essential_ph_1", "eyeriss", "fpga", "gold_6226", "gold_6240", "pixel2", "pixel3", "raspi4"),
    *("samsung_a50", "samsung_s7", "silver_4114", "silver_4210r"),
)
_FILE = "fbnet_latency.parquet"


def fbnet(folder: str | Path, dataset: str = "pixel3") -> Table:
    """Returns the table of one device, from ``fbnet_latency.parquet``.

    Raises:
        InputError: An unknown device; a file that is missing or not as expected.
    """
    if dataset not in DEVICES:
        raise InputError(f"unknown device {dataset!r} of fbnet{near(dataset, DEVICES)}")
    columns = read(folder, _FILE, ["arch", *DEVICES], num_rows=NUM_NETWORKS)
    rows = []
    for row, text in enumerate(columns["arch"].tolist()):
        digits = text.split("_")
        if len(digits) != NUM_LAYERS or not set(digits) <= set("012345678"):
            raise InputError(
                f"{folder}/{_FILE}: column 'arch' is {text!r} in row {row:,}, expected {NUM_LAYERS} digits below 9 "
                "joined by _"
            )
        rows.append([int(digit) for digit in digits])
    codes = np.array(rows, np.int8)
    return Table(
        name=f"fbnet/{dataset}",
        space=only(space(), codes),
        codes=codes,
        columns={"latency_ms": columns[dataset]},
        protocols={"clean": Protocol("latency_ms", "latency_ms")},
        fidelities={Fidelity(1, "measurements"): "latency_ms"},
        metric="latency_ms",
        unit="ms",
        direction="min",
        devices={device: {"latency_ms": Cost(columns[device], "measured", None)} for device in DEVICES},
    )


def space() -> Space:
    """Returns all 9^22 networks."""
    return Space({"layers": [OneOf(*BLOCKS) for _ in range(NUM_LAYERS)]}, graph=graph)


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the chain of layers, each with its position, which decides its shape."""
    return Graph.chain(f"{architecture[f'layers.{i}']} layer={i}" for i in range(NUM_LAYERS))
