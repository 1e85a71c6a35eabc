"""What an additive model has learnt, as pictures: each term's shape, how much it moves, what it adds to one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sartor.pictures import Curve, Matrix, Picture, Table
from sartor.tasks.tables.network import Additive
from sartor.tasks.tables.preprocess import Feature

MAX_CURVES = 12
MAX_MAPS = 4
MAX_TERMS = 40
"""Terms listed by how much they move predictions."""
MOST_ROWS = 4_000
"""Training rows over which terms are centred, drawn evenly."""
NUM_POINTS = 80
NUM_DENSITY = 40
MAP_SIDE = 8
MOST_SERIES = 4
"""Classes drawn in one picture: those that a term tells apart most."""


@dataclass(frozen=True)
class Terms:
    """Terms of rows, centred: each has mean 0 over the training rows, what was taken out is in the base.

    Attributes:
        values: float64 ``(terms, members, n, outputs)``, in the target's unit or in log-odds.
        base: ``(outputs,)``: the prediction of all terms at their mean.
    """

    values: np.ndarray
    base: np.ndarray


class Shapes:
    """An additive model with its training rows.

    Args:
        model: In eval mode.
        features: Of the rows.
        x: Training rows, float32 ``(n, features)``.
        outputs: Names of the outputs: the class that each speaks for, or the target.
        unit: What terms are in.
    """

    def __init__(
        self, model: Additive, features: Sequence[Feature], x: np.ndarray, outputs: Sequence[str], unit: str
    ) -> None:
        self.model, self.features, self.outputs, self.unit = model, features, outputs, unit
        self.x = x if len(x) <= MOST_ROWS else x[np.linspace(0, len(x) - 1, MOST_ROWS).astype(np.int64)]
        self.pairs = list(zip(model.first.tolist(), model.second.tolist(), strict=True))
        self.sees = [(i,) for i in range(len(features))] + self.pairs
        raw = self._raw(self.x)
        self._centre = raw.mean(2, keepdims=True)
        self.base = self._base(model)
        self.importance = np.abs((raw - self._centre).mean(1)).mean((1, 2))

    def _base(self, model: Additive) -> np.ndarray:
        own = (model.network.bias[:, 0].mean(0) * model.scale + model.offset).detach().double().numpy()
        found: np.ndarray = own + self._centre.mean(1)[:, 0].sum(0)
        return found

    def _raw(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            terms = self.model.terms(torch.from_numpy(np.ascontiguousarray(x, np.float32)))
        return terms.double().numpy() * self.model.scale

    def terms(self, x: np.ndarray) -> Terms:
        """Returns the centred terms of rows, float32 ``(n, features)``."""
        return Terms(self._raw(x) - self._centre, self.base)

    def name(self, term: int) -> str:
        """Returns the name of a term."""
        return " × ".join(self.features[i].name for i in self.sees[term])

    # --- pictures

    def pictures(self) -> list[Picture]:
        """Returns how much each term moves, the shapes of those that move most, and maps of pairs."""
        order = np.argsort(-self.importance, kind="stable").tolist()
        share = self.importance / max(self.importance.sum(), 1e-300)
        rows = tuple((self.name(t), f"{self.importance[t]:.4g}", f"{share[t]:.1%}") for t in order[:MAX_TERMS])
        found: list[Picture] = [
            Table(rows, ("term", f"mean size, {self.unit}", "share"), "How much each term moves predictions")
        ]
        grids = [self._grid(i) for i in range(len(self.features))]
        drawn = [t for t in order if t < len(self.features)][:MAX_CURVES]
        if drawn:
            found += self._curves(drawn, grids)
        found += [self._map(t) for t in [t for t in order if t >= len(self.features)][:MAX_MAPS]]
        return found

    def _grid(self, feature: int) -> np.ndarray:
        """Returns the values of a feature at which its term is drawn."""
        known = self.x[:, feature][~np.isnan(self.x[:, feature])]
        if self.features[feature].is_category:
            return np.arange(len(self.features[feature].levels), dtype=np.float64)
        if not len(known):
            return np.array([0.0, 1.0])
        low, high = np.quantile(known, (0.005, 0.995)).tolist()
        if low == high:
            low, high = float(known.min()), float(known.max())
        return np.linspace(low, high, NUM_POINTS) if high > low else np.array([low - 0.5, low + 0.5])

    def _curves(self, terms: Sequence[int], grids: Sequence[np.ndarray]) -> list[Picture]:
        # Terms of one feature read no other: one pass draws all of them.
        x = np.full((max(len(grids[t]) for t in terms), len(self.features)), np.nan, np.float32)
        for t in terms:
            x[: len(grids[t]), t] = grids[t]
        values = self.terms(x).values
        found: list[Picture] = []
        for t in terms:
            feature, grid = self.features[t], grids[t]
            own = values[t][:, : len(grid)]
            series = self._telling(own.mean(0))
            mean, spread = own.mean(0).T[series], own.std(0).T[series]
            found.append(
                Curve(
                    grid,
                    mean,
                    mean - spread,
                    mean + spread,
                    self._density(t, grid),
                    names=tuple(self.outputs[k] for k in series) if len(self.outputs) > 1 else (),
                    ticks=feature.levels,
                    x_label=f"{feature.name}{' (days since 1970)' if feature.is_day else ''}",
                    y_label=self.unit,
                    title=feature.name,
                )
            )
        return found

    def _telling(self, values: np.ndarray) -> list[int]:
        """Returns the outputs that vary most, in their order; ``values`` has shape ``(n, outputs)``."""
        return [int(k) for k in np.sort(np.argsort(-values.std(0), kind="stable")[:MOST_SERIES])]

    def _density(self, feature: int, grid: np.ndarray) -> np.ndarray:
        known = self.x[:, feature][~np.isnan(self.x[:, feature])].astype(np.float64)
        if self.features[feature].is_category:
            counts = np.bincount(known.astype(np.int64), minlength=len(grid))
        else:
            counts = np.histogram(known, NUM_DENSITY, (grid[0], grid[-1]))[0]
        return np.asarray(counts / max(1, counts.sum()))

    def _map(self, term: int) -> Picture:
        i, j = self.pairs[term - len(self.features)]
        first, second = self._places(int(i)), self._places(int(j))
        x = np.full((len(first) * len(second), len(self.features)), np.nan, np.float32)
        x[:, i], x[:, j] = np.repeat(first, len(second)), np.tile(second, len(first))
        values = self.terms(x).values[term].mean(0)
        output = self._telling(values)[0] if len(self.outputs) > 1 else 0
        of = f" for {self.outputs[output]}" if len(self.outputs) > 1 else ""
        return Matrix(
            values[:, output].reshape(len(first), len(second)),
            tuple(self.text(i, value, figures=4) for value in first),
            tuple(self.text(j, value, figures=4) for value in second),
            self.features[i].name,
            self.features[j].name,
            f"{self.name(term)}{of}, {self.unit}",
        )

    def _places(self, feature: int) -> np.ndarray:
        known = self.x[:, feature][~np.isnan(self.x[:, feature])]
        if self.features[feature].is_category:
            counts = np.bincount(known.astype(np.int64))
            return np.sort(np.argsort(-counts, kind="stable")[:MAP_SIDE]).astype(np.float64)
        return np.sort(np.unique(np.quantile(known, np.linspace(0.02, 0.98, MAP_SIDE)))).astype(np.float64)

    def text(self, feature: int, value: float, figures: int = 6) -> str:
        """Returns a value of a feature as a person writes it, a number with so many figures."""
        own = self.features[feature]
        if np.isnan(value):
            return "missing"
        if own.is_category:
            return own.levels[int(value)]
        if own.is_day:
            return str(np.datetime64(round(float(value) * 1440), "m"))[:16].replace("T", " ").removesuffix(" 00:00")
        return f"{value:.{figures}g}"

    def row(self, x: np.ndarray, title: str, *, classes: bool) -> Table:
        """Returns what each term adds to one row's prediction, the largest first, ± its deviation over the ensemble.

        Args:
            x: The row, float32 ``(features,)``.
            title: What row it is.
            classes: Outputs are scores of classes: the most probable's is explained.
        """
        terms = self.terms(x[None])
        members = terms.values[:, :, 0]
        total = members.mean(1).sum(0) + self.base
        output = int(total.argmax()) if len(self.outputs) > 1 else 0
        added, spread = members[..., output].mean(1), members[..., output].std(1)
        rows = [("(all terms at their mean)", "", f"{self.base[output]:+.4g}", "")]
        for t in np.argsort(-np.abs(added), kind="stable").tolist():
            shown = ", ".join(self.text(i, float(x[i])) for i in self.sees[t])
            rows.append((self.name(t), shown, f"{added[t]:+.4g}", f"{spread[t]:.2g}"))
        rows.append(("sum", "", f"{total[output]:+.4g}", ""))
        what = f"{self.unit} of {self.outputs[output]}" if classes else self.unit
        said = self._said(total, output) if classes else f"{total[0]:.4g}"
        return Table(tuple(rows), ("term", "value", "adds", "±"), f"{title}: {said}; terms add {what}")

    def _said(self, total: np.ndarray, output: int) -> str:
        if len(total) == 1:
            return f"probability of {self.outputs[0]} {1 / (1 + np.exp(-total[0])):.3f}"
        shares = np.exp(total - total.max())
        return f"probability of {self.outputs[output]} {shares[output] / shares.sum():.3f}"
