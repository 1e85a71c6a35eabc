"""How fast search spaces are counted, listed, sampled and varied, beside the prototype that SPACE.md's figures are of.

    python benchmarks/spaces.py            # about five minutes on a busy core, half of it the prototype
    python benchmarks/spaces.py --quick    # within a minute: fewer repetitions, a smaller predicate

Times are CPU seconds of this process, best of several repetitions after a warm-up: a busy machine still slows them, by
up to half. The column "published" is what SPACE.md states, measured elsewhere on a quiet machine. Where the prototype
itself is beside the repository (or at --prototype), it is run in the same minute on the same spaces (without its
slowest ones with --quick): column "here", and that is the ratio to trust. The last line is one JSON object of figures.

Not beaten, and why: rejection under a predicate on whole architectures (nasbench101_v7_rejection_per_s) spends nine
tenths of its time inside the person's own Python function, so that it can only be equalled; name the keys instead, and
the same rule is drawn several 100,000 times faster. The set-up of that (nasbench101_v7_setup_s) is 668,000 calls of the
function. Defining a space (slots500_define_s) is slower than the prototype's: arguments, hidden choices and ambiguous
keys are checked.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import sartor.space

SEED = 0
ROWS = 100_000

PUBLISHED = {
    "flat_codes_per_s": 8.4e6,
    "flat_architectures_per_s": 1.26e6,
    "flat_hashed_architectures_per_s": 186e3,
    "nested_codes_per_s": 1.5e6,
    "slots500_count_s": 1.7,
    "slots500_codes_per_s": 138e3,
    "once_for_all_count_ms": 2.6,
    "nasbench201_codes_ms": 4.0,
    "nasbench201_objects_ms": 15.0,
    "nasbench101_v7_setup_s": 14.0,
    "nasbench101_v7_keyed_per_s": 4.4e6,
    "nasbench101_v7_rejection_per_s": 154.0,
    "nasbench101_v7_acceptance": 0.0023,
    "mutation_us": 58.0,
}
"""The prototype's, as SPACE.md states them. Its hashed architectures were values, those run "here" hash codes."""


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


def flat(words: Any = sartor.space) -> Any:
    """20 independent choices of 5, in Sartor's words or the prototype's, which are the same."""
    return words.Space(partial(network, **{f"c{i}": words.OneOf(*range(5)) for i in range(20)}))


def nested(words: Any = sartor.space) -> Any:
    """41 slots, 76,034,875,203 architectures."""
    conv = partial(block, kernel=words.OneOf(3, 5, 7), expand=words.OneOf(3, 6))
    blocks = [words.Repeat(words.OneOf(conv, partial(identity)), times=words.OneOf(1, 2, 3))] * 4
    return words.Space(partial(network, stem=words.OneOf(8, 16, 24), blocks=blocks))


def slots500(words: Any = sartor.space) -> Any:
    """20 stages of up to 6 blocks with three choices each: 500 slots."""
    one_of = words.OneOf
    part = partial(block, kernel=one_of(3, 5, 7), expand=one_of(3, 4, 6), squeeze=one_of(True, False))
    stage = words.Repeat(one_of(part, "skip"), times=one_of(*range(1, 7)))
    return words.Space(partial(network, stages=[stage] * 20))


def once_for_all(words: Any = sartor.space) -> Any:
    """Cai et al. 2020: 5.44e20 architectures with 25 resolutions."""
    part = partial(block, kernel=words.OneOf(3, 5, 7), expand=words.OneOf(3, 4, 6))
    stages = [words.Repeat(part, times=words.OneOf(2, 3, 4))] * 5
    return words.Space({"resolution": words.OneOf(*range(128, 225, 4)), "network": partial(network, stages=stages)})


def nasbench201(words: Any = sartor.space) -> Any:
    """Dong & Yang 2020: 15,625 cells."""
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cell = words.Shared("cell", partial(network, edges=[words.OneOf(*operations)] * 6))
    return words.Space(partial(network, stages=[[cell] * 5] * 3))


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


def nasbench101(vertices: int, words: Any = sartor.space) -> Any:
    """Ying et al. 2019: cells of so many vertices and at most nine edges, the rule a truth table."""
    fewest = vertices - 1
    sizes = range(fewest, min(9, len(pairs(vertices))) + 1)
    edges = words.Subset({pair: pair for pair in pairs(vertices)}, size=sizes)
    operations = [words.OneOf("conv1x1", "conv3x3", "maxpool3x3")] * (vertices - 2)
    return words.Space(partial(network, edges=edges, ops=operations)).where(
        all_used(vertices), "edges", name="all used"
    )


def nasbench101_bits(vertices: int, words: Any = sartor.space) -> Any:
    """The same as one choice an edge, with the rule as a predicate on whole architectures."""
    possible, used = pairs(vertices), all_used(vertices)

    def rule(architecture: Any) -> bool:
        edges = [pair for i, pair in enumerate(possible) if architecture[f"edges.{i}"]]
        return len(edges) <= 9 and used(edges)

    operations = [words.OneOf("conv1x1", "conv3x3", "maxpool3x3")] * (vertices - 2)
    bits = [words.OneOf(0, 1)] * len(possible)
    return words.Space(partial(network, edges=bits, ops=operations)).where(rule, name="all used")


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


def compare(words: Any, quick: bool, wide_too: bool = True) -> dict[str, float]:
    """Returns the figures that ours and the prototype have in common, of either; 500 slots only with ``wide_too``."""
    figures: dict[str, float] = {}
    rng = np.random.default_rng(SEED)
    repeat = 3 if quick else 10

    space = flat(words)
    figures["flat_codes_per_s"] = ROWS / cpu(lambda: space.sample_codes(ROWS, rng), repeat)
    figures["flat_architectures_per_s"] = ROWS / cpu(lambda: space.sample(rng, ROWS), repeat)
    figures["flat_hashed_architectures_per_s"] = ROWS / cpu(lambda: set(space.sample(rng, ROWS)), repeat)

    space41 = nested(words)
    figures["nested_codes_per_s"] = ROWS / cpu(lambda: space41.sample_codes(ROWS, rng), repeat)
    figures["nested_architectures_per_s"] = ROWS / cpu(lambda: space41.sample(rng, ROWS), repeat)
    one, other = space41.sample(rng, 2)
    figures["mutation_us"] = 1e3 * cpu(lambda: [space41.mutate(one, rng) for _ in range(1000)], repeat)
    figures["crossover_us"] = 1e3 * cpu(lambda: [space41.crossover(one, other, rng) for _ in range(1000)], repeat)
    figures["single_sample_us"] = 1e3 * cpu(lambda: [space41.sample(rng) for _ in range(1000)], repeat)

    if wide_too:
        figures["slots500_define_s"], wide = cpu_once(lambda: slots500(words))
        figures["slots500_count_s"], _ = cpu_once(wide.count)
        figures["slots500_sampler_s"], _ = cpu_once(lambda: wide.sample_codes(1, rng))
        figures["slots500_codes_per_s"] = 20_000 / cpu(lambda: wide.sample_codes(20_000, rng), 3)

    def fresh(make: Callable[[Any], Any], each: Callable[[Any], Any]) -> float:
        return 1e3 * min(cpu_once(partial(each, make(words)))[0] for _ in range(repeat))

    figures["once_for_all_count_ms"] = fresh(once_for_all, lambda space: space.count())
    figures["nasbench201_codes_ms"] = fresh(nasbench201, lambda space: sum(map(len, space.iter_codes())))
    figures["nasbench201_objects_ms"] = fresh(nasbench201, set)

    vertices = 6 if quick else 7
    cells = nasbench101(vertices, words)
    figures[f"nasbench101_v{vertices}_setup_s"], _ = cpu_once(lambda: cells.sample_codes(1, rng))
    figures[f"nasbench101_v{vertices}_keyed_per_s"] = ROWS / cpu(lambda: cells.sample_codes(ROWS, rng), 3)
    bits = nasbench101_bits(vertices, words)
    number = 200 if quick else 1000
    figures[f"nasbench101_v{vertices}_rejection_per_s"] = number / cpu_once(lambda: bits.sample(rng, number))[0]
    figures[f"nasbench101_v{vertices}_acceptance"] = bits.acceptance
    return figures


def ours(quick: bool) -> dict[str, float]:
    """Returns the figures that the prototype has no counterpart of."""
    rng = np.random.default_rng(SEED)
    space = nested()
    some = space.sample(rng, 1000)
    figures = {
        "nested_count": float(space.count()),
        "once_for_all_count": float(once_for_all().count()),
        "encode_us": 1e3 * cpu(lambda: space.encode(some), 3 if quick else 10),
    }
    figures["nasbench201_classes_s"], classes = cpu_once(nasbench201().modulo(class_201).count)
    figures["nasbench201_classes"] = classes
    return figures


def prototype(path: Path) -> Any | None:
    """Returns the prototype's module, or None where it is not."""
    source = path / "core.py"
    if not source.exists():
        return None
    spec = importlib.util.spec_from_file_location("prototype_space", source)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def machine() -> str:
    """Returns processor, cores and versions in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    return f"{model}, {os.cpu_count()} cores, one used; Python {platform.python_version()}, numpy {np.__version__}"


def main() -> None:
    """Prints the table and the figures."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "prototype" / "space"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--prototype", type=Path, default=beside, help="folder of the prototype's core.py")
    options = parser.parse_args()
    started = time.perf_counter()
    print(f"{machine()}; seed {SEED}; {'quick' if options.quick else 'full'}")
    figures = compare(sartor.space, options.quick)
    words = prototype(options.prototype)
    theirs = compare(words, options.quick, wide_too=not options.quick) if words is not None else {}
    if words is None:
        print("the prototype is not here: only its published figures stand beside ours")
    print(f"{'figure':34}{'sartor':>12}{'published':>12}{'times':>8}{'here':>12}{'times':>8}")
    for name, value in figures.items():
        more = name.endswith(("per_s", "acceptance"))
        cells = [f"{name:34}{value:>12.4g}"]
        for known in (PUBLISHED.get(name), theirs.get(name)):
            if known is None:
                cells.append(f"{'':20}")
            else:
                cells.append(f"{known:>12.4g}{value / known if more else known / value:>8.2f}")
        print("".join(cells).rstrip())
    alone = ours(options.quick)
    for name, value in alone.items():
        print(f"{name:34}{value:>12.6g}")
    print(f"took {time.perf_counter() - started:.0f} s")
    measured = {name: round(value, 6) for name, value in (figures | alone).items()}
    measured |= {f"prototype_{name}": round(value, 6) for name, value in theirs.items()}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
