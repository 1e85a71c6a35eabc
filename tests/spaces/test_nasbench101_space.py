"""NAS-Bench-101's cells: pruning, classes, forms, networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sartor.errors import InputError, SpaceError
from sartor.space import Architecture
from sartor.spaces import nasbench101
from sartor.spaces.nasbench101 import OPERATIONS, from_matrix, is_cell, key, representative, to_matrix
from sartor.testing.spaces import check_space

CONV3, CONV1, POOL = OPERATIONS


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(nasbench101.wired(), samples=20)
    check_space(nasbench101.nasbench101(3, 4, width=8, cells_per_stack=1), samples=8, build=2)


def test_networks_and_wiring_have_equal_architectures() -> None:
    built, wired = nasbench101.nasbench101(3, 10), nasbench101.wired()
    assert built.keys == wired.keys and built.sample(np.random.default_rng(0)) in wired


def test_unused_vertices_are_pruned_before_edges_are_counted() -> None:
    space = nasbench101.wired()
    used = from_matrix([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [POOL])
    # Vertex 2 leads nowhere, vertex 3 comes from nowhere.
    loose = dict(used) | {"cell.edges.1": 1, "cell.edges.2": 1, "cell.edges.18": 1, "cell.operations.1": CONV1}
    assert to_matrix(space.architecture(loose)) == to_matrix(used) == ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [POOL])
    assert representative(space.architecture(loose)) == used
    assert space.graph(loose).labels == ("input", POOL, "output")


def test_cells_without_a_path_or_of_ten_edges_are_none() -> None:
    space = nasbench101.wired()
    empty = {name: 0 if "edges" in name else CONV3 for name in space.keys}
    with pytest.raises(SpaceError, match="is_cell"):
        space.architecture(empty)
    with pytest.raises(InputError, match="no path leads"):
        key(empty)
    chain = {f"cell.edges.{y * (y - 1) // 2 + y - 1}": 1 for y in range(1, 7)}
    first = {f"cell.edges.{y * (y - 1) // 2}": 1 for y in range(2, 6)}
    ten = empty | chain | first
    assert sum(value == 1 for value in ten.values()) == 10 and ten not in space
    assert ten | {"cell.edges.10": 0} in space


def test_isomorphic_cells_have_one_key_and_others_another() -> None:
    rng = np.random.default_rng(0)
    space = nasbench101.wired()
    by_hash: dict[str, int] = {}
    for architecture in space.sample(rng, 60):
        matrix, operations = to_matrix(architecture)
        num = len(operations)
        for order in itertools.islice(itertools.permutations(range(1, num + 1)), 24):
            at = [0, *order, num + 1]
            wiring = np.zeros((num + 2, num + 2), int)
            for x, y in itertools.product(range(num + 2), repeat=2):
                wiring[at[x], at[y]] = matrix[x][y]
            if np.tril(wiring).any():
                continue
            renamed = [operations[order.index(i)] for i in range(1, num + 1)]
            again = from_matrix(wiring.tolist(), renamed)
            assert key(again) == key(architecture)
            assert nasbench101.cell_hash(again) == nasbench101.cell_hash(architecture)
            assert representative(again) == representative(architecture)
        hashed = nasbench101.cell_hash(architecture)
        assert by_hash.setdefault(hashed, key(architecture)) == key(architecture)
        assert key(representative(architecture)) == key(architecture) and is_cell(representative(architecture))
    assert len(set(by_hash.values())) == len(by_hash)


@pytest.mark.parametrize(
    ("matrix", "operations", "said"),
    [
        ([[0, 1], [1, 0]], [], "upper triangular"),
        ([[0, 1], [0, 0]], [CONV3], "got shape"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["conv3x3-bn"], "did you mean 'conv3x3-bn-relu'"),
        ([[0, 1, 0], [0, 0, 0], [0, 0, 0]], [CONV3], "no path leads"),
    ],
)
def test_what_is_no_cell_is_refused(matrix: list[list[int]], operations: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_matrix(matrix, operations)


def test_networks_take_images_of_any_size_and_every_weight_learns() -> None:
    space = nasbench101.nasbench101(1, 3, width=6, cells_per_stack=1)
    for architecture in [nasbench101.hand_designed(space), *space.sample(np.random.default_rng(0), 3)]:
        network = space.build(architecture)
        out = network(torch.rand(4, 1, 9, 11))
        assert out.shape == (4, 3)
        out.square().sum().backward()
        assert all(each.grad is not None for each in network.parameters())


def test_the_cell_that_passes_its_input_on_is_a_projection() -> None:
    space = nasbench101.nasbench101(3, 10, width=4, cells_per_stack=1)
    network = space.build(from_matrix([[0, 1], [0, 0]], []))
    assert len(network.blocks[1].operations) == 0 and network(torch.zeros(1, 3, 8, 8)).shape == (1, 10)


def test_a_mutation_can_make_a_vertex_used_which_takes_two_edges() -> None:
    space = nasbench101.wired().modulo(representative)
    start = space.representative(from_matrix([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [OPERATIONS[0]]))
    rng = np.random.default_rng(0)
    wirings = [to_matrix(space.mutate(start, rng)) for _ in range(300)]
    assert any(operations.count(OPERATIONS[0]) >= 1 and len(operations) == 2 for _, operations in wirings)


def test_a_cell_in_other_words_is_represented_by_one_of_the_space() -> None:
    space = nasbench101.wired().modulo(representative)
    other = Architecture({**from_matrix([[0, 1], [0, 0]], []), "cell.operations.2": OPERATIONS[1]})
    assert other not in space and other in nasbench101.wired()
    assert space.representative(other) == from_matrix([[0, 1], [0, 0]], []) in space
