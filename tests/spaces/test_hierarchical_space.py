"""Motifs of motifs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.spaces import hierarchical
from sartor.spaces.hierarchical import OPERATIONS
from sartor.testing.spaces import check_space


def small(num_motifs: int = 2, motif_nodes: int = 3, cell_nodes: int = 3):
    return hierarchical.hierarchical(
        2, 3, 4, num_motifs=num_motifs, motif_nodes=motif_nodes, cell_nodes=cell_nodes
    )


def closed_count(num_motifs: int, motif_nodes: int, cell_nodes: int) -> int:
    """A cell that uses k of the motifs chooses the operations of these k."""
    places, one = math.comb(cell_nodes, 2), len(OPERATIONS) ** math.comb(motif_nodes, 2)
    total = 0
    for k in range(num_motifs + 1):
        # Inclusion and exclusion: fillings of the places by none and k motifs that use all k.
        using_all = sum((-1) ** j * math.comb(k, j) * (k - j + 1) ** places for j in range(k + 1))
        total += math.comb(num_motifs, k) * using_all * one**k
    return total


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(small(), samples=20, build=3)
    check_space(small(1, 2, 2))


@pytest.mark.parametrize(("num_motifs", "motif_nodes", "cell_nodes"), [(1, 2, 2), (2, 3, 3), (3, 3, 4), (6, 4, 5)])
def test_motifs_count_where_the_cell_uses_them(num_motifs: int, motif_nodes: int, cell_nodes: int) -> None:
    assert small(num_motifs, motif_nodes, cell_nodes).count() == closed_count(num_motifs, motif_nodes, cell_nodes)


def test_motifs_of_one_name_are_alike_and_their_weights_are_not() -> None:
    space = small()
    architecture = hierarchical.hand_designed(space)
    cell = space.build(architecture).blocks[1]
    first, second = cell.edges[0], cell.edges[2]
    assert str(first) == str(second)
    assert not {id(each) for each in first.parameters()} & {id(each) for each in second.parameters()}


@pytest.mark.parametrize(("num_motifs", "motif_nodes", "cell_nodes"), [(2, 3, 3), (3, 4, 4)])
def test_the_wiring_has_as_many_paths_as_the_cell_adds(num_motifs: int, motif_nodes: int, cell_nodes: int) -> None:
    space = small(num_motifs, motif_nodes, cell_nodes)
    rng = np.random.default_rng(0)
    seen = set()
    for architecture in space.sample(rng, 10):
        # Ones stay ones through identities, so a sum of them counts the paths.
        kept = {
            key: rng.choice(["identity", "identity", "none"]) if key.startswith("motif") else value
            for key, value in architecture.items()
        }
        plain = space.architecture({key: str(value) for key, value in kept.items()})
        added = space.build(plain).blocks[1](torch.ones(1, 4, 1, 1))[0, 0].item()
        paths = [path for path in space.graph(plain).paths() if set(path) <= {"identity"}]
        assert len(paths) == added
        seen.add(added)
    assert len(seen) > 3


def test_motifs_are_wired_by_their_operations_not_by_their_names() -> None:
    space = small()
    one = {f"motif1.edges.{i}": name for i, name in enumerate(("conv_1x1", "none", "max_pool_3x3"))}
    other = {key.replace("motif1", "motif2"): value for key, value in one.items()}
    first = space.graph({"cell.edges.0": "none", "cell.edges.1": "motif1", "cell.edges.2": "none", **one})
    second = space.graph({"cell.edges.0": "none", "cell.edges.1": "motif2", "cell.edges.2": "none", **other})
    assert first == second
    assert first.labels == ("input", "conv_1x1", "max_pool_3x3", "output")


@pytest.mark.parametrize("size", [(8, 8), (9, 5)])
def test_networks_give_logits_and_every_weight_has_a_gradient(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    space = hierarchical.hierarchical(2, 3, 4)
    for architecture in [hierarchical.hand_designed(space), *space.sample(np.random.default_rng(0), 2)]:
        network = space.build(architecture)
        logits = network(torch.randn(2, 2, *size))
        assert logits.shape == (2, 3)
        logits.square().sum().backward()
        assert all(each.grad is not None for each in network.parameters())


def test_a_person_takes_residual_motifs_in_a_row() -> None:
    separable, identity = "separable_conv_3x3", "identity"
    space = small()
    paths = space.graph(hierarchical.hand_designed(space)).paths()
    branches = [(separable, separable), (identity,)]
    assert sorted(paths) == sorted(one + other for one in branches for other in branches)
    for other in (small(1, 2, 2), hierarchical.hierarchical(2, 3)):
        assert hierarchical.hand_designed(other) in other


@pytest.mark.parametrize("arguments", [(0, 3, 3), (1, 1, 3), (1, 3, 1)])
def test_arguments_that_make_no_space_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="at least 1 motif and 2 nodes"):
        small(*arguments)
