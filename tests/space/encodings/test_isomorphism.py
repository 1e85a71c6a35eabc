import itertools
import re
from collections import defaultdict

import networkx as nx
import numpy as np
import pytest

from sartor.space import Graph
from sartor.space.encodings._isomorphism import canonical, canonical_key, contracted
from sartor.spaces.nasbench201 import canonical as literature
from sartor.spaces.nasbench201 import nasbench201


def _drawn(rng: np.random.Generator, num_inner: int, share: float = 0.5) -> Graph:
    labels = ("input", *rng.choice(["a", "b"], num_inner).tolist(), "output")
    pairs = itertools.combinations(range(num_inner + 2), 2)
    return Graph(labels, tuple(pair for pair in pairs if rng.random() < share)).live()


def _renumbered(graph: Graph, rng: np.random.Generator) -> Graph:
    """Returns the graph with its nodes in another topological order."""
    left, order, last = set(range(len(graph.labels))), [], len(graph.labels) - 1
    while left:
        free = sorted(n for n in left if not any(s in left for s, t in graph.edges if t == n))
        free = [n for n in free if n != last] or free
        order.append(free[rng.integers(len(free))] if 0 not in free else 0)
        left.remove(order[-1])
    at = {node: i for i, node in enumerate(order)}
    edges = [(at[s], at[t]) for s, t in graph.edges]
    return Graph(tuple(graph.labels[n] for n in order), tuple(edges[i] for i in rng.permutation(len(edges))))


def _networkx(graph: Graph) -> "nx.DiGraph[int]":
    made: nx.DiGraph[int] = nx.DiGraph(graph.edges)
    made.add_nodes_from((i, {"label": label}) for i, label in enumerate(graph.labels))
    return made


def test_a_graph_keeps_its_key_under_every_numbering() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        graph = _drawn(rng, int(rng.integers(1, 9)))
        other = _renumbered(graph, rng)
        assert canonical_key(other) == canonical_key(graph)
        assert canonical(other) == canonical(graph) == canonical(canonical(graph))
        same = canonical(graph)
        assert nx.is_isomorphic(_networkx(graph), _networkx(same), node_match=lambda a, b: a == b)


def test_keys_agree_with_an_independent_test_of_isomorphism() -> None:
    rng = np.random.default_rng(1)
    graphs = [_drawn(rng, 4, 0.6) for _ in range(70)]
    equal = 0
    for one, other in itertools.combinations(graphs, 2):
        isomorphic = nx.is_isomorphic(_networkx(one), _networkx(other), node_match=lambda a, b: a == b)
        assert (canonical_key(one) == canonical_key(other)) == isomorphic
        equal += isomorphic
    assert equal > 15


def test_twins_are_not_searched() -> None:
    edges = [(0, i) for i in range(1, 31)] + [(i, 31) for i in range(1, 31)]
    graph = Graph(("input", *["a"] * 30, "output"), tuple(edges))
    assert len(canonical(graph).labels) == 32


def test_what_colours_cannot_tell_apart_is_told_apart() -> None:
    """A ring of six and two rings of three look alike to every node."""

    def rings(*pairs: tuple[int, int]) -> Graph:
        edges = [(0, i) for i in range(1, 7)] + [(i, 7 + j) for i, j in [(p[0] + 1, p[1]) for p in pairs]]
        return Graph(("input", *["a"] * 6, *["b"] * 6, "output"), tuple(edges + [(7 + j, 13) for j in range(6)]))

    six = rings(*[(i, i) for i in range(6)], *[(i, (i + 1) % 6) for i in range(6)])
    three = rings(*[(i, i) for i in range(6)], *[(i, i // 3 * 3 + (i + 1) % 3) for i in range(6)])
    assert canonical_key(six) != canonical_key(three)


def _without_zeros(text: str) -> str:
    """Returns the literature's text with zeros dropped from sums; sorted again, as what is left may be in disorder."""
    return repr(_sum(*_parsed(text, 0)[:1]))


def _parsed(text: str, start: int) -> tuple[list[object], int]:
    terms: list[object] = []
    while True:
        if text[start] == "(":
            inner, start = _parsed(text, start + 1)
            found = re.match(r"\)@(\w+)", text[start:])
            assert found is not None
            terms.append((inner, found[1]))
            start += found.end()
        else:
            terms.append(text[start])
            start += 1
        if start >= len(text) or text[start] != "+":
            return terms, start
        start += 1


def _sum(terms: list[object]) -> object:
    kept = [(_sum(term[0]), term[1]) if isinstance(term, tuple) else term for term in terms if term != "#"]
    # An operation on nothing is nothing.
    return sorted((term for term in kept if not (isinstance(term, tuple) and term[0] == [])), key=repr)


def test_cells_of_different_function_have_different_keys() -> None:
    """Keys of 15,625 cells: 8,765 classes of graphs, 5,425 with skips contracted, where the literature has 6,466.

    The literature keeps zeros in its sums, and does not sort what a skip adds among the other terms. Without zeros and
    all sorted, cells have 4,930 formulas. A formula does not say whether two equal terms are one node used twice, or
    two with weights of their own: graphs do, hence 495 classes more.
    """
    space = nasbench201(3, 10)
    formulas = defaultdict(set)
    skipless = defaultdict(set)
    for cell in space:
        graph = space.graph(cell)
        formula = _without_zeros(literature(cell))
        formulas[canonical_key(graph)].add(formula)
        skipless[canonical_key(contracted(graph))].add(formula)
    assert len(formulas) == 8765 and len(skipless) == 5425
    assert max(map(len, formulas.values())) == max(map(len, skipless.values())) == 1
    assert len({formula for each in skipless.values() for formula in each}) == 4930


def test_a_node_added_to_itself_is_not_the_node() -> None:
    double = Graph(("input", "a", "skip_connect", "output"), ((0, 1), (1, 2), (1, 3), (2, 3)))
    assert contracted(double) == Graph(("input", "a", "output"), ((0, 1), (1, 2), (1, 2)))
    assert canonical_key(contracted(double)) != canonical_key(Graph.chain(["a"]))


@pytest.mark.parametrize("edges", [(), ((0, 1),)])
def test_graphs_without_nodes_have_keys(edges: tuple[tuple[int, int], ...]) -> None:
    assert canonical(Graph(("input", "output"), edges)) == Graph(("input", "output"), edges)
