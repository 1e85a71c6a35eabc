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
AMD EPYC, 2 cores that other processes shared (load 4 to 9: seconds are up to five times too long), one thread,
Python 3.11, torch 2.13.0, numpy 2.4, scikit-learn 1.9.1. Commands: --datasets cifar10 --predictors stack+scores (and
the processes), 10 seeds; --datasets cifar100 imagenet16-120, --seeds 3; the networks and trees --seeds 2.

data set        predictor                    n    tau    +-   50%   80%   95%    nll     z  fit s  ask s seeds
cifar10         gaussian-process            39 0.7083 0.0067  0.67  0.89  0.96   5.41  2.36   0.22   2.47 10
cifar10         gaussian-process            78 0.7736 0.0048  0.65  0.89  0.95   6.01  2.53   0.09   2.37 10
cifar10         gaussian-process           156 0.8218 0.0034  0.63  0.87  0.95   1.23  0.94   0.27   2.34 10
cifar10         gaussian-process           469 0.8763 0.0009  0.53  0.78  0.90   0.89  1.22   0.77   2.64 10
cifar10         gaussian-process+scores     39 0.7318 0.0084  0.62  0.86  0.95   2.52  1.27   0.03   1.17 10
cifar10         gaussian-process+scores     78 0.7945 0.0039  0.58  0.84  0.93   2.17  1.34   0.07   1.56 10
cifar10         gaussian-process+scores    156 0.8411 0.0017  0.62  0.87  0.96   1.39  0.97   0.25   2.59 10
cifar10         gaussian-process+scores    469 0.8833 0.0014  0.57  0.83  0.93   0.84  1.05   0.79   3.24 10
cifar10         stack+scores                39 0.7413 0.0076  0.62  0.85  0.93   2.57  1.35  11.88   2.42 10
cifar10         stack+scores                78 0.8038 0.0023  0.56  0.82  0.92   2.23  1.46   7.44   1.75 10
cifar10         stack+scores               156 0.8470 0.0021  0.60  0.84  0.94   1.42  1.07   7.65   1.73 10
cifar10         stack+scores               469 0.8911 0.0009  0.59  0.82  0.92   0.90  1.08   8.91   2.76 10
cifar10         mlp+scores                  39 0.6179 0.0017  0.70  0.93  0.96   2.74  0.98   2.71   0.06 2
cifar10         mlp+scores                  78 0.6769 0.0114  0.62  0.89  0.94   3.54  1.79   0.62   0.05 2
cifar10         mlp+scores                 156 0.7301 0.0086  0.64  0.89  0.97   2.09  0.95   0.71   0.05 2
cifar10         mlp+scores                 469 0.8041 0.0037  0.60  0.85  0.95   1.71  0.99   0.65   0.06 2
cifar10         ensemble                    39 0.5194 0.0370  0.85  0.96  0.97   3.57  1.18   0.68   0.09 2
cifar10         ensemble                    78 0.6159 0.0302  0.63  0.88  0.93   6.47  2.98   1.05   0.05 2
cifar10         ensemble                   156 0.6550 0.0044  0.69  0.92  0.97   2.91  1.28   0.98   0.10 2
cifar10         ensemble                   469 0.7690 0.0039  0.65  0.89  0.96   2.09  1.11   1.00   0.09 2
cifar10         ensemble+scores             39 0.6227 0.0168  0.71  0.93  0.96   2.71  0.95   0.85   0.07 2
cifar10         ensemble+scores             78 0.6875 0.0156  0.61  0.86  0.93   3.92  1.99   0.92   0.07 2
cifar10         ensemble+scores            156 0.7371 0.0063  0.63  0.89  0.96   2.07  0.97   0.96   0.07 2
cifar10         ensemble+scores            469 0.8126 0.0037  0.58  0.85  0.94   1.64  1.02   1.03   0.07 2
cifar10         trees+scores                39 0.7506 0.0071  0.75  0.93  0.96   3.66  1.56   4.03   1.10 2
cifar10         trees+scores                78 0.7894 0.0005  0.71  0.91  0.95   4.10  2.27   4.68   2.55 2
cifar10         trees+scores               156 0.8228 0.0062  0.65  0.87  0.94   1.74  1.10  10.43   2.14 2
cifar10         trees+scores               469 0.8739 0.0064  0.62  0.86  0.94   1.21  1.08  15.43   1.62 2
cifar10         gnn+scores                  39 0.7516 0.0018  0.55  0.83  0.93   2.49  1.35   7.69   4.35 2
cifar10         gnn+scores                  78 0.7875 0.0001  0.64  0.88  0.95   2.33  1.33  10.91   4.15 2
cifar10         gnn+scores                 156 0.7997 0.0035  0.64  0.89  0.97   1.68  0.87  12.65   3.78 2
cifar10         gnn+scores                 469 0.7947 0.0095  0.55  0.82  0.94   1.71  1.10  10.98   3.07 2
cifar100        gaussian-process            39 0.7098 0.0076  0.62  0.88  0.96   3.74  1.67   0.19   0.98 3
cifar100        gaussian-process            78 0.7645 0.0163  0.60  0.86  0.94   3.40  1.71   0.03   0.82 3
cifar100        gaussian-process           156 0.8134 0.0027  0.62  0.87  0.96   1.80  0.93   0.07   0.90 3
cifar100        gaussian-process           469 0.8608 0.0034  0.52  0.78  0.89   1.63  1.30   0.37   1.28 3
cifar100        gaussian-process+scores     39 0.7544 0.0075  0.57  0.85  0.96   2.47  0.97   0.02   0.68 3
cifar100        gaussian-process+scores     78 0.7956 0.0077  0.54  0.81  0.94   2.26  1.10   0.03   0.76 3
cifar100        gaussian-process+scores    156 0.8449 0.0028  0.62  0.89  0.97   1.86  0.89   0.08   0.83 3
cifar100        gaussian-process+scores    469 0.8751 0.0010  0.57  0.82  0.93   1.49  1.10   0.38   1.65 3
cifar100        stack+scores                39 0.7535 0.0078  0.53  0.80  0.91   2.60  1.17   4.56   0.91 3
cifar100        stack+scores                78 0.7967 0.0073  0.53  0.81  0.93   2.27  1.12   4.65   1.26 3
cifar100        stack+scores               156 0.8448 0.0009  0.63  0.87  0.96   1.90  0.93   4.77   1.16 3
cifar100        stack+scores               469 0.8773 0.0021  0.58  0.82  0.92   1.51  1.10   8.47   2.82 3
imagenet16-120  gaussian-process            39 0.6833 0.0051  0.61  0.88  0.95   2.92  1.01   0.02   0.78 3
imagenet16-120  gaussian-process            78 0.7509 0.0075  0.63  0.86  0.94   2.76  1.19   0.04   0.74 3
imagenet16-120  gaussian-process           156 0.8060 0.0040  0.65  0.88  0.96   2.04  0.88   0.09   0.98 3
imagenet16-120  gaussian-process           469 0.8550 0.0029  0.57  0.81  0.91   1.78  1.18   0.42   1.58 3
imagenet16-120  gaussian-process+scores     39 0.7100 0.0104  0.61  0.87  0.97   2.83  0.96   0.03   0.89 3
imagenet16-120  gaussian-process+scores     78 0.7636 0.0056  0.60  0.82  0.94   2.74  1.22   0.05   1.04 3
imagenet16-120  gaussian-process+scores    156 0.8160 0.0024  0.64  0.88  0.96   2.17  0.88   0.12   0.99 3
imagenet16-120  gaussian-process+scores    469 0.8635 0.0030  0.59  0.83  0.93   1.76  1.10   0.54   2.24 3
imagenet16-120  stack+scores                39 0.7138 0.0095  0.56  0.83  0.95   2.86  1.08   4.46   1.16 3
imagenet16-120  stack+scores                78 0.7738 0.0055  0.60  0.84  0.94   2.71  1.21   4.26   1.15 3
imagenet16-120  stack+scores               156 0.8220 0.0061  0.59  0.84  0.94   2.27  1.07   4.46   1.10 3
imagenet16-120  stack+scores               469 0.8722 0.0017  0.60  0.82  0.92   1.87  1.16   7.84   2.24 3

Against the published .667 / .677 / .765 / .836 (HyperNAS) and the wanted .72 / .77 / .82 / .89 at 39 / 78 / 156 / 469,
``stack+scores`` has .741 / .804 / .847 / .891 on CIFAR-10. Settings were chosen there on seeds 0 to 4, which are among
these; on seeds 100 to 109 it has .745 / .800 / .838 / .894. On data sets that were not tuned on it is below .89 at 469:
.877 and .872. A cell's class, from the other cells of its class alone, ranks it by .931 (CIFAR-10): training noise.

What did not help, or fell short:

- ``stack`` gains about .01 over ``gaussian-process+scores`` at most, for ten to a hundred times the seconds: a search
  should use the process.
- Perceptrons, alone or as an ensemble, rank worst up to 156 values; over paths instead of one-hot choices the ensemble
  has .77 / .84 at 78 / 469 with scores (3 seeds), still behind the process.
- The graph network is as good as the trees up to 78 values and gains nothing from 156 to 469: its 200 steps may be too
  few. More steps were not tried, and its ranking loss was not measured.
- On CIFAR-10 deviations are too small at 39 and 78 values (z 1.3 to 2.5); why was not looked into. The intervals of
  80% and 95% hold about what they should, those of 50% too much.
- The values as they are (no warp) cost .05 to .11; ranks do as well as the logarithm, but have no room beyond the best.
- All published scores in the process instead of eight: .004 worse at 156, .002 at 469. A bootstrap for the trees: .02
  worse at 78. Averaging an ensemble of perceptrons into the stack: worse at both sizes tried.
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
