"""A task of your own from nothing: the right halves of handwritten digits, drawn from the left ones.

    sartor search --task docs.own_task:Halves --trials 20 --limit params=50k
    sartor train --task docs.own_task:Halves

What a task must say is here: its data in parts that do not leak, a space and a hand-designed network in it, a loss,
what is predicted, and metrics of that. Everything else (searching, training, measuring, testing, exporting, the report)
is Sartor's. ``check_task(Halves())`` of ``sartor.testing`` tells what a task of yours breaks.

In a package of your own, name it, and it is listed by ``sartor tasks`` and found by ``sartor search halves``:

    SPEC = sartor.TaskSpec("halves", "my_package.halves:Halves", summary="...")      # in my_package/__init__.py

    [project.entry-points."sartor.tasks"]                                             # in its pyproject.toml
    halves = "my_package:SPEC"
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import sartor
from sartor import Metric, OneOf, Repeat, Rows, Shared, Space, Splits
from sartor.data import TEST, TRAIN, VALIDATION, share_out
from sartor.pictures import Gallery
from sartor.training.recipe import Recipe


class Painter(nn.Module):
    """An ordinary module: left halves ``(n, 1, 8, 4)`` to right halves, values 0 to 1."""

    def __init__(self, layers, width=64, activation=nn.ReLU):
        super().__init__()
        self.first = nn.Linear(32, width)
        self.layers = nn.ModuleList(layers)
        self.activation = activation()
        self.last = nn.Linear(width, 32)

    def forward(self, left):
        x = self.activation(self.first(left.flatten(1)))
        for layer in self.layers:
            x = x + self.activation(layer(x))
        return self.last(x).sigmoid().view_as(left)


class Normed(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.LayerNorm(width), nn.Linear(width, width))


def error(predictions):
    """Returns the root mean squared error of a pixel, 0 to 1."""
    return float(np.sqrt(((predictions["right"] - predictions["truth"]) ** 2).mean()))


class Halves(sartor.Task):
    @dataclass(frozen=True)
    class Options(sartor.Task.Options):
        """Options of the halves task: fields become options of the command line.

        Attributes:
            split_seed: Seed of the parts that are drawn.
        """

        split_seed: int = 0

    metrics = {"error": Metric(error, "min")}
    recipe = Recipe(learning_rate=3e-3, batch_size=64)
    default_epochs = 20.0

    def data(self):
        pixels = torch.from_numpy(load_digits().images.astype(np.float32)).unsqueeze(1) / 16
        part = share_out(len(pixels), validation=0.15, test=0.15, seed=self.options.split_seed)
        return Splits.of(
            lambda rows: Rows(left=pixels[rows, :, :, :4], right=pixels[rows, :, :, 4:]),
            {name: np.flatnonzero(part == name) for name in (TRAIN, VALIDATION, TEST)},
            np.arange(len(pixels)),
            fingerprint=f"digits, {self.options.split_seed}",
            notes=(),
        )

    def space(self):
        width = Shared("width", OneOf(32, 64, 128))
        layer = OneOf(plain=partial(nn.Linear, width, width), normed=partial(Normed, width))
        layers = Repeat(layer, OneOf(0, 1, 2, 3))
        return Space(partial(Painter, layers=layers, width=width, activation=OneOf(nn.ReLU, nn.SiLU)))

    def baseline(self):
        values = {"width": 64, "layers.times": 1, "layers.0": "plain", "activation": "ReLU"}
        return self.space().architecture(values)

    def loss(self, network, batch, step):
        return functional.mse_loss(network(batch["left"]), batch["right"])

    def predict(self, deployed, part):
        with torch.no_grad():
            right = deployed(part.columns["left"])
        return {name: value.numpy() for name, value in (*part.columns.items(), ("right", right))} | {
            "truth": part.columns["right"].numpy()
        }

    def example_inputs(self, architecture, batch_size=1):
        return (torch.zeros(batch_size, 1, 8, 4),)

    def show(self, predictions):
        left, right, truth = (predictions[name][:24, 0] for name in ("left", "right", "truth"))
        both = np.concatenate((np.concatenate((left, right), 2), np.concatenate((left, truth), 2)), 1)
        return [Gallery((255 * both).astype(np.uint8), title="Above: the right half drawn. Below: as it was")]
