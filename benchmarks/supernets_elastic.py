"""Networks served for ten limits by one training of shared weights, against training and searching for each.

    python benchmarks/supernets_elastic.py --images DIR            # about 20 CPU-minutes on one core
    python benchmarks/supernets_elastic.py --images DIR --quick    # within two minutes; decides nothing

**The task.** CIFAR-10 (``--images``: see the data's README) scaled to 16 pixels: 10,000 training, 4,000 validation and
10,000 test images. The space: mobile bottlenecks with 16 filters in the stem at half resolution; three stages of 1 or 2
blocks, each of three widths, kernels of 3 or 5, expansions of 2 or 3.

**What is measured.** BigNAS trains one store of weights. For ten limits on multiply-accumulates, evenly apart on a
logarithmic scale, ``sartor.supernets.subnets.serve`` finds a network for each.

- *Gap*: four of them, evenly apart, are trained alone, with the recipe and for the steps of a full training of the
  task; test accuracy of that less that of the served network with its inherited weights, in points, on the mean.
- *Cost*: CPU-seconds of serving ten limits at once over those of ten searches for one limit each, with as many
  evaluations each as the ten have together; validation accuracy of what both found tells whether that is enough.
- *Separate searches* (``--separate 8``, an hour and more): for three of the limits, networks that nearly use the limit
  up are drawn and trained alone, and the best on validation images is kept. Of the ratio of costs there is, the shared
  training is a part; how many trainings such a search needs until its network is expected to be as accurate on test
  images as the served one is told.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _main import exit_with

from sartor._environment import environment
from sartor.contracts import Candidate, NullContext
from sartor.data import Splits
from sartor.devices.counts import Counts
from sartor.estimators.training import Training, evaluate, steps_for
from sartor.goals import Limit
from sartor.space import Architecture, Space
from sartor.spaces.mbconv import mbconv
from sartor.supernets._extremes import extremes, network_cost
from sartor.supernets.bignas import BigNAS
from sartor.supernets.once_for_all import OnceForAll
from sartor.supernets.subnets import Served, serve
from sartor.tasks.images.task import Images
from sartor.training import TrainingState, fit
from sartor.trials import Fidelity

RESULTS = """
26 November 2026, Intel Xeon, 2 virtual cores beside much other work, one thread, torch 2.13.0+cpu, seed 0; 13,824
architectures; 4,500 steps shared (540 CPU-seconds, the first third of them with slower convolutions), 3,120 alone.

validation accuracy    served together   by a search of its own      test accuracy    served   trained alone
macs <= 159k                    0.5367                   0.5363                       0.5363          0.5260
macs <= 193k                    0.5403                   0.5455
macs <= 233k                    0.5467                   0.5480
macs <= 283k                    0.5487                   0.5550                       0.5574          0.5734
macs <= 342k                    0.5520                   0.5655
macs <= 414k                    0.5670                   0.5700
macs <= 501k                    0.5707                   0.5745                       0.5722          0.5768
macs <= 607k                    0.5707                   0.5695
macs <= 735k                    0.5867                   0.5837
macs <= 890k                    0.6015                   0.5897                       0.6066          0.6129

Cost: ten limits took 20.4 CPU-seconds, 0.138 of ten searches; the goal of a fifth is met. They lose 0.17 points of
validation accuracy on the mean, 1.4 at worst (342k).

Gap: 0.42 points on the mean, within the goal of 0.5, but four networks and one seed leave a standard error of 0.54: one
network is 1.0 points better than trained alone, one 1.6 worse. Ends, which every step trains, are not better off than
what lies between by more than this noise. The shared training took as long as seven or eight networks alone.

27 November 2026, the same beside other work, seed 1, --separate 6: shared training 364 CPU-seconds; ten limits 13.1,
0.131 of ten searches in the same weights, 0.32 points lost by serving together. Gap -1.56 points (standard error 0.46):
the four networks are better served than trained alone. But a search that trains six networks near the limit alone ends
2.9 points higher (193k .5327 served, .5390 expected of one training, .5597 of six; 414k .5693, .5712, .6027), and one
such training is as accurate as what is served. Against ten searches of six trainings each, shared weights cost 0.123,
serving and shared training included: a fifth is met in time, not at equal accuracy.

Once-for-All, seed 0, 4,500 steps (176 CPU-seconds, as most steps train one network), stopped after three networks: 7.3,
6.0 and 5.0 points below the same networks trained alone. Its phases need many times these steps.
"""

SIZE = 16
NUM_LIMITS = 10
NUM_ALONE = 4
NEAR = 0.85
"""Share of a limit that a network of a separate search uses at least."""
METHODS = {"bignas": BigNAS, "once-for-all": OnceForAll}
NUM_ROWS = 1_000


def read(folder: str, name: str, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first images of a file at 16 pixels, uint8 ``[num, 16, 16, 3]``, and their labels."""
    from PIL import Image

    file = np.load(Path(folder) / name, allow_pickle=False)
    header, scans, offsets = file["header"].tobytes(), file["scans"], file["offsets"]
    images = [
        np.asarray(
            Image.open(io.BytesIO(header + scans[offsets[i] : offsets[i + 1]].tobytes()))
            .convert("RGB")
            .resize((SIZE, SIZE), Image.Resampling.BOX)
        )
        for i in range(num)
    ]
    return np.stack(images), file["labels"][:num]


def task_of(folder: str, *, num_train: int, num_validation: int, num_test: int) -> Images:
    """Returns the images task on CIFAR-10."""
    x, y = read(folder, "cifar10_train_a.npz", num_train + num_validation)
    x_test, y_test = read(folder, "cifar10_test.npz", num_test)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "cifar10.npz"
        np.savez(
            path, x_train=x[:num_train], y_train=y[:num_train], x_val=x[num_train:], y_val=y[num_train:],
            x_test=x_test, y_test=y_test,
        )  # fmt: skip
        return Images(str(path))


def elastic_space() -> Space:
    """Returns the space; its networks take 16-pixel images and differ in depth, width, kernel and expansion."""
    space = mbconv(
        3, 10, SIZE, kernels=(3, 5), expansions=(2, 3), depths=(1, 2), stem_widths=(16,),
        stage_widths=((8, 12, 16), (16, 24, 32), (24, 32, 48)),
    )  # fmt: skip
    return space.given({"stem.stride": 2, "stage*.squeeze_excite": False})


def train_shared(
    name: str, task: Images, space: Space, splits: Splits, *, steps: int, seed: int, state_file: str | None = None
) -> tuple[BigNAS | OnceForAll, float]:
    """Returns the trained method and the CPU-seconds that it took; goes on from ``state_file`` where there is one."""
    method = METHODS[name](space, task.example_inputs(space.sample(np.random.default_rng(0))), seed=seed)
    # Depthwise convolutions are several times as fast when channels lie next to one another.
    method.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = method.learner(task.learner(method.largest))
    state, before = None, 0.0
    if state_file is not None and Path(state_file).exists():
        saved = torch.load(state_file, weights_only=True)
        state, before = TrainingState.from_dict(saved["state"]), saved["cpu_s"]
    began = time.process_time()

    def keep(now: TrainingState) -> None:
        if state_file is not None:
            torch.save({"state": now.to_dict(), "cpu_s": before + time.process_time() - began}, f"{state_file}.part")
            os.replace(f"{state_file}.part", state_file)

    def report(step: int, **values: float) -> None:
        print(f"  step {step} of {steps}: loss {values['loss.network']:.3f}", flush=True)

    end = fit(
        method, learner, splits.train, task.recipe, total=steps, seed=seed, state=state, report=report,
        report_every=max(1, steps // 10), checkpoint=keep, checkpoint_s=30.0,
    )  # fmt: skip
    spent = before + time.process_time() - began
    keep(end)
    return method, spent


def macs_of(task: Images, space: Space, architecture: Architecture) -> float:
    """Returns the multiply-accumulates of one image."""
    return Counts().cost(Candidate(task, space, architecture))["macs"].value


def limits_of(task: Images, space: Space, smallest: Architecture, largest: Architecture) -> list[list[Limit]]:
    """Returns limits on multiply-accumulates, from little above the smallest network to little below the largest."""
    low, high = macs_of(task, space, smallest), macs_of(task, space, largest)
    shares = np.linspace(0.08, 0.92, NUM_LIMITS)
    return [[Limit("macs", float(round(low * (high / low) ** share)))] for share in shares]


def alone(task: Images, space: Space, splits: Splits, architecture: Architecture, *, steps: int, seed: int) -> Any:
    """Returns an architecture's network trained alone."""
    fidelity = Fidelity(steps, "steps")
    candidate = Candidate(task, space, architecture, seed)
    candidate.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    estimator = Training(task, space, Splits(splits.train, splits.validation), (fidelity,))
    estimator.estimate(candidate, fidelity=fidelity, seed=seed, context=NullContext())
    return candidate.network


def measure_cost(
    task: Images, method: BigNAS | OnceForAll, splits: Splits, limit_sets: Sequence[Sequence[Limit]], *,
    evaluations: int, seed: int,
) -> tuple[list[Served], dict[str, float]]:
    """Returns what was served for all limits at once, and its cost and quality against searches of their own."""

    def search(sets: Sequence[Sequence[Limit]]) -> tuple[list[Served], float]:
        began = time.process_time()
        found = serve(
            task, method.space, method.weights, splits, sets, devices=[Counts()], evaluations=evaluations,
            num_rows=NUM_ROWS, seed=seed,
        )  # fmt: skip
        return found, time.process_time() - began

    search(limit_sets[:1])  # imports and caches
    served, together = search(limit_sets)
    separate = [search([limits]) for limits in limit_sets]
    lost: list[float] = []
    for limits, one, (own, spent) in zip(limit_sets, served, separate, strict=True):
        lost.append(100 * (own[0].metrics["accuracy"] - one.metrics["accuracy"]))
        print(
            f"  {limits[0]}: {one.metrics['accuracy']:.4f} together, {own[0].metrics['accuracy']:.4f} alone"
            f" ({spent:.1f} s)",
            flush=True,
        )
    figures = {
        "serving_cpu_s": round(together, 2),
        "elastic_cost_ratio_ten_limits": round(together / sum(spent for _, spent in separate), 4),
        "validation_points_lost_by_serving_together": round(float(np.mean(lost)), 3),
    }
    return served, figures


def measure_gap(
    task: Images, space: Space, splits: Splits, test: Any, served: Sequence[Served], *, steps: int, seed: int
) -> dict[str, float]:
    """Returns how much better the networks of some limits are when trained alone, in points of test accuracy."""
    gaps = []
    for index in sorted({int(at) for at in np.linspace(0, len(served) - 1, NUM_ALONE)}):
        one = served[index]
        assert one.architecture is not None and one.network is not None, one.unmet
        inherited = evaluate(task, one.network, one.architecture, test)[0]["accuracy"]
        began = time.process_time()
        network = alone(task, space, splits, one.architecture, steps=steps, seed=seed)
        trained = evaluate(task, network, one.architecture, test)[0]["accuracy"]
        gaps.append(100 * (trained - inherited))
        print(
            f"  {one.limits[0]}: {inherited:.4f} served, {trained:.4f} trained alone for {steps} steps"
            f" ({time.process_time() - began:.0f} s)",
            flush=True,
        )
    error = float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    return {"elastic_accuracy_gap_points": round(float(np.mean(gaps)), 3), "gap_standard_error": round(error, 3)}


def measure_separate(
    task: Images, space: Space, splits: Splits, test: Any, served: Sequence[Served], *, trainings: int, steps: int,
    seed: int, shared_s: float,
) -> dict[str, float]:  # fmt: skip
    """Returns what ten limits cost by shared weights over ten searches that train their networks alone."""
    rng = np.random.default_rng([seed, 0x5E])
    needed, seconds, gained = [], [], []
    for index in (1, len(served) // 2, len(served) - 2):
        one = served[index]
        assert one.architecture is not None and one.network is not None, one.unmet
        bound = one.limits[0].bound
        drawn = {one.architecture}
        while len(drawn) < trainings + 1:
            some = space.sample(rng)
            if NEAR * bound <= macs_of(task, space, some) <= bound:
                drawn.add(some)
        validation, tested = [], []
        for architecture in sorted(drawn - {one.architecture}, key=str):
            began = time.process_time()
            network = alone(task, space, splits, architecture, steps=steps, seed=seed)
            validation.append(evaluate(task, network, architecture, splits.validation)[0]["accuracy"])
            seconds.append(time.process_time() - began)
            tested.append(evaluate(task, network, architecture, test)[0]["accuracy"])
        inherited = evaluate(task, one.network, one.architecture, test)[0]["accuracy"]
        ranked = np.array(tested)[np.argsort(validation)[::-1]]
        expected = [expected_best(ranked, num) for num in range(1, trainings + 1)]
        needed.append(next((num for num, value in enumerate(expected, 1) if value >= inherited), trainings + 1))
        gained.append(100 * (expected[-1] - inherited))
        print(
            f"  {one.limits[0]}: {inherited:.4f} served; {', '.join(f'{value:.4f}' for value in expected)} expected of"
            f" a search with 1 to {trainings} trainings",
            flush=True,
        )
    search_s = float(np.mean(seconds)) * trainings
    return {
        "elastic_cost_ratio_ten_trained_searches": round(shared_s / (NUM_LIMITS * search_s), 4),
        "points_gained_by_trained_searches": round(float(np.mean(gained)), 3),
        "trainings_until_as_accurate_mean": round(float(np.mean(needed)), 2),
    }


def expected_best(tested: np.ndarray, num: int) -> float:
    """Returns the mean of what the best ranked of ``num`` drawn ones has; ``tested`` is in the order of the ranking."""
    chances = np.array([comb(len(tested) - 1 - place, num - 1) for place in range(len(tested))], float)
    return float(tested @ (chances / chances.sum()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="../shared/data/images", metavar="DIR", help="folder of CIFAR-10")
    parser.add_argument("--quick", action="store_true", help="few images and steps: shows that it works")
    parser.add_argument("--steps", type=int, help="of the shared training (4,500; 60 when quick)")
    parser.add_argument("--evaluations", type=int, help="of a search (100; 12 when quick)")
    parser.add_argument("--method", choices=sorted(METHODS), default="bignas")
    parser.add_argument("--separate", type=int, default=0, metavar="N", help="trainings of a search by training alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", metavar="FILE", help="where the shared training is kept, and gone on from")
    arguments = parser.parse_args()
    quick, seed = arguments.quick, arguments.seed
    torch.set_num_threads(1)
    for name, value in environment().items():
        print(f"{name}: {value}")
    sizes = {"num_train": 1_000, "num_validation": 500, "num_test": 500} if quick else {
        "num_train": 10_000, "num_validation": 4_000, "num_test": 10_000,
    }  # fmt: skip
    task = task_of(arguments.images, **sizes)
    splits = task.data()
    assert splits.test is not None
    test = splits.test.open()
    space = elastic_space()
    steps = arguments.steps or (60 if quick else 4_500)
    full = 60 if quick else steps_for(Fidelity(task.epochs), splits.train, task.recipe)
    print(f"seed {seed}, {space.count():,} architectures, {steps:,} steps shared, {full:,} alone", flush=True)
    method, spent = train_shared(
        arguments.method, task, space, splits, steps=steps, seed=seed, state_file=arguments.state
    )
    print(f"shared training: {spent:.0f} CPU-seconds", flush=True)
    ends = extremes(space, network_cost(space, task.example_inputs(method.largest)))
    limit_sets = limits_of(task, space, ends.smallest, ends.largest)
    served, figures = measure_cost(
        task, method, splits, limit_sets, evaluations=arguments.evaluations or (12 if quick else 100), seed=seed
    )
    figures |= measure_gap(task, space, splits, test, served, steps=full, seed=seed)
    if arguments.separate:
        figures |= measure_separate(
            task, space, splits, test, served, trainings=arguments.separate, steps=full, seed=seed,
            shared_s=spent + figures["serving_cpu_s"],
        )  # fmt: skip
    figures["shared_training_cpu_s"] = round(spent)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    exit_with(main)
