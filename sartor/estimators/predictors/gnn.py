"""A graph network over the wiring of an architecture.

Graph isomorphism layers (Xu et al. 2019, "How Powerful are Graph Neural Networks?", arXiv:1810.00826) in both
directions of the edges, each with weights of its own, as in the predictors of Wen et al. 2020, arXiv:1912.00848. A node
is the words of its label, those that no trained label has left out. The network is the mean over nodes and
the state of the output after each layer, beside training-free scores.

With ``loss="rank"`` pairs are told apart by a hinge, as in Ning et al. 2020, arXiv:2004.01899; the scores are then
brought to the scale of the values by a line.

Several networks are trained; their disagreement and the error on values left out give the deviations, as in `ensemble`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.estimators.predictors._committee import folds, left_out
from sartor.estimators.predictors._inputs import Columns, Scores, check_fitted, check_values, read
from sartor.estimators.predictors._warp import Scale, WarpKind
from sartor.estimators.predictors.ensemble import calibrated
from sartor.registry import Spec
from sartor.space import Architecture, Graph, Space

if TYPE_CHECKING:
    import torch

SPEC = Spec(
    "gnn",
    "sartor.estimators.predictors.gnn:GNN",
    "graph network over the wiring, squared or ranking loss",
    citation="Xu et al. 2019, arXiv:1810.00826; Wen et al. 2020, arXiv:1912.00848",
)

Array = npt.NDArray[np.float64]
Loss = Literal["squared", "rank"]
_NUM_FOLDS = 4
_BATCH = 64
_MARGIN = 0.1
"""By which the better of a pair should be ahead, in standard deviations of the values."""
_PART = 2048


class _Batch(NamedTuple):
    nodes: torch.Tensor
    """``[n, most nodes, 1 + words]``: whether there is a node, and its words."""
    before: torch.Tensor
    """``[n, most nodes, most nodes]``: 1 where the column feeds the row."""
    scores: torch.Tensor
    """``[n, k]``."""

    def rows(self, rows: torch.Tensor) -> _Batch:
        return _Batch(self.nodes[rows], self.before[rows], self.scores[rows])


class GNN:
    """Predicts by graph networks.

    Args:
        space: Whose architectures are predicted.
        seed: Same seed and values, same predictions.
        features: Training-free scores, read beside the graph.
        warp: Scale on which values are learnt.
        loss: ``squared`` or ``rank``.
        width: Of node states.
        num_layers: Messages passed.
        num_networks: In the ensemble, at least 2.
        steps: Of AdamW on at most 64 values each.
        learning_rate: At first; falls to 0 as a cosine.
        weight_decay: Of AdamW.

    Raises:
        InputError: An option that is not as said.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        features: Columns | None = None,
        warp: WarpKind = "log",
        loss: Loss = "squared",
        width: int = 32,
        num_layers: int = 3,
        num_networks: int = 3,
        steps: int = 200,
        learning_rate: float = 0.01,
        weight_decay: float = 0.1,
    ) -> None:
        if loss not in ("squared", "rank"):
            raise InputError(f"loss is squared or rank, got {loss!r}")
        if num_networks < 2 or min(width, num_layers, steps) < 1:
            raise InputError("num_networks is at least 2; width, num_layers and steps are at least 1")
        self._space, self._seed, self._features, self._kind, self._loss = space, seed, features, warp, loss
        self._width, self._num_layers, self._num, self._steps = width, num_layers, num_networks, steps
        self._rate, self._decay = learning_rate, weight_decay
        self._networks: _Networks | None = None
        self._graphs: dict[Architecture, Graph] = {}

    def fit(self, architectures: Sequence[Architecture], values: Array) -> None:
        """See `sartor.contracts.Predictor`."""
        import torch

        values = check_values(architectures, values)
        self._scale, targets = Scale.fit(values, self._kind)
        words = {word for each in architectures for label in self._graph(each).labels for word in label.split()}
        self._words = {word: i for i, word in enumerate(sorted(words), 1)}
        if self._features is not None:
            self._scores = Scores(read(self._features, architectures))
        batch = self._batch(architectures)
        n = len(targets)
        num_folds = min(_NUM_FOLDS, n) if n > 2 else 0
        own = folds(n, max(num_folds, 1), np.random.default_rng([self._seed, 43]))
        shares = np.ones((self._num, n))
        if num_folds:
            shares = np.vstack([shares, left_out(own, num_folds, 2)])
        generator = torch.Generator().manual_seed(self._seed)
        self._networks = _Networks(
            len(shares), 1 + len(self._words), batch.scores.shape[1], self._width, self._num_layers, generator
        )
        wanted = torch.as_tensor(targets, dtype=torch.float32)
        weights = torch.as_tensor(shares, dtype=torch.float32)
        self._train(batch, wanted, weights, generator)
        said = self._networks.predict(batch)
        # A ranking loss leaves the scale of its scores open.
        self._slope, self._offset = np.ones(len(shares)), np.zeros(len(shares))
        if self._loss == "rank":
            for i, share in enumerate(shares):
                self._slope[i], self._offset[i] = _line(said[i, share > 0], targets[share > 0])
        said = self._scaled(said)
        self._factor, self._floor = 1.0, 1.0
        if num_folds:
            unseen = said[self._num :].reshape(num_folds, 2, n)[own, :, np.arange(n)]
            self._factor, self._floor = calibrated(targets - unseen.mean(1), unseen.var(1, ddof=1))

    def _train(self, batch: _Batch, wanted: torch.Tensor, weights: torch.Tensor, generator: torch.Generator) -> None:
        import torch

        from sartor._threads import one_thread

        assert self._networks is not None
        parameters = self._networks.parameters
        optimizer = torch.optim.AdamW(parameters, self._rate, weight_decay=self._decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._steps)
        with one_thread():
            for _ in range(self._steps):
                rows = torch.randperm(len(wanted), generator=generator)[:_BATCH]
                said, share = self._networks.forward(batch.rows(rows)), weights[:, rows]
                if self._loss == "squared":
                    errors = (said - wanted[rows]) ** 2
                else:
                    better = (wanted[rows][:, None] - wanted[rows]).sign()
                    ahead = (said[:, :, None] - said[:, None]) * better
                    pairs = (_MARGIN - ahead).clamp(min=0) * (better != 0) * share[:, None]
                    # A little of the size, so that scores do not drift.
                    errors = pairs.sum(2) / share.sum(1, keepdim=True).clamp(min=1e-9) + 1e-3 * said**2
                loss = ((errors * share).sum(1) / share.sum(1).clamp(min=1e-9)).sum()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()

    def _scaled(self, said: Array) -> Array:
        return said * self._slope[:, None] + self._offset[:, None]

    def predict(self, architectures: Sequence[Architecture]) -> tuple[Array, Array]:
        """See `sartor.contracts.Predictor`. The noise of single trainings is part of the deviations."""
        check_fitted(self._networks)
        assert self._networks is not None
        parts = [architectures[i : i + _PART] for i in range(0, len(architectures), _PART)]
        if not parts:
            return np.empty(0), np.empty(0)
        said = np.concatenate([self._networks.predict(self._batch(part)) for part in parts], 1)
        said = self._scaled(said)[: self._num]
        variance = self._factor * said.var(0, ddof=1) + self._floor
        return self._scale.moments(said.mean(0), np.sqrt(variance))

    def _graph(self, architecture: Architecture) -> Graph:
        if architecture not in self._graphs:
            self._graphs[architecture] = self._space.graph(architecture).live()
        return self._graphs[architecture]

    def _batch(self, architectures: Sequence[Architecture]) -> _Batch:
        import torch

        graphs = [self._graph(each) for each in architectures]
        most = max(len(graph.labels) for graph in graphs)
        nodes = np.zeros((len(graphs), most, 1 + len(self._words)), np.float32)
        before = np.zeros((len(graphs), most, most), np.float32)
        for row, graph in enumerate(graphs):
            # The output is last in all, so that it is read at one place.
            last = len(graph.labels) - 1
            at = [*range(last), most - 1]
            nodes[row, at, 0] = 1.0
            for node, label in enumerate(graph.labels):
                for word in label.split():
                    if word in self._words:
                        nodes[row, at[node], self._words[word]] = 1.0
            for source, target in graph.edges:
                before[row, at[target], at[source]] = 1.0
        scores = np.zeros((len(graphs), 0))
        if self._features is not None:
            scores = self._scores(read(self._features, architectures))
        return _Batch(torch.from_numpy(nodes), torch.from_numpy(before), torch.as_tensor(scores, dtype=torch.float32))


class _Networks:
    """Graph networks of the same layers and different weights, computed at once."""

    def __init__(
        self, num: int, num_words: int, num_scores: int, width: int, num_layers: int, generator: torch.Generator
    ) -> None:
        import torch

        self.parameters: list[torch.Tensor] = []

        def weight(before: int, after: int) -> torch.Tensor:
            made: torch.Tensor = torch.randn(num, before, after, generator=generator) * (2 / max(before, 1)) ** 0.5
            made.requires_grad_()
            self.parameters.append(made)
            return made

        def bias(after: int) -> torch.Tensor:
            made = torch.zeros(num, 1, after, requires_grad=True)
            self.parameters.append(made)
            return made

        self._embed = weight(num_words, width), bias(width)
        self._layers = [(weight(3 * width, width), bias(width)) for _ in range(num_layers)]
        self._read = weight(2 * width * num_layers + num_scores, width), bias(width)
        self._last = weight(width, 1), bias(1)

    def forward(self, batch: _Batch) -> torch.Tensor:
        """Returns what each network says, ``[num, n]``."""
        import torch
        from torch.nn.functional import silu

        n, most, _ = batch.nodes.shape
        num, _, width = self._embed[1].shape
        present = batch.nodes[..., :1].reshape(1, n * most, 1)
        around = torch.cat([batch.before, batch.before.transpose(1, 2)], 1)
        nodes = batch.nodes.reshape(1, n * most, -1).expand(num, -1, -1)
        hidden = torch.baddbmm(self._embed[1], nodes, self._embed[0]) * present
        found = []
        for weight, bias in self._layers:
            # All networks side by side, so that there is one product a graph. Sums: two equal branches are not one.
            beside = hidden.view(num, n, most, width).permute(1, 2, 0, 3).reshape(n, most, num * width)
            message = (around @ beside).view(n, 2, most, num, width).permute(3, 0, 2, 1, 4)
            inputs = torch.cat([hidden, message.reshape(num, n * most, 2 * width)], 2)
            hidden = _normalised(silu(torch.baddbmm(bias, inputs, weight))) * present + hidden
            states = hidden.view(num, n, most, width)
            found += [states.sum(2) / present.view(n, most, 1).sum(1), states[:, :, -1]]
        read = torch.cat([*found, batch.scores.expand(num, -1, -1)], 2)
        said: torch.Tensor = torch.baddbmm(
            self._last[1], silu(torch.baddbmm(self._read[1], read, self._read[0])), self._last[0]
        )
        return said[..., 0]

    def predict(self, batch: _Batch) -> Array:
        import torch

        from sartor._threads import one_thread

        with torch.no_grad(), one_thread():
            said: Array = self.forward(batch).double().numpy()
        return said


def _normalised(states: torch.Tensor) -> torch.Tensor:
    centred = states - states.mean(-1, keepdim=True)
    return centred / (centred.var(-1, keepdim=True, unbiased=False) + 1e-3).sqrt()


def _line(said: Array, wanted: Array) -> tuple[float, float]:
    """Returns slope and offset that bring scores to the scale of values."""
    variance = float(said.var())
    slope = float(((said - said.mean()) * (wanted - wanted.mean())).mean()) / variance if variance > 1e-12 else 0.0
    return slope, float(wanted.mean() - slope * said.mean())
