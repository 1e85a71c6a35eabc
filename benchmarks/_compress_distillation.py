"""A student that learns from a teacher against the same student alone, at equal steps.

    python benchmarks/_compress_distillation.py --images DIR --state DIR   # about 12 minutes on one core
    python benchmarks/_compress_distillation.py --images DIR --quick       # two minutes; decides nothing

CIFAR-10 (``--images``: see the data's README) at 16 pixels: 20,000 training, 5,000 validation, 10,000 test images. The
teacher is a residual network of 173,986 parameters, 8 epochs; the student has a ninth of them, 5 epochs, five seeds:
its weights, and the order and the changes of its images. Both students have the same steps, recipe and images; the one
also learns from the teacher's softened probabilities (temperature 4, weight .9, labels .1: usual values, not tuned).
Test accuracy, in points; latency, peak activation memory and energy of teacher and student by ``sartor.devices``.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _compress_images import Residual, accuracy, made, trained
from supernets_elastic import task_of
from torch import nn

from sartor._environment import environment
from sartor.compress.distillation.learner import Distilled
from sartor.compress.distillation.logits import Logits
from sartor.compress.distillation.teacher import TorchTeacher
from sartor.devices.counts import Counts
from sartor.devices.cpu import CpuLatency
from sartor.tasks.images.task import Images
from sartor.training import Learner

RESULTS = """
27 November 2026, Intel Xeon, 2 virtual cores beside much other work, one thread, torch 2.13.0+cpu; teacher 66.65.

  seed      0      1      2      3      4
  alone  53.23  54.11  54.34  53.78  53.46
  taught 58.88  56.53  57.29  57.72  57.53

Gain 3.81 points, standard error .55, least 2.42. Trainings are short (5 epochs); longer ones, and other terms than
logits, were not measured, nor were the costs on a quiet machine.
"""

TEACHER, STUDENT = (24, 48, 96), (8, 16, 32)
TEMPERATURE, WEIGHT, LABELS = 4.0, 0.9, 0.1


def train(
    task: Images, splits: Any, widths: tuple[int, ...], learner: Learner, epochs: int, seed: int, file: Path
) -> nn.Module:
    """Returns a residual network, trained."""
    network = made(Residual, 3, widths, 1, seed=seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = epochs * (len(splits.train) // task.recipe.batch_size)
    return trained(network, learner, splits.train, task.recipe, steps=steps, seed=seed, file=file)


def costs(task: Images, network: nn.Module) -> dict[str, str]:
    """Returns what the deployed network costs, as text with units."""
    deployed, inputs = task.deploy(network, task.baseline()).eval(), task.example_inputs(task.baseline())
    figures = {**Counts().count(deployed, inputs), **CpuLatency().measure(deployed, inputs)}
    return {name: f"{figure.value:,.4g} {figure.unit}".strip() for name, figure in figures.items()}


def run(quick: bool, *, images: str = "../shared/data/images", state: str | None = None) -> dict[str, float]:
    """Returns ``distillation_gain_points``; prints the rest.

    Args:
        quick: Short trainings of two seeds on few images: nothing is decided.
        images: Folder of CIFAR-10.
        state: Folder that keeps trainings, to go on from; a temporary one when None.
    """
    torch.set_num_threads(1)
    sizes = (2_000, 500, 1_000) if quick else (20_000, 5_000, 10_000)
    task = task_of(images, num_train=sizes[0], num_validation=sizes[1], num_test=sizes[2])
    splits = task.data()
    assert splits.test is not None
    test = splits.test.open()
    inner = task.learner(task.baseline())
    gains = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(state or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        epochs, each, seeds = (2, 2, 2) if quick else (8, 5, 5)
        teacher = train(task, splits, TEACHER, inner, epochs, 0, folder / f"teacher-24-0-{epochs}.pt")
        print(f"teacher: {accuracy(task, teacher, test):.2f}, {costs(task, teacher)}", flush=True)
        taught = Distilled(inner, TorchTeacher(teacher), [Logits(TEMPERATURE, WEIGHT)], labels=LABELS)
        for seed in range(seeds):
            found = {}
            for name, learner in (("alone", inner), ("logits", taught)):
                file = folder / f"student-{seed}-{each}-{name}.pt"
                student = train(task, splits, STUDENT, learner, each, seed, file)
                found[name] = accuracy(task, student, test)
            gains.append(found["logits"] - found["alone"])
            print(f"  seed {seed}: alone {found['alone']:.2f}, taught {found['logits']:.2f}", flush=True)
        print(f"student: {costs(task, student)}")
    error = float(np.std(gains, ddof=1) / np.sqrt(len(gains)))
    print(f"gain {np.mean(gains):.2f} points, standard error {error:.2f}, least {min(gains):.2f}")
    return {"distillation_gain_points": float(np.mean(gains)), "distillation_gain_standard_error": error}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="../shared/data/images", metavar="DIR", help="folder of CIFAR-10")
    parser.add_argument("--state", metavar="DIR", help="folder that keeps trainings, to go on from")
    parser.add_argument("--quick", action="store_true", help="short trainings; decides nothing")
    arguments = parser.parse_args()
    print(json.dumps(environment()))
    print(json.dumps(run(arguments.quick, images=arguments.images, state=arguments.state)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
