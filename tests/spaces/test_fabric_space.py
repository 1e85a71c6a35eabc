"""Convolutional neural fabrics."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sartor.errors import InputError
from sartor.spaces import fabric
from sartor.testing.spaces import check_space


def small():
    return fabric.fabric(1, 3, 8, layers=2, width=4, scales=3)


def test_the_space_keeps_what_every_space_promises() -> None:
    check_space(small(), build=3)


def test_the_count_is_the_product_over_nodes() -> None:
    # Outer scales read two neighbours, inner ones three, exits two.
    assert small().count() == (3 * 7 * 3) ** 2 * 3**2


@pytest.mark.parametrize("size", [1, 8, (9, 14), 28, (30, 17)])
def test_images_of_any_size_give_logits_and_every_weight_learns(size: int | tuple[int, int]) -> None:
    shape = size if isinstance(size, tuple) else (size, size)
    space = fabric.fabric(2, 5, size, width=4)
    torch.manual_seed(0)
    for architecture in (fabric.whole(space), fabric.hand_designed(space), space.sample(np.random.default_rng(0))):
        network = space.build(architecture)
        x = torch.randn(4, 2, *shape)
        functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 3])).backward()
        assert network(x).shape == (4, 5)
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_chain_inside_a_fabric_is_that_chain_of_convolutions() -> None:
    space = small()
    network = space.build(fabric.chain(space, [1, 2])).eval()
    x = torch.randn(2, 1, 8, 8)
    first = network.entries[1](network.entries[0](x))
    node = network.layers[0][1]
    second = functional.relu(node.norm(functional.conv2d(first, node.inputs["same"].conv.weight, padding=1)))
    node = network.layers[1][2]
    third = functional.relu(node.norm(functional.conv2d(second, node.inputs["finer"].conv.weight, None, 2, 1)))
    node = network.exits[1]
    fourth = functional.relu(node.norm(functional.conv2d(third, node.inputs["same"].conv.weight, padding=1)))
    torch.testing.assert_close(network(x), network.head(fourth))
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == 2 + 2 + 1


def test_every_chain_is_found_inside_of_the_whole_fabric() -> None:
    space = small()
    paths = [path for path in itertools.product(range(3), repeat=2) if abs(path[0] - path[1]) <= 1]
    assert [fabric.num_paths(space, fabric.chain(space, path)) for path in paths] == [1] * len(paths)
    # A path enters its first layer from three scales at most: the chains' own and both neighbours.
    reads = {0: 2, 1: 3, 2: 2}
    assert fabric.num_paths(space, fabric.whole(space)) == sum(reads[first] for first, _ in paths)
    supernet = space.supernet().eval()
    x = torch.randn(2, 1, 8, 8)
    for path in paths:
        architecture = fabric.chain(space, path)
        torch.testing.assert_close(supernet(x, arch=architecture), supernet.child(architecture)(x), atol=0, rtol=0)


def test_a_path_takes_less_memory_than_the_fabric() -> None:
    from sartor.devices.counts import Counts
    from sartor.tasks.images.task import Images

    task = Images("digits", space="fabric")
    space = task.space()
    from sartor.contracts import Candidate

    figures = [
        {name: figure.value for name, figure in Counts().cost(Candidate(task, space, each)).items()}
        for each in (task.baseline(), fabric.whole(space))
    ]
    assert figures[0]["params"] < figures[1]["params"] / 2
    assert figures[0]["peak_memory_bytes"] < figures[1]["peak_memory_bytes"]


def test_a_fabric_is_pruned_to_its_strongest_path() -> None:
    space = small()
    network = space.build(fabric.whole(space))
    wanted = [0, 1]
    with torch.no_grad():
        for node, source in (
            (network.layers[0][0], "same"), (network.layers[1][1], "finer"), (network.exits[0], "same"),
            (network.exits[1], "finer"),
        ):  # fmt: skip
            node.inputs[source].conv.weight.mul_(100)
    assert fabric.strongest_path(space, network) == wanted
    pruned = space.build(fabric.chain(space, fabric.strongest_path(space, network)))
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in network.parameters()) / 2


@pytest.mark.parametrize("path", [[0], [0, 2], [0, 3], [0, 1, 2]])
def test_what_is_no_path_is_refused(path: list[int]) -> None:
    with pytest.raises(InputError, match="expected the scales, 0 to 2, of 2 layers"):
        fabric.chain(small(), path)
