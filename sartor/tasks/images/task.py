"""The images task: loss with light augmentation, metrics, pictures of mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.data import Rows, Splits
from sartor.errors import InputError
from sartor.metrics import accuracy, balanced_accuracy, calibration_error, confusion, correct, cross_entropy, surprise
from sartor.nets import Standardise
from sartor.pictures import Gallery, Matrix, Picture, Table
from sartor.task import Metric, Predictions, Task
from sartor.tasks.images._labelled import TEST, TRAIN, VALIDATION
from sartor.tasks.images.data import Parts, load
from sartor.tasks.images.options import Options, statistics_of
from sartor.tasks.images.preprocess import EIGHT_BITS
from sartor.tasks.images.space import hand_designed, make_space
from sartor.training.recipe import Recipe
from sartor.units import first_of

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.training import Step

PREDICT_BATCH = 512
NUM_MISTAKES = 48
NUM_NAMED = 10
"""Classes that are named where a sentence lists them."""
SHIFT_SHARE = 0.1
"""Largest shift over the side: 1 pixel of 8, 3 of 28 and of 32 (4 of 32 in He et al. 2016)."""
LONG_TRAINING_IMAGES = 200_000
"""Images that a full training sees: enough for small networks to come near their best."""


class Deployed(nn.Module):
    """A network with its preprocessing: float32 pixels 0..1, shape ``(n, channels, height, width)``, to logits.

    Args:
        network: Takes standardised images.
        mean, std: For each channel, on the scale 0..1.
        resolution: (height, width) at which the network sees the images, or None for their own.
    """

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], resolution: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.standardise = Standardise(mean, std)
        self.resolution = resolution
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits, shape ``(n, classes)``."""
        x = self.standardise(image)
        if self.resolution is not None:
            x = functional.interpolate(x, size=self.resolution, mode="bilinear", align_corners=False)
        logits: Tensor = self.network(x)
        return logits


class Images(Task):
    """Labelled images, one class each. See the package's page for data, preparation, parts and metrics.

    The data are read when the task is made, so that what is wrong with them is said at once.

    The recipe is AdamW at 4e-3 with label smoothing 0.05 on batches of 64, or of 128 from 20,000 training images on;
    ``epochs`` is chosen so that a full training sees about 200,000 images, but 8 to 30 epochs.

    Args:
        source: A folder, a file, a name (``digits``, ``fashion-mnist``), or None for the digits.
        options: See ``Options``.

    Attributes:
        epochs: Of a full training.
        class_names: In the order of the logits.

    Raises:
        DataError: the data cannot be used; the message says why and what to do.
    """

    Options = Options
    metrics = {
        "accuracy": Metric(accuracy, each=correct),
        "balanced_accuracy": Metric(balanced_accuracy),
        "cross_entropy": Metric(cross_entropy, "min", "nats", surprise),
        "calibration_error": Metric(calibration_error, "min"),
    }

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        self._parts: Parts = load(source, self.options)
        labelled = self._parts.labelled
        self.form = labelled.form
        self.class_names = labelled.classes
        train = labelled.pixels[self._parts.rows_of(TRAIN)]
        self.mean, self.std = self._statistics() or channel_statistics(train)
        self.epochs = float(round(min(30.0, max(8.0, LONG_TRAINING_IMAGES / len(train)))))
        # A small batch gives few images enough steps; a large one costs less for each image.
        self.recipe = Recipe(
            optimizer="adamw",
            learning_rate=4e-3,
            weight_decay=2e-2,
            batch_size=min(128 if len(train) >= 20_000 else 64, max(2, len(train) // 4)),
            label_smoothing=0.05,
        )
        self._splits: Splits | None = None
        self._training: tuple[nn.Module, Mapping[str, Any] | None, Deployed] | None = None

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Returns what the person says instead of the data's own mean and deviation of each channel."""
        given = statistics_of(self.options.standardise)
        if given is None:
            return None
        channels = self.form.channels
        if len(given[0]) not in (1, channels):
            raise InputError(
                f"standardise: {self.options.standardise} is of {len(given[0])} channels, these images have {channels}:"
                f" set channels to {len(given[0])}, or give values for {channels}"
            )
        mean, std = (values * (channels // len(values)) for values in given)
        return mean, std

    # --- data

    def data(self) -> Splits:
        if self._splits is None:
            names = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
            rows = {name: self._parts.rows_of(part) for name, part in names.items()}
            self._splits = Splits.of(
                self._rows, rows, self._parts.ids, fingerprint=self._parts.fingerprint, notes=self._parts.notes
            )
        return self._splits

    def _rows(self, index: np.ndarray) -> Rows:
        labelled = self._parts.labelled
        return Rows(
            x=torch.from_numpy(labelled.pixels[index]),
            y=torch.from_numpy(labelled.labels[index]),
            id=torch.from_numpy(self._parts.ids[index]),
        )

    # --- space

    def space(self) -> Space:
        if self._space is None:
            self._space = make_space(self.options.space, self.form, len(self.class_names))
        return self._space

    def baseline(self) -> Architecture:
        return hand_designed(self.options.space, self.space())

    # --- training

    @property
    def augmentation(self) -> tuple[int, bool]:
        """Largest shift in pixels, and whether images are mirrored.

        ``auto`` shifts, and mirrors colour images alone: grey ones are often characters or scans, which have a hand.
        """
        kind = self.options.augment
        if kind == "none":
            return 0, False
        shift = max(1, round(SHIFT_SHARE * min(self.form.height, self.form.width)))
        return shift, kind == "shift-flip" or (kind == "auto" and self.form.channels == 3)

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        logits = self.logits(network, batch, step)
        return functional.cross_entropy(logits.float(), batch["y"], label_smoothing=step.recipe.label_smoothing)

    def logits(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        """Returns what the deployed network says of a batch's augmented images, shape ``(n, classes)``."""
        shift, flip = self.augmentation
        pixels = augment(batch["x"], step.torch, shift, flip)
        # Making it at every step would be a twentieth of the training of a small network.
        if self._training is None or self._training[0] is not network or self._training[1] != step.architecture:
            self._training = (network, step.architecture, self.deploy(network, step.architecture))
        logits: Tensor = self._training[2](pixels.float() / EIGHT_BITS)
        return logits

    def deploy(self, network: nn.Module, architecture: Mapping[str, Any] | None) -> Deployed:
        """Returns the network with standardisation in front, and scaling when ``data.resolution`` is searched."""
        side = (architecture or {}).get("data.resolution")
        resolution = None if side is None or (side, side) == (self.form.height, self.form.width) else (side, side)
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        deployed = Deployed(network, self.mean, self.std, resolution)
        deployed.standardise.to(device)
        return deployed.train(network.training)

    def preparation(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        shape = f"(n, {self.form.channels}, {self.form.height}, {self.form.width})"
        return (
            f"images as float32 {shape}, pixels of 0 to 1 less {mean} over {std} (--standardise), for logits of"
            f" the classes in the order {first_of(self.class_names, NUM_NAMED)}"
        )

    # --- output

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[Tensor, ...]:
        return (torch.full((batch_size, self.form.channels, self.form.height, self.form.width), 0.5),)

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        """Returns the output for each image of a part, and the pictures of the surest mistakes.

        Returns:
            ``label`` int64 ``(n,)``; ``probabilities`` float64 ``(n, classes)``; ``id`` int64 ``(n,)``;
            ``mistakes`` int64 ``(k,)``, rows of the surest mistakes, at most 48; ``mistake_images`` uint8
            ``(k, height, width)`` or ``(k, height, width, 3)``.
        """
        pixels, labels = part.columns["x"], part.columns["y"].numpy()
        device = next((p.device for p in deployed.parameters()), torch.device("cpu"))
        with torch.no_grad():
            logits = [deployed(chunk.to(device).float() / EIGHT_BITS).cpu() for chunk in pixels.split(PREDICT_BATCH)]
        probabilities = torch.cat(logits).double().softmax(-1).numpy()
        wrong = np.flatnonzero(probabilities.argmax(1) != labels)
        mistakes = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")[:NUM_MISTAKES]]
        images = pixels[torch.from_numpy(mistakes)].permute(0, 2, 3, 1).numpy()
        return {
            "label": labels,
            "probabilities": probabilities,
            "id": part.columns["id"].numpy(),
            "mistakes": mistakes,
            "mistake_images": np.ascontiguousarray(images[..., 0] if images.shape[-1] == 1 else images),
        }

    def describe(self) -> dict[str, Any]:
        """Returns class names, and under ``input`` all that ``preprocess.read`` needs."""
        return {
            "classes": list(self.class_names),
            "input": self.form.describe(),
            "output": "logits",
            "preprocess": "sartor.tasks.images.preprocess:read",
        }

    def show(self, predictions: Predictions) -> list[Picture]:
        """Returns the confusion matrix, the surest mistakes, and a table of the classes."""
        names = self.class_names
        counts = confusion(predictions)
        pictures: list[Picture] = [
            Matrix(counts, names, names, "true class", "predicted class", "Confusion matrix (images)")
        ]
        chosen = predictions["probabilities"].argmax(1)
        if len(predictions["mistakes"]):
            captions = tuple(
                f"{names[predictions['label'][row]]}, taken for {names[chosen[row]]}"
                f" ({predictions['probabilities'][row, chosen[row]]:.0%})"
                for row in predictions["mistakes"]
            )
            num_wrong = int((chosen != predictions["label"]).sum())
            more = num_wrong > len(captions)
            title = f"The {len(captions)} surest of {num_wrong} mistakes" if more else "All mistakes"
            pictures.append(Gallery(predictions["mistake_images"], captions, title))
        rows = []
        for i, name in enumerate(names):
            right, present, claimed = counts[i, i], counts[i].sum(), counts[:, i].sum()
            rows.append((name, str(present), _share(right, present), _share(right, claimed)))
        pictures.append(Table(tuple(rows), ("class", "images", "recall", "precision"), "Classes"))
        return pictures


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "none"


# --- data


def channel_statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel on the scale 0..1, from uint8 ``(n, channels, h, w)``.

    A channel without variation has deviation 1/255, one step of a byte.
    """
    means, stds = [], []
    levels = np.arange(256) / EIGHT_BITS
    for channel in range(pixels.shape[1]):
        # Exact, and many times faster than floating-point passes over the pixels.
        counts = np.bincount(pixels[:, channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ levels)
        means.append(mean)
        stds.append(max(1 / EIGHT_BITS, math.sqrt(float(share @ (levels - mean) ** 2))))
    return tuple(means), tuple(stds)


def augment(pixels: Tensor, generator: torch.Generator, shift: int, flip: bool) -> Tensor:
    """Returns images moved by up to ``shift`` pixels each way, black behind them, half of them mirrored if ``flip``.

    Args:
        pixels: uint8, shape ``(n, channels, height, width)``.
        generator: On the CPU; the result is a function of its state.
        shift: Largest shift, 0 for none (He et al. 2016, arXiv:1512.03385, section 4.2).
        flip: Mirrors left and right.
    """
    n, channels, height, width = pixels.shape
    if not shift and not flip:
        return pixels
    device = pixels.device
    moves = torch.randint(0, 2 * shift + 1, (n, 2), generator=generator)
    columns = torch.arange(width).expand(n, width)
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    rows = (torch.arange(height) + moves[:, :1]).to(device)
    columns = (columns + moves[:, 1:]).to(device)
    padded = functional.pad(pixels, (shift, shift, shift, shift)).permute(0, 2, 3, 1)
    image = torch.arange(n, device=device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
