"""TransNAS-Bench-101, macro: 3,256 chains of modules on seven tasks.

Duan et al. 2021, arXiv:2105.11871; tasks, metrics and scores: ``_transnasbench101``. Keys: ``length``, four to six, and
``modules.0.0`` and so on, each of type 1 (keeps the shape), 2 (doubles the channels), 3 (halves the resolution) or 4
(both). Channels are doubled one to three times, and the resolution is halved one to four times.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError
from sartor.estimators.tables._table import Table
from sartor.estimators.tables._transnasbench101 import Dataset, table
from sartor.registry import Spec
from sartor.space import Architecture, Graph, OneOf, Repeat, Shared, Space

SPEC = Spec(
    "transnasbench101_macro",
    "sartor.estimators.tables.transnasbench101_macro:transnasbench101_macro",
    "3,256 chains of modules on seven vision tasks",
    extra="tables",
    citation="Duan et al. 2021, arXiv:2105.11871",
)

NUM_CHAINS = 3_256
LENGTHS = (4, 5, 6)
MODULES = {1: "keep", 2: "widen", 3: "shrink", 4: "widen-shrink"}
"""Type -> what it does, as the graph labels it."""
_KEYS = tuple(f"modules.0.{i}" for i in range(LENGTHS[-1]))


def transnasbench101_macro(folder: str | Path, dataset: Dataset = "class_object") -> Table:
    """Returns the table of one task, from ``transnasbench101_macro.parquet``.

    Raises:
        InputError: An unknown task; a file that is missing or not as expected.
    """
    made = space()

    def coded(texts: list[str]) -> npt.NDArray[Any]:
        return np.asarray(made.codes([from_digits(text) for text in texts]))

    return table(folder, SPEC.name, dataset, NUM_CHAINS, made, coded)


def space() -> Space:
    """Returns the chains."""
    tree = {"modules": [Repeat(OneOf(*MODULES), times=Shared("length", OneOf(*LENGTHS)))]}
    return Space(tree, graph=graph).where(is_chain)


def from_digits(text: str) -> Architecture:
    """Reads the benchmark's digits, one a module.

    Raises:
        InputError: Not of that form.
    """
    if len(text) not in LENGTHS or set(text) - set("1234"):
        raise InputError(f"expected {LENGTHS[0]} to {LENGTHS[-1]} digits from 1 to 4, got {text!r}")
    return Architecture({"length": len(text), **{key: int(digit) for key, digit in zip(_KEYS, text, strict=False)}})


def _modules(architecture: Mapping[str, Any]) -> list[int]:
    return [architecture[key] for key in _KEYS if key in architecture]


def is_chain(architecture: Architecture) -> bool:
    """Returns whether channels are doubled one to three times, and the resolution halved one to four times."""
    modules = _modules(architecture)
    return 1 <= sum(each in (2, 4) for each in modules) <= 3 and 1 <= sum(each in (3, 4) for each in modules) <= 4


def graph(architecture: Mapping[str, Any]) -> Graph:
    """Returns the chain of modules."""
    return Graph.chain(MODULES[each] for each in _modules(architecture))
