from functools import partial

import numpy as np
import pytest

from sartor.errors import SpaceError
from sartor.space import FloatRange, Graph, OneOf, Permutation, Repeat, Shared, Space, Subset
from sartor.spaces.nasbench201 import from_arch_str, nasbench201


def block(kernel: int = 3, act: str = "relu") -> None: ...


def net(*parts: object, width: int = 1) -> None: ...


def test_a_chain_is_read_off_the_tree() -> None:
    width = Shared("width", OneOf(16, 24))
    block_or_skip = OneOf(a=partial(block, kernel=OneOf(3, 5)), skip=partial(dict))
    space = Space(partial(net, Repeat(block_or_skip, times=OneOf(1, 2)), width=width))
    architecture = space.architecture({"0.times": 2, "0.0": "a", "0.0.kernel": 5, "0.1": "skip", "width": 16})
    graph = space.graph(architecture)
    assert graph.labels[0] == "input" and graph.labels[-1] == "output"
    assert graph.edges == tuple((i, i + 1) for i in range(len(graph.labels) - 1))
    assert graph.labels[1].startswith("net") and "width=16" in graph.labels[1]
    assert "kernel=5" in graph.labels[2] and graph.labels[3].startswith("dict")


def test_every_kind_of_choice_makes_a_graph_of_its_own() -> None:
    space = Space(
        {"network": partial(block, kernel=OneOf(3, 5)), "rate": FloatRange(0.1, 1.0), "on": Subset(["a", "b"], 1),
         "order": Permutation("x", "y")}
    )  # fmt: skip
    rng = np.random.default_rng(0)
    made = space.sample(rng, 60)
    labels = {space.graph(a).labels for a in made}
    # Two kernels, two subsets and two orders; numbers fall in ten classes.
    assert len({tuple(t for t in " ".join(l).split() if not t.startswith("rate")) for l in labels}) == 8


def test_operations_on_edges_become_nodes_and_dead_ones_go() -> None:
    space = nasbench201(3, 10)
    cell = from_arch_str("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|")
    graph = space.graph(cell)
    assert sorted(graph.paths()) == [("nor_conv_1x1",), ("nor_conv_3x3", "skip_connect", "avg_pool_3x3")]
    dead = from_arch_str("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|")
    assert space.graph(dead).labels == ("input", "nor_conv_1x1", "output")
    nothing = from_arch_str("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert space.graph(nothing) == Graph(("input", "output"), ())
    assert space.given({"cell.edges.0": "none"}).graph(nothing) == Graph(("input", "output"), ())


def test_a_graph_goes_forward() -> None:
    with pytest.raises(SpaceError, match="forward"):
        Graph(("input", "a", "output"), ((1, 1),))
    with pytest.raises(SpaceError, match="begins with input"):
        Graph(("a", "output"), ())
