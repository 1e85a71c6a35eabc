"""Small networks and data, for tests of compression."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.data import Rows
from sartor.training import Learner, Recipe, Single, Step, fit

RECIPE = Recipe(learning_rate=1e-2, batch_size=32)


def rows(num: int = 256, seed: int = 0) -> Rows:
    """Points in a plane of six dimensions, of three classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 6)).astype(np.float32)
    return Rows(x=x, y=(x[:, :3] + 0.5 * x[:, 3:] ** 2).argmax(1))


def classifier(hidden: int = 24, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3)
        )


def convolutional(channels: int = 8, classes: int = 3, seed: int = 0) -> nn.Sequential:
    """For images ``(n, 3, 8, 8)``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * channels, classes),
        )  # fmt: skip


def images(num: int, seed: int = 0) -> Tensor:
    return torch.rand(num, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def cross_entropy(network: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(network(torch.as_tensor(batch["x"])), torch.as_tensor(batch["y"]))


def learner() -> Learner:
    def loss(network: nn.Module, batch: Any, step: Step) -> Tensor:
        return cross_entropy(network, batch)

    return Learner(loss)


def trained(network: nn.Module, steps: int = 150, seed: int = 0) -> nn.Module:
    fit(Single(network), learner(), rows(), RECIPE, total=steps, seed=seed)
    return network


def accuracy(network: nn.Module) -> float:
    """On rows that nothing was trained on."""
    held = rows(512, seed=1)
    with torch.no_grad():
        chosen = network(torch.from_numpy(held.columns["x"])).argmax(1).numpy()
    return float((chosen == held.columns["y"]).mean())
