"""How fast search spaces are counted, listed, sampled and varied; beside each figure that of the prototype it replaces.

    python benchmarks/spaces.py            # about two minutes on one core
    python benchmarks/spaces.py --quick    # within a minute: fewer repetitions, a smaller predicate

Times are CPU seconds of this process, best of several repetitions after a warm-up, so that a busy machine changes them
little. The prototype's figures were measured on another machine of the same kind (one thread, wall-clock): a ratio near 1
says nothing, one of 3 does. The last line is one JSON object of figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from sartor.space import OneOf, Repeat, Shared, Space, Subset

SEED = 0
ROWS = 100_000

PROTOTYPE: dict[str, tuple[float, str, bool]] = {
    # figure: the prototype's value, unit, whether more is better
    "flat_codes_per_s": (8.4e6, "rows/s", True),
    "flat_architectures_per_s": (1.26e6, "/s", True),
    "flat_hashed_architectures_per_s": (186e3, "/s", True),
    "nested_codes_per_s": (1.5e6, "rows/s", True),
    "slots500_count_s": (1.7, "s", False),
    "slots500_codes_per_s": (138e3, "rows/s", True),
    "once_for_all_count_ms": (2.6, "ms", False),
    "nasbench201_codes_ms": (4.0, "ms", False),
    "nasbench201_objects_ms": (15.0, "ms", False),
    "nasbench101_v7_setup_s": (14.0, "s", False),
    "nasbench101_v7_keyed_per_s": (4.4e6, "/s", True),
    "nasbench101_v7_rejection_per_s": (154.0, "/s", True),
    "nasbench101_v7_acceptance": (0.0023, "", True),
    "mutation_us": (58.0, "us", False),
}

EXPLAINED = {
    "nasbench101_v7_acceptance": "a property of the space, not of the code",
}


def cpu(function: Callable[[], Any], repeat: int = 5) -> float:
    """Returns the least CPU seconds of ``repeat`` calls, after one that is not counted."""
    function()
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def cpu_once(function: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the CPU seconds of one call, and its result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def network(**parts: Any) -> Any:
    """Stands for a network: this file builds none."""
    return parts


def block(kernel: int, expand: int, squeeze: bool = False) -> Any:
    """Stands for a mobile inverted bottleneck."""
    return (kernel, expand, squeeze)


def identity() -> None:
    """Stands for a skip connection."""


def flat() -> Space:
    """20 independent choices of 5."""
    return Space(partial(network, **{f"c{i}": OneOf(*range(5)) for i in range(20)}))


def nested() -> Space:
    """41 slots, 76,034,875,203 architectures."""
    option = OneOf(partial(block, kernel=OneOf(3, 5, 7), expand=OneOf(3, 6)), partial(identity))
    blocks = [Repeat(option, times=OneOf(1, 2, 3))] * 4
    return Space(partial(network, stem=OneOf(8, 16, 24), blocks=blocks))


def slots500() -> Space:
    """20 stages of up to 6 blocks with three choices each: 500 slots."""
    part = partial(block, kernel=OneOf(3, 5, 7), expand=OneOf(3, 4, 6), squeeze=OneOf(True, False))
    return Space(partial(network, stages=[Repeat(OneOf(part, "skip"), times=OneOf(*range(1, 7)))] * 20))


def once_for_all() -> Space:
    """Cai et al. 2020: 5.44e20 architectures with 25 resolutions."""
    stage = Repeat(partial(block, kernel=OneOf(3, 5, 7), expand=OneOf(3, 4, 6)), times=OneOf(2, 3, 4))
    return Space({"resolution": OneOf(*range(128, 225, 4)), "network": partial(network, stages=[stage] * 5)})


def nasbench201() -> Space:
    """Dong & Yang 2020: 15,625 cells."""
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cell = Shared("cell", partial(network, edges=[OneOf(*operations)] * 6))
    return Space(partial(network, stages=[[cell] * 5] * 3))


def pairs(vertices: int) -> list[tuple[int, int]]:
    """Edges that a cell of so many vertices may have."""
    return [(i, j) for j in range(1, vertices) for i in range(j)]


def all_used(vertices: int) -> Callable[[Any], bool]:
    """Returns whether every vertex lies on a path from input to output: the prototype's predicate, word for word."""

    def used(edges: Any) -> bool:
        found = {tuple(edge) for edge in edges}
        reach = {0}
        for j in range(1, vertices):
            if any((i, j) in found for i in reach):
                reach.add(j)
        back = {vertices - 1}
        for i in range(vertices - 2, -1, -1):
            if any((i, j) in found for j in back):
                back.add(i)
        return len(reach) == vertices and len(back) == vertices

    return used


def nasbench101(vertices: int) -> Space:
    """Ying et al. 2019, without the rule: cells of so many vertices and at most nine edges."""
    fewest = vertices - 1
    edges = Subset({pair: pair for pair in pairs(vertices)}, size=range(fewest, min(9, len(pairs(vertices))) + 1))
    return Space(partial(network, edges=edges, ops=[OneOf("conv1x1", "conv3x3", "maxpool3x3")] * (vertices - 2)))


def nasbench101_bits(vertices: int) -> Space:
    """The same as one choice an edge, with the rule as a predicate on whole architectures."""
    possible, used = pairs(vertices), all_used(vertices)

    def rule(architecture: Any) -> bool:
        edges = [pair for i, pair in enumerate(possible) if architecture[f"edges.{i}"]]
        return len(edges) <= 9 and used(edges)

    operations = [OneOf("conv1x1", "conv3x3", "maxpool3x3")] * (vertices - 2)
    return Space(partial(network, edges=[OneOf(0, 1)] * len(possible), ops=operations)).where(rule, name="all used")


def class_201(architecture: Any) -> str:
    """Returns the isomorphism class of a NAS-Bench-201 cell by the literature's rule."""
    nodes, edges = ["0"], itertools.count()
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            operation = architecture[f"cell.edges.{next(edges)}"]
            if operation == "none" or nodes[source] == "#":
                terms.append("#")
            else:
                terms.append(nodes[source] if operation == "skip_connect" else f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


def measure(quick: bool) -> dict[str, float]:
    """Returns all figures."""
    figures: dict[str, float] = {}
    rng = np.random.default_rng(SEED)
    repeat = 3 if quick else 10

    space = flat()
    figures["flat_codes_per_s"] = ROWS / cpu(lambda: space.sample_codes(ROWS, rng), repeat)
    figures["flat_architectures_per_s"] = ROWS / cpu(lambda: space.sample(rng, ROWS), repeat)
    figures["flat_hashed_architectures_per_s"] = ROWS / cpu(lambda: set(space.sample(rng, ROWS)), repeat)

    space41 = nested()
    figures["nested_count"] = space41.count()
    figures["nested_codes_per_s"] = ROWS / cpu(lambda: space41.sample_codes(ROWS, rng), repeat)
    figures["nested_architectures_per_s"] = ROWS / cpu(lambda: space41.sample(rng, ROWS), repeat)
    one, other = space41.sample(rng, 2)
    figures["mutation_us"] = 1e3 * cpu(lambda: [space41.mutate(one, rng) for _ in range(1000)], repeat)
    figures["crossover_us"] = 1e3 * cpu(lambda: [space41.crossover(one, other, rng) for _ in range(1000)], repeat)
    figures["single_sample_us"] = 1e3 * cpu(lambda: [space41.sample(rng) for _ in range(1000)], repeat)
    some = space41.sample(rng, 1000)
    figures["encode_us"] = 1e3 * cpu(lambda: space41.encode(some), repeat)

    figures["slots500_define_s"], wide = cpu_once(slots500)
    figures["slots500_count_s"], _ = cpu_once(wide.count)
    figures["slots500_sampler_s"], _ = cpu_once(lambda: wide.sample_codes(1, rng))
    figures["slots500_codes_per_s"] = ROWS / cpu(lambda: wide.sample_codes(ROWS, rng), repeat)

    once_for_all().count()
    figures["once_for_all_count_ms"] = 1e3 * min(cpu_once(once_for_all().count)[0] for _ in range(repeat))
    figures["once_for_all_count"] = float(once_for_all().count())

    def listed(each: Callable[[Space], Any]) -> float:
        return 1e3 * min(cpu_once(partial(each, nasbench201()))[0] for _ in range(repeat))

    figures["nasbench201_codes_ms"] = listed(lambda space: sum(map(len, space.iter_codes())))
    figures["nasbench201_objects_ms"] = listed(set)
    figures["nasbench201_classes_s"], classes = cpu_once(nasbench201().modulo(class_201).count)
    figures["nasbench201_classes"] = classes

    vertices = 6 if quick else 7
    cells = nasbench101(vertices).where(all_used(vertices), "edges", name="all used")
    figures[f"nasbench101_v{vertices}_setup_s"], _ = cpu_once(lambda: cells.sample_codes(1, rng))
    figures[f"nasbench101_v{vertices}_keyed_per_s"] = ROWS / cpu(lambda: cells.sample_codes(ROWS, rng), repeat)
    figures[f"nasbench101_v{vertices}_count"] = cells.count()
    bits = nasbench101_bits(vertices)
    number = 200 if quick else 1000
    seconds, _ = cpu_once(lambda: bits.sample(rng, number))
    figures[f"nasbench101_v{vertices}_rejection_per_s"] = number / seconds
    figures[f"nasbench101_v{vertices}_acceptance"] = bits.acceptance or 0.0
    return figures


def machine() -> str:
    """Returns processor, cores and versions in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, one used; Python {platform.python_version()}, numpy {np.__version__}"


def main() -> None:
    """Prints the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    quick = parser.parse_args().quick
    started = time.perf_counter()
    print(f"{machine()}; seed {SEED}; {'quick' if quick else 'full'}")
    figures = measure(quick)
    print(f"{'figure':36}{'sartor':>14}{'prototype':>14}{'times better':>14}")
    for name, value in figures.items():
        known = PROTOTYPE.get(name)
        if known is None:
            print(f"{name:36}{value:>14.6g}")
            continue
        theirs, unit, more = known
        ratio = value / theirs if more else theirs / value
        print(f"{name:36}{value:>14.4g}{theirs:>14.4g}{ratio:>14.2f}  {unit}  {EXPLAINED.get(name, '')}".rstrip())
    print(f"took {time.perf_counter() - started:.0f} s")
    print(json.dumps({name: round(value, 6) for name, value in figures.items()}))


if __name__ == "__main__":
    sys.exit(main())
