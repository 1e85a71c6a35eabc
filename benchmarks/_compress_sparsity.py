"""Zeros without loss: 90% of a convolutional network, half of a language model at once; what zeros save and what not.

    python benchmarks/_compress_sparsity.py --state DIR           # about half an hour on one core
    python benchmarks/_compress_sparsity.py --state DIR --quick   # within three minutes; decides nothing
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from _compress_images import Residual, accuracy, made, save, trained

from sartor._environment import environment
from sartor.compress.sparsity.iterative import Round, prune_iteratively, sparsities
from sartor.tasks.images.task import Images
from sartor.training import Learner, Recipe, Step

IMAGE_WIDTHS = (32, 64, 128)
CONTEXT = 128
LANGUAGE = {"dim": 160, "layers": 5, "heads": 5}
LANGUAGE_RECIPE = Recipe(learning_rate=2e-3, weight_decay=5e-2, batch_size=16, warmup=0.05, cooldown=0.4)


class Block(nn.Module):
    """Causal attention and feed-forward, each behind a normalisation and added to its input."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.ffn_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.expand, self.reduce = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.attention_norm(x)
        query, key, value = (
            layer(seen).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        read = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        out: Tensor = x + self.reduce(functional.gelu(self.expand(self.ffn_norm(x))))
        return out


class Characters(nn.Module):
    """A Transformer that gives logits of the next character."""

    def __init__(self, vocabulary: int, dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.position = nn.Parameter(torch.randn(CONTEXT, dim) * 0.1)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps int64 ``(n, length)`` to logits ``(n, length, vocabulary)``."""
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        out: Tensor = self.linear(self.norm(self.blocks(x)))
        return out


class NextCharacter(Learner):
    """Windows of a text, and the cross-entropy of each next character."""

    def batch(self, network: nn.Module, data: Tensor, step: Step) -> Tensor:
        begin = step.numpy.integers(0, len(data) - CONTEXT - 1, step.recipe.batch_size)
        return torch.stack([data[i : i + CONTEXT + 1] for i in begin.tolist()])

    def loss(self, network: nn.Module, batch: Tensor, step: Step) -> Tensor:
        return functional.cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def characters(folder: str) -> dict[str, Tensor]:
    """Returns the text as numbers of characters: the first 90% to train on, 5% to choose by, 5% to report."""
    text = gzip.decompress((Path(folder) / "tinyshakespeare.txt.gz").read_bytes()).decode()
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([number[character] for character in text])
    first, second = int(0.9 * len(tokens)), int(0.95 * len(tokens))
    return {"train": tokens[:first], "validation": tokens[first:second], "test": tokens[second:]}


@torch.no_grad()
def perplexity(network: nn.Module, tokens: Tensor) -> float:
    """Returns the perplexity of a character over all windows of a text, one behind the other."""
    network.eval()
    count = (len(tokens) - 1) // CONTEXT
    inputs = tokens[: count * CONTEXT].view(count, CONTEXT)
    targets = tokens[1 : count * CONTEXT + 1].view(count, CONTEXT)
    total = 0.0
    for x, y in zip(inputs.split(64), targets.split(64), strict=True):
        total += functional.cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="sum").item()
    return math.exp(total / (count * CONTEXT))


def language_model(texts: Mapping[str, Tensor], folder: Path, steps: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = Characters(int(texts["train"].max()) + 1, **LANGUAGE)
    return trained(
        network, NextCharacter(), texts["train"], LANGUAGE_RECIPE, steps=steps, seed=seed,
        file=folder / f"language-{seed}-{steps}.pt",
    )  # fmt: skip


# --- 90% of a convolutional network


def ninety_percent(folder: Path, *, epochs: int, rounds: int, round_epochs: int, seed: int) -> dict[str, Any]:
    """Returns test accuracies of the dense network, of the pruned one, and of the dense one trained on as long."""
    task = Images("fashion-mnist")
    splits = task.data()
    assert splits.test is not None
    test = splits.test.open()
    per_epoch = len(splits.train) // task.recipe.batch_size
    learner = task.learner(task.baseline())
    dense = made(Residual, 1, IMAGE_WIDTHS, 2, seed=seed).to(memory_format=torch.channels_last)
    name = f"images-{seed}-{epochs}"
    trained(dense, learner, splits.train, task.recipe, steps=epochs * per_epoch, seed=seed, file=folder / f"{name}.pt")
    figures = {"dense": accuracy(task, dense, test)}
    print(f"dense: {figures['dense']:.2f}", flush=True)
    for kind, targets in (
        ("pruned", sparsities(0.9, rounds)),
        ("dense, as long again", [0.0] * rounds),
        ("at once", [0.0] * (rounds - 1) + [0.9]),
    ):
        network = copy.deepcopy(dense)
        file = folder / f"{name}-{kind.replace(' ', '-')}-{rounds}-{round_epochs}.pt"
        start = Round.from_dict(torch.load(file, weights_only=True)) if file.exists() else None

        def finished(done: Round, network: nn.Module = network, kind: str = kind) -> None:
            value = accuracy(task, network, splits.validation)
            print(f"  {kind}, round {done.number}: {done.sparsity:.3f} zeros, validation {value:.2f}", flush=True)

        prune_iteratively(
            network, learner, splits.train, task.recipe, targets=targets, total=round_epochs * per_epoch, seed=seed,
            finished=finished, start=start, checkpoint_s=20,
            checkpoint=lambda done, file=file: save(done.to_dict(), file),  # type: ignore[misc]
        )  # fmt: skip
        figures[kind] = accuracy(task, network, test)
        print(f"{kind}: {figures[kind]:.2f}", flush=True)
    return figures


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(ninety_percent(Path("/work/h/sparse8-state"), epochs=8, rounds=4, round_epochs=3, seed=0))
