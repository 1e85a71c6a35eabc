"""NAS-Bench-Graph: 26,206 graph neural networks on nine graphs.

Qin et al. 2022, "NAS-Bench-Graph: Benchmarking Graph Neural Architecture Search", arXiv:2206.09166. Figures are shares
from 0 to 1: accuracy, on ``proteins`` the area under the receiver operating characteristic.

A network has four layers: ``link`` says from which each reads (``0-0-1-2``: 0 is the input, i is layer i), and
``operations.0`` to ``operations.3`` are what they compute. Layers that nothing reads are concatenated. A ``skip``
passes its input on, so that it is left out wherever that changes nothing: behind the input, between layers, or as the
only reader of its layer. Networks that are then the same tree are one row; any of them finds it.

Clean: observed by validation, judged by test. There is no noisy protocol. On ``proteins`` five operations and 2,021
networks were tried. Latency and number of parameters are the benchmark's, on its makers' machine (device ``server``,
no error published).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.errors import InputError, near
from sartor.estimators.tables._files import read
from sartor.estimators.tables._table import Cost, Kept, Protocol, Table
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Space
from sartor.trials import Fidelity

SPEC = Spec(
    "nasbench_graph",
    "sartor.estimators.tables.nasbench_graph:nasbench_graph",
    "26,206 graph neural networks on nine graphs",
    extra="tables",
    citation="Qin et al. 2022, arXiv:2206.09166",
)

Dataset = Literal["cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins"]
DATASETS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins")
LINKS = ("0-0-0-0", "0-0-0-1", "0-0-1-1", "0-0-1-2", "0-0-1-3", "0-1-1-1", "0-1-1-2", "0-1-2-2", "0-1-2-3")
OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
OPERATIONS_PROTEINS = ("gcn", "sage", "arma", "fc", "skip")
NUM_NETWORKS = 26_206
_NUM_PROTEINS = 2_021
_FILE = "nasbench_graph.parquet"
_NUM_LAYERS = 4
_choices_of = itemgetter("link", *(f"operations.{i}" for i in range(_NUM_LAYERS)))

_Tree = tuple[str, tuple["_Tree", ...]]


def nasbench_graph(folder: str | Path, dataset: Dataset = "cora") -> Table:
    """Returns the table of one graph, from ``nasbench_graph.parquet``.

    Raises:
        InputError: An unknown graph; a file that is missing or not as expected.
    """
    if dataset not in DATASETS:
        raise InputError(f"unknown graph {dataset!r} of nasbench_graph{near(dataset, DATASETS)}")
    figures = [f"{dataset}_{name}" for name in ("valid", "test", "latency_s", "params_m")]
    partly = figures if dataset == "proteins" else ()
    columns = read(folder, _FILE, ["arch", *figures], num_rows=NUM_NETWORKS, unbounded=partly)
    tried = ~np.isnan(np.stack([columns[name] for name in figures])).any(0)
    if dataset == "proteins" and tried.sum() != _NUM_PROTEINS:
        raise InputError(f"{folder}/{_FILE}: {tried.sum():,} rows have figures of proteins, expected {_NUM_PROTEINS:,}")
    operations = OPERATIONS_PROTEINS if dataset == "proteins" else OPERATIONS
    name, plain = f"nasbench_graph/{dataset}", space(operations)
    read_texts = [_parts(text) for text in columns["arch"][tried].tolist()]
    codes = np.array([[LINKS.index(link), *map(operations.index, layers)] for link, layers in read_texts], np.int8)
    keys = np.array([repr(_tree(link, tuple(layers))) for link, layers in read_texts])
    valid, test, latency_s, params_m = (columns[figure][tried] for figure in figures)
    return Table(
        name=name,
        space=plain.modulo(Kept(name, plain, codes, keys, key), name="row of the table", rows=codes),
        codes=codes,
        columns={"valid": valid, "test": test},
        protocols={"clean": Protocol("valid", "test")},
        fidelities={Fidelity(1, "trainings"): "valid"},
        metric="roc_auc" if dataset == "proteins" else "accuracy",
        costs={"params": Cost(np.rint(params_m * 1e6), error=1e-6, note="published in millions, single precision")},
        devices={"server": {"latency_ms": Cost(latency_s * 1e3, "measured", None)}},
        keys=keys,
        key=key,
    )


def space(operations: tuple[str, ...] = OPERATIONS) -> Space:
    """Returns all ways to write a network but those that only pass their input on."""
    tree = {"link": OneOf(*LINKS), "operations": [OneOf(*operations) for _ in range(_NUM_LAYERS)]}
    return Space(tree, graph=graph).where(computes)


def from_text(text: str) -> Architecture:
    """Reads the benchmark's ``links|operations``, e.g. ``0-0-1-2|gcn-gat-fc-skip``.

    Raises:
        InputError: Not of that form; an unknown operation (with the near name).
    """
    link, operations = _parts(text)
    return Architecture({"link": link, **{f"operations.{i}": name for i, name in enumerate(operations)}})


def _parts(text: str) -> tuple[str, list[str]]:
    link, _, rest = text.partition("|")
    operations = rest.split("-")
    if link not in LINKS or len(operations) != _NUM_LAYERS:
        raise InputError(f"expected links|operations such as 0-0-1-2|gcn-gat-fc-skip, got {text!r}")
    for name in operations:
        if name not in OPERATIONS:
            raise InputError(f"unknown operation {name!r} in {text!r}{near(name, OPERATIONS)}")
    return link, operations


def _tree_of(architecture: Mapping[str, Any]) -> tuple[_Tree, ...]:
    link, *layers = _choices_of(architecture)
    return _tree(link, tuple(layers))


@lru_cache(2**15)
def _tree(link: str, layers: tuple[str, ...]) -> tuple[_Tree, ...]:
    """Returns what reads the input, each an operation with what reads it, sorted, without needless skips."""
    sources = [int(source) for source in link.split("-")]
    operations = ["", *layers]
    readers = [[i for i, source in enumerate(sources, 1) if source == layer] for layer in range(_NUM_LAYERS + 1)]

    def past_skips(layer: int) -> list[int]:
        passed = (past_skips(i) if operations[i] == "skip" and readers[i] else [i] for i in readers[layer])
        return [i for each in passed for i in each]

    def below(layer: int) -> tuple[_Tree, ...]:
        found = past_skips(layer)
        kept = [i for i in found if operations[i] != "skip" or (layer and len(found) > 1)]
        return tuple(sorted((operations[i], below(i)) for i in kept))

    return below(0)


def computes(architecture: Architecture) -> bool:
    """Returns whether anything is left without needless skips."""
    return bool(_tree_of(architecture))


def key(architecture: Mapping[str, Any]) -> str:
    """Returns a text that is equal for networks that compute the same, and for those alone."""
    return repr(_tree_of(architecture))


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the network without needless skips; what nothing reads leads to the output."""
    labels = ["input"]
    edges: list[tuple[int, int]] = []
    ends: list[int] = []

    def add(tree: tuple[_Tree, ...], source: int) -> None:
        for operation, below in tree:
            labels.append(operation)
            node = len(labels) - 1
            edges.append((source, node))
            add(below, node)
            if not below:
                ends.append(node)

    add(_tree_of(architecture), 0)
    last = len(labels)
    edges += [(node, last) for node in ends or [0]]
    return Graph((*labels, "output"), tuple(sorted(edges)))
