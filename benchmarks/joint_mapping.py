"""Searching a network and its mapping to an accelerator together, against one after the other, at equal evaluations.

    python benchmarks/joint_mapping.py --table DIR            # about 4 minutes
    python benchmarks/joint_mapping.py --table DIR --quick    # within a minute: two seeds, 100 evaluations

Networks: the cells of NAS-Bench-201 with their published accuracy on CIFAR-10 (mean over seeds of 200 epochs).
Hardware: ``sartor.devices.accelerator`` (45 nm, 256 units, 128 KiB), whose mapping is chosen for the stem and for each
of the three stages: dataflow, channels and rows of a tile, what stays; 15,625 cells times 120^4 mappings. Accuracy
against the product of energy and latency; both searches are NSGA-II.

**together**: all evaluations on both. **one after the other**: half of them on the cell under the default mapping (a
weight-stationary one, 32 channels, 8 rows), then half on the mappings of the cells on the front found, in equal parts.
``random`` draws both. Hypervolume up to accuracy 10 and the product of the most costly cell under the default mapping,
in logarithms of the latter; higher is better.

Measured, seeds 0 to 9, mean +- standard deviation over seeds (the model and the table are exact, so the processor does
not matter), 27 November 2026:

| evaluations | together | one after the other | random | together ahead |
|---|---|---|---|---|
| 100 | 485.5 +- 20.5 | 468.7 +- 35.7 | 472.5 +- 17.9 | 6 of 10, p .43 |
| 200 | 509.8 +- 10.1 | 496.7 +- 10.9 | 492.0 +- 9.7 | 7 of 10, p .084 |
| 400 | 522.7 +- 2.1 | 508.5 +- 10.7 | 503.3 +- 8.0 | 8 of 10, p .010 |

So at 400 evaluations the joint search is ahead (3% of hypervolume); at 100 the two cannot be told apart.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as parquet
import torch
from scipy.stats import wilcoxon

from sartor._environment import environment
from sartor.devices.accelerator import Accelerator, hardware
from sartor.devices.kernels import Kernel, kernels_of
from sartor.front import Front, hypervolume
from sartor.goals import Goals, Objective
from sartor.registry import find
from sartor.space import Architecture, OneOf, Space
from sartor.spaces.nasbench201 import OPERATIONS, from_arch_str, nasbench201, to_arch_str
from sartor.trials import Fidelity, Figure, Trial

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "nas"
GOALS = Goals((Objective("accuracy"), Objective("cost", "min")))
ONCE = Fidelity(1.0, "evaluations")
DEFAULT = {"dataflow": "weights", "channels": 32, "rows": 8, "stays": "weights"}
STAGES = 4
"""The stem and the three stages."""


class Bench:
    """Accuracy from the table, cost from the model; networks are built once a cell."""

    def __init__(self, folder: Path) -> None:
        table = parquet.read_table(folder / "nasbench201.parquet", columns=["arch", "c10_test200"])
        self.accuracy = dict(zip(table["arch"].to_pylist(), table["c10_test200"].to_pylist(), strict=True))
        self._space, self._device = nasbench201(3, 10, 16, 5), Accelerator()
        self._inputs, self._shapes = (torch.zeros(1, 3, 32, 32),), dict[Any, Any]()
        self._kernels: dict[str, tuple[Kernel, ...]] = {}
        self.cells = Space({"cell": {"edges": [OneOf(*OPERATIONS) for _ in range(6)]}})
        self.mappings = Space({"hardware": hardware([str(i) for i in range(STAGES)], bits=(8,), sparsity=("dense",))})
        self.both = Space(
            {
                "cell": {"edges": [OneOf(*OPERATIONS) for _ in range(6)]},
                "hardware": hardware([str(i) for i in range(STAGES)], bits=(8,), sparsity=("dense",)),
            }
        )
        self.default = {f"hardware.{i}.{name}": value for i in range(STAGES) for name, value in DEFAULT.items()}
        worst = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
        self.reference = math.log(self.cost(worst, self.default))

    def kernels(self, cell: str) -> tuple[Kernel, ...]:
        if cell not in self._kernels:
            module = self._space.build(from_arch_str(cell)).eval()
            found = kernels_of(module, self._inputs, self._shapes)
            # A stage is what has one resolution, the stem the first kernel.
            sides = sorted({k.output[2] for k in found if len(k.output) == 4 and k.output[2] > 1}, reverse=True)
            stage = {side: str(i + 1) for i, side in enumerate(sides)}
            self._kernels[cell] = tuple(
                replace(k, path="0" if n == 0 else stage.get(k.output[2] if len(k.output) == 4 else 0, "3"))
                for n, k in enumerate(found)
            )
        return self._kernels[cell]

    def cost(self, cell: str, choices: dict[str, Any]) -> float:
        """Returns millijoules times milliseconds."""
        figures = self._device.estimate(self.kernels(cell), choices)
        return figures["energy_mj"].value * figures["latency_ms"].value

    def evaluate(self, number: int, proposal: Any, cell: str, choices: dict[str, Any]) -> Trial:
        cost = self.cost(cell, choices)
        return Trial(number, proposal, 0, "complete", {"accuracy": self.accuracy[cell]}, {"cost": Figure(cost)})


def cell_of(architecture: Architecture) -> str:
    return to_arch_str({key: value for key, value in architecture.items() if key.startswith("cell.")})


def mapping_of(architecture: Architecture) -> dict[str, Any]:
    return {key: value for key, value in architecture.items() if key.startswith("hardware.")}


def search(space: Space, seed: int, num: int, evaluate: Any, strategy: str = "nsga2") -> list[Trial]:
    own = find("strategies", strategy).load()(space, GOALS, (ONCE,), seed=seed)
    trials: list[Trial] = []
    while len(trials) < num:
        proposals = own.ask(1)
        if not proposals:
            break
        trials.append(evaluate(len(trials), proposals[0]))
        own.tell(trials[-1:])
    return trials


def volume(bench: Bench, points: list[tuple[float, float]]) -> float:
    losses = [[-accuracy, math.log(cost)] for accuracy, cost in points]
    return hypervolume(losses, [-10.0, bench.reference])


def points(trials: list[Trial]) -> list[tuple[float, float]]:
    return [(t.metrics["accuracy"], t.costs["cost"].value) for t in trials]


def together(bench: Bench, seed: int, num: int, strategy: str = "nsga2") -> list[tuple[float, float]]:
    def evaluate(number: int, proposal: Any) -> Trial:
        chosen = proposal.architecture
        return bench.evaluate(number, proposal, cell_of(chosen), mapping_of(chosen))

    return points(search(bench.both, seed, num, evaluate, strategy))


def one_after_the_other(bench: Bench, seed: int, num: int) -> list[tuple[float, float]]:
    def of_cells(number: int, proposal: Any) -> Trial:
        return bench.evaluate(number, proposal, cell_of(proposal.architecture), bench.default)

    first = search(bench.cells, seed, num // 2, of_cells)
    found = points(first)
    front = list(Front(first, GOALS))
    shares = [(num - num // 2) // len(front) + (i < (num - num // 2) % len(front)) for i in range(len(front))]
    for trial, share in zip(front, shares, strict=True):
        cell = cell_of(trial.architecture)

        def of_mappings(number: int, proposal: Any, cell: str = cell) -> Trial:
            return bench.evaluate(number, proposal, cell, mapping_of(proposal.architecture))

        found += points(search(bench.mappings, seed, share, of_mappings)) if share else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=FOLDER, help="folder of the tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--quick", action="store_true", help="two seeds, 100 evaluations")
    arguments = parser.parse_args()
    seeds, budgets = (2, [100]) if arguments.quick else (arguments.seeds, arguments.evaluations)
    print(json.dumps(environment()))
    bench = Bench(arguments.table)
    result: dict[str, float] = {}
    for num in budgets:
        begin = time.perf_counter()
        ways = {
            "together": [volume(bench, together(bench, seed, num)) for seed in range(seeds)],
            "one after the other": [volume(bench, one_after_the_other(bench, seed, num)) for seed in range(seeds)],
            "random": [volume(bench, together(bench, seed, num, "random")) for seed in range(seeds)],
        }
        for name, values in ways.items():
            print(f"  {num} evaluations, {name:19} hypervolume {np.mean(values):.2f} +- {np.std(values):.2f}")
        difference = np.array(ways["together"]) - np.array(ways["one after the other"])
        p = float(wilcoxon(difference).pvalue) if seeds > 5 else math.nan
        wins = int((difference > 0).sum())
        print(f"  {num} evaluations, together ahead in {wins} of {seeds} seeds (Wilcoxon p {p:.3g}),"
              f" {time.perf_counter() - begin:.0f} s", flush=True)
        ratio = float(np.mean(ways["together"]) / np.mean(ways["one after the other"]))
        result |= {f"joint_over_sequential_{num}": round(ratio, 4), f"joint_wins_{num}": float(wins)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
