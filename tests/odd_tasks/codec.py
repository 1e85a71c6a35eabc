"""Two players: a vector-quantised codec of short signals against a discriminator (van den Oord et al. 2017).

The codebook is the network's (inference needs it) and is moved by the learner after each step (exponential moving
averages of assigned vectors, codes that die are drawn anew); the discriminator is the learner's. Data: sums of two
sinusoids, 128 samples. Metric: signal-to-noise ratio of the decoded signal in dB, higher is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sartor.data import Rows, Sealed, Splits
from sartor.pictures import Lines, Picture
from sartor.space import Architecture, OneOf, Space
from sartor.task import Metric, Predictions, Task
from sartor.training import Learner, Recipe, Step

SAMPLES = 128
CODEBOOK_DECAY = 0.95
DEAD_COUNT = 0.05


class Quantiser(nn.Module):
    """Replaces vectors ``(n, dim, frames)`` by the nearest of ``codes`` ones; the gradient passes straight through."""

    book: torch.Tensor
    count: torch.Tensor
    total: torch.Tensor

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("book", torch.randn(codes, dim))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", self.book.clone())
        self.assigned: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = vectors.transpose(1, 2).flatten(0, 1)
        nearest = torch.cdist(flat, self.book).argmin(1)
        if self.training:
            self.assigned = (flat.detach(), nearest)
        quantised = self.book[nearest].reshape(len(vectors), -1, vectors.shape[1]).transpose(1, 2)
        return vectors + (quantised - vectors).detach(), F.mse_loss(vectors, quantised.detach())

    def update(self, generator: torch.Generator) -> None:
        assert self.assigned is not None
        flat, nearest = self.assigned
        hot = F.one_hot(nearest, len(self.book)).float()
        self.count.mul_(CODEBOOK_DECAY).add_(hot.sum(0), alpha=1 - CODEBOOK_DECAY)
        self.total.mul_(CODEBOOK_DECAY).add_(hot.T @ flat, alpha=1 - CODEBOOK_DECAY)
        self.book.copy_(self.total / self.count.clamp(min=1e-3)[:, None])
        dead = self.count < DEAD_COUNT
        if dead.any():
            drawn = flat[torch.randint(len(flat), (int(dead.sum()),), generator=generator)]
            self.book[dead] = drawn
            self.total[dead] = drawn
            self.count[dead] = 1.0


class Codec(nn.Module):
    """Signals ``(n, 1, samples)`` to (decoded signals of that shape, commitment loss)."""

    def __init__(self, width: int, codes: int, dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(1, width, 8, 4, 2), nn.ELU(), nn.Conv1d(width, dim, 4, 2, 1))
        self.quantiser = Quantiser(codes, dim)
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(dim, width, 4, 2, 1), nn.ELU(), nn.ConvTranspose1d(width, 1, 8, 4, 2)
        )

    def forward(self, signals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        quantised, commitment = self.quantiser(self.encoder(signals))
        return self.decoder(quantised), commitment


class RoundTrip(nn.Module):
    """What is deployed: signals to decoded signals."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self.codec(signals)[0]
        return decoded


class Adversarial(Learner):
    """Hinge losses; the discriminator steps at every second step and its opinion counts after a quarter."""

    every = {"discriminator": 2}

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = nn.Sequential(
            nn.Conv1d(1, 8, 9, 2, 4), nn.LeakyReLU(0.2), nn.Conv1d(8, 8, 9, 2, 4), nn.LeakyReLU(0.2),
            nn.Conv1d(8, 1, 3, 1, 1),
        )  # fmt: skip

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        return {"network": [*module.parameters()], "discriminator": [*self.discriminator.parameters()]}

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        real = batch["signal"]
        if step.player == "discriminator":
            with torch.no_grad():
                decoded = network(real)[0]
            return F.relu(1 - self.discriminator(real)).mean() + F.relu(1 + self.discriminator(decoded)).mean()
        decoded, commitment = network(real)
        weight = 0.01 * min(1.0, max(0.0, 4 * step.fraction - 1))
        return F.mse_loss(decoded, real) + 0.25 * commitment - weight * self.discriminator(decoded).mean()

    def after(self, network: nn.Module, step: Step) -> None:
        assert isinstance(network, Codec)
        network.quantiser.update(step.torch)


def _snr_db(predictions: Predictions) -> float:
    signal, decoded = predictions["signal"], predictions["decoded"]
    return float(10 * np.log10((signal**2).mean() / ((signal - decoded) ** 2).mean()))


class CodecTask(Task):
    """Squeezes a signal through a few codes."""

    recipe = Recipe(
        batch_size=32, learning_rate=1e-2, weight_decay=0.0, ema_decay=0.9,
        players={"discriminator": {"learning_rate": 1e-3, "optimizer": "adam"}},
    )  # fmt: skip
    metrics = {"snr_db": Metric(_snr_db, "max", "dB")}

    def data(self) -> Splits:
        rng = np.random.default_rng(0)
        time = np.arange(SAMPLES) / 64
        frequency, gain, phase = (rng.uniform(low, high, (700, 2, 1)) for low, high in ((1, 6), (0.2, 1), (0, 6)))
        signal = (gain * np.sin(2 * np.pi * frequency * time + phase)).sum(1, keepdims=True).astype(np.float32)
        ids = {"train": np.arange(500), "validation": np.arange(500, 600), "test": np.arange(600, 700)}
        return Splits(
            Rows(signal=signal[ids["train"]]),
            Rows(signal=signal[ids["validation"]]),
            Sealed(lambda: Rows(signal=signal[ids["test"]])),
            ids=ids,
            fingerprint=hashlib.sha256(signal.tobytes()).hexdigest()[:16],
        )

    def space(self) -> Space:
        return Space(partial(Codec, width=OneOf(8, 16, 32), codes=OneOf(16, 64, 256), dim=OneOf(4, 8)))

    def baseline(self) -> Architecture:
        return Architecture({"width": 16, "codes": 64, "dim": 4})

    def learner(self, architecture: Architecture) -> Learner:
        return Adversarial()

    def deploy(self, network: nn.Module, architecture: Architecture) -> nn.Module:
        return RoundTrip(network)

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        signal = part.columns["signal"]
        return {"signal": signal, "decoded": deployed(torch.from_numpy(signal)).numpy()}

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(batch_size, 1, SAMPLES),)

    def show(self, predictions: Predictions) -> Sequence[Picture]:
        both = np.stack([predictions["signal"][0, 0], predictions["decoded"][0, 0]])
        return (Lines(np.arange(SAMPLES) / 64, both, ("signal", "decoded"), "seconds", "", "First signal"),)
