"""Network morphism: how exact it is, how many steps it saves, and what a search by it saves.

    python benchmarks/_compress_morphism.py --images DIR            # about half an hour; DIR has cifar10_train_a.npz
    python benchmarks/_compress_morphism.py --images DIR --quick    # within two minutes

Exactness: pairs of random architectures of each ready-made space, a few changes of choices apart, with random weights
and statistics; where one contains the other, the largest difference of their outputs in float64 over the largest output
is taken. Pairs that do not contain one another must be refused: the number of each is printed.

Steps: 5,000 images of CIFAR-10 at 32x32 (``resnet-like`` space, the images task's own recipe). A small network is
trained for 8 epochs; one of twice its widths and larger kernels is trained from scratch for 8, and grown from the small
one and trained for an eighth, a quarter and half of those steps, each with its own warm-up and cooldown. The ratio is
the least share whose mean test accuracy over the seeds is at least that from scratch. What the small network had cost
is printed beside it: it is sunk where the network was there already, and is not where it was not.

Search: ``nash`` and ``local-search`` on the same space with 8 trainings of one epoch on 3,000 images. Counted are the
trainings until ``nash`` is as good on the validation part as local search after all of its trainings; morphisms that
are refused cost none and are not counted.

Results: see ``RESULTS`` in this file, negative ones included.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from sartor._environment import environment
from sartor.compress.morphism import inherit, max_difference, settle
from sartor.contracts import Candidate
from sartor.engine import Engine, Problem
from sartor.errors import UnsupportedNetworkError
from sartor.estimators import Training, evaluate
from sartor.goals import Goals, Objective
from sartor.registry import find
from sartor.runs import Record
from sartor.tasks.images.task import Images
from sartor.testing.estimators import MemoryContext
from sartor.trials import Fidelity

RESULTS = """
27 November 2026, Intel Xeon, 2 virtual cores beside much other work, torch 2.13.0+cpu.

Exactness: 10 pairs grown in each of nine spaces, 6 to 94 refused, largest difference 1.1e-15 (nasbench101).

Steps, 8 epochs, seeds 0 to 2:

  small                                 .509   .513 .504 .511
  grown, not yet trained                .509   .513 .504 .511
  from scratch                          .574   .573 .577 .574
  grown, an eighth of the steps         .494   .497 .496 .490
  grown, a quarter                      .526   .538 .512 .528
  grown, half                           .557   .562 .547 .562
  from scratch, half                    .488   .490 .483 .491

The goal, scratch's accuracy in half the steps, is missed by 1.7 points, though at equal steps growth is 7 points ahead;
and the small network had cost .35 of the large one. Eight epochs are short: with 20 (seed 100 alone) it is met, .6453
in half the steps and .6452 from scratch (small .6097, a quarter .6261).

Search: nash is as good as local search after 8 trainings with 3.7 (mean of three seeds: 54% saved), and ends 5.4 points
higher; it had 2 to 5 morphisms refused.
"""

SPACES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "nasbench201": ((3, 10), {}),
    "nasbench101": ((3, 10), {}),
    "nasbench_macro": ((3, 10), {"width": 4, "features": 32}),
    "darts": ((3, 10), {"width": 4, "num_cells": 4}),
    "hierarchical": ((3, 10), {}),
    "mbconv": ((3, 10, 16), {}),
    "resnet-like": ((3, 10, 16), {}),
    "once-for-all": ((3, 10, 16), {}),
    "transformer": ((3, 10, 16), {}),
}
SHARES = (0.125, 0.25, 0.5)
IMAGES = Path("../shared/data/images")
PARTS = ("exactness", "steps", "search")


# --- exactness


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """Returns a network in float64 whose weights and statistics are no initial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network.double()


def exactness(num: int, seed: int = 0) -> dict[str, tuple[int, int, float]]:
    """Returns, for each space, pairs that were grown, pairs that were refused and the largest difference."""
    found = {}
    for name, (arguments, options) in SPACES.items():
        space = find("spaces", name).load()(*arguments, **options)
        part = "network" if "data.resolution" in space.keys else None
        rng = np.random.default_rng([seed, 7])
        grown = refused = 0
        worst = 0.0
        while grown < num and refused < 40 * num:
            pair = [space.sample_choices(rng)]
            pair.append(pair[0])
            for _ in range(int(rng.integers(1, 4))):
                pair[1] = space.mutate(pair[1], rng)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(grown + refused)
                small, large = sorted(
                    (space.build(each, part=part) for each in pair),
                    key=lambda network: sum(p.numel() for p in network.parameters()),
                )
            shaken(small, grown + refused)
            inputs = [torch.randn(2, 3, 16, 16, dtype=torch.float64)]
            try:
                inherit(small, large.double(), inputs)
            except UnsupportedNetworkError:
                refused += 1
                continue
            grown += 1
            worst = max(worst, max_difference(small, large, inputs, seed=1))
        found[name] = (grown, refused, worst)
        print(f"{name:<16} {grown:>3} grown {refused:>4} refused  largest difference {worst:.1e}", flush=True)
    return found


# --- steps


def decoded(folder: Path, name: str, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images of CIFAR-10, uint8 ``[num, 32, 32, 3]``, and their labels."""
    from PIL import Image

    file = np.load(folder / f"{name}.npz", allow_pickle=False)
    header, scans, offsets = file["header"].tobytes(), file["scans"], file["offsets"]
    pictures = [
        np.asarray(Image.open(io.BytesIO(header + scans[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB"))
        for i in range(num)
    ]
    return np.stack(pictures), file["labels"][:num]


def task_of(folder: Path, out: Path, num_train: int, num_test: int) -> Images:
    """Returns the images task on some of CIFAR-10."""
    train, test = decoded(folder, "cifar10_train_a", num_train), decoded(folder, "cifar10_test", num_test)
    path = out / f"cifar10-{num_train}.npz"
    np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    return Images(str(path), space="resnet-like")


def sizes(space: Any, *, stem: int, widths: tuple[int, ...], kernel: int) -> Any:
    chosen: dict[str, Any] = {"stem.stride": 2, "stem.width": stem}
    for number, width in enumerate(widths, 1):
        chosen |= {
            f"stage{number}.block": "basic",
            f"stage{number}.width": width,
            f"stage{number}.depth": 1,
            f"stage{number}.kernel": kernel,
        }
    return space.architecture({key: value for key, value in chosen.items() if key in space.keys})


def accuracy(task: Images, network: nn.Module, architecture: Any, part: Any) -> float:
    return evaluate(task, network, architecture, part)[0]["accuracy"]


def trained(task: Images, architecture: Any, epochs: float, seed: int, parent: Any = None) -> tuple[nn.Module, float]:
    """Returns a network after training, grown from ``parent`` (architecture, network) where given, and CPU-seconds."""
    space = task.space()
    candidate = Candidate(task, space, architecture, seed)
    context = MemoryContext()
    if parent is not None:
        context.parent = (parent[0], parent[1].state_dict())
    fidelity = Fidelity(epochs)
    began = time.process_time()
    Training(task, space, task.data(), (fidelity,), checkpoint_s=1e9).estimate(
        candidate, fidelity=fidelity, seed=seed, context=context
    )
    return candidate.network, time.process_time() - began


def steps(task: Images, epochs: float, seeds: int) -> dict[str, float]:
    """Returns the ratio of steps and accuracies, and prints them seed by seed."""
    space = task.space()
    small = sizes(space, stem=8, widths=(16, 24, 48), kernel=3)
    large = sizes(space, stem=16, widths=(24, 48, 96), kernel=5)
    splits = task.data()
    test = splits.test.open() if splits.test is not None else splits.validation
    scores: dict[str, list[float]] = {}
    for seed in range(seeds):
        one, cost = trained(task, small, epochs, seed)
        found = {"small": accuracy(task, one, small, test)}
        began = Candidate(task, space, large, seed).network
        inherit(one, began, task.example_inputs(large))
        found["grown, untrained"] = accuracy(task, began, large, test)
        found["settled, untrained"] = accuracy(
            task, settle(began, (torch.randn(64, 3, 32, 32),)), large, test
        )
        alone, scratch_cost = trained(task, large, epochs, seed)
        found["scratch"] = accuracy(task, alone, large, test)
        for share in SHARES:
            grown, _ = trained(task, large, epochs * share, seed, (small, one))
            found[f"grown, {share:g} of the steps"] = accuracy(task, grown, large, test)
        short, _ = trained(task, large, epochs / 2, seed)
        found["scratch, 0.5 of the steps"] = accuracy(task, short, large, test)
        found["cost of the small one over the large one's"] = cost / scratch_cost
        for name, value in found.items():
            scores.setdefault(name, []).append(value)
        print(seed, {name: round(value, 4) for name, value in found.items()}, flush=True)
    means = {name: statistics.mean(values) for name, values in scores.items()}
    for name, value in means.items():
        print(f"{name:<44} {value:.4f}  {' '.join(f'{v:.4f}' for v in scores[name])}")
    enough = [share for share in SHARES if means[f"grown, {share:g} of the steps"] >= means["scratch"]]
    return {
        "morphism_steps_ratio": min(enough, default=float("nan")),
        "morphism_small_cost_ratio": means["cost of the small one over the large one's"],
        "morphism_accuracy_gain_at_half_points": 100 * (means["grown, 0.5 of the steps"] - means["scratch"]),
    }


# --- search


def searched(task: Images, strategy: str, num: int, seed: int, out: Path) -> list[float]:
    """Returns the best validation accuracy after each training of a search."""
    space = task.space().given({"stem.stride": 2})
    goals = Goals((Objective("accuracy"),))
    spec = find("strategies", strategy)
    fidelities = (Fidelity(1),)
    problem = Problem(
        task.reference(), fidelities=fidelities, estimator_options={"keep": spec.inherits, "checkpoint_s": 1e9}
    )
    options = {"num_children": 4} if strategy == "nash" else {}
    with Record(out / f"{strategy}-{seed}") as record:
        run = record.create_run("search", strategy, {}, seed=seed, environment={})
        made = spec.load()(space, goals, fidelities, seed=seed, **options)
        found, best, wanted = [], 0.0, num
        # What is refused before any training is not counted.
        for _ in range(num):
            trials = Engine(record, problem, workers=0, slots=2).run(run, made, max_trials=wanted)
            done = sum(trial.state == "complete" for trial in trials)
            if done >= num:
                break
            wanted += num - done
            made = spec.load()(space, goals, fidelities, seed=seed, **options)
        for trial in trials:
            if trial.state == "complete":
                best = max(best, trial.metrics["accuracy"])
                found.append(best)
        refused = sum(trial.state == "failed" for trial in trials)
    print(f"{strategy:<14} seed {seed}: {' '.join(f'{v:.3f}' for v in found[:num])}  refused {refused}", flush=True)
    return found[:num]


def search(task: Images, num: int, seeds: int, out: Path) -> dict[str, float]:
    """Returns the share of trainings saved, and prints searches."""
    saved, gains = [], []
    for seed in range(seeds):
        ours, theirs = (searched(task, name, num, seed, out) for name in ("nash", "local-search"))
        needed = next((i for i, value in enumerate(ours, 1) if value >= theirs[-1]), num)
        saved.append(1 - needed / num)
        gains.append(100 * (ours[-1] - theirs[-1]))
    return {"nash_trainings_saved": statistics.mean(saved), "nash_accuracy_gain_points": statistics.mean(gains)}


def run(quick: bool, images: Path = IMAGES, seeds: int = 3, parts: Sequence[str] = PARTS) -> dict[str, float]:
    """Runs all and returns the figures by their JSON keys."""
    figures: dict[str, float] = {}
    if "exactness" in parts:
        found = exactness(3 if quick else 10)
        figures |= {"morphism_max_error_float64": max(worst for _, _, worst in found.values())}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if "steps" in parts:
            task = task_of(images, out, 2_000 if quick else 5_000, 1_000 if quick else 10_000)
            figures |= steps(task, 2 if quick else 8, 1 if quick else seeds)
        if "search" in parts:
            task = task_of(images, out, 1_000 if quick else 3_000, 1_000)
            figures |= search(task, 4 if quick else 8, 1 if quick else seeds, out)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder with CIFAR-10 as JPEG in .npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = run(arguments.quick, arguments.images, arguments.seeds, arguments.only)
    print(json.dumps({**figures, "environment": environment()}))


if __name__ == "__main__":
    main()
