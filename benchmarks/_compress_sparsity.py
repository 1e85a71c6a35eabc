"""Zeros without loss: 90% of a convolutional network, half of a language model at once; what zeros save and what not.

    python benchmarks/_compress_sparsity.py --state DIR    # about 100 minutes on one core
    python benchmarks/_compress_sparsity.py --quick        # minutes; decides nothing

**Images.** A residual network of 308,074 parameters on Fashion-MNIST (Debian's ``dataset-fashion-mnist``), trained for
8 epochs with the images task's own recipe; then the step ``sparsify`` as it is by default, to 90% zeros in 12 epochs.
Beside it the same by magnitude instead of layer-adaptive magnitude, and 12 epochs without zeros, since such a training
would have helped the dense network as well. Test accuracy, in points.

**Language.** A Transformer of 1.59M parameters on the characters of tinyshakespeare (``--text``: see the data's
README), 2,500 steps of 16 windows of 128. Half the weights of each layer but the output's removed at once, without
training: SparseGPT with 128 windows of the training part, magnitude of each layer and of all, and two of four of both.
Perplexity on the last 5% of the text, which nothing saw.

**Savings.** Bytes in four layouts and latencies on one thread, by the share of zeros.

Results: see ``RESULTS``, negative ones included.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _compress_images import Residual, accuracy, made, trained
from torch import Tensor, nn
from torch.nn import functional

from sartor._environment import environment
from sartor.compress._stages import Stages
from sartor.compress.distillation.before import taught
from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import global_masks, local_masks, pruned
from sartor.compress.sparsity.n_of_m import TWO_OF_FOUR, n_of_m
from sartor.compress.sparsity.sparsegpt import sparsegpt
from sartor.compress.sparsity.speed import measure_speed
from sartor.compress.sparsity.storage import storage, total_bytes
from sartor.compress.steps import sparsify
from sartor.tasks.images.task import Images
from sartor.training import Learner, Recipe, Step

RESULTS = """
27 November 2026, torch 2.13.0+cpu, one thread.

Language, Intel Xeon, 2 virtual cores beside much other work, seed 0 (600 CPU-seconds of training), perplexity on the
test part, and over that of the dense network:

  dense                   4.9327
  magnitude, each layer   5.2731  1.0690
  magnitude, all layers   5.1454  1.0431
  SparseGPT               5.0001  1.0137
  magnitude, 2 of 4       6.0889  1.2344
  SparseGPT, 2 of 4       5.1451  1.0431

Images, AMD EPYC, 2 virtual cores beside much other work, seeds 0 and 1 (``--parts images --kinds pruned``, 15
CPU-minutes a seed):

                         validation     test
  dense                  92.40  92.52   92.27  91.97
  pruned to 90% zeros    92.54  92.22   92.21  91.80

A loss of .06 and .17 points (goal .5); one accuracy has a standard error of .27. The other kinds were not run: what 12
more epochs and a teacher give a network without zeros is not known here. Bytes 188,504 of 1,237,744.

What scores weights, and when, at equal length: a searched network of 12,600 weights on the bundled digits (validation
.981), 90% zeros within 6 epochs, 118 steps, validation: gradual by LAMP .587, iterative by LAMP .394, iterative by
magnitude without a teacher .297, gradual by magnitude .100; gradual by LAMP within 15 epochs .896 (``sartor compress``
``--steps sparsify --option sparsify.sparsity=0.9 --epochs 6`` and ``sparsify.method``, ``.criterion``, ``.teacher``).

Before, of the same dense network: three rounds of global magnitude, two epochs each, 91.42 on validation and 91.10 on
test; six epochs more with the dense network as teacher, 91.83 and 91.41, a loss of .86 points. What differs now: LAMP,
one gradual schedule, the teacher all along. Looked at on seed 10: the weights of all layers have much the same spread
(.12 to .24), so that global magnitude leaves 7% of the small early layers, 3% of a shortcut, and 10% of the largest;
LAMP leaves 28 to 33%, 37% and 4%. Gradual magnitude with the teacher for six epochs loses .68 points there (validation,
92.34 and 91.66), so that schedule and teacher alone do not reach the goal in half the epochs.
"""

PARTS = ("language", "images", "savings")
KINDS = {
    "pruned": sparsify.Options(0.9),
    "by magnitude": sparsify.Options(0.9, criterion="magnitude"),
    "trained on": None,
}
"""Options of the step; None for a training without zeros."""
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
    """Returns the Transformer, trained."""
    network = made(Characters, int(texts["train"].max()) + 1, *LANGUAGE.values(), seed=seed)
    file = folder / f"language-{seed}-{steps}.pt"
    return trained(network, NextCharacter(), texts["train"], LANGUAGE_RECIPE, steps=steps, seed=seed, file=file)


# --- 90% of a convolutional network


def ninety_percent(
    folder: Path, *, dense_epochs: int, epochs: int, seed: int, kinds: Sequence[str]
) -> dict[str, float]:
    """Returns test accuracies of the dense network, and of what each kind makes of it; prints those of validation."""
    task = Images("fashion-mnist")
    splits = task.data()
    assert splits.test is not None
    test = splits.test.open()
    dense = made(Residual, 1, IMAGE_WIDTHS, 2, seed=seed).to(memory_format=torch.channels_last)
    trained(
        dense, task.learner(task.baseline()), splits.train, task.recipe, seed=seed,
        steps=dense_epochs * (len(splits.train) // task.recipe.batch_size),
        file=folder / f"images-{seed}-{dense_epochs}.pt",
    )  # fmt: skip
    found = {"dense": accuracy(task, dense, test)}
    print(f"seed {seed}, dense: validation {accuracy(task, dense, splits.validation):.2f}, test {found['dense']:.2f}")
    for kind in kinds:
        stages = Stages(
            task, task.baseline(), splits.train, splits.validation, limits=(), recipe=task.recipe, epochs=epochs,
            seed=seed, teacher=dense, folder=folder / f"images-{seed}-{dense_epochs}-{kind.replace(' ', '-')}-{epochs}",
            say=lambda text: print(f"  {text}"),
        )  # fmt: skip
        options = KINDS[kind]
        if options is None:
            learner = taught(stages, dense, sparsify.Options().teacher)
            network = stages.fine_tune("dense", copy.deepcopy(dense), epochs=epochs, learner=learner)
        else:
            network = sparsify.sparsify(copy.deepcopy(dense), options, stages).network
        found[kind] = accuracy(task, network, test)
        value = accuracy(task, network, splits.validation)
        print(f"seed {seed}, {kind}: validation {value:.2f}, test {found[kind]:.2f}", flush=True)
    return found


# --- half of a language model, at once


def half(texts: Mapping[str, Tensor], network: nn.Module, *, num_calibration: int, rows: slice) -> dict[str, float]:
    """Returns perplexities on the test part: dense, and with zeros that no training followed.

    Args:
        texts: The parts of the text.
        network: Trained.
        num_calibration: Windows of the training part that SparseGPT sees.
        rows: Of the test part's characters.
    """
    train, test = texts["train"], texts["test"][rows]
    begin = np.random.default_rng(0).integers(0, len(train) - CONTEXT, num_calibration)
    calibration = torch.stack([train[i : i + CONTEXT] for i in begin.tolist()]).split(32)
    skip = ["linear"]  # the output layer stays dense, as in the paper
    scores = magnitude(network, skip=skip)
    networks = {
        "dense": network,
        "magnitude, each layer": pruned(network, local_masks(scores, 0.5)),
        "magnitude, all layers": pruned(network, global_masks(scores, 0.5)),
        "SparseGPT": sparsegpt(network, calibration, 0.5, skip=skip).module,
        "magnitude, 2 of 4": pruned(network, n_of_m(scores)),
        "SparseGPT, 2 of 4": sparsegpt(network, calibration, pattern=TWO_OF_FOUR, skip=skip).module,
    }
    found = {name: perplexity(each, test) for name, each in networks.items()}
    for name, value in found.items():
        print(f"  {name:22s} perplexity {value:.4f}, x{value / found['dense']:.4f}", flush=True)
    return found


# --- what zeros save


def savings(network: nn.Module, inputs: tuple[Tensor, ...], name: str) -> None:
    """Prints bytes and latencies by sparsity."""
    scores = magnitude(network)
    print(f"{name}: zeros; bytes dense, bitmap, CSR, COO; ms torch dense, torch CSR, ONNX Runtime")
    for sparsity in (0.0, 0.5, 0.8, 0.9, 0.95, 0.99):
        made = pruned(network, global_masks(scores, sparsity)).eval()
        stored = storage(made)
        sizes = [total_bytes(stored, layout) for layout in ("dense", "bitmap", "csr", "coo")]
        times = measure_speed(made, inputs)
        values = [times[kind].value for kind in ("zeros", "csr", "onnxruntime")]
        print(f"  {sparsity:.2f} " + " ".join(f"{size:9,}" for size in sizes) + " "
              + " ".join(f"{value:8.3f}" for value in values), flush=True)  # fmt: skip


def run(
    quick: bool,
    *,
    text: str = "../shared/data/text",
    state: str | None = None,
    parts: Sequence[str] = PARTS,
    kinds: Sequence[str] = tuple(KINDS),
    seeds: int = 3,
) -> dict[str, float]:
    """Returns the figures of the parts; prints the rest.

    Args:
        quick: Short trainings: nothing is decided.
        text: Folder of the text.
        state: Folder that keeps trainings, to go on from; a temporary one when None.
        parts: Which.
        kinds: Which ways to 90% zeros, beside the dense network: "pruned" at least.
        seeds: Dense networks that are pruned.
    """
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(state or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "language" in parts:
            texts = characters(text)
            network = language_model(texts, folder, 100 if quick else 2_500, 0)
            rows = slice(0, 10_000) if quick else slice(None)
            found = half(texts, network, num_calibration=32 if quick else 128, rows=rows)
            figures["sparsegpt_perplexity_ratio"] = found["SparseGPT"] / found["dense"]
            best = min(found["magnitude, each layer"], found["magnitude, all layers"])
            figures["magnitude_perplexity_ratio"] = best / found["dense"]
        if "images" in parts:
            dense_epochs, epochs = (1, 1) if quick else (8, 12)
            points = [
                ninety_percent(
                    folder, dense_epochs=dense_epochs, epochs=epochs, seed=seed, kinds=("pruned",) if quick else kinds
                )
                for seed in range(1 if quick else seeds)
            ]
            losses = [each["dense"] - each["pruned"] for each in points]
            figures["unstructured90_accuracy_loss_points"] = sum(losses) / len(losses)
        if "savings" in parts:
            wide = made(Residual, 1, IMAGE_WIDTHS, 2, seed=0)
            savings(wide, (torch.zeros(1, 1, 28, 28),), "the convolutional network, batch 1")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                layer = nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024))
            savings(layer, (torch.zeros(1, 1024),), "feed-forward, 1,024 by 4,096, one row")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="../shared/data/text", metavar="DIR", help="folder of tinyshakespeare.txt.gz")
    parser.add_argument("--state", metavar="DIR", help="folder that keeps trainings, to go on from")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=tuple(KINDS), help="ways to 90%% zeros")
    parser.add_argument("--seeds", type=int, default=3, help="networks that 90%% is removed of")
    parser.add_argument("--quick", action="store_true", help="short trainings; decides nothing")
    arguments = parser.parse_args()
    print(json.dumps(environment()))
    figures = run(
        arguments.quick, text=arguments.text, state=arguments.state, parts=arguments.parts, kinds=arguments.kinds,
        seeds=arguments.seeds,
    )  # fmt: skip
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
