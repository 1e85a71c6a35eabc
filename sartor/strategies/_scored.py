"""What the training-free scores of some architectures tell of all the others.

A network has to be built and run to be scored, which a search cannot do for the hundreds of candidates of every
proposal. But scores are nearly a function of what an architecture is made of: a Gaussian process a score, fitted to the
architectures that were scored before the search, predicts the others at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.space import Architecture, Space

if TYPE_CHECKING:
    from sartor.estimators.predictors.gaussian_process import GaussianProcess

Array = npt.NDArray[np.float64]
LEAST = 100
"""Scored architectures from which something is told of others: 50 tell too little (`benchmarks/promising.py`)."""
_MAX_FITTED = 500


@dataclass(frozen=True, eq=False)
class Scored:
    """Architectures scored before a search.

    Attributes:
        architectures: Each once.
        columns: Their scores by name, higher is better; minus infinity is a network that cannot learn.
    """

    architectures: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if len(column) != len(self.architectures) or not all(value < np.inf for value in column):
                num = len(self.architectures)
                raise InputError(f"expected {num} scores by {name}, finite or minus infinity, got {column[:5]} ...")

    def to_json(self) -> dict[str, Any]:
        columns = {name: [None if x == -np.inf else x for x in column] for name, column in self.columns.items()}
        return {"architectures": list(map(dict, self.architectures)), "columns": columns}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scored:
        columns = {
            name: tuple(-np.inf if x is None else float(x) for x in column) for name, column in value["columns"].items()
        }
        return cls(tuple(value["architectures"]), columns)


class PredictedScores:
    """Architectures to scores, ``[n, num_columns]``: normal quantiles among those scored, predicted for the others.

    Args:
        space: Of the architectures, or a part of it: what was scored and is not in it does not count.
        scored: Before the search.
    """

    def __init__(self, space: Space, scored: Scored) -> None:
        from sartor.estimators.predictors._warp import normal_scores

        self._space = space
        rows = [i for i, values in enumerate(scored.architectures) if space.contains(values)]
        known = [space.architecture(scored.architectures[i]) for i in rows]
        self._rows = {architecture: i for i, architecture in enumerate(known)}
        self._known = np.stack([normal_scores(np.array(c)[rows]) for c in scored.columns.values()], 1)

    @property
    def says(self) -> bool:
        """Whether enough was scored to predict from."""
        return len(self._rows) >= LEAST

    @cached_property
    def _processes(self) -> list[GaussianProcess]:
        from sartor.estimators.predictors._structure import Structure
        from sartor.estimators.predictors.gaussian_process import GaussianProcess

        fitted, structure, made = list(self._rows)[:_MAX_FITTED], Structure(self._space), []
        for column in self._known[: len(fitted)].T:
            made.append(GaussianProcess(self._space, structure=structure))
            made[-1].fit(fitted, column)
        return made

    def __call__(self, architectures: Sequence[Architecture]) -> Array:
        found = np.empty((len(architectures), self._known.shape[1]))
        at = [self._rows.get(architecture, -1) for architecture in architectures]
        new = [i for i, row in enumerate(at) if row < 0]
        if new:
            others = [architectures[i] for i in new]
            found[new] = np.stack([process.predict(others)[0] for process in self._processes], 1)
        known = [i for i, row in enumerate(at) if row >= 0]
        found[known] = self._known[[at[i] for i in known]]
        return found
