"""What predictors are worth on NAS-Bench-201: rank correlation, calibration, seconds.

    python benchmarks/predictors.py --table DIR            # about 40 minutes on a busy core
    python benchmarks/predictors.py --table DIR --quick    # within a minute: CIFAR-10, one seed, two predictors

Each predictor is fitted to the test accuracies (mean over the benchmark's seeds) of cells drawn at random, and asked
for 5,000 others, also drawn. Training-free scores of the benchmark are given as features to those named ``+scores``:
logsynflow, naswot, nregions, zen, jacov, nwot, parameters and multiply-accumulates, and all that are published to the
trees of ``stack``. Scores and settings were chosen on CIFAR-10; the other two data sets were looked at to report.
``predictor_tau_*`` is that of ``stack+scores``, CIFAR-10.

``within 80%`` is the share of values inside the interval that should hold 80%; ``z`` the deviation of (value - mean) /
std, 1 when right. Seconds are of fitting, and of predicting 5,000 cells that were not described before.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from sartor._environment import environment
from sartor.contracts import Predictor
from sartor.errors import InputError
from sartor.estimators.predictors.calibration import Report, report
from sartor.estimators.predictors.ensemble import Ensemble
from sartor.estimators.predictors.gaussian_process import GaussianProcess
from sartor.estimators.predictors.gnn import GNN
from sartor.estimators.predictors.mlp import MLP
from sartor.estimators.predictors.stack import Stack
from sartor.estimators.predictors.trees import Trees
from sartor.estimators.tables._table import Table
from sartor.estimators.tables.nasbench201 import nasbench201
from sartor.space import Architecture

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "nas"
SIZES = (39, 78, 156, 469)
NUM_TESTED = 5_000
CHOSEN = ("logsynflow", "naswot", "nregions", "zen", "jacov", "nwot")
DATASETS = ("cifar10", "cifar100", "imagenet16-120")
WINNER = "stack+scores"
FAST = ("gaussian-process", "gaussian-process+scores", "trees+scores", WINNER)
SLOW = ("mlp+scores", "ensemble", "ensemble+scores", "gnn", "gnn+scores")
RESULTS = """
"""


class Scores:
    """Columns of a table, by architecture."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._table = table
        costs = [table.costs[name].values for name in ("params", "macs")]
        self._columns = np.stack([*(table.scores[name] for name in names), *costs], 1)

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return self._columns[self._table.indices(architectures)]


def makers(table: Table) -> dict[str, Callable[[int], Predictor]]:
    """Returns name -> what makes the predictor of a seed."""
    space = table.space
    features = Scores(table, [name for name in CHOSEN if name in table.scores])
    every = Scores(table, list(table.scores))
    made: dict[str, Callable[[int], Predictor]] = {}
    classes: dict[str, Any] = {
        "gaussian-process": GaussianProcess,
        "trees": Trees,
        "mlp": MLP,
        "ensemble": Ensemble,
        "gnn": GNN,
    }
    for name, kind in classes.items():
        made[name] = partial(kind, space)
        made[f"{name}+scores"] = partial(kind, space, features=features)
    made[WINNER] = partial(Stack, space, features=features, tree_features=every)
    return made


def one(table: Table, make: Callable[[int], Predictor], num: int, seed: int) -> Report:
    order = np.random.default_rng([seed, num]).permutation(len(table))
    seen, unseen = order[:num], order[num : num + NUM_TESTED]
    values = table.observed()
    trained, tested = ([table.architectures[int(i)] for i in rows] for rows in (seen, unseen))
    return report(make(seed), trained, values[seen], tested, values[unseen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=FOLDER, help="folder of the benchmark's files")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slow-seeds", type=int, default=3, help="of the networks")
    parser.add_argument("--datasets", nargs="*", default=DATASETS)
    parser.add_argument("--predictors", nargs="*", default=None)
    options = parser.parse_args()
    environment_ = environment()
    print(json.dumps(environment_, default=str))
    found: dict[str, Any] = {"seeds": 1 if options.quick else options.seeds}
    datasets = DATASETS[:1] if options.quick else options.datasets
    names = options.predictors or (FAST[1:2] + (WINNER,) if options.quick else FAST + SLOW)
    print(
        f"{'data set':15} {'predictor':25} {'n':>4} {'tau':>6} {'+-':>5} {'50%':>5} {'80%':>5} {'95%':>5} {'nll':>6} "
        f"{'z':>5} {'fit s':>6} {'ask s':>6} seeds"
    )
    start = time.perf_counter()
    for dataset in datasets:
        table = nasbench201(options.table, dataset)
        made = makers(table)
        for name in names:
            if name not in made:
                raise InputError(f"unknown predictor {name!r}; known: {', '.join(made)}")
            for num in SIZES:
                seeds = 1 if options.quick else options.slow_seeds if name in SLOW else options.seeds
                reports = [one(table, made[name], num, seed) for seed in range(seeds)]
                taus = [each.kendall_tau for each in reports]

                def mean(read: Callable[[Report], float | None]) -> float:
                    return float(np.mean([read(each) for each in reports]))  # noqa: B023

                tau = float(np.mean(taus))
                print(
                    f"{dataset:15} {name:25} {num:4} {tau:6.4f} {np.std(taus) / max(len(taus) - 1, 1) ** 0.5:5.4f} "
                    + " ".join(f"{mean(lambda r, s=share: r.within[s]):5.2f}" for share in (0.5, 0.8, 0.95))
                    + f" {mean(lambda r: r.negative_log_likelihood):6.2f} {mean(lambda r: r.z_std):5.2f}"
                    + f" {mean(lambda r: r.fit_s):6.2f} {mean(lambda r: r.predict_s):6.2f} {seeds}",
                    flush=True,
                )
                found[f"{dataset}_{name}_tau_{num}"] = round(tau, 4)
                if dataset == "cifar10" and name == WINNER:
                    found[f"predictor_tau_{num}"] = round(tau, 4)
    found["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
