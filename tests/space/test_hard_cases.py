"""The literature's spaces, written as SPACE.md writes them, against their published sizes."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest

from sartor.space import Architecture, Derived, OneOf, Permutation, Repeat, Shared, Space, Subset


class Record:
    """Stands for any module: remembers what it was made with."""

    def __init__(self, *arguments, **keywords):
        self.arguments, self.keywords = arguments, keywords


class Chain(Record):
    def __init__(self, in_channels, blocks):
        super().__init__()
        self.blocks = []
        for block in blocks:
            built = block(in_channels=in_channels) if isinstance(block, partial) else block
            in_channels = getattr(built, "out_channels", in_channels)
            self.blocks.append(built)


class MBConv:
    def __init__(self, in_channels, out_channels, kernel=3, expand=1, stride=1):
        self.in_channels, self.out_channels, self.kernel, self.expand = in_channels, out_channels, kernel, expand


OPS_201 = {
    "none": partial(Record),
    "skip_connect": partial(Record, 1),
    "nor_conv_1x1": partial(Record, 2),
    "nor_conv_3x3": partial(Record, 3),
    "avg_pool_3x3": partial(Record, 4),
}


def nasbench201() -> Space:
    cell = Shared("cell", partial(Record, edges=[OneOf(**OPS_201)] * 6))
    return Space(partial(Record, stages=[[cell] * 5] * 3))


def class_201(architecture: Architecture) -> str:
    """The literature's rule (Dong & Yang 2020): a zeroed node is '#', skips vanish, sums do not depend on order."""
    nodes, edges = ["0"], iter(range(6))
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            operation = architecture[f"cell.edges.{next(edges)}"]
            if operation == "none" or nodes[source] == "#":
                terms.append("#")
            elif operation == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


def test_nasbench201_has_15625_architectures_and_6466_classes():
    space = nasbench201()
    assert space.count() == 15_625 == len(set(space))
    assert space.keys == tuple(f"cell.edges.{i}" for i in range(6))
    unique = space.modulo(class_201)
    assert unique.count() == 6_466 == len(set(unique))
    rng = np.random.default_rng(0)
    sampled = unique.sample(rng, 500)
    assert all(each in unique for each in sampled)
    assert all(unique.mutate(each, rng) in unique for each in sampled[:20])
    outside = next(each for each in space if each not in unique)
    assert class_201(outside) in {class_201(each) for each in unique}
    assert len(space.build(sampled[0]).keywords["stages"]) == 3


def pairs(vertices: int) -> list[tuple[int, int]]:
    return [(i, j) for j in range(1, vertices) for i in range(j)]


def all_used(vertices: int):
    """Every vertex lies on a path from the first to the last."""

    def used(edges):
        forward, backward = {0}, {vertices - 1}
        for j in range(1, vertices):
            if any(i in forward for i, target in edges if target == j):
                forward.add(j)
        for i in reversed(range(vertices - 1)):
            if any(j in backward for source, j in edges if source == i):
                backward.add(i)
        return len(forward) == len(backward) == vertices

    return used


def canonical(vertices: int):
    def smallest(architecture):
        operations = ["in", *(architecture[f"ops.{i}"] for i in range(vertices - 2)), "out"]
        best = None
        for order in itertools.permutations(range(1, vertices - 1)):
            to = (0, *order, vertices - 1)
            named = tuple(operations[to.index(i)] for i in range(vertices))
            key = (named, tuple(sorted((to[i], to[j]) for i, j in architecture["edges"])))
            best = key if best is None or key < best else best
        return best

    return smallest


@pytest.mark.parametrize(("vertices", "unique"), [(2, 1), (3, 6), (4, 84), (5, 2441)])
def test_nasbench101_cells_have_the_published_number_of_classes(vertices, unique):
    size = range(1, min(9, len(pairs(vertices))) + 1)
    space = Space(
        partial(
            Record,
            edges=Subset({pair: pair for pair in pairs(vertices)}, size=size),
            ops=[OneOf("conv1x1", "conv3x3", "maxpool3x3")] * (vertices - 2),
        )
    ).where(all_used(vertices), "edges", name="all vertices used")
    assert space.modulo(canonical(vertices)).count() == unique


def test_darts_has_the_published_number_of_cells():
    names = ["max_pool", "avg_pool", "skip", "sep3", "sep5", "dil3", "dil5"]
    operations = {name: partial(Record, name) for name in names}

    def cell():
        return partial(Record, nodes=[Subset([OneOf(**operations)] * k, size=2) for k in (2, 3, 4, 5)])

    space = Space(partial(Record, normal=cell(), reduce=cell()))
    one = math.prod(math.comb(k, 2) * 49 for k in (2, 3, 4, 5))
    assert space.count() == one**2
    assert one == 1_037_664_180  # about 10^9 normal cells, as Liu et al. 2019 say
    network = space.build(space.sample(np.random.default_rng(0)))
    assert [len(node) for node in network.keywords["normal"].keywords["nodes"]] == [2] * 4


def test_once_for_all_has_544e20_architectures_mostly_deep():
    stages = [Repeat(partial(MBConv, out_channels=8, kernel=OneOf(3, 5, 7), expand=OneOf(3, 4, 6)), OneOf(2, 3, 4))] * 5
    space = Space({"resolution": OneOf(*range(128, 225, 4)), "network": partial(Chain, 3, blocks=stages)})
    assert space.count() == 25 * (9**2 + 9**3 + 9**4) ** 5
    assert f"{space.count():.2e}" == "5.44e+20"
    rng = np.random.default_rng(0)
    deep = np.mean([each["network.blocks.0.times"] == 4 for each in space.sample(rng, 4000)])
    assert abs(deep - 9**4 / (9**2 + 9**3 + 9**4)) < 0.02
    architecture = space.sample(rng)
    network = space.build(architecture)
    assert len(network.blocks) == sum(architecture[f"network.blocks.{i}.times"] for i in range(5))
    assert network.blocks[0].in_channels == 3
    assert space.build(architecture, part="resolution") == architecture["resolution"]


def transformer() -> Space:
    dim = Shared("dim", OneOf(96, 128, 192, 256))
    block = partial(Record, dim, heads=OneOf(2, 3, 4, 6, 8), ratio=OneOf(2, 3, 4))
    layers = Repeat(block, times=OneOf(*range(4, 13)))
    return Space(partial(Record, dim=dim, layers=layers)).where(
        lambda d, h: d % h == 0, "dim", "layers.*.heads", name="heads divide dim"
    )


def test_a_coupled_transformer_is_counted_exactly_and_sampled_legally():
    space = transformer()
    legal = {dim: 3 * sum(dim % heads == 0 for heads in (2, 3, 4, 6, 8)) for dim in (96, 128, 192, 256)}
    assert space.count() == sum(each**times for each in legal.values() for times in range(4, 13))
    rng = np.random.default_rng(0)
    architecture = space.sample(rng)
    for _ in range(50):
        architecture = space.mutate(architecture, rng)
        heads = [value for key, value in architecture.items() if key.endswith("heads")]
        assert all(architecture["dim"] % each == 0 for each in heads)


def test_motifs_of_motifs_count_what_is_used():
    operations = ["conv", "pool"]
    second = [Shared(f"motif2.{i}", partial(Record, edges=[OneOf(*operations)] * 2)) for i in range(3)]
    space = Space(partial(Record, edges=[OneOf(*second)] * 3))
    # Three edges pick from three motifs of 4 variants: only motifs in use have variants.
    by_use = {1: 3, 2: 18, 3: 6}
    assert space.count() == sum(number * 4**used for used, number in by_use.items()) == len(set(space))
    third = [Shared(f"motif3.{i}", partial(Record, edges=[OneOf(*second)] * 3)) for i in range(2)]
    deep = Space(partial(Record, cells=[OneOf(*third)] * 2))
    assert deep.count() == len(set(deep))
    architecture = deep.sample(np.random.default_rng(0))
    assert deep.build(architecture).keywords["cells"][0].keywords["edges"][0].keywords["edges"][0] in operations


def test_a_fabric_keeps_its_layers_connected():
    def move(i, j):
        return partial(Record, step=j - i)

    def layer():
        moves = {(i, j): move(i, j) for i in range(3) for j in range(3) if abs(i - j) <= 1}
        return Subset(moves, size=range(1, 8))

    def connected(first, second):
        return bool({j for _, j in first} & {i for i, _ in second})

    space = Space(partial(Record, layers=[layer(), layer(), layer()]))
    space = space.where(connected, "layers.0", "layers.1").where(connected, "layers.1", "layers.2")
    combinations = [c for size in range(1, 8) for c in itertools.combinations(
        [(i, j) for i in range(3) for j in range(3) if abs(i - j) <= 1], size)]
    table = np.array([[connected(a, b) for b in combinations] for a in combinations], dtype=object)
    assert space.count() == int((table.astype(int) @ table.astype(int)).sum())
    architecture = space.sample(np.random.default_rng(0))
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert set(space.build(architecture).keywords["layers"][0]) == set(architecture["layers.0"])


def test_network_bits_and_mapping_follow_one_depth():
    depth = Shared("depth", OneOf(2, 3, 4))
    space = Space({
        "network": partial(Record, blocks=Repeat(partial(Record, kernel=OneOf(3, 5)), depth)),
        "bits": Repeat(OneOf(4, 8), depth),
        "mapping": Repeat({"tile": OneOf(8, 16), "order": Permutation(*"kcyx")}, depth),
    })
    assert space.count() == sum((2 * 2 * 2 * 24) ** times for times in (2, 3, 4))
    architecture = space.sample(np.random.default_rng(0))
    assert len(space.build(architecture).keywords["blocks"]) == architecture["depth"]
    assert len(space.build(architecture, part="bits")) == len(space.build(architecture, part="mapping"))
    assert sorted(space.build(architecture, part="mapping")[0]["order"]) == sorted("kcyx")


def test_plain_torch_modules_with_coupled_shapes_build():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    groups, width = Shared("groups", OneOf(1, 2, 4)), Shared("width", OneOf(8, 16))
    channels = Derived(lambda w, g: w + 4 * g, width, groups)
    space = Space(partial(
        nn.Sequential,
        partial(nn.Conv2d, 4, channels, 3, padding=1, groups=groups),
        OneOf(partial(nn.ReLU), partial(nn.GELU)),
        partial(nn.Conv2d, channels, width * 2, 1),
    ))
    assert space.count() == 3 * 2 * 2
    for architecture in space:
        with torch.random.fork_rng(devices=[]):
            output = space.build(architecture)(torch.zeros(1, 4, 5, 5))
        assert output.shape == (1, 2 * architecture["width"], 5, 5)


def test_third_party_classes_are_searched_unchanged():
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer
    space = Space(partial(layer, 12, nhead=OneOf(1, 2, 3), dim_feedforward=OneOf(8, 16), batch_first=True))
    assert space.keys == ("nhead", "dim_feedforward")
    with torch.random.fork_rng(devices=[]):
        for architecture in space:
            assert space.build(architecture).self_attn.num_heads == architecture["nhead"]


def test_predicates_that_are_gone_are_not_taken_for_later_ones() -> None:
    space = Space({"x": OneOf(*range(8))})
    for value in range(64):
        # Each predicate may get the identity of the one before, which nobody keeps.
        narrowed = space.where(lambda x, value=value: x == value % 8, "x")
        assert [architecture["x"] for architecture in narrowed] == [value % 8]
