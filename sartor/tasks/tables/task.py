"""The tables task: neural additive models, whose every prediction is a sum of terms that a person can read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.columns import read_columns
from sartor.data import TEST, TRAIN, VALIDATION, Rows, Sealed, Splits
from sartor.errors import InputError
from sartor.metrics import OF_CLASSES, OF_NUMBERS, confusion, metrics_of
from sartor.nets.additive import NeuralAdditive
from sartor.pictures import Lines, Matrix, Picture
from sartor.task import Predictions, Task
from sartor.tasks.tables.data import DEFAULT, Prepared, load
from sartor.tasks.tables.network import Additive, Encoder, left_out
from sartor.tasks.tables.options import Options
from sartor.tasks.tables.pairs import agreed_pairs, rank_pairs
from sartor.tasks.tables.shapes import Shapes
from sartor.tasks.tables.space import hand_designed, make_space
from sartor.training.recipe import Recipe

if TYPE_CHECKING:
    from sartor.space import Architecture, Space
    from sartor.training import Step

PREDICT_BATCH = 4096
STEPS = 3000
"""Of a full training, which ends when rows left out are no longer predicted better: few need as many."""
LONGEST_EPOCHS = 120.0
"""Of few rows, on which longer trainings overfit."""
PATIENCE = 6
"""Of 32 validations."""
BATCHES = ((1_500, 64), (8_000, 128), (30_000, 256), (math.inf, 512))
"""Rows a step, by training rows: few rows need many steps, of many each step may see more."""
NUM_CHUNKS = 20
"""Stretches of the target's range in the picture of predictions."""


class Tables(Task):
    """Rows of a table: numbers, categories, dates and missing values to a number or a class.

    See the package's page for data, preparation, parts and metrics. The data are read when the task is made, so that
    what is wrong with them is said at once.

    Args:
        source: A CSV, TSV or Parquet file, a name (``breast-cancer``, ``diabetes``, ``wine``), or None for the first.
        options: See ``Options``; a file needs ``target``.

    Attributes:
        epochs: Of the longest training: about 3,000 steps, at most 120 epochs.
        class_names: In the order of the logits; none for numbers.

    Raises:
        DataError: the data cannot be used; the message says why and what to do.
    """

    Options = Options
    metrics = {**OF_NUMBERS, **OF_CLASSES}
    missing_values = True

    def __init__(self, source: str | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        self._prepared: Prepared = load(source, self.options)
        self.form, self.class_names = self._prepared.form, self._prepared.classes
        num_classes = len(self.class_names)
        self.metrics = metrics_of(num_classes)
        train = self._prepared.rows_of(TRAIN)
        self._x, y = self._prepared.x[train], self._prepared.y[train]
        if num_classes:
            share = np.bincount(y, minlength=num_classes) / len(y)
            self._offset = np.log(share / share[0])[1:] if num_classes == 2 else np.log(share)
            self._scale = 1.0
        else:
            self._offset, self._scale = np.array([y.mean()]), float(y.std())
        self.num_outputs = len(self._offset)
        batch = next(size for rows, size in BATCHES if len(y) <= rows)
        batch = min(batch, max(2, len(y) // 4))
        self.recipe = Recipe(
            learning_rate=5e-3, weight_decay=1e-2, batch_size=batch, ema_decay=0.97, warmup=0.05, patience=PATIENCE
        )
        self.epochs = float(round(min(LONGEST_EPOCHS, max(4.0, STEPS * batch / len(y)))))
        self._splits: Splits | None = None
        self._rankings: dict[bytes, list[tuple[int, int]]] = {}
        self._pairs: dict[tuple[int, int], tuple[list[tuple[int, int]], np.ndarray]] = {}
        self._training: tuple[nn.Module, Mapping[str, Any] | None, Additive] | None = None

    # --- data

    def data(self) -> Splits:
        if self._splits is None:
            rows = {name: self._prepared.rows_of(name) for name in (TRAIN, VALIDATION, TEST)}
            # Without a part of its own, validation is of the training rows, each by those that left it out.
            test = rows[TEST]
            self._splits = Splits(
                self._rows(rows[TRAIN], with_folds=True),
                self._rows(rows[VALIDATION]) if len(rows[VALIDATION]) else self._rows(rows[TRAIN], with_folds=True),
                Sealed(lambda: self._rows(test)) if len(test) else None,
                ids={name: self._prepared.ids[own] for name, own in rows.items() if len(own)},
                fingerprint=self._prepared.fingerprint,
                notes=self._prepared.notes,
            ).check()
        return self._splits

    def _rows(self, index: np.ndarray, *, with_folds: bool = False) -> Rows:
        prepared = self._prepared
        columns = {"x": prepared.x, "y": prepared.y, "row": prepared.rows}
        if with_folds:
            columns["folds"] = prepared.folds
        return Rows(**{name: torch.from_numpy(column[index]) for name, column in columns.items()})

    def pairs(self, members: int, num: int) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Returns the pairs of features that most members find strongest, and who has which, bool ``(num, members)``.

        Each member ranks them by the rows that it learns from.
        """
        if (members, num) not in self._pairs:
            train = self._prepared.rows_of(TRAIN)
            y, rankings = self._prepared.y[train], []
            for out in left_out(members, torch.from_numpy(self._prepared.folds[train])).numpy():
                rows = out.tobytes()
                if num and rows not in self._rankings:
                    self._rankings[rows] = rank_pairs(self._x[~out], y[~out], len(self.class_names))
                rankings.append(self._rankings.get(rows, []))
            self._pairs[members, num] = agreed_pairs(rankings, num)
        return self._pairs[members, num]

    # --- space

    def space(self) -> Space:
        if self._space is None:
            levels = max((len(feature.levels) for feature in self.form.features), default=0)
            self._space = make_space(len(self.form.features), levels, self.num_outputs)
        return self._space

    def baseline(self) -> Architecture:
        return hand_designed(self.space(), len(self.form.features))

    # --- training

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor], step: Step) -> Tensor:
        """Returns the mean loss of the members, each on the rows that are its own, and the penalty on their terms."""
        if self._training is None or self._training[0] is not network or self._training[1] != step.architecture:
            self._training = (network, step.architecture, self.deploy(network, step.architecture))
        model = self._training[2]
        terms = model.terms(batch["x"])
        scores = model.scores(terms)
        own = (~left_out(len(scores), batch["folds"])).to(scores.dtype)
        each = self._losses(scores, batch["y"], step.recipe.label_smoothing)
        loss = (each * own).sum() / own.sum().clamp(min=1)
        penalty = 0.0 if step.architecture is None else float(step.architecture.get("penalty", 0.0))
        return loss + penalty * terms.square().mean() if penalty else loss

    def _losses(self, scores: Tensor, y: Tensor, smoothing: float) -> Tensor:
        """Returns the loss of each member and row, ``(members, n)``."""
        if not self.class_names:
            target = (y.to(scores.dtype)) / self._scale
            return 0.5 * (scores[..., 0] - target).square()
        if self.num_outputs == 1:
            label = y.to(scores.dtype) * (1 - smoothing) + smoothing / 2
            return functional.binary_cross_entropy_with_logits(
                scores[..., 0], label.expand(scores.shape[:-1]), reduction="none"
            )
        flat = functional.cross_entropy(
            scores.flatten(0, 1), y.repeat(scores.shape[0]), reduction="none", label_smoothing=smoothing
        )
        return flat.reshape(scores.shape[:-1])

    def deploy(self, network: nn.Module, architecture: Mapping[str, Any] | None) -> Additive:
        """Returns the network behind the encoding of rows."""
        network = cast(NeuralAdditive, network)
        num_pairs = len(network.missing) - len(self.form.features)
        encoder = Encoder(self.form.features, self._x, network.bins, network.in_width)
        deployed = Additive(
            encoder,
            network,
            *self.pairs(network.members, num_pairs),
            offset=self._offset.tolist(),
            scale=self._scale,
            two_classes=len(self.class_names) == 2,
        )
        device = next(p.device for p in network.parameters())
        return deployed.to(device).train(network.training)

    # --- output

    def example_inputs(self, architecture: Architecture, batch_size: int = 1) -> tuple[Tensor, ...]:
        return (torch.zeros(batch_size, len(self.form.features)),)

    def predict(self, deployed: nn.Module, part: Rows) -> Predictions:
        """Returns the output for each row of a part; for training rows, of the members that left a row out.

        Returns:
            ``row`` int64 ``(n,)``, its number in the file; ``label`` int64 ``(n,)`` and ``probabilities`` float64
            ``(n, classes)``, or ``target`` and ``value`` float64 ``(n,)``.

        Raises:
            InputError: training rows are asked of a file, which answers for all members at once.
        """
        if "folds" in part.columns and not isinstance(deployed, Additive):
            raise InputError(
                "rows that train an ensemble score only the members that left them out, which a file cannot tell apart:"
                " keep rows for validation (--validation 0.2)"
            )
        with torch.no_grad():
            given = [part.columns[name].split(PREDICT_BATCH) for name in ("x", "folds") if name in part.columns]
            outputs = torch.cat([deployed(*chunk) for chunk in zip(*given, strict=True)]).double()
        common = {"row": part.columns["row"].numpy()}
        truth = part.columns["y"].numpy()
        if self.class_names:
            return {**common, "label": truth, "probabilities": outputs.softmax(-1).numpy()}
        return {**common, "target": truth, "value": outputs[:, 0].numpy()}

    def show(self, predictions: Predictions) -> list[Picture]:
        """Returns the confusion matrix, or of numbers how far predictions are from them over their range."""
        if self.class_names:
            names, counts = self.class_names, confusion(predictions)
            return [Matrix(counts, names, names, "true class", "predicted class", "Confusion matrix (rows)")]
        order = np.argsort(predictions["target"], kind="stable")
        chunks = np.array_split(order, min(NUM_CHUNKS, max(2, len(order) // 5)))
        target, value = predictions["target"], predictions["value"]
        x = np.array([target[rows].mean() for rows in chunks])
        y = np.array([np.quantile(value[rows], (0.1, 0.5, 0.9)) for rows in chunks]).T
        names = ("one in ten is below", "median", "one in ten is above", "as the target is")
        title = f"Predictions over the range of {self._prepared.target}"
        return [Lines(x, np.concatenate([y, x[None]]), names, self._prepared.target, "predicted", title)]

    def shapes(self, deployed: nn.Module) -> Shapes:
        """Returns the terms of a trained network, centred over the training rows."""
        names = self.class_names[1:] if len(self.class_names) == 2 else self.class_names or (self._prepared.target,)
        unit = ("log-odds" if len(names) == 1 else "score") if self.class_names else self._prepared.target
        return Shapes(cast(Additive, deployed), self.form.features, self._x, names, unit)

    def inspect(self, deployed: nn.Module) -> list[Picture]:
        """Returns how much each term moves predictions, and the shapes of those that do most."""
        return self.shapes(deployed).pictures()

    def explain(self, deployed: nn.Module, row: int, source: str | None = None) -> list[Picture]:
        """Returns what each term adds to the prediction of a row of the data, or of another table."""
        if source is None:
            x, rows = self._prepared.x, self._prepared.rows
            notes: list[str] = []
        else:
            names = list(self.form.kinds)
            columns = read_columns(source, kinds=self.form.kinds, only=names, missing=self.form.missing)
            x, notes = self.form.encode(columns)
            rows = np.arange(len(x)) + 1
        place = np.flatnonzero(rows == row)
        if not len(place):
            raise InputError(f"expected a row with a target between {rows.min()} and {rows.max()}, got row {row}")
        title = "; ".join([f"Row {row} of {source or self.source or DEFAULT}", *notes])
        return [self.shapes(deployed).row(x[place[0]], title, classes=bool(self.class_names))]

    def describe(self) -> dict[str, Any]:
        """Returns classes, target, and under ``input`` all that ``preprocess.read`` needs."""
        return {
            "classes": list(self.class_names),
            "target": self._prepared.target,
            "input": self.form.describe(),
            "output": "logits" if self.class_names else "value",
            "preprocess": "sartor.tasks.tables.preprocess:read",
        }
