"""What encodings are worth on NAS-Bench-201 (CIFAR-10, mean test accuracy after 200 epochs).

    python benchmarks/encodings.py --table ../shared/data/nas
    python benchmarks/encodings.py --quick      # below a minute: fewer seeds, shorter training of learned encodings

For each encoding: Kendall's tau of one same predictor (the Gaussian process of ``bayesian``) at 39, 78 and 156
trainings, over random cells not trained; graphs decoded exactly; tau between number of changes and distance; error and
tau on unseen topologies (`sartor.space.encodings.validate`); CPU-seconds to make the encoding, its training included,
and to encode 10,000 cells. The last line is one JSON object.

Results: see ``RESULTS`` in this file, negative ones included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from sartor.estimators.tables.nasbench201 import nasbench201
from sartor.registry import find
from sartor.space.encodings.validate import kendall_tau, validate
from sartor.strategies._gaussian_process import GaussianProcess

RESULTS = """
"""

NUMS = (39, 78, 156)
_NUM_TESTED = 1000
ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "one-hot": ("one-hot", {}),
    "path": ("path", {}),
    "path, skips contracted": ("path", {"contract_skips": True}),
    "adjacency": ("adjacency", {}),
    "adjacency, skips contracted": ("adjacency", {"contract_skips": True}),
    "wl, 1 iteration": ("weisfeiler-lehman", {"iterations": 1}),
    "wl, 2 iterations": ("weisfeiler-lehman", {}),
    "wl, both directions": ("weisfeiler-lehman", {"direction": "both"}),
    "wl, skips contracted": ("weisfeiler-lehman", {"contract_skips": True}),
    "wl, normalised": ("weisfeiler-lehman", {"normalised": True}),
    "autoencoder": ("autoencoder", {}),
    "contrastive": ("contrastive", {}),
}
_QUICK_STEPS = {"autoencoder": 100, "contrastive": 30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "nas")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    num_seeds = 3 if arguments.quick else arguments.seeds
    table = nasbench201(arguments.table, "cifar10")
    cells = table.space.of_codes(table.codes)
    values = table.columns[table.protocols["clean"].judged]
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, {num_seeds} seeds, 1 thread")
    head = ("tau 39", "tau 78", "tau 156", "decoded", "near", "seen err", "unseen err", "seen tau", "unseen tau")
    print(f"{'encoding':<28}{'features':>9}" + "".join(f"{name:>11}" for name in (*head, "make s", "10k s")))
    summary: dict[str, Any] = {"seeds": num_seeds, "quick": arguments.quick}
    some = np.random.default_rng(0).choice(len(cells), 1500, replace=False).tolist()
    for label, (name, options) in ENCODINGS.items():
        if arguments.quick and name in _QUICK_STEPS:
            options = {**options, "num_steps": _QUICK_STEPS[name]}
        start = time.process_time()
        encoding = partial(find("encodings", name).load(), **options)(table.space)
        encoding(cells[:1])
        made = time.process_time()
        encoding(cells[:10_000])
        done = time.process_time()
        vectors = encoding(cells)
        taus = {num: _tau(vectors, values, num, num_seeds) for num in NUMS}
        report = validate(
            encoding, table.space, architectures=[cells[i] for i in some], values=values[some], num_anchors=60
        )
        figures = [*taus.values(), report.reconstruction, report.neighbourhood_tau, report.seen_error]
        figures += [report.unseen_error, report.seen_tau, report.unseen_tau]
        shown = "".join(f"{'-' if each is None else f'{each:.3f}':>11}" for each in figures)
        print(f"{label:<28}{report.num_features:>9}{shown}{made - start:>11.2f}{done - made:>11.2f}", flush=True)
        summary[label] = {f"tau_{num}": round(tau, 4) for num, tau in taus.items()} | {
            "decoded": report.reconstruction,
            "neighbourhood_tau": round(report.neighbourhood_tau, 4),
            "unseen_error": round(report.unseen_error or 0.0, 4),
            "make_cpu_s": round(made - start, 2),
            "encode_10k_cpu_s": round(done - made, 2),
        }
    print(json.dumps(summary))


def _tau(vectors: np.ndarray, values: np.ndarray, num: int, num_seeds: int) -> float:
    """Returns the mean tau over seeds, each of which draws the trained and the tested cells."""
    taus = []
    for seed in range(num_seeds):
        order = np.random.default_rng([seed, 31]).permutation(len(values))
        trained, tested = order[:num], order[num : num + _NUM_TESTED]
        process = GaussianProcess.fit(vectors[trained], values[trained])
        taus.append(kendall_tau(process.predict(vectors[tested])[0], values[tested]))
    return float(np.mean(taus))


if __name__ == "__main__":
    main()
