"""Scikit-learn's digits, for tests of estimators: a convolutional network with batch norm and dropout."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from sartor.data import Rows, Sealed, Splits
from sartor.space import Architecture, OneOf, Space
from sartor.task import Metric, Predictions, Task
from sartor.training import Recipe, Step

NUM_FOLDS = 3


def _accuracy(predictions: Predictions) -> float:
    return float((predictions["logits"].argmax(1) == predictions["label"]).mean())


def network(width: int, dropout: float) -> nn.Sequential:
    """Returns a classifier of images ``(n, 1, 8, 8)`` in [0, 1]."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(16 * width, 10),
    )  # fmt: skip


class Digits(Task):
    """Digits of 8x8 pixels."""

    @dataclass(frozen=True)
    class Options:
        """Rows to train on."""

        rows: int = 600

    recipe = Recipe(learning_rate=1e-2, ema_decay=0.8)
    metrics = {"accuracy": Metric(_accuracy)}

    def data(self) -> Splits:
        images, labels = load_digits(return_X_y=True)
        x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        y = torch.tensor(labels)
        order = np.random.default_rng(0).permutation(len(y))
        n = self.options.rows
        ids = {"train": order[:n], "validation": order[n : n + 300], "test": order[n + 300 : n + 600]}

        def part(chosen: np.ndarray) -> Rows:
            return Rows(x=x[chosen], y=y[chosen])

        pieces = np.array_split(ids["train"], NUM_FOLDS)
        folds = [
            (part(np.concatenate(pieces[:k] + pieces[k + 1 :])), part(pieces[k])) for k in range(NUM_FOLDS)
        ]
        return Splits(
            part(ids["train"]), part(ids["validation"]), Sealed(lambda: part(ids["test"])), folds, ids,
            hashlib.sha256(images.tobytes() + order.tobytes()).hexdigest()[:16],
        )  # fmt: skip

    def space(self) -> Space:
        return Space(
            {
                "network": partial(network, width=OneOf(4, 8), dropout=OneOf(0.0, 0.2)),
                "recipe": {"learning_rate": OneOf(3e-3, 1e-2)},
            }
        )

    def baseline(self) -> Architecture:
        return self.space().architecture(
            {"network.width": 8, "network.dropout": 0.2, "recipe.learning_rate": 1e-2}
        )

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        return F.cross_entropy(network(batch["x"]), batch["y"])

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        return {"logits": deployed(part.columns["x"]).numpy(), "label": part.columns["y"].numpy()}

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(batch_size, 1, 8, 8),)
