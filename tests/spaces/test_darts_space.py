"""DARTS: counts, genotypes, wiring, and the published network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.space.encodings._isomorphism import canonical_key
from sartor.spaces import darts
from sartor.spaces.darts import DARTS_V2, OPERATIONS, from_genotype, to_genotype
from sartor.testing.spaces import check_space


def small(**arguments):
    return darts.darts(3, 4, width=4, num_cells=3, **arguments)


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(small(), samples=20, build=2)
    check_space(small(nodes=1, operations=("skip_connect", "sep_conv_3x3")), build=2)


@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("operations", [OPERATIONS, OPERATIONS[1:], ("skip_connect", "sep_conv_3x3")])
def test_a_cell_chooses_two_states_and_their_operations_for_each_node(nodes: int, operations: tuple[str, ...]) -> None:
    one = math.prod(math.comb(state, 2) * len(operations) ** 2 for state in range(2, 2 + nodes))
    assert small(nodes=nodes, operations=operations).count() == one**2


def test_without_none_a_cell_is_one_of_as_many_as_published() -> None:
    assert math.isqrt(small(operations=OPERATIONS[1:]).count()) == 1_037_664_180  # "about 10^9" in the paper


def test_the_published_network_has_its_published_number_of_parameters() -> None:
    space = darts.darts(3, 10, width=36, num_cells=20)
    with torch.device("meta"):
        network = space.build(from_genotype(DARTS_V2))
    # "3.3 million" in the paper's table.
    assert sum(each.numel() for each in network.parameters()) == 3_349_342


@pytest.mark.parametrize(("num_cells", "reductions"), [(3, [1, 2]), (5, [1, 3]), (8, [2, 5]), (20, [6, 13])])
def test_reductions_lie_at_a_third_and_at_two_thirds(num_cells: int, reductions: list[int]) -> None:
    space = darts.darts(3, 4, width=2, num_cells=num_cells, nodes=1)
    network = space.build(darts.hand_designed(space))
    sides = [16]
    for cell in network.cells:
        cell.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[3]))
    network.eval()(torch.zeros(1, 3, 16, 16))
    assert [i for i in range(num_cells) if sides[i + 1] < sides[i]] == reductions
    assert sides[-1] == 4


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (1, 1)])
def test_networks_of_any_size_give_logits(size: tuple[int, int]) -> None:
    space = small()
    for architecture in [darts.hand_designed(space), *space.sample(np.random.default_rng(0), 3)]:
        assert space.build(architecture).eval()(torch.zeros(2, 3, *size)).shape == (2, 4)


def test_every_weight_of_the_published_cells_learns() -> None:
    torch.manual_seed(0)
    space = darts.darts(3, 4, width=4, num_cells=6)
    network = space.build(darts.hand_designed(space))
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    still = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert not still


def test_genotypes_go_both_ways_in_any_order_of_terms() -> None:
    space = small()
    architecture = space.sample(np.random.default_rng(0))
    assert from_genotype(to_genotype(architecture)) == architecture in space
    swapped = {cell: [node[::-1] for node in nodes] for cell, nodes in DARTS_V2.items()}
    assert from_genotype(swapped) == from_genotype(DARTS_V2) == darts.hand_designed(space)


def test_what_is_no_genotype_is_refused() -> None:
    with pytest.raises(InputError, match="normal and reduce"):
        from_genotype({"normal": DARTS_V2["normal"]})
    twice = ((("skip_connect", 0), ("sep_conv_3x3", 0)),)
    with pytest.raises(InputError, match="two different states"):
        from_genotype({**DARTS_V2, "normal": twice})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operations": ("skip_conect",)}, "did you mean 'skip_connect'"),
        ({"operations": ("none", "none")}, "distinct operations"),
        ({"operations": ()}, "distinct operations"),
        ({"nodes": 0}, "1 node"),
    ],
)
def test_arguments_that_make_no_space_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**arguments)
    with pytest.raises(InputError, match="at least 3 cells"):
        darts.darts(3, 4, num_cells=2)


@pytest.mark.parametrize("nodes", [1, 3, 6])
@pytest.mark.parametrize("operations", [("skip_connect", "sep_conv_3x3"), ("max_pool_3x3", "dil_conv_5x5")])
def test_restricted_spaces_have_a_hand_designed_architecture_too(nodes: int, operations: tuple[str, ...]) -> None:
    space = small(nodes=nodes, operations=operations)
    architecture = darts.hand_designed(space)
    assert architecture in space
    used = {value for value in architecture.values() if isinstance(value, str)}
    assert used <= set(operations) and len(to_genotype(architecture)["reduce"]) == nodes


def cells(*nodes: tuple[tuple[str, int], tuple[str, int]]) -> object:
    graph = small(nodes=len(nodes)).graph(from_genotype({"normal": nodes, "reduce": DARTS_V2["reduce"][: len(nodes)]}))
    return canonical_key(graph)


def test_wiring_is_that_of_the_function() -> None:
    sep, pool = "sep_conv_3x3", "max_pool_3x3"
    base = cells(((sep, 0), (pool, 1)), ((pool, 0), ("skip_connect", 1)))
    # The order of nodes that do not read each other is of no account, what is added and what concatenated is.
    assert base == cells(((pool, 0), ("skip_connect", 1)), ((sep, 0), (pool, 1)))
    assert base != cells(((sep, 0), ("skip_connect", 1)), ((pool, 0), (pool, 1)))
    assert base != cells(((pool, 0), (sep, 1)), ((pool, 0), ("skip_connect", 1)))
    # An absent edge, and what reads a state that nothing reaches, are the same.
    absent = cells((("none", 0), ("none", 1)), ((sep, 0), ("none", 2)))
    assert absent == cells((("none", 0), ("none", 1)), ((sep, 0), (pool, 2)))
    assert absent != cells((("none", 0), (pool, 1)), ((sep, 0), ("none", 2)))


def test_a_skip_that_halves_is_no_skip() -> None:
    node = ((("skip_connect", 0), ("skip_connect", 1)), (("skip_connect", 2), ("none", 0)))
    labels = small(nodes=2).graph(from_genotype({"normal": node, "reduce": node})).labels
    assert labels.count("skip_connect cell=normal") == 3
    assert labels.count("skip_connect cell=reduce") == 1 and labels.count("factorized_reduce cell=reduce") == 2
