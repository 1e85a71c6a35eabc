"""The time of one step of NNI's DARTS search, and what another implementation needs to repeat that step.

    PYTHON benchmarks/_nni_darts.py --width 16 --cells 8 --batch 64 --steps 3     # PYTHON: an environment with NNI

Run by the interpreter of an environment that has NNI, so this file imports nothing of Sartor. It prints one line of
JSON; what NNI and Lightning print goes to standard error. The environment, on Python 3.11::

    python3 -m venv ENV
    ENV/bin/pip install torch==2.13.0
    ENV/bin/pip install nni==3.0 torch==2.13.0
    ENV/bin/pip install --no-deps pytorch_lightning==2.6.6          # NNI needs it and does not declare it
    ENV/bin/pip install torch==2.13.0 lightning-utilities==0.15.3 torchmetrics==1.9.0 "fsspec[http]"

What runs is NNI 3.0's own: the space ``nni.nas.hub.pytorch.DARTS`` with ``dataset="cifar"``, the strategy
``nni.nas.strategy.DARTS``, and Lightning's loop, without logger, checkpoints and progress bar, with log of loss and
accuracy as NNI's ``ClassificationModule`` has it. Rates, optimisers and clipping are those of NNI's tutorial of this
search (``examples/tutorials/darts.py`` in microsoft/nni). A step is timed from ``on_train_batch_start`` to
``on_train_batch_end``, so the loading of batches, made beforehand, is not in it.

**The network.** Stem: 3x3 convolution to 3C channels, batch normalisation, no ReLU. Cells in three stages of C, 2C, 4C
channels, of which stage i has ``(i + 1) * cells // 3 - i * cells // 3`` (2, 3 and 3 of 8, as in the DARTS paper);
the first cell of the second and of the third stage reduces. Global average pooling, linear layer to 10 classes. The
hub's space has no fewer than three cells; ``--cells 1`` is its stem, one normal cell as its ``CellBuilder`` makes it,
and its head.

**A cell.** Both inputs pass ReLU, 1x1 convolution, batch normalisation to the stage's channels; after a reduction cell
the older one passes ``FactorizedReduce`` instead. Four nodes, node i with edges from both inputs and all earlier nodes
(14 edges), summed; the output is the four nodes side by side. In a reduction cell edges from the two inputs have
stride 2. What the next cell gets as its older input is this cell's newer input *as it arrived*, before preprocessing.

**An edge**: the sum of operations weighted by the softmax of its eight alphas, in this order:

0. ``max_pool_3x3``: padding 1; no batch normalisation after pooling, unlike the DARTS paper's code.
1. ``avg_pool_3x3``: padding 1, padding not counted; no batch normalisation.
2. ``skip_connect``: identity; with stride 2 ``FactorizedReduce``.
3. ``sep_conv_3x3``: twice (ReLU, depthwise convolution, 1x1 convolution, batch normalisation), stride in the first.
4. ``sep_conv_5x5``: the same with 5x5, padding 2.
5. ``dil_conv_3x3``: ReLU, depthwise convolution of dilation 2 and padding 2, 1x1 convolution, batch normalisation.
6. ``dil_conv_5x5``: the same with 5x5, padding 4.
7. none: zeros, the *last* alpha. NNI concatenates a tensor of zeros to the stacked results of the seven others.

``FactorizedReduce``: ReLU, two 1x1 convolutions of stride 2 to half the channels each, the second on the input padded
by one zero row below and column to the right and then stripped of its first row and column, side by side, batch
normalisation. No convolution has a bias. All batch normalisation is affine during the search too, unlike the paper's
code (eps 1e-5, momentum 0.1, batch statistics in both halves of a step, of which both update the running ones). No
drop path, no auxiliary head. The initial weights are torch's defaults.

**Alphas**: one vector of eight for each of 14 edges and each kind of cell, normal and reduction, shared by all cells
of that kind: 224 numbers (112 with one cell), drawn from a normal distribution of standard deviation 1e-3.

**A step**, first order only (NNI 3.0 has no second order), batches of ``--batch`` both:

1. cross-entropy of a validation batch, in training mode with the current weights; Adam on the alphas (rate 3e-4, betas
   .5 and .999, weight decay 1e-3, eps 1e-8), no clipping.
2. cross-entropy of a training batch with the new alphas; the weights' gradient clipped to norm 5 together (Lightning
   calls ``clip_grad_norm_``); SGD (rate .025, momentum .9, weight decay 3e-4 on all, batch normalisation included).

The tutorial lowers the rate of the weights along a cosine at each epoch's end, which no run of this file reaches. NNI
computes gradients of weights and alphas in both halves, and discards those it does not use.

NNI replaces convolutions, batch normalisations and linear layers by ones whose sizes might be choices, even where none
is: 2,101 of them cost .085 s of Python a forward pass of eight cells of width 8 (.17 s a step), whatever the batch is.

Measured, one thread of a two-core Intel Xeon with AVX-512 and AMX, torch 2.13.0 CPU, width 16, 32x32 noise, median
processor seconds a step after two steps of warm-up (one, and three timed, for eight cells and batch 64)::

    1 cell, batch 16     2.32 (quiet: the clock said the same)    1 cell, batch 64     11.87 (load 2.6 to 4.2)
    8 cells, batch 8     6.76 (load 4.3 to 4.0)                   8 cells, batch 64    49.57 (load 3.4; 10.3 GB)

Other work slows processor seconds too: at loads of 5 to 7 the two on the left became 3.00 and 8.59. Two tools are
compared in turns, by processor seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from nni.nas.evaluator.pytorch import ClassificationModule, DataLoader, Lightning, Trainer
from nni.nas.hub.pytorch import DARTS as DartsSpace
from nni.nas.hub.pytorch.nasnet import CellBuilder
from nni.nas.nn.pytorch import ModelSpace, MutableBatchNorm2d, MutableConv2d, MutableLinear
from nni.nas.strategy import DARTS as DartsStrategy
from pytorch_lightning import Callback
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
NUM_CLASSES = 10
MEAN = (0.49139968, 0.48215827, 0.44653124)
STD = (0.24703233, 0.24348505, 0.26158768)
"""Of CIFAR-10's training images between 0 and 1, as in NNI's tutorial."""
PACKAGES = ("nni", "torch", "pytorch_lightning", "torchmetrics", "numpy")


class SingleCell(ModelSpace):  # type: ignore[misc]
    """NNI's CIFAR stem, one normal cell and NNI's head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            MutableConv2d(3, 3 * width, 3, padding=1, bias=False), MutableBatchNorm2d(3 * width)
        )
        builder = CellBuilder(DartsSpace.DARTS_OPS, 3 * width, 3 * width, width, 4, "all", False, False, 0.0)
        self.cell = builder(0)
        self.global_pooling = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = MutableLinear(4 * width, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits ``[batch, 10]`` of images ``[batch, 3, height, width]``."""
        state = self.stem(images)
        _, output = self.cell([state, state])
        return self.classifier(self.global_pooling(output).flatten(1))  # type: ignore[no-any-return]


class SearchModule(ClassificationModule):  # type: ignore[misc]
    """NNI's classification with the optimiser of its tutorial, which keeps the loss of each half step.

    Attributes:
        losses: The validation batch's and the training batch's of each step in turn.
        first_logits: ``[batch, 10]``, of the first validation batch before any update.
    """

    def __init__(self) -> None:
        super().__init__(learning_rate=0.025, weight_decay=3e-4, export_onnx=False, num_classes=NUM_CLASSES)
        self.losses: list[float] = []
        self.first_logits: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images)
        if self.first_logits is None:
            self.first_logits = logits.detach()
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.parameters(), lr=self.hparams.learning_rate, momentum=0.9, weight_decay=self.hparams.weight_decay
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        return loss


class StepTimer(Callback):  # type: ignore[misc]
    """Seconds of each step by the clock (``wall``) and of this process (``cpu``)."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._wall = self._cpu = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        self.wall.append(time.perf_counter() - self._wall)
        self.cpu.append(time.process_time() - self._cpu)


def drawn(file: Path | None, batch: int, image: int, num: int, seed: int) -> tuple[list[Batch], list[Batch]]:
    """Returns ``num`` training and as many validation batches, normalised float32 ``[batch, 3, image, image]``.

    Args:
        file: Holds ``x``, uint8 ``[n, 3, image, image]``, and ``y``, integers ``[n]`` below 10, of which as many as
            needed are drawn without replacement; without it images and labels are uniform noise.
        batch: Images of a batch.
        image: Pixels of a side.
        num: Batches of each kind.
        seed: Of the drawing.

    Raises:
        SystemExit: The file's arrays are not these, or too few.
    """
    rng = np.random.default_rng(seed)
    needed = 2 * num * batch
    if file is None:
        x = rng.integers(0, 256, (needed, 3, image, image), dtype=np.uint8)
        y = rng.integers(0, NUM_CLASSES, needed)
    else:
        data = np.load(file)
        x, y = data["x"], data["y"].astype(np.int64)
        if x.dtype != np.uint8 or x.shape[1:] != (3, image, image) or len(x) < needed or len(y) != len(x):
            raise SystemExit(
                f"expected x of uint8 [{needed} or more, 3, {image}, {image}] with as many labels y; {file} has x of "
                f"{x.dtype} {list(x.shape)} and y {list(y.shape)}: give --image, or fewer --steps or a smaller --batch"
            )
        rows = rng.permutation(len(x))[:needed]
        x, y = x[rows], y[rows]
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    images = (torch.from_numpy(x).float() / 255 - mean) / std
    labels = torch.from_numpy(y)
    batches = [(images[i : i + batch], labels[i : i + batch]) for i in range(0, needed, batch)]
    return batches[:num], batches[num:]


def weights(supernet: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of parameters and buffers without alphas."""
    return {name: value.clone() for name, value in supernet.state_dict().items() if "_arch_alpha" not in name}


def alphas(supernet: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of the alphas by ``kind of cell/node_input``, inputs first counted: ``normal/2_0`` to ``5_4``."""
    return {
        name.rpartition("_arch_alpha.")[2]: value.detach().clone()
        for name, value in supernet.named_parameters()
        if "_arch_alpha" in name
    }


def cpu_name() -> str:
    """Returns the model of the CPU where Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def search(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the search steps, writes the dump that was asked for, and returns the figures."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    num = arguments.warmup + arguments.steps
    train, val = drawn(arguments.data, arguments.batch, arguments.image, num, arguments.seed)
    width, cells = arguments.width, arguments.cells
    space = SingleCell(width) if cells == 1 else DartsSpace(width, cells, "cifar")
    strategy = DartsStrategy(gradient_clip_val=5.0)
    supernet = strategy.mutate_model(space)
    initial = {"weights": weights(supernet), "alphas": alphas(supernet)}

    module, timer = SearchModule(), StepTimer()
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, callbacks=[timer], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    evaluator = Lightning(
        module, trainer,
        train_dataloaders=DataLoader(train, batch_size=None), val_dataloaders=DataLoader(val, batch_size=None),
    )
    load = os.getloadavg()[0]
    strategy.mutate_evaluator(evaluator).evaluate(supernet)
    architecture_losses, weight_losses = module.losses[0::2], module.losses[1::2]
    if len(weight_losses) != num:
        raise SystemExit(f"expected {num} steps of two losses; NNI made {len(module.losses)} losses")

    if arguments.dump is not None:
        torch.save(
            {
                **initial,
                "operations": [*DartsSpace.DARTS_OPS, "none"],
                "train_images": torch.stack([x for x, _ in train]),
                "train_labels": torch.stack([y for _, y in train]),
                "val_images": torch.stack([x for x, _ in val]),
                "val_labels": torch.stack([y for _, y in val]),
                "first_logits": module.first_logits,
                "architecture_losses": torch.tensor(architecture_losses),
                "weight_losses": torch.tensor(weight_losses),
                "weights_after": weights(supernet),
                "alphas_after": alphas(supernet),
            },
            arguments.dump,
        )
    timed = slice(arguments.warmup, None)
    return {
        "seconds_per_step": round(statistics.median(timer.wall[timed]), 4),
        "cpu_seconds_per_step": round(statistics.median(timer.cpu[timed]), 4),
        "fastest_seconds": round(min(timer.wall[timed]), 4),
        "steps": arguments.steps,
        "warmup": arguments.warmup,
        "parameters": sum(p.numel() for name, p in supernet.named_parameters() if "_arch_alpha" not in name),
        "architecture_parameters": sum(alpha.numel() for alpha in initial["alphas"].values()),
        "architecture_losses": architecture_losses,
        "weight_losses": weight_losses,
        **{key: getattr(arguments, key) for key in ("width", "cells", "batch", "image", "seed", "threads")},
        "order": "first",
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "cpu": cpu_name(),
        "load_average_before": round(load, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="channels C of the first stage")
    parser.add_argument("--cells", type=int, default=8, help="1, or 3 and more")
    parser.add_argument("--batch", type=int, default=64, help="images of each half step")
    parser.add_argument("--image", type=int, default=32, help="pixels of a side")
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="x and y of images; noise without it")
    parser.add_argument("--dump", type=Path, help="file for weights, alphas, batches, logits and losses (torch.save)")
    arguments = parser.parse_args()
    if arguments.cells in (0, 2) or arguments.cells < 0:
        parser.error(f"NNI's DARTS space has 3 cells or more, and this file adds 1; {arguments.cells} arrived")
    # What NNI and Lightning print goes to standard error; only the figures go out.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print(json.dumps(search(arguments)), file=out, flush=True)


if __name__ == "__main__":
    main()
