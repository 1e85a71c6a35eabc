from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from sartor.errors import InputError
from sartor.space import Architecture, Graph, OneOf, Space
from sartor.space.encodings._survey import drawn
from sartor.space.encodings.adjacency import Adjacency
from sartor.space.encodings.autoencoder import Autoencoder
from sartor.space.encodings.path import Path
from sartor.space.encodings.validate import kendall_tau, num_changes, topology_key, validate
from sartor.testing.encodings import check_encoding


def _wired(architecture: Architecture) -> Graph:
    edges = {(s, t): str(architecture[f"e{s}{t}"]) for s in range(4) for t in range(s + 1, 4)}
    return Graph.of_edges(4, {edge: None if name == "none" else name for edge, name in edges.items()}).live()


def _cells() -> Space:
    return Space({f"e{s}{t}": OneOf("none", "a", "b") for s in range(4) for t in range(s + 1, 4)}, graph=_wired)


class _Noise:
    """Knows nothing: a random vector by graph."""

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self._space = space

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        texts = [repr(self._space.graph(architecture)).encode() for architecture in architectures]
        made = [np.random.default_rng(list(text)).random(8) for text in texts]
        return np.array(made).reshape(len(architectures), 8)


def _values(space: Space, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
    weights = {"a": 1.0, "b": 0.3}
    graphs = [space.graph(architecture) for architecture in architectures]
    return np.array([sum(weights[label] for path in graph.paths() for label in path) for graph in graphs])


def test_a_good_encoding_is_told_from_noise() -> None:
    space = _cells()
    made = drawn(space, np.random.default_rng(0), 400)
    values = _values(space, made)
    good, noise = (validate(kind(space), space, architectures=made, values=values) for kind in (Path, _Noise))
    assert good.unseen_error is not None and noise.unseen_error is not None
    assert good.unseen_error < 0.5 < 0.9 < noise.unseen_error
    assert good.seen_tau is not None and noise.seen_tau is not None and good.seen_tau > noise.seen_tau + 0.2
    assert good.neighbourhood_tau > noise.neighbourhood_tau + 0.1
    assert good.reconstruction is None and good.distinct <= 1
    assert "unseen topologies" in str(good)


def test_every_graph_has_a_vector_of_its_own_under_adjacency() -> None:
    space = _cells()
    report = validate(Adjacency(space), space)
    assert report.distinct == 1 and report.unseen_error is None and " -\n" in str(report)


def test_what_decodes_is_asked_to() -> None:
    space = _cells()
    report = validate(Autoencoder(space, num_steps=3), space, num_sampled=40, num_anchors=4)
    assert report.reconstruction is not None and report.reconstruction < 0.5


def test_tau_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 80).astype(float), rng.integers(0, 9, 80).astype(float)
    assert kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert kendall_tau(first, np.ones(80)) == 0


def test_a_topology_is_the_wiring_alone() -> None:
    assert topology_key(Graph.chain(["a", "b"])) == topology_key(Graph.chain(["c", "c"]))
    assert topology_key(Graph.chain(["a", "b"])) != topology_key(Graph.chain(["a"]))


def test_a_choice_that_only_one_has_is_a_change() -> None:
    assert num_changes(Architecture({"a": 1, "b": 2}), Architecture({"a": 2, "c": 2})) == 3


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan, 2.0, 3.0], [1.0] * 4])
def test_values_that_teach_nothing_are_refused(values: list[float]) -> None:
    space = _cells()
    made = space.sample(np.random.default_rng(0), 4)
    with pytest.raises(InputError):
        validate(Path(space), space, architectures=made, values=values, num_sampled=8, num_anchors=1)


def test_a_single_topology_is_refused() -> None:
    space = Space({"a": OneOf(1, 2), "b": OneOf(1, 2)})
    made = list(space)
    with pytest.raises(InputError, match="one topology"):
        validate(Path(space), space, architectures=made, values=range(4), num_sampled=8, num_anchors=1)


class _Batched:
    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self._encoding = Adjacency(space)

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        vectors = self._encoding(architectures)
        return self.spoiled(vectors)

    def spoiled(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return vectors - vectors.mean(0) if len(vectors) else vectors


class _Hashing(_Batched):
    def spoiled(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return vectors + hash("salt") % 1000


class _Narrow(_Batched):
    def spoiled(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return vectors.astype(np.float32)  # type: ignore[return-value]


class _Infinite(_Batched):
    def spoiled(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.log(np.maximum(vectors, 0), where=vectors > 0, out=np.full_like(vectors, -np.inf))


class _Forgetful(_Batched):
    calls = 0

    def spoiled(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        self.calls += 1
        return vectors + self.calls


class _Global(_Batched):
    def spoiled(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        np.random.rand()  # noqa: NPY002
        return vectors


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (_Batched, "alone"),
        (_Narrow, "float32"),
        (_Infinite, "finite"),
        (_Forgetful, "second time"),
        (_Global, "global random state"),
        (_Hashing, "vector in another process"),
    ],
)
def test_the_suite_finds_what_is_wrong(kind: type[_Batched], says: str) -> None:
    space = Space({f"x{i}": partial(dict, a=OneOf(1, 2, 3)) for i in range(4)})
    with pytest.raises(AssertionError, match=says):
        check_encoding(kind, space)
