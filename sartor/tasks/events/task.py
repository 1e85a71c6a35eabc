"""The events task: the likelihood of what happened and when, what comes next, and pictures of the intensity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.data import TEST, TRAIN, VALIDATION, Rows, Splits
from sartor.pictures import Lines, Picture, Table
from sartor.task import Metric, Predictions, Task
from sartor.tasks.events.data import SIMULATED, Parts, load, true_process
from sartor.tasks.events.hawkes import Hawkes, fit_hawkes, fit_poisson
from sartor.tasks.events.metrics import calibration_error, log_likelihood, time_error, type_accuracy
from sartor.tasks.events.network import PointProcess, State
from sartor.tasks.events.options import Options
from sartor.tasks.events.space import hand_designed, make_space
from sartor.tasks.events.windows import Sequences
from sartor.training.recipe import Recipe

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.training import Step

TRAINING_NODES, EXACT_NODES = 6, 24
"""Of the rule that integrates an intensity from one event to the next, in training and for scores."""
PREDICT_BATCH = 64
HORIZON, NUM_PLACES = 50.0, 96
"""How far the median of the next event is looked for, in mean gaps, and at how many places."""
EXAMPLE_LENGTH = 16
CURVE_POINTS = 600
STEPS = 400
"""Of a full training. On simulated data validation is the best after 250 to 400, and only worse after."""
WINDOW = ("time", "type", "present", "origin", "end")
"""Columns of a part: the fields of ``Sequences``."""


class Batch(NamedTuple):
    """What a network reads of some sequences, in units of the mean gap: gaps and types ``(n, length)``, the part of
    each gap that lies in the window, ``(n, length + 1)``, and which events are scored, ``(n, length)``."""

    gap: Tensor
    type: Tensor
    scored: Tensor
    begin: Tensor
    end: Tensor


class Deployed(nn.Module):
    """The intensity of each type some time after the last of a few events, in events per unit of the data's time.

    Args:
        network: Of mean gaps.
        mean_gap: In the unit of the data's time.
    """

    mean_gap: Tensor

    def __init__(self, network: PointProcess, mean_gap: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean_gap", torch.tensor(mean_gap, dtype=torch.float32))

    def forward(self, gap: Tensor, kind: Tensor, since: Tensor) -> Tensor:
        """Maps gaps before each event and types, ``(n, length)``, and the time since the last, ``(n,)``, to
        intensities ``(n, types)``; the first gap counts from where watching began."""
        state = self.network(gap / self.mean_gap, kind).at(gap.shape[1])
        rates: Tensor = self.network.intensity(state.after(since / self.mean_gap)) / self.mean_gap
        return rates


class Events(Task):
    """Sequences of events in continuous time, each of a type. See the package's page for data, windows and metrics.

    The data are read when the task is made, so that what is wrong with them is said at once.

    Args:
        source: A CSV, TSV or Parquet file, ``simulated``, or None for that.
        options: See ``Options``.

    Attributes:
        epochs: Of a full training: about 400 steps, at least 4 epochs.
        types: Names, in the order of the intensities.
        mean_gap: Window time over events of the training part.

    Raises:
        DataError: the data cannot be used; the message says why and what to do.
    """

    Options = Options
    metrics = {
        "log_likelihood": Metric(log_likelihood, "max", "nats/event"),
        "type_accuracy": Metric(type_accuracy),
        "time_error": Metric(time_error, "min"),
        "calibration_error": Metric(calibration_error, "min"),
    }

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        self._parts: Parts = load(source, self.options)
        self.types, self.unit = self._parts.types, self._parts.unit
        train = self._parts.sequences.take(self._parts.rows_of(TRAIN))
        self.mean_gap = float(train.end.sum() / max(1, train.scored.sum()))
        counts = np.bincount(train.type[train.scored], minlength=len(self.types))
        self._shares = tuple((counts / max(1, counts.sum())).tolist())
        batch = min(32, max(2, len(train) // 4))
        self.recipe = Recipe(learning_rate=5e-3, weight_decay=1e-1, batch_size=batch, ema_decay=0.99)
        self.epochs = float(round(min(300.0, max(4.0, STEPS * batch / len(train)))))
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
        some = self._parts.sequences.take(index)
        return Rows(
            time=torch.from_numpy(some.time),
            type=torch.from_numpy(some.type),
            present=torch.from_numpy(some.present),
            origin=torch.from_numpy(some.origin),
            end=torch.from_numpy(some.end),
        )

    @cached_property
    def classical(self) -> dict[str, Hawkes]:
        """The models to beat, fitted to the training part; of simulated data the process that made them too."""
        train = self._parts.sequences.take(self._parts.rows_of(TRAIN))
        models = {
            "Poisson": fit_poisson(train, len(self.types)),
            "exponential Hawkes": fit_hawkes(train, len(self.types)),
        }
        if self.source in (None, SIMULATED):
            models["the process that made the data"] = true_process()
        return models

    def classical_likelihoods(self, predictions: Predictions) -> dict[str, np.ndarray]:
        """Returns the log-likelihoods of a part's sequences under the models to beat, ``(n,)`` each, in nats.

        They are not among the predictions: fitting takes seconds, and networks are scored many times.
        """
        sequences = Sequences(*(predictions[f"window.{name}"] for name in WINDOW))
        return {name: model.log_likelihood(sequences) for name, model in self.classical.items()}

    # --- space

    def space(self) -> Space:
        if self._space is None:
            self._space = make_space(self._shares)
        return self._space

    def baseline(self) -> Architecture:
        return hand_designed(self.space())

    # --- training

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        """Returns minus the log-likelihood of the windows, in nats an event."""
        assert isinstance(network, PointProcess)
        read = self._batch(batch)
        logs, compensator, _ = _terms(network, network(read.gap, read.type), read, TRAINING_NODES)
        return (compensator.sum() - logs.sum()) / read.scored.sum().clamp_min(1)

    def _batch(self, rows: Mapping[str, Tensor]) -> Batch:
        # Only as long as the longest of the batch, which is a fraction of the longest of all.
        length = max(1, int(rows["present"].sum(1).max()))
        time, present = rows["time"][:, :length], rows["present"][:, :length]
        before = torch.cat((rows["origin"][:, None], time), 1)
        after = torch.cat((time, rows["end"][:, None]), 1)
        # Where no event is, both are the window's end.
        begin = before.clamp_min(0) - before
        end = torch.maximum(after.clamp_min(0) - before, begin)
        scale = self.mean_gap
        gap = torch.where(present, after[:, :-1] - before[:, :-1], 0.0)
        return Batch(
            (gap / scale).float(),
            rows["type"][:, :length],
            present & (time > 0),
            (begin / scale).float(),
            (end / scale).float(),
        )

    def deploy(self, network: nn.Module, architecture: Mapping[str, Any] | None) -> Deployed:
        assert isinstance(network, PointProcess)
        device = next(network.parameters()).device
        return Deployed(network, self.mean_gap).to(device).train(network.training)

    # --- output

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[Tensor, ...]:
        gap = torch.full((batch_size, EXAMPLE_LENGTH), self.mean_gap)
        return gap, torch.zeros(batch_size, EXAMPLE_LENGTH, dtype=torch.int64), gap[:, 0]

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        """Returns, for each scored event of a part and for each of its sequences, what the network says.

        Returns:
            ``gap``, ``median_gap`` float64 ``(m,)``: time since the last event (since the window's beginning for its
            first), and the median that was expected; ``rescaled_gap`` ``(m,)``: the integral of the intensity over it;
            ``type`` int64 ``(m,)``, ``type_probabilities`` ``(m, types)`` at its time; ``sequence_log_likelihood``
            ``(n,)``, nats; ``integration_error`` ``(1,)``: nats an event between two rules of integration;
            ``window.time``, ``window.type``, ``window.present`` ``(n, length)``, ``window.origin``, ``window.end``
            ``(n,)``: the sequences themselves, for models to compare with; ``curve_time``, ``curve`` ``(points,)``,
            ``(types, points)``, ``curve_events`` ``(types, points)``: the intensities of one sequence, and how many
            events came by then.
        """
        assert isinstance(deployed, Deployed)
        network = deployed.network
        found: dict[str, list[np.ndarray]] = {}
        refined = 0.0
        for at in range(0, len(part), PREDICT_BATCH):
            read = self._batch(part.take(np.arange(at, min(at + PREDICT_BATCH, len(part)))))
            states = network(read.gap, read.type)
            logs, compensator, rates = _terms(network, states, read, EXACT_NODES)
            refined += float((_terms(network, states, read, 2 * EXACT_NODES)[1] - compensator).abs().sum())
            scored = read.scored
            begin = read.begin[:, :-1][scored]
            total = logs.sum(1) - compensator.sum(1) - scored.sum(1) * math.log(self.mean_gap)
            values = {
                "gap": (read.end[:, :-1][scored] - begin) * self.mean_gap,
                "median_gap": _median(network, _taken(states, scored), begin) * self.mean_gap,
                "rescaled_gap": compensator[:, :-1][scored],
                "type": read.type[scored],
                "type_probabilities": rates / rates.sum(-1, keepdim=True),
                "sequence_log_likelihood": total,
            }
            for name, value in values.items():
                found.setdefault(name, []).append(value.double().numpy())
        joined = {name: np.concatenate(parts) for name, parts in found.items()}
        joined["type"] = joined["type"].astype(np.int64)
        return {
            **joined,
            "integration_error": np.array([refined / max(1, len(joined["gap"]))]),
            **{f"window.{name}": part.columns[name].numpy() for name in WINDOW},
            **self._curve(network, part),
        }

    def _curve(self, network: PointProcess, part: Rows) -> dict[str, np.ndarray]:
        """Returns the intensities of the sequence with the most events, over its window."""
        row = int(part.columns["present"].sum(1).argmax())
        rows = part.take(np.array([row]))
        read = self._batch(rows)
        states = network(read.gap, read.type)
        end = float(rows["end"][0])
        present = rows["present"][0]
        times, kinds = rows["time"][0][present].numpy(), rows["type"][0][present].numpy()
        # Both sides of each event: the intensity jumps there.
        grid = np.unique(
            np.concatenate((np.linspace(0, end, CURVE_POINTS), times[times > 0], times[times > 0] + 1e-6 * end))
        )
        last = np.searchsorted(times, grid, side="left")
        since = grid - np.concatenate((rows["origin"].numpy(), times))[last]
        state = states.each(lambda part: part[0, torch.from_numpy(last)])
        rates = network.intensity(state.after(torch.from_numpy(since / self.mean_gap).float())) / self.mean_gap
        counts = np.stack(
            [
                np.searchsorted(times[(kinds == kind) & (times > 0)], grid, side="right")
                for kind in range(len(self.types))
            ]
        )
        return {"curve_time": grid, "curve": rates.double().numpy().T.copy(), "curve_events": counts.astype(np.float64)}

    def describe(self) -> dict[str, Any]:
        """Returns the types, and the unit of gaps and intensities."""
        return {
            "types": list(self.types),
            "input": {"gap": self.unit, "kind": "index of the type", "since": self.unit},
            "output": f"events of each type per {self.unit}",
        }

    def show(self, predictions: Predictions) -> list[Picture]:
        """Returns the likelihood beside classical models, calibration, and the intensities of one sequence."""
        num = max(1, len(predictions["gap"]))
        models = {"this network": log_likelihood(predictions)}
        models |= {name: float(values.sum() / num) for name, values in self.classical_likelihoods(predictions).items()}
        counts = np.bincount(predictions["type"], minlength=len(self.types))
        rows = [(name, f"{value:.4f}") for name, value in sorted(models.items(), key=lambda item: -item[1])]
        error = float(predictions["integration_error"][0])
        title = f"Log-likelihood, nats an event, higher is better (integrals are off by {error:.1g} at most)"
        places = np.linspace(0, 1, 101)[1:-1]
        quantiles = np.stack((np.quantile(predictions["rescaled_gap"], places), -np.log1p(-places)))
        x = -np.log1p(-places)
        common = float(counts.max() / counts.sum())
        return [
            Table(tuple(rows), ("model", "nats/event"), title),
            Lines(
                predictions["curve_time"], predictions["curve"], self.types, self.unit, f"events per {self.unit}",
                "Intensity over time, of the sequence with the most events",
            ),
            Lines(
                predictions["curve_time"], predictions["curve_events"], self.types, self.unit, "events so far",
                "What happened in that sequence",
            ),
            Lines(
                x, quantiles, ("this network", "a perfect one"), "quantile of the exponential distribution",
                "quantile of rescaled gaps", "Calibration of times",
            ),
            Table(
                (
                    ("type of the next event, at its time", f"{type_accuracy(predictions):.3f} right"),
                    ("the most frequent type, always", f"{common:.3f} right"),
                ),
                ("prediction", "on this part"), "What comes next",
            ),
        ]  # fmt: skip


def _terms(network: PointProcess, states: State, read: Batch, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns log-intensities of scored events ``(n, length)``, 0 elsewhere, integrals over the gaps
    ``(n, length + 1)``, and intensities at the scored events ``(scored, types)``."""
    # Most of a batch fills up shorter sequences: only what counts is computed.
    rates = network.intensity(_taken(states, read.scored).after(read.gap[read.scored]))
    own = rates.gather(-1, read.type[read.scored].unsqueeze(-1))[..., 0].log()
    logs = torch.zeros_like(read.gap).masked_scatter(read.scored, own)
    counts = read.end > read.begin
    whole = network.integral(_taken(states, counts), read.begin[counts], read.end[counts], nodes).sum(-1)
    return logs, torch.zeros_like(read.begin).masked_scatter(counts, whole), rates


def _taken(states: State, mask: Tensor) -> State:
    """Returns the states ``(m, ...)`` before the events, or in the gaps, of a mask ``(n, length or length + 1)``."""
    row, column = mask.nonzero(as_tuple=True)
    index = row * states.start.shape[1] + column
    return states.each(lambda part: part.flatten(0, 1).index_select(0, index))


def _median(network: PointProcess, state: State, begin: Tensor) -> Tensor:
    """Returns the median wait from ``begin`` on, ``(m,)``: where the integrated intensity reaches log 2.

    Looked for on a grid that is dense at the beginning, with the trapezoid rule; beyond the horizon the intensity is
    taken as constant.
    """
    place = HORIZON * torch.linspace(0, 1, NUM_PLACES).to(begin) ** 3
    total = torch.zeros_like(begin)
    median = torch.full_like(begin, math.nan)
    before = network.intensity(state.after(begin)).sum(-1)
    for low, high in zip(place[:-1].tolist(), place[1:].tolist(), strict=True):
        rate = network.intensity(state.after(begin + high)).sum(-1)
        piece = (before + rate) / 2 * (high - low)
        here = median.isnan() & (total + piece >= math.log(2))
        median = torch.where(here, low + (high - low) * (math.log(2) - total) / piece, median)
        total, before = total + piece, rate
        if not median.isnan().any():
            return median
    return torch.where(median.isnan(), HORIZON + (math.log(2) - total) / before, median)
