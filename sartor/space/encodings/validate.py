"""What an encoding is worth: does it keep the architecture, keep neighbours near, and serve for unseen topologies?

    from sartor.space.encodings.validate import validate
    print(validate(encoding, space, architectures=architectures, values=accuracies))

Reconstruction and unseen graphs are looked at as in arch2vec (Yan et al. 2020, arXiv:2006.06936) and in White et al.
2020 (arXiv:2007.04965).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sartor.contracts import Encoding
from sartor.errors import InputError
from sartor.space import Architecture, Graph, Space
from sartor.space.encodings._isomorphism import canonical_key
from sartor.space.encodings._survey import drawn, graphs_of

Array = npt.NDArray[np.float64]
_RIDGE = 0.1
"""Of a kernel ridge regression whose values have variance 1."""
_MAX_TRAINING = 300
_NUM_SPLITS = 8


@runtime_checkable
class Reconstructing(Protocol):
    """An encoding that decodes."""

    def reconstructs(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.bool_]:
        """Returns for which architectures the graph decoded from the vector is theirs, shape ``[n]``."""
        ...


@dataclass(frozen=True)
class EncodingReport:
    """Figures of one encoding; printed as a table.

    Attributes:
        num_features: Length of a vector.
        distinct: Vectors over graphs that are not isomorphic, of a sample: below 1, some graphs share a vector.
        reconstruction: Share of graphs decoded exactly, or None where the encoding does not decode.
        neighbourhood_tau: Kendall's tau between the number of choices changed and the distance of vectors, mean over
            architectures that are gone away from; from -1 to 1.
        seen_error, unseen_error: Root mean square error of a kernel ridge regression over the standard deviation of
            the values, on topologies that are in the training data and on others; 1 is no better than the mean. None
            without values.
        seen_tau, unseen_tau: Kendall's tau of the same predictions.
        ms: Milliseconds to encode one architecture among many, once the encoding is trained.
    """

    num_features: int
    distinct: float
    reconstruction: float | None
    neighbourhood_tau: float
    seen_error: float | None
    unseen_error: float | None
    seen_tau: float | None
    unseen_tau: float | None
    ms: float

    def __str__(self) -> str:
        rows = {
            "features": str(self.num_features),
            "distinct vectors over distinct graphs": f"{self.distinct:.3f}",
            "graphs decoded exactly": _shown(self.reconstruction),
            "tau of edit distance and distance": _shown(self.neighbourhood_tau),
            "error on seen topologies": _shown(self.seen_error),
            "error on unseen topologies": _shown(self.unseen_error),
            "tau on seen topologies": _shown(self.seen_tau),
            "tau on unseen topologies": _shown(self.unseen_tau),
            "ms an architecture": f"{self.ms:.3f}",
        }
        return "\n".join(f"{name:<40}{value:>8}" for name, value in rows.items())


def validate(
    encoding: Encoding,
    space: Space,
    *,
    architectures: Sequence[Architecture] = (),
    values: npt.ArrayLike = (),
    seed: int = 0,
    num_sampled: int = 300,
    num_anchors: int = 40,
    max_distance: int = 4,
) -> EncodingReport:
    """Returns how good an encoding is.

    Args:
        encoding: Of the space.
        space: Whose architectures are sampled.
        architectures, values: What is known, ``[n]`` each, for the error on unseen topologies; about a thousand help.
        seed: Of samples and splits.
        num_sampled: Architectures that are decoded and told apart.
        num_anchors: Architectures whose neighbourhood is looked at.
        max_distance: Most choices changed.

    Raises:
        InputError: Not as many values as architectures, values that are not finite or all equal, or a single topology.
    """
    rng = np.random.default_rng([seed, 23])
    sample = drawn(space, rng, num_sampled)
    encoding(sample[:1])
    start = time.perf_counter()
    vectors = encoding(sample)
    ms = (time.perf_counter() - start) * 1000 / len(sample)
    distinct = len(np.unique(vectors, axis=0)) / len({canonical_key(graph) for graph in graphs_of(space, sample)})
    reconstruction = float(encoding.reconstructs(sample).mean()) if isinstance(encoding, Reconstructing) else None
    tau = _neighbourhood_tau(encoding, space, rng, num_anchors, max_distance)
    errors: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
    if len(architectures):
        errors = _topology_errors(encoding, space, architectures, np.asarray(values, np.float64), rng)
    return EncodingReport(vectors.shape[1], distinct, reconstruction, tau, *errors, ms)


def topology_key(graph: Graph) -> str:
    """Returns a text that is equal for graphs of the same wiring, whatever the labels."""
    return canonical_key(Graph(("input", *[""] * (len(graph.labels) - 2), "output"), graph.edges))


def kendall_tau(first: Array, second: Array) -> float:
    """Returns tau-b, 0 where one of them is constant."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(first, second).statistic)
    return 0.0 if np.isnan(tau) else tau


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def num_changes(one: Architecture, other: Architecture) -> int:
    """Returns how many choices differ, one that is active in one of them only included."""
    return sum(one.get(key) != other.get(key) for key in {**one, **other})


def _neighbourhood_tau(
    encoding: Encoding, space: Space, rng: np.random.Generator, num_anchors: int, max_distance: int
) -> float:
    taus = []
    for anchor in drawn(space, rng, num_anchors):
        walked = []
        for _ in range(3):
            current = anchor
            for _ in range(max_distance):
                current = space.mutate(current, rng)
                walked.append(current)
        key = canonical_key(graphs_of(space, [anchor])[0])
        graphs = graphs_of(space, walked)
        # What computes the same is as near as can be, however many choices say so.
        changes = [
            0 if canonical_key(graph) == key else num_changes(anchor, each)
            for graph, each in zip(graphs, walked, strict=True)
        ]
        vectors = encoding([anchor, *walked])
        distances = np.sqrt(((vectors[1:] - vectors[0]) ** 2).sum(1))
        if len(set(changes)) > 1:
            taus.append(kendall_tau(np.array(changes, np.float64), np.round(distances, 9)))
    return float(np.mean(taus)) if taus else 0.0


def _topology_errors(
    encoding: Encoding, space: Space, architectures: Sequence[Architecture], values: Array, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Returns error on seen and unseen topologies, then tau on both, means over splits in half of the topologies."""
    if values.shape != (len(architectures),):
        raise InputError(f"expected a value of each of {len(architectures)} architectures, got shape {values.shape}")
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        raise InputError("values must be finite and not all equal")
    graphs = graphs_of(space, architectures)
    topologies = np.unique([topology_key(graph) for graph in graphs], return_inverse=True)[1]
    if topologies.max() == 0:
        raise InputError("all architectures are of one topology: none can be unseen")
    vectors = encoding(architectures)
    found = []
    for _ in range(_NUM_SPLITS):
        order = rng.permutation(topologies.max() + 1)
        seen = np.flatnonzero(np.isin(topologies, order[: len(order) // 2]))
        unseen = np.flatnonzero(~np.isin(topologies, order[: len(order) // 2]))
        seen = rng.permutation(seen)
        # Half of what is of seen topologies is kept to be predicted.
        training, tested = seen[: min(len(seen) // 2, _MAX_TRAINING)], seen[len(seen) // 2 :]
        if len(training) < 2 or len(tested) < 2 or len(unseen) < 2:
            continue
        figures = []
        for rows in (tested[:1000], unseen[:1000]):
            predicted = _ridge(vectors[training], values[training], vectors[rows])
            error = float(np.sqrt(np.mean((predicted - values[rows]) ** 2))) / float(values.std())
            figures.append((error, kendall_tau(predicted, values[rows])))
        found.append([figures[0][0], figures[1][0], figures[0][1], figures[1][1]])
    if not found:
        raise InputError(f"{len(architectures)} architectures are too few to keep a topology unseen")
    seen_error, unseen_error, seen_tau, unseen_tau = np.mean(found, axis=0).tolist()
    return seen_error, unseen_error, seen_tau, unseen_tau


def _ridge(inputs: Array, targets: Array, asked: Array) -> Array:
    """Returns predictions by kernel ridge regression, squared exponential at the median distance."""
    mean, std = targets.mean(), targets.std() or 1.0
    squared = _squared(inputs, inputs)
    scale = float(np.median(squared[squared > 1e-9])) if (squared > 1e-9).any() else 1.0
    kernel = np.exp(-0.5 * squared / scale) + _RIDGE * np.eye(len(inputs))
    weights = np.linalg.solve(kernel, (targets - mean) / std)
    predicted: Array = mean + std * (np.exp(-0.5 * _squared(asked, inputs) / scale) @ weights)
    return predicted


def _squared(first: Array, second: Array) -> Array:
    norms = (first**2).sum(1)[:, None] + (second**2).sum(1)
    squared: Array = np.maximum(norms - 2 * first @ second.T, 0.0)
    return squared
