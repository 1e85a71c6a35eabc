"""Networks over irregular series found by a search, against GRUs, MiniRocket and the untuned neural CDE.

    python benchmarks/tasks_series.py --data DIR --aeon PYTHON     # an hour on one core
    python benchmarks/tasks_series.py --data DIR --quick           # minutes: one seed, few steps; decides nothing
    python benchmarks/tasks_series.py --memory                     # what training keeps, by length

**Data.** Sets of the UEA archive as aeon's wheel has them (``--data``: its folder ``datasets/data``). Of each series a
share of the rows, drawn by the seed, is left out; at least two stay. The archive's test part is the test; a fifth of
its training part is the validation.

**Protocol.** For each seed (of the rows, the split, weights, order and the architectures drawn) all networks train for
``--steps`` on the same data in the same loop: the untuned neural CDE (the task's baseline); the CDE in ``CHOSEN``; a
GRU with decay (64 cells, GRU-D kind) and a GRU on the series interpolated at 32 equal steps (64 cells), both with the
rate, dropout and weight decay in ``PEER``; and a search of ``--trials`` architectures, the kinds of the task's space in
turn, each drawn at random, which takes the best on validation. GRU-D is a kind of that space, so that the best CDE
alone is said too. MiniRocket (aeon) is fitted to train and validation, on the interpolated series. With ``--state``
what a seed found is kept, and a killed run goes on.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from sartor._environment import environment
from sartor.contracts import Candidate, NullContext
from sartor.data import Rows, Splits
from sartor.errors import DivergedError
from sartor.estimators.training import Training, evaluate
from sartor.space import Architecture, OneOf, Space
from sartor.tasks.series.cde import NonlinearField
from sartor.tasks.series.network import SeriesNetwork
from sartor.tasks.series.paths import last_observed, make_path, real_rows
from sartor.tasks.series.solvers import DormandPrince, FixedSteps
from sartor.tasks.series.task import Series
from sartor.tasks.series.ts import read_ts
from sartor.trials import Fidelity

RESULTS = """
27 November 2026, Intel Xeon, 2 virtual cores beside other work, ``--drops 0.7 --steps 400`` (5 seeds, 8 architectures),
before nonlinear and low-rank equations could learn features of rows.
JapaneseVowels, 70% of the rows dropped, accuracy on its 370 test series, mean and deviation over seeds: untuned neural
CDE .895 (.017), GRU-D kind .965 (.011), GRU on interpolated .955 (.007), MiniRocket .948 (.009); of the search's two
draws a kind the best by validation: nonlinear .918 (.025), diagonal .946 (.014), low rank .777 (.125), GRU-D kind .965
(.012); the best CDE .948 (.013). The search took a GRU-D kind with every seed: .965 (.012).

So no controlled differential equation is ahead of the GRU-D kind here, and the search is level with it, not ahead. The
gain over the untuned neural CDE is .070. The GRU-D kind also trains fastest: 1.8 processor seconds, the untuned CDE
3.6. The set tells speakers by the level of their values, of which a third of 15 rows say nearly all.

The CDE in ``CHOSEN``, same day, AMD EPYC, 2 cores beside other work, 400 steps, accuracy on the test part by seed, with
the GRU-D kind beside (``--trials 0 --steps 400`` trains these and the other peers; the search was not run again):

    JapaneseVowels, 70% dropped, seeds 0 to 4: CDE .951 .943 .968 .962 .959, mean .957 (3.8 processor seconds);
    GRU-D kind .986 .959 .957 .965 .957, mean .965 (1.8)
    JapaneseVowels, 50%, seeds 0 to 2: CDE .970 .978 .970, mean .973; GRU-D kind .976 .984 .973, mean .978
    ItalyPowerDemand, 70%, seeds 0 to 2: CDE .631 .658 .591, mean .626; GRU-D kind .590 .584 .607, mean .594

The search with features of rows in its space, stopped after two seeds (70%, 8 architectures, 400 steps): .959, .932,
with the best CDE .938, .932; the GRU-D kind beside .986, .959. So it chose no better, on 54 series of validation. At
50%, two seeds: .981, .978, the best CDE .968, .978, GRU-D .976, .984.

So the CDE is .008 behind the GRU-D kind on JapaneseVowels, where the best of the search was .017 behind, and .033 ahead
on ItalyPowerDemand, where both say little (two classes). 30% dropped and longer series (BasicMotions) were not run.

What features of rows do, JapaneseVowels, 70% dropped, validation (54 series a seed) of seeds 20 to 22, 250 steps:
nonlinear .908 without (cross-entropy .36), .938 with 16 (.22), .945 with 64 (.21); diagonal, seeds 20 to 23, .885
without (.37), .972 with 64 (.16). A second diagonal layer (.926 against .963, two seeds), rows hidden at random in
training and reading the mean of the states instead of the last did not help.

``--memory`` (MB that a training step needs beyond inference; 100, 200, 400, 800, 1600 rows): Runge-Kutta 16, 36, 72,
144, 293; with the adjoint 0, 0.9, 0, 0, 0; Dormand-Prince on this smooth path, which takes few steps whatever the
rows, at most 0.8 either way.
"""

KINDS = ("nonlinear", "diagonal", "low_rank", "gru_d")
PEER = {"network.dropout": 0.2, "recipe.learning_rate": 5e-3, "recipe.weight_decay": 1e-2}
CHOSEN = {
    "network.encoder": "diagonal", "network.encoder.hidden": 64, "network.encoder.depth": 1, "interpolation": "cubic",
    "counts": False, "features": 64, "network.dropout": 0.4, "recipe.learning_rate": 5e-3, "recipe.weight_decay": 1e-2,
}  # fmt: skip
"""A diagonal CDE, by the validation of JapaneseVowels with 70% dropped and seeds 20 to 23."""
POINTS = 32
"""Equal steps at which series are interpolated for peers that need that."""
LENGTHS = (100, 200, 400, 800, 1600)


class InterpolatedGRU(nn.Module):
    """A GRU on values interpolated between rows at equal steps from the first to the last."""

    causal = False

    def __init__(self, num_channels: int, rows: float, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = hidden
        self.gru = nn.GRU(num_channels + 1, hidden, batch_first=True)

    def forward(self, time: Tensor, values: Tensor) -> Tensor:
        return self.gru(interpolated(time, values))[1][0]


def interpolated(time: Tensor, values: Tensor) -> Tensor:
    """Returns time and values at equal steps, ``(n, POINTS, 1 + channels)``; a missing value is the one before."""
    elapsed, real = real_rows(time)
    observed = real.unsqueeze(-1) & ~values.isnan()
    filled = last_observed(observed, values.nan_to_num())
    end = elapsed[:, -1:]
    grid = end * torch.linspace(0, 1, POINTS)
    after = torch.searchsorted(elapsed.contiguous(), grid.contiguous()).clamp(1, time.shape[1] - 1)
    low, high = elapsed.gather(1, after - 1), elapsed.gather(1, after)
    share = ((grid - low) / (high - low).clamp_min(1e-9)).clamp(0, 1).unsqueeze(-1)
    index = after.unsqueeze(-1).expand(-1, -1, values.shape[2])
    mixed = filled.gather(1, index - 1) * (1 - share) + filled.gather(1, index) * share
    return torch.cat((grid.unsqueeze(-1), mixed), -1)


def dropped(folder: str, name: str, share: float, seed: int) -> Series:
    """Returns the task on a set of the archive without a share of the rows of each series."""
    columns = read_ts(Path(folder) / name / f"{name}_TRAIN.ts")
    ids = columns["id"].values
    rng = np.random.default_rng([seed, round(100 * share)])
    keep = np.zeros(len(ids), bool)
    for number in range(len(columns["id"].labels)):
        rows = np.flatnonzero(ids == number)
        keep[rng.choice(rows, max(2, round((1 - share) * len(rows))), replace=False)] = True
    texts = {
        key: np.array(column.labels, object)[column.values] if column.labels else column.values
        for key, column in columns.items()
    }
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "series.csv"
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(texts)
            rows_kept = np.flatnonzero(keep)
            writer.writerows(zip(*(each[rows_kept] for each in texts.values()), strict=True))
        return Series(str(path), split="split", purpose="classification", validation=0.2, split_seed=seed)


def trained(task: Series, space: Space, splits: Splits, architecture: Any, *, steps: int, seed: int) -> Any:
    """Returns the network, its validation loss and processor seconds; None where it diverged."""
    begin = time.process_time()
    fidelity = Fidelity(steps, "steps")
    candidate = Candidate(task, space, architecture, seed)
    estimator = Training(task, space, Splits(splits.train, splits.validation), (fidelity,))
    try:
        metrics = estimator.estimate(candidate, fidelity=fidelity, seed=seed, context=NullContext())
    except DivergedError as error:
        print(f"    diverged: {dict(architecture)}: {str(error)[:100]}", flush=True)
        return None
    return candidate.network, metrics["cross_entropy"], time.process_time() - begin


def peers(task: Series) -> tuple[Space, Architecture]:
    """Returns a space of one network, the GRU on interpolated series."""
    encoder: Any = partial(InterpolatedGRU, hidden=OneOf(64))
    network: Any = partial(
        SeriesNetwork, len(task.channels), task.num_outputs, 1.0, encoder=encoder, dropout=PEER["network.dropout"]
    )
    recipe = {key.removeprefix("recipe."): OneOf(value) for key, value in PEER.items() if key.startswith("recipe.")}
    space = Space({"network": network, "recipe": recipe})
    return space, space.sample(np.random.default_rng(0))


def drawn(task: Series, trials: int, rng: np.random.Generator) -> list[Architecture]:
    """Returns architectures at random, the kinds in turn."""
    found: list[Architecture] = []
    while len(found) < trials:
        architecture = task.space().sample(rng)
        if architecture["network.encoder"] == KINDS[len(found) % len(KINDS)]:
            found.append(architecture)
    return found


def minirocket(task: Series, splits: Splits, test: Rows, python: str, seed: int) -> float:
    """Returns the accuracy of MiniRocket on the test part."""

    def arrays(part: Rows) -> tuple[np.ndarray, np.ndarray]:
        values = (part.columns["values"] - task._means) / task._deviations
        return interpolated(part.columns["time"], values)[..., 1:].mT.numpy(), part.columns["y"].numpy()

    both = [arrays(part) for part in (splits.train, splits.validation)]
    held, label = arrays(test)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "series.npz"
        x, y = (np.concatenate([each[i] for each in both]) for i in (0, 1))
        np.savez(path, train=x, train_label=y, test=held, test_label=label, seed=seed)
        script = Path(__file__).with_name("_minirocket.py")
        done = subprocess.run([python, str(script), str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def measure(
    folder: str, name: str, share: float, *, seed: int, trials: int, steps: int, aeon: str | None
) -> dict[str, float]:
    """Returns accuracies on the test part, and processor seconds of a training."""
    task = dropped(folder, name, share, seed)
    splits = task.data()
    assert splits.test is not None
    test = splits.test.open()
    space = task.space()
    run = partial(trained, task, splits=splits, steps=steps, seed=seed)

    def accuracy(found: Any, architecture: Architecture) -> float:
        return float("nan") if found is None else evaluate(task, found[0], architecture, test)[0]["accuracy"]

    grud = space.architecture({"network.encoder": "gru_d", "network.encoder.hidden": 64, **PEER})
    row: dict[str, float] = {}
    for label, own, architecture in (
        ("untuned neural CDE", space, task.baseline()), ("chosen CDE", space, space.architecture(CHOSEN)),
        ("GRU-D kind", space, grud), ("GRU interpolated", *peers(task)),
    ):  # fmt: skip
        found = run(own, architecture=architecture)
        row[label] = accuracy(found, architecture)
        row[f"{label}, CPU s"] = float("nan") if found is None else found[2]
    taken = ""
    if trials:
        runs = [(each, run(space, architecture=each)) for each in drawn(task, trials, np.random.default_rng(seed))]
        runs = sorted((pair for pair in runs if pair[1] is not None), key=lambda pair: pair[1][1])
        row["search"] = accuracy(runs[0][1], runs[0][0])
        for kind in KINDS:
            own_kind = [pair for pair in runs if pair[0]["network.encoder"] == kind]
            if own_kind:
                row[f"best {kind}"] = accuracy(own_kind[0][1], own_kind[0][0])
        cdes = [pair for pair in runs if pair[0]["network.encoder"] != "gru_d"]
        row["best CDE"] = accuracy(cdes[0][1], cdes[0][0])
        row["search, CPU s"] = sum(pair[1][2] for pair in runs)
        taken = f"; took {dict(runs[0][0])}"
    if aeon:
        row["MiniRocket"] = minirocket(task, splits, test, aeon, seed)
    said = ", ".join(f"{key} {value:.3f}" for key, value in row.items() if "CPU" not in key)
    print(f"  {name} {share:.0%} seed {seed}: {said}{taken}", flush=True)
    return row


def memory(lengths: tuple[int, ...] = LENGTHS) -> None:
    """Prints what a process grows by in a training step beyond inference, by length, each in a process of its own."""
    for solver in ("rk4", "rk4 adjoint", "dopri5", "dopri5 adjoint"):
        grown = []
        for length in lengths:
            command = [sys.executable, __file__, "--memory-of", solver, str(length)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            grown.append(float(done.stdout))
        print(f"{solver}: " + ", ".join(f"{n} rows {each:.1f} MB" for n, each in zip(lengths, grown, strict=True)))


def memory_of(solver: str, length: int) -> None:
    """Prints by how many MB the process grows in a step, after inference on the same series and a short step."""
    torch.manual_seed(0)
    adjoint = solver.endswith("adjoint")
    how = FixedSteps("rk4", adjoint=adjoint) if solver.startswith("rk4") else DormandPrince(1e-2, adjoint=adjoint)
    field = NonlinearField(32, 5, width=64)

    def solved(rows: int) -> Tensor:
        time_ = torch.linspace(0, rows / 50, rows).repeat(32, 1)
        path = make_path(time_, torch.sin(time_.unsqueeze(-1) * torch.tensor([1.0, 2.0, 3.0, 5.0])), "cubic")
        return how.final(field, torch.zeros(32, 32), path)

    solved(20).square().mean().backward()
    with torch.no_grad():
        solved(length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    solved(length).square().mean().backward()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="folder of the archive's sets")
    parser.add_argument("--sets", nargs="+", default=["JapaneseVowels"])
    parser.add_argument("--drops", nargs="+", type=float, default=[0.7, 0.5, 0.3])
    parser.add_argument("--aeon", metavar="PYTHON", help="interpreter of an environment with aeon, for MiniRocket")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=8, help="architectures of a search; none for 0")
    parser.add_argument("--steps", type=int, default=500, help="of a training")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder that keeps what a seed found, to go on from")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", action="store_true", help="measure the memory of a training step alone")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory_of:
        memory_of(arguments.memory_of[0], int(arguments.memory_of[1]))
        return 0
    print(json.dumps(environment()))
    if arguments.memory:
        memory()
        return 0
    if not arguments.data:
        parser.error("--data: expected the folder of the archive's sets")
    seeds, trials, steps = (1, 4, 60) if arguments.quick else (arguments.seeds, arguments.trials, arguments.steps)
    means: dict[str, dict[str, float]] = {}
    for share in arguments.drops:
        rows = []
        for name, seed in itertools.product(arguments.sets, range(seeds)):
            path = arguments.state and arguments.state / f"{name}-{round(100 * share)}-{seed}-{trials}x{steps}.json"
            if path and path.exists():
                rows.append(json.loads(path.read_text()))
                continue
            own = measure(arguments.data, name, share, seed=seed, trials=trials, steps=steps, aeon=arguments.aeon)
            rows.append(own)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(own))
        known = list(dict.fromkeys(key for row in rows for key in row))
        mean = {key: float(np.nanmean([row.get(key, np.nan) for row in rows])) for key in known}
        spread = {key: float(np.nanstd([row.get(key, np.nan) for row in rows])) for key in known if "CPU" not in key}
        means[f"{round(100 * share)}"] = mean
        print(json.dumps({"dropped": share, "means": mean, "deviations": spread}), flush=True)
    found: dict[str, Any] = {}
    keys = {"": "search", "_cde": "best CDE", "_chosen": "chosen CDE", "_grud": "GRU-D kind"}
    for (share, mean), (key, row) in itertools.product(means.items(), keys.items()):
        if row in mean:
            found[f"accuracy_{share}_dropped{key}"] = round(mean[row], 4)
    gains = [mean["search"] - mean["untuned neural CDE"] for mean in means.values() if "search" in mean]
    if gains:
        found["search_gain_over_baseline"] = round(float(np.mean(gains)), 4)
    print(json.dumps({**found, "means": means}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
