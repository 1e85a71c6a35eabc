"""Generates to be evaluated: an autoregressive network finishes balanced bracket words that it was given the start of.

Data: uniform random Dyck words of ``2 * PAIRS`` brackets (by the ballot numbers). The network learns the next bracket
by teacher forcing; the metric is of what it writes itself, sampled bracket by bracket: the share of finished words
that are balanced, higher is better. A random continuation is balanced about one time in six.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sartor.data import Rows, Sealed, Splits
from sartor.pictures import Picture, Table
from sartor.space import Architecture, OneOf, Space
from sartor.task import Metric, Predictions, Task
from sartor.training import Recipe, Step

PAIRS = 7
GIVEN = 4
START = 2
CLOSE, OPEN = 0, 1


@cache
def num_endings(opened: int, left: int) -> int:
    """Returns in how many ways ``left`` brackets close ``opened`` open ones."""
    if opened < 0 or opened > left:
        return 0
    return 1 if left == 0 else num_endings(opened + 1, left - 1) + num_endings(opened - 1, left - 1)


def random_word(rng: np.random.Generator) -> list[int]:
    """Returns a balanced word, each equally likely."""
    word: list[int] = []
    opened = 0
    for left in range(2 * PAIRS, 0, -1):
        up = num_endings(opened + 1, left - 1)
        word.append(OPEN if rng.random() * num_endings(opened, left) < up else CLOSE)
        opened += 1 if word[-1] == OPEN else -1
    return word


def is_balanced(words: np.ndarray) -> np.ndarray:
    """Returns which of the words, ``(n, length)``, never close more than was opened and end closed."""
    depth = np.where(words == OPEN, 1, -1).cumsum(1)
    balanced: np.ndarray = (depth >= 0).all(1) & (depth[:, -1] == 0)
    return balanced


class Writer(nn.Module):
    """Brackets so far, int64 ``(n, length)``, to the logits of the next after each, ``(n, length, 2)``."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, width)
        self.memory = nn.GRU(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, brackets: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.memory(self.embedding(brackets))[0])
        return logits


class Brackets(Task):
    """Finishes balanced words."""

    recipe = Recipe(batch_size=64, learning_rate=2e-2, weight_decay=0.0)
    metrics = {
        "balanced": Metric(lambda predictions: float(is_balanced(predictions["words"]).mean())),
        "distinct": Metric(lambda made: len(np.unique(made["words"], axis=0)) / len(made["words"])),
    }

    def data(self) -> Splits:
        rng = np.random.default_rng(0)
        words = np.unique([random_word(rng) for _ in range(2000)], axis=0)
        words = words[rng.permutation(len(words))]
        ids = {"train": np.arange(0, 250), "validation": np.arange(250, 330), "test": np.arange(330, len(words))}
        return Splits(
            Rows(word=words[ids["train"]]),
            Rows(word=words[ids["validation"]]),
            Sealed(lambda: Rows(word=words[ids["test"]])),
            ids=ids,
            fingerprint=hashlib.sha256(words.tobytes()).hexdigest()[:16],
        )

    def space(self) -> Space:
        return Space(partial(Writer, width=OneOf(8, 16, 32), layers=OneOf(1, 2)))

    def baseline(self) -> Architecture:
        return Architecture({"width": 16, "layers": 1})

    def loss(self, network: nn.Module, batch: Any, step: Step) -> torch.Tensor:
        word = batch["word"]
        before = F.pad(word[:, :-1], (1, 0), value=START)
        return F.cross_entropy(network(before).flatten(0, 1), word.flatten())

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        written = F.pad(torch.from_numpy(part.columns["word"][:, :GIVEN]), (1, 0), value=START)
        generator = torch.Generator().manual_seed(0)
        while written.shape[1] <= 2 * PAIRS:
            chances = deployed(written)[:, -1].softmax(-1)
            written = torch.cat([written, torch.multinomial(chances, 1, generator=generator)], dim=1)
        return {"words": written[:, 1:].numpy()}

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(batch_size, 2 * PAIRS, dtype=torch.int64),)

    def show(self, predictions: Predictions) -> Sequence[Picture]:
        texts = ["".join(")("[bracket] for bracket in word) for word in predictions["words"][:8]]
        marks = ["yes" if ok else "no" for ok in is_balanced(predictions["words"][:8])]
        return (Table(tuple(zip(texts, marks, strict=True)), ("word", "balanced"), "Words it wrote"),)
