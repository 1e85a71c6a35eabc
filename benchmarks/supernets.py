"""Weight sharing: time of a step against NNI's, ranking of NAS-Bench-201, collapse, networks for ten limits.

    python benchmarks/supernets.py --table DIR --images DIR --peers PYTHON   # about four hours on 2 cores
    python benchmarks/supernets.py --table DIR --images DIR --quick          # minutes: shared weights are loaded again
    python benchmarks/supernets.py --parts step --peers PYTHON               # one of step, ranking, collapse, elastic

``--images`` has CIFAR-10 (see the data's README), ``--table`` the published trainings, ``PYTHON`` is the interpreter
of an environment with torch 2.13.0, nni 3.0, pytorch_lightning 2.6.6 (``--no-deps``), lightning-utilities, torchmetrics
and fsspec.

**Step.** A step of first-order DARTS (logits on one batch, weights on another; 3 cells of 16 channels and eight
operations, 16 images of 32 pixels, float32, one thread) by NNI's own loop and by Sartor's relaxed space ``darts``, from
the same weights and logits on the same batches. The losses of all steps must agree. Processor seconds, as the machine
may be busy; NNI is timed before and after, and the faster counts.

**Ranking.** Single-path one-shot weights of NAS-Bench-201's cells, one cell a stage, trained on 25,000 images of 16
pixels; every class of isomorphic cells is scored by the cross-entropy on 256 images that no weight was trained on,
normalised by their own statistics (cells of one class share the score). Kendall's tau with the published accuracy on
CIFAR-10 after 200 epochs over all 15,625 cells; the same of the training-free aggregate, and of both together: the sum
of logarithms of ranks, the shared weights' counting half. Settings were chosen on 400 cells of the same table.

**Collapse** and **elastic**: ``benchmarks/collapse.py`` and ``benchmarks/supernets_elastic.py`` as they are.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch.nn import functional

from sartor._environment import environment
from sartor.spaces.darts import darts

HERE = Path(__file__).parent
PARTS = ("step", "ranking", "collapse", "elastic")
STEP = {"width": 16, "cells": 3, "batch": 16, "image": 32}
"""Of NNI's script and of Sartor's space alike."""
RANKING = {"width": 16, "side": 16, "train": 25_000, "batch": 64, "rate": 0.08, "decay": 5e-4}
CHANCES = {"none": 0.1, "skip_connect": 0.14, "nor_conv_1x1": 0.24, "nor_conv_3x3": 0.4, "avg_pool_3x3": 0.12}
"""With which operations are drawn: convolutions need more steps than what has no weights."""
SHARE = 0.5
"""How much the shared weights count beside the aggregate."""
NUM_SCORED_ON = 256

RESULTS = """
26 November 2026, Intel Xeon, 2 virtual cores beside other work, torch 2.13.0, NNI 3.0, seed 0.

Step (--parts step --quick): NNI 5.65 s, Sartor 2.12 s of processor time, 2.66 times as fast; the losses of ten passes
differ by 1.0e-6 at most, relatively. With channels one after another in memory and torch's own gradients of depthwise
convolutions it would be 4.7 s.

Ranking (--parts ranking): 8,000 steps, 506 s of processor time; 6,466 classes scored in 662 s by two processes that had
about one core. Kendall's tau over all 15,625 cells:

  shared weights   .4750
  training-free    .7934
  together         .7989

So the shared weights alone rank no better than what was published (.484), on weights of eight minutes; training-free
scores, which train nothing, rank far better, and shared weights add half a point to them. On 250 of the cells the same
weights' tau is .45, .55, .57 and .59 by 256, 512, 1,024 and 2,048 images. Before convolutions were drawn more often it
was .39, .48, .48, .48 after 5, 10, 15 and 20 thousand steps at 8 channels (400 cells, 512 images).

Elastic and collapse: see the files. ``darts_collapse_plain`` 9, ``darts_collapse_cured`` 0 (DARTS+ and P-DARTS) of ten
seeds; ``elastic_cost_ratio_ten_limits`` .138, ``elastic_accuracy_gap_points`` .415 (standard error .54).
"""


# --- the time of a step


def nni(python: str, *, steps: int, dump: Path | None) -> dict[str, Any]:
    """Returns what NNI's script prints."""
    options = [f"--{name}={value}" for name, value in {**STEP, "steps": steps}.items()]
    command = [python, "-W", "ignore", str(HERE / "_nni_darts.py"), *options, *([f"--dump={dump}"] if dump else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"NNI's script failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def relaxed(dump: Mapping[str, Any]) -> tuple[Any, dict[str, torch.Tensor]]:
    """Returns Sartor's relaxation of the same space with NNI's weights, and its logits."""
    mixture = darts(3, 10, STEP["width"], STEP["cells"]).mixture((torch.zeros(2, 3, 32, 32),))
    theirs = {name: value for name, value in dump["weights"].items() if not name.endswith("num_batches_tracked")}
    ours = {name: value for name, value in mixture.state_dict().items() if not name.endswith("num_batches_tracked")}
    # Both list modules in the order of cells, nodes, inputs and operations.
    if [tuple(value.shape) for value in theirs.values()] != [tuple(value.shape) for value in ours.values()]:
        raise SystemExit("the networks differ: NNI's tensors have other shapes")
    mixture.load_state_dict(dict(zip(ours, theirs.values(), strict=True)), strict=False)
    order = [dump["operations"].index(label) for label in next(iter(mixture.choices.values()))]
    logits = {}
    for name, value in dump["alphas"].items():
        cell, _, edge = name.partition("/")
        state, source = map(int, edge.split("_"))
        logits[f"{cell}.nodes.{state - 2}.{source}"] = value[order].clone().requires_grad_()
    return mixture, logits


def sartor_steps(dump: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns the losses of all steps (logits', weights', by turns), and the processor seconds of each step."""
    mixture, logits = relaxed(dump)
    mixture.to(memory_format=torch.channels_last)
    weights = list(mixture.parameters())
    of_logits = torch.optim.Adam(list(logits.values()), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    of_weights = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
    losses: list[float] = []
    seconds: list[float] = []
    for step in range(len(dump["train_labels"])):
        began = time.process_time()
        for weight in weights:
            weight.requires_grad_(False)
        of_logits.zero_grad()
        shares = {key: value.softmax(0) for key, value in logits.items()}
        loss = functional.cross_entropy(mixture(dump["val_images"][step], weights=shares), dump["val_labels"][step])
        loss.backward()
        of_logits.step()
        losses.append(loss.item())
        for weight in weights:
            weight.requires_grad_(True)
        of_weights.zero_grad()
        shares = {key: value.detach().softmax(0) for key, value in logits.items()}
        loss = functional.cross_entropy(mixture(dump["train_images"][step], weights=shares), dump["train_labels"][step])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        of_weights.step()
        losses.append(loss.item())
        seconds.append(time.process_time() - began)
    return losses, seconds


def measure_step(python: str, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dump.pt"
        first = nni(python, steps=steps, dump=path)
        dump = torch.load(path, weights_only=True)
        losses, seconds = sartor_steps(dump)
        second = nni(python, steps=steps, dump=None)
    theirs = np.stack([dump["architecture_losses"], dump["weight_losses"]], 1).ravel()
    apart = float(np.abs(np.array(losses) / theirs - 1).max())
    peer = min(first["cpu_seconds_per_step"], second["cpu_seconds_per_step"])
    own = float(np.median(seconds[first["warmup"] :]))
    print(f"step: NNI {peer:.2f} s, Sartor {own:.2f} s of processor time; losses of {len(theirs)} passes differ by "
          f"{apart:.1e} at most, relatively")  # fmt: skip
    return {"step_time_ratio_darts": peer / own, "step_loss_difference": apart}


# --- the ranking of NAS-Bench-201


def cifar10(folder: str, part: str, num: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns images ``[num, 3, side, side]`` of about mean 0 and deviation 1, and labels."""
    from PIL import Image

    file = np.load(Path(folder) / f"cifar10_{part}.npz", allow_pickle=False)
    header, scans, offsets = file["header"].tobytes(), file["scans"], file["offsets"]
    pixels = np.empty((num, 3, side, side), np.uint8)
    for i in range(num):
        image = Image.open(io.BytesIO(header + scans[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB")
        pixels[i] = np.asarray(image.resize((side, side), Image.Resampling.BOX)).transpose(2, 0, 1)
    labels = torch.from_numpy(file["labels"][:num].astype(np.int64))
    return (torch.from_numpy(pixels).float() / 255 - 0.48) / 0.245, labels


def shared_weights(folder: str, steps: int, seed: int) -> tuple[Any, float]:
    """Returns a trained supernet and the processor seconds that its training took."""
    from sartor.spaces.nasbench201 import nasbench201

    space = nasbench201(3, 10, RANKING["width"], 1)
    supernet = space.supernet(seed=seed).to(memory_format=torch.channels_last)
    images, labels = cifar10(folder, "train_a", RANKING["train"], RANKING["side"])
    rng = np.random.default_rng(seed)
    rate = RANKING["rate"]
    parameters = list(supernet.parameters())
    optimizer = torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=RANKING["decay"])
    labelled = list(CHANCES)
    began = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 200) * 0.5 * (1 + np.cos(np.pi * step / steps))
        rows = torch.from_numpy(rng.integers(0, len(images), RANKING["batch"]))
        batch = images[rows].flip(3) if rng.random() < 0.5 else images[rows]
        batch = torch.roll(batch, tuple(rng.integers(-2, 3, 2).tolist()), (2, 3))
        drawn = rng.choice(len(labelled), len(space.keys), p=list(CHANCES.values()))
        architecture = space.architecture({key: labelled[i] for key, i in zip(space.keys, drawn, strict=True)})
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(supernet(batch, arch=architecture), labels[rows]).backward()
        torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 5.0)
        optimizer.step()
    return supernet, time.process_time() - began


def inherited(folder: str, weights: str, rows: Sequence[int], num_images: int) -> list[float]:
    """Returns the scores of some rows of the table: minus the cross-entropy on images the weights have not seen."""
    from sartor.spaces.nasbench201 import nasbench201

    torch.set_num_threads(1)
    space = nasbench201(3, 10, RANKING["width"], 1)
    supernet = space.supernet().to(memory_format=torch.channels_last)
    supernet.load_state_dict(torch.load(weights, weights_only=True))
    images, labels = cifar10(folder, "train_b", num_images, RANKING["side"])
    every = list(space)
    with torch.no_grad():  # in training mode, so that the batch's own statistics normalise
        return [-functional.cross_entropy(supernet(images, arch=every[row]), labels).item() for row in rows]


def training_free(folder: str, rows: Sequence[int], seed: int) -> list[dict[str, float]]:
    """Returns the scores of which the aggregate is made."""
    sys.path.insert(0, str(HERE))
    from proxies import images

    from sartor.estimators.proxies._proxy import load, score
    from sartor.estimators.proxies.aggregate import INGREDIENTS
    from sartor.spaces.nasbench201 import nasbench201

    torch.set_num_threads(1)
    space = nasbench201(3, 10, RANKING["width"], 1)
    every = list(space)
    proxies, inputs = load(*INGREDIENTS), [images(folder, 32)]
    found = []
    for row in rows:
        torch.manual_seed(seed)
        found.append(dict(score(space.build(every[row]), inputs, proxies, seed=seed)))
    return found


def measure_ranking(arguments: argparse.Namespace) -> dict[str, float]:
    from scipy.stats import kendalltau, rankdata

    from sartor.estimators.proxies.aggregate import INGREDIENTS, aggregate
    from sartor.estimators.tables.nasbench201 import nasbench201 as table
    from sartor.spaces.nasbench201 import canonical, nasbench201

    weights = Path(arguments.state)
    if arguments.quick and not weights.exists():
        raise SystemExit(f"--quick scores by weights that the full run keeps in {weights}: there are none yet")
    trained_s = float("nan")
    if not arguments.quick:
        supernet, trained_s = shared_weights(arguments.images, arguments.steps, arguments.seed)
        torch.save(supernet.state_dict(), weights)
    else:
        print(f"ranking: by the weights of an earlier full run, {weights}")
    every = list(nasbench201(3, 10, RANKING["width"], 1))
    published = table(arguments.table, "cifar10")
    truth = np.asarray(published.observed(protocol="clean"))[published.indices(every)]
    chosen = np.arange(len(every))
    if arguments.quick:
        chosen = np.random.default_rng(1).choice(len(every), 500, replace=False)
    first_of: dict[str, int] = {}
    class_of = np.array([first_of.setdefault(canonical(every[row]), row) for row in chosen])
    rows = sorted(set(class_of.tolist()))
    parts = np.array_split(np.array(rows), max(1, arguments.workers) * 8)
    began = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers) as pool:
        scores = [
            pool.submit(inherited, arguments.images, str(weights), part.tolist(), arguments.scored_on)
            for part in parts
            if len(part)
        ]
        free = [
            pool.submit(training_free, arguments.images, part.tolist(), arguments.seed) for part in parts if len(part)
        ]
        by_weights = dict(zip(rows, (value for each in scores for value in each.result()), strict=True))
        scored_s = time.perf_counter() - began
        by_proxy = dict(zip(rows, (value for each in free for value in each.result()), strict=True))
    own = np.array([by_weights[row] for row in class_of])
    columns = {name: [by_proxy[row][name] for row in class_of] for name in INGREDIENTS}
    untrained = aggregate(columns)
    together = untrained + SHARE * np.log(rankdata(own) / len(own))
    kendall = {
        name: float(kendalltau(values, truth[chosen]).statistic)
        for name, values in (("shared weights", own), ("training-free", untrained), ("together", together))
    }
    print(f"ranking: {len(chosen):,} cells, {len(rows):,} classes scored in {scored_s:.0f} s by {arguments.workers} "
          f"processes; training {trained_s:.0f} s of processor time")  # fmt: skip
    for name, value in kendall.items():
        print(f"  {name:16s} tau {value:.4f}")
    return {
        "tau_nasbench201_c10": kendall["together"],
        "tau_nasbench201_c10_shared_weights_alone": kendall["shared weights"],
        "tau_nasbench201_c10_training_free": kendall["training-free"],
        "supernet_training_cpu_s": trained_s,
    }


# --- the other parts


def last_line(script: str, *options: str) -> dict[str, Any]:
    """Runs another benchmark and returns its JSON."""
    process = subprocess.Popen([sys.executable, str(HERE / script), *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line if line.startswith("{") else last
    if process.wait() or not last:
        raise SystemExit(f"{script} failed")
    found: dict[str, Any] = json.loads(last)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="../shared/data/nas", metavar="DIR", help="folder of the published tables")
    parser.add_argument("--images", default="../shared/data/images", metavar="DIR", help="folder of CIFAR-10")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of NNI's environment")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--steps", type=int, default=8_000, help="of the weights that rank")
    parser.add_argument("--scored-on", type=int, default=NUM_SCORED_ON, help="images that each cell is scored on")
    parser.add_argument("--state", default="supernets.pt", metavar="FILE", help="where these weights are kept")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="500 cells by weights trained before, short trainings")
    arguments = parser.parse_args()
    print(json.dumps(environment()))
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    quick = ["--quick"] if arguments.quick else []
    if "step" in arguments.parts:
        if arguments.peers:
            figures |= measure_step(arguments.peers, 3 if arguments.quick else 8)
        else:
            print("step: left out, as it needs --peers PYTHON")
    if "ranking" in arguments.parts:
        figures |= measure_ranking(arguments)
    if "collapse" in arguments.parts:
        figures |= last_line("collapse.py", "--images", arguments.images, *quick)
    if "elastic" in arguments.parts:
        figures |= last_line("supernets_elastic.py", "--images", arguments.images, *quick)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
