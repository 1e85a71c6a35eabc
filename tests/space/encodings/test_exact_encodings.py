from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.registry import find, specs
from sartor.space import Architecture, Graph, OneOf, Repeat, Space
from sartor.space.encodings._isomorphism import canonical_key
from sartor.space.encodings.adjacency import Adjacency
from sartor.space.encodings.path import Path, path_counts
from sartor.space.encodings.weisfeiler_lehman import WeisfeilerLehman, subtree_counts
from sartor.spaces.mbconv import mbconv
from sartor.spaces.nasbench201 import from_arch_str, nasbench201
from sartor.testing.encodings import check_encoding

MAKES: dict[str, Any] = {
    "path": Path,
    "path, skips contracted": partial(Path, contract_skips=True, max_length=2),
    "adjacency": Adjacency,
    "adjacency, skips contracted": partial(Adjacency, contract_skips=True),
    "weisfeiler-lehman": WeisfeilerLehman,
    "weisfeiler-lehman, both": partial(WeisfeilerLehman, direction="both", normalised=True, contract_skips=True),
}


def _layer(kernel: int, width: int = 1) -> None: ...


def _net(layers: object) -> None: ...


def _chains() -> Space:
    layer = OneOf(conv=partial(_layer, kernel=OneOf(3, 5, 7), width=OneOf(1, 2)), skip=None)
    return Space(partial(_net, layers=Repeat(layer, times=OneOf(1, 2, 3, 6))))


@pytest.fixture(scope="module")
def cells() -> Space:
    return nasbench201(3, 10)


@pytest.mark.parametrize("name", MAKES)
def test_exact_encodings_conform_on_cells(name: str, cells: Space) -> None:
    check_encoding(MAKES[name], cells, in_subprocess="," not in name)


@pytest.mark.parametrize("name", ["path", "adjacency", "weisfeiler-lehman"])
@pytest.mark.parametrize("space", [_chains(), mbconv(3, 10, 32)], ids=["user's", "mbconv"])
def test_exact_encodings_conform_on_chains(name: str, space: Space) -> None:
    check_encoding(MAKES[name], space, in_subprocess=False)


@pytest.mark.parametrize("name", MAKES)
def test_a_space_of_one_architecture_is_encoded(name: str) -> None:
    space = Space({"a": OneOf(1)})
    vectors = MAKES[name](space)([space.sample(np.random.default_rng(0))])
    assert len(vectors) == 1 and np.isfinite(vectors).all()


def test_they_are_found_by_name() -> None:
    assert {"one-hot", "path", "adjacency", "weisfeiler-lehman"} <= set(specs("encodings"))
    assert find("encodings", "path").load() is Path


@pytest.mark.parametrize("name", ["adjacency", "weisfeiler-lehman"])
def test_vectors_are_equal_exactly_where_graphs_are(name: str, cells: Space) -> None:
    made = cells.sample(np.random.default_rng(0), 1500)
    keys = [canonical_key(cells.graph(cell)) for cell in made]
    vectors = [vector.tobytes() for vector in MAKES[name](cells)(made)]
    assert len(set(keys)) == len(set(vectors)) == len(set(zip(keys, vectors, strict=True)))


def test_paths_are_counted_by_their_operations(cells: Space) -> None:
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
    graph = cells.graph(from_arch_str(text))
    expected = Counter(graph.paths())
    assert path_counts(graph) == expected and expected["nor_conv_3x3", "nor_conv_1x1"] == 2
    merged = Counter({("nor_conv_1x1",): 1, ("nor_conv_3x3", "nor_conv_1x1"): 3})
    assert path_counts(graph, contract_skips=True) == merged
    assert path_counts(graph, max_length=1) == Counter({("nor_conv_1x1",): 1})


def test_every_path_of_a_small_space_has_a_feature_of_its_own(cells: Space) -> None:
    # 4 + 4^2 + 4^3 paths, and one feature for the cell without any.
    dead = from_arch_str("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    vectors = Path(cells)([dead])
    assert vectors.shape == (1, 85) and vectors[0, 0] == 1 and vectors.sum() == 1


def test_deep_branches_are_counted_without_listing_them() -> None:
    inner = 24
    edges = [(i, j) for i in range(inner + 2) for j in range(i + 1, inner + 2)]
    graph = Graph(("input", *["a"] * inner, "output"), tuple(edges))
    assert sum(path_counts(graph).values()) == 2**inner


def test_paths_not_seen_before_count_by_their_hash() -> None:
    space = Space({f"x{i}": OneOf(*range(9)) for i in range(9)})
    encoding = Path(space, num_hashed=16)
    vectors = encoding(space.sample(np.random.default_rng(123), 50))
    assert (np.abs(vectors[:, -16:]).sum(1) == 1).mean() > 0.9


def test_subtrees_are_counted_as_in_the_paper() -> None:
    # Iteration 0: 4 labels; 1: input, a after input, a after a, output after a; 2: four again.
    counts = subtree_counts(Graph.chain(["a", "a"]), 2)
    assert sorted(counts.values()) == [1] * 10 + [2]
    assert sum(counts.values()) == 12
    kernel = sum((counts & subtree_counts(Graph.chain(["a", "b"]), 2)).values())
    # Alike are input (3), output's label, the first a and its surroundings (3).
    assert kernel == 3 + 1 + 3
    both = subtree_counts(Graph.chain(["a", "a"]), 1, "both")
    assert set(both) != set(subtree_counts(Graph.chain(["a", "a"]), 1))


def test_hashed_subtrees_keep_the_kernel(cells: Space) -> None:
    made = cells.sample(np.random.default_rng(2), 60)
    exact = [subtree_counts(cells.graph(cell)) for cell in made]
    kernel = np.array([[sum(a[name] * b[name] for name in a) for b in exact] for a in exact])
    vectors = WeisfeilerLehman(cells, num_features=4096)(made)
    assert np.abs(vectors @ vectors.T - kernel).mean() < 0.5


def test_names_of_subtrees_stay() -> None:
    assert min(subtree_counts(Graph.chain(["conv3x3"]), 1)) == 206640373145999413


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Path, {"max_length": -1}),
        (Path, {"num_hashed": 0}),
        (WeisfeilerLehman, {"iterations": -1}),
        (WeisfeilerLehman, {"direction": "backward"}),
        (WeisfeilerLehman, {"num_features": 0}),
    ],
)
def test_options_out_of_range_are_refused(make: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make(Space({"a": OneOf(1, 2)}), **options)


def test_a_larger_graph_than_sampled_is_encoded() -> None:
    space = Space(partial(_net, layers=[OneOf(1, 2)] * 3))
    encoding = Adjacency(space)
    space._graph = lambda architecture: Graph.chain(["new"] * 9)
    assert encoding([Architecture({f"layers.{i}": 1 for i in range(3)})]).shape == (1, encoding.num_features)
