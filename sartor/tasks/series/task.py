"""The series task: a class or a number for each series, what is said of it as it goes on, and pictures of both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.data import TEST, TRAIN, VALIDATION, Rows, Splits
from sartor.errors import DivergedError
from sartor.metrics import OF_CLASSES, OF_NUMBERS, confusion, metrics_of
from sartor.pictures import Lines, Matrix, Picture, Table
from sartor.task import Predictions, Task
from sartor.tasks.series.data import Parts, load, missing_of
from sartor.tasks.series.network import Deployed, SeriesNetwork
from sartor.tasks.series.options import Options
from sartor.tasks.series.paths import make_path
from sartor.tasks.series.space import hand_designed, make_space
from sartor.training.recipe import Recipe

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.training import Step

PREDICT_BATCH = 256
STEPS = 1_000
"""Of a full training."""
LONGEST_EPOCHS = 300.0
SEEN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of each series after which predictions are scored."""
MOST_CHANNELS, PATH_POINTS, DASH = 3, 400, 0.006
"""Of the picture of a path; half the length of what marks an observation, of the whole."""


class Series(Task):
    """Irregularly sampled series with missing values, to a class or a number. See the package's page.

    The data are read when the task is made, so that what is wrong with them is said at once.

    Args:
        source: A CSV, TSV, Parquet or ``.ts`` file, ``simulated``, or None for that.
        options: See ``Options``.

    Attributes:
        epochs: Of a full training: about 1,000 steps, at most 300 epochs.
        class_names: In the order of the scores; none for numbers.

    Raises:
        DataError: the data cannot be used; the message says why and what to do.
    """

    Options = Options
    metrics = {**OF_NUMBERS, **OF_CLASSES}
    missing_values = True

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        self._parts: Parts = load(source, self.options)
        self.class_names, self.channels = self._parts.classes, self._parts.channels
        train = self._parts.series.take(self._parts.rows_of(TRAIN))
        y = self._parts.y[self._parts.rows_of(TRAIN)]
        self.metrics = metrics_of(len(self.class_names))
        self._offset, self._scale = (0.0, 1.0) if self.class_names else (float(y.mean()), float(y.std()))
        self.num_outputs = len(self.class_names) or 1
        flat = train.values.reshape(-1, len(self.channels)).astype(np.float64)
        self._mean = np.nanmean(flat, 0)
        self._deviation = np.nanstd(flat, 0)
        length = train.time[:, -1]
        self._length = float(length[length > 0].mean()) if (length > 0).any() else 1.0
        self._num_rows = float(train.num_rows.mean())
        batch = min(32, max(2, len(train) // 4))
        self.recipe = Recipe(learning_rate=2e-3, weight_decay=1e-2, batch_size=batch, ema_decay=0.99)
        self.epochs = float(round(min(LONGEST_EPOCHS, max(4.0, STEPS * batch / len(train)))))
        self._splits: Splits | None = None

    # --- data

    def data(self) -> Splits:
        if self._splits is None:
            rows = {name: self._parts.rows_of(name) for name in (TRAIN, VALIDATION, TEST)}
            self._splits = Splits.of(
                self._rows, rows, self._parts.ids, fingerprint=self._parts.fingerprint, notes=self._parts.notes
            )
        return self._splits

    def _rows(self, index: np.ndarray) -> Rows:
        some = self._parts.series.take(index)
        return Rows(
            time=torch.from_numpy(some.time.astype(np.float32)),
            values=torch.from_numpy(some.values),
            num_rows=torch.from_numpy(some.num_rows),
            y=torch.from_numpy(self._parts.y[index]),
        )

    # --- space

    def space(self) -> Space:
        if self._space is None:
            self._space = make_space(len(self.channels), self.num_outputs, self._num_rows, adjoint=self.options.adjoint)
        return self._space

    def baseline(self) -> Architecture:
        return hand_designed(self.space(), adjoint=self.options.adjoint)

    # --- training

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        """Returns the cross-entropy, or half the mean squared error of standardised numbers."""
        assert isinstance(network, SeriesNetwork)
        time, values = _trimmed(batch["time"], batch["values"], batch["num_rows"])
        scores = network((time - time[:, :1]) / self._length, (values - self._means) / self._deviations)
        if not self.class_names:
            target = (batch["y"] - self._offset) / self._scale
            error: Tensor = scores[:, 0] - target.to(scores.dtype)
            return 0.5 * error.square().mean()
        return functional.cross_entropy(scores, batch["y"], label_smoothing=step.recipe.label_smoothing)

    @cached_property
    def _means(self) -> Tensor:
        return torch.tensor(self._mean, dtype=torch.float32)

    @cached_property
    def _deviations(self) -> Tensor:
        return torch.tensor(self._deviation, dtype=torch.float32)

    def deploy(self, network: nn.Module, architecture: Mapping[str, Any] | None) -> Deployed:
        assert isinstance(network, SeriesNetwork)
        device = next(network.parameters()).device
        deployed = Deployed(
            network,
            length=self._length,
            mean=self._mean.tolist(),
            deviation=self._deviation.tolist(),
            offset=self._offset,
            scale=self._scale,
        )
        return deployed.to(device).train(network.training)

    # --- output

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[Tensor, ...]:
        rows = self._parts.series.time.shape[1]
        time = torch.linspace(0, self._length, rows).repeat(batch_size, 1)
        return time, self._means.repeat(batch_size, rows, 1)

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        """Returns what the network says of each series of a part.

        Returns:
            ``label`` int64 ``(n,)`` and ``probabilities`` float64 ``(n, classes)``, or ``target`` and ``value`` float64
            ``(n,)``.

        Raises:
            DivergedError: a score is not finite.
        """
        time, values, rows = (part.columns[name] for name in ("time", "values", "num_rows"))
        with torch.no_grad():
            scores = _scores(deployed, time, values, rows)
        _check_finite(scores)
        truth = part.columns["y"].numpy()
        if self.class_names:
            return {"label": truth, "probabilities": self._said(scores)}
        return {"target": truth, "value": scores[:, 0].double().numpy()}

    def _said(self, scores: Tensor) -> np.ndarray:
        out: np.ndarray = (scores.double().softmax(-1) if self.class_names else scores.double()).numpy()
        return out

    def describe(self) -> dict[str, Any]:
        """Returns classes, target, and under ``input`` all that ``preprocess.read`` needs."""
        return {
            "classes": list(self.class_names),
            "target": self._parts.target,
            "input": {
                "id": self.options.id,
                "time": self.options.time,
                "channels": list(self.channels),
                "dates": self._parts.dates,
                "unit": self._parts.unit,
                "rows": int(self._parts.series.time.shape[1]),
                "missing": list(missing_of(self.options)),
                "absent": "NaN; rows behind the end repeat the last time",
            },
            "output": "logits" if self.class_names else "value",
            "preprocess": "sartor.tasks.series.preprocess:read",
        }

    def show(self, predictions: Predictions) -> list[Picture]:
        """Returns which classes are mixed up, or how far numbers are off."""
        if self.class_names:
            names, counts = self.class_names, confusion(predictions)
            return [Matrix(counts, names, names, "true class", "predicted class", "Confusion matrix (series)")]
        off = np.abs(predictions["value"] - predictions["target"])
        places = (0.5, 0.75, 0.9, 1.0)
        rows = tuple((f"{place:.0%} of the series", f"{np.quantile(off, place):.4g}") for place in places)
        return [Table(rows, ("at most so far off", self._parts.target), "How far predictions are off")]

    def inspect(self, deployed: nn.Module) -> list[Picture]:
        """Returns how good predictions are as series go on, and one series with its path, of the validation part.

        Not among the predictions: a network that looks ahead is asked anew for each share of the series, and each row
        of one of them, which is many times the work of a score.
        """
        part = self.data().validation
        return [self._along(deployed, part), *self._example(deployed, part)]

    def _along(self, deployed: nn.Module, part: Rows) -> Picture:
        time, values, rows = (part.columns[name] for name in ("time", "values", "num_rows"))
        parts = [(share * rows).ceil().long().clamp_min(1) for share in SEEN]
        with torch.no_grad():
            said = self._said(torch.stack([_scores(deployed, time, values, each) for each in parts]))
        truth = part.columns["y"].numpy()
        if self.class_names:
            found = (said.argmax(-1) == truth).mean(1)
            plain = float(np.bincount(truth).max() / len(truth))
            baseline, what, axis = "the most frequent class, always", "what is right", "share right"
        else:
            found, plain = np.sqrt(((said[..., 0] - truth) ** 2).mean(1)), float(truth.std())
            baseline, what, axis = "the mean, always", "the error", "root mean squared error"
        both = np.stack((found, np.full(len(SEEN), plain)))
        title = f"Online: {what} when only the first part of each of {len(part)} validation series was seen"
        return Lines(np.array(SEEN), both, ("this network", baseline), "share of the series seen", axis, title)

    def _example(self, deployed: nn.Module, part: Rows) -> list[Picture]:
        """Returns the validation series with the most rows, and what is said of it after each row."""
        number = int(part.columns["num_rows"].argmax())
        num = int(part.columns["num_rows"][number])
        same = torch.full((num,), number)
        with torch.no_grad():
            scores = _scores(
                deployed, part.columns["time"][same], part.columns["values"][same], torch.arange(1, num + 1)
            )
        said = self._said(scores)
        time = part.columns["time"][number, :num].double().numpy()
        values = part.columns["values"][number, :num].double().numpy()
        truth = part.columns["y"][number].item()
        pictures: list[Picture] = []
        counts = (~np.isnan(values)).sum(0)
        chosen = np.sort(np.argsort(-counts, kind="stable")[:MOST_CHANNELS])
        if len(time) > 1:
            for channel in chosen.tolist():
                pictures.append(self._path(time, values[:, channel], self.channels[channel]))
        if self.class_names:
            title = f"What is said of that series as it goes on (it is {self.class_names[int(truth)]})"
            pictures.append(Lines(time, said.T, self.class_names, self._parts.unit, "probability", title))
        else:
            both = np.stack((said[:, 0], np.full(len(time), truth)))
            title = "What is said of that series as it goes on"
            names = ("said", "what it is")
            pictures.append(Lines(time, both, names, self._parts.unit, self._parts.target, title))
        return pictures

    def _path(self, time: np.ndarray, values: np.ndarray, name: str) -> Picture:
        """Returns a channel's observations and the two paths through them."""
        observed = ~np.isnan(values)
        mean, deviation = (float(each[self.channels.index(name)]) for each in (self._mean, self._deviation))
        own = torch.from_numpy((values - mean) / deviation).view(1, -1, 1)
        moment = torch.from_numpy(time).view(1, -1)
        grid = np.unique(np.concatenate((np.linspace(time[0], time[-1], PATH_POINTS), time[observed])))
        smooth = make_path(moment, own, "cubic")
        piece = np.clip(np.searchsorted(time, grid, side="right") - 1, 0, len(time) - 2)
        u = (grid - time[piece]) / np.diff(time)[piece]
        start = smooth.knots()[0, :-1, 1].numpy()[piece]
        assert smooth.bend is not None and smooth.twist is not None
        slope, bend, twist = (each[0, :, 1].numpy()[piece] for each in (smooth.slope, smooth.bend, smooth.twist))
        cubic = start + u * (slope + u * (bend + u * twist))
        causal = (
            make_path(moment, own, "rectilinear")
            .knots()[0, ::2, 1]
            .numpy()[np.clip(np.searchsorted(time, grid, side="right") - 1, 0, len(time) - 1)]
        )
        # Short dashes: a line through single points has no length to be seen.
        own_time = time[observed]
        near = np.abs(grid[:, None] - own_time).argmin(1)
        close = np.abs(grid - own_time[near]) <= DASH * (time[-1] - time[0])
        points = np.where(close, values[observed][near], np.nan)
        y = np.stack((cubic * deviation + mean, causal * deviation + mean, points))
        names = ("natural cubic spline", "rectilinear, causal", "observed")
        title = (
            f"{name} of the validation series with the most rows: {int(observed.sum())} of {len(time)} values observed"
        )
        return Lines(grid, y, names, self._parts.unit, name, title)


def _trimmed(time: Tensor, values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns as many rows as the longest of a batch has, which is a fraction of the longest of all."""
    length = max(2, int(rows.max()))
    return time[:, :length], values[:, :length]


def _scores(deployed: nn.Module, time: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """Returns the scores of the first ``rows`` rows of each series."""
    found = []
    for start in range(0, len(time), PREDICT_BATCH):
        own = slice(start, start + PREDICT_BATCH)
        # As long as the longest of all, which is what an exported file takes.
        t, v = time[own], values[own]
        there = torch.arange(t.shape[1]) < rows[own].unsqueeze(1)
        last = t.gather(1, rows[own].unsqueeze(1) - 1)
        found.append(deployed(torch.where(there, t, last), v.where(there.unsqueeze(-1), torch.nan)))
    return torch.cat(found)


def _check_finite(scores: Tensor) -> None:
    wrong = int((~scores.isfinite().all(-1)).sum())
    if wrong:
        raise DivergedError(
            f"the network's state is not finite at the end of {wrong} of {len(scores)} series: its equation diverges;"
            " take a smaller learning rate, or more steps (midpoint, rk4) where the solver is euler"
        )
