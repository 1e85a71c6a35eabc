"""The images, networks and trainings that the benchmarks of compression share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sartor.estimators.training import evaluate
from sartor.nets import BasicBlock, ConvBnAct
from sartor.tasks.images.task import Images
from sartor.training import Learner, Recipe, Single, TrainingState, fit


class Residual(nn.Sequential):
    """A stem, a residual block for each width (every one after the first at half the size), and a linear layer.

    Args:
        channels: Of the image.
        widths: Channels of the blocks.
        stem_stride: Of the stem.
        classes: Number of logits.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], stem_stride: int, classes: int = 10) -> None:
        layers: list[nn.Module] = [ConvBnAct(channels, widths[0], stride=stem_stride)]
        width = widths[0]
        for i, out in enumerate(widths):
            layers.append(BasicBlock(width, out, stride=2 if i else 1))
            width = out
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def made(network: type[nn.Module], *arguments: Any, seed: int) -> nn.Module:
    """Returns a network with weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(*arguments)


def trained(
    network: nn.Module, learner: Learner, data: Any, recipe: Recipe, *, steps: int, seed: int, file: Path
) -> nn.Module:
    """Trains a network, going on from ``file``, where it keeps how far it is."""
    state = TrainingState.from_dict(torch.load(file, weights_only=True)) if file.exists() else None

    def keep(state: TrainingState) -> None:
        save(state.to_dict(), file)

    last = fit(
        Single(network), learner, data, recipe, total=steps, seed=seed, state=state, checkpoint=keep, checkpoint_s=20
    )
    keep(last)
    return network.eval()


def save(value: dict[str, Any], file: Path) -> None:
    """Writes a file at once, so that a kill leaves the old one or the new."""
    partial = file.with_suffix(".part")
    torch.save(value, partial)
    os.replace(partial, file)


def accuracy(task: Images, network: nn.Module, part: Any) -> float:
    """Returns the accuracy of a network on a part, in points."""
    metrics, _ = evaluate(task, network, task.baseline(), part)
    return 100 * metrics["accuracy"]
