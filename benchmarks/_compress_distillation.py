"""A student that learns from a teacher against the same student alone, at equal steps.

    python benchmarks/_compress_distillation.py --images DIR --state DIR           # about half an hour on one core
    python benchmarks/_compress_distillation.py --images DIR --state DIR --quick   # within three minutes
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _compress_images import Residual, accuracy, made, trained
from supernets_elastic import task_of
from torch import nn

from sartor.compress.distillation.learner import Distilled
from sartor.compress.distillation.logits import Logits
from sartor.compress.distillation.teacher import TorchTeacher
from sartor.tasks.images.task import Images

TEACHER, STUDENT = (32, 64, 128), (8, 16, 32)


def train(task: Images, splits: Any, network: nn.Module, learner: Any, *, epochs: int, seed: int, file: Path) -> nn.Module:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = epochs * (len(splits.train) // task.recipe.batch_size)
    return trained(network, learner, splits.train, task.recipe, steps=steps, seed=seed, file=file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    state = Path("/work/h/sparse8-state")
    task = task_of("/work/shared/data/images", num_train=20_000, num_validation=5_000, num_test=10_000)
    splits = task.data()
    test = splits.test.open()
    inner = task.learner(task.baseline())
    teacher = train(task, splits, made(Residual, 3, TEACHER, 1, seed=0), inner, epochs=20, seed=0, file=state/"teacher-0-20.pt")
    print("teacher", accuracy(task, teacher, splits.validation), accuracy(task, teacher, test), flush=True)
    for seed in range(5):
        for name, learner in (("alone", inner), ("logits", Distilled(inner, TorchTeacher(teacher), [Logits(4.0, 0.9)], labels=0.1))):
            net = train(task, splits, made(Residual, 3, STUDENT, 1, seed=seed), learner, epochs=12, seed=seed, file=state/f"student-{seed}-12-{name}.pt")
            print(seed, name, accuracy(task, net, splits.validation), accuracy(task, net, test), flush=True)
