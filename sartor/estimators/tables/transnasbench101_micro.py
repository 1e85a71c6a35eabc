"""TransNAS-Bench-101, micro: 4,096 cells on seven tasks.

Duan et al. 2021, arXiv:2105.11871; tasks, metrics and scores: ``_transnasbench101``. One cell of four nodes, keys
``cell.edges.0`` to ``cell.edges.5`` as in NAS-Bench-201, each ``none``, ``skip_connect``, ``nor_conv_1x1`` or
``nor_conv_3x3``. Each cell was trained, also those that compute the same function, so each is a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from sartor.estimators.tables._files import digits
from sartor.estimators.tables._table import Table
from sartor.estimators.tables._transnasbench101 import Dataset, table
from sartor.registry import Spec
from sartor.space import Graph, OneOf, Space
from sartor.spaces import nasbench201

SPEC = Spec(
    "transnasbench101_micro",
    "sartor.estimators.tables.transnasbench101_micro:transnasbench101_micro",
    "4,096 cells on seven vision tasks",
    extra="tables",
    citation="Duan et al. 2021, arXiv:2105.11871",
)

OPERATIONS = nasbench201.OPERATIONS[:4]
NUM_CELLS = 4_096


def transnasbench101_micro(folder: str | Path, dataset: Dataset = "class_object") -> Table:
    """Returns the table of one task, from ``transnasbench101_micro.parquet``.

    Raises:
        InputError: An unknown task; a file that is missing or not as expected.
    """
    where = f"{folder}/{SPEC.name}.parquet"
    coded = partial(digits, length=len(nasbench201.EDGES), base=len(OPERATIONS), where=where)
    return table(folder, SPEC.name, dataset, NUM_CELLS, space(), coded)


def space() -> Space:
    """Returns the cells; those of ``sartor.spaces.nasbench201`` without pooling are equal."""
    return Space({"cell": {"edges": [OneOf(*OPERATIONS) for _ in nasbench201.EDGES]}}, graph=graph)


def graph(architecture: Mapping[str, object]) -> Graph:
    """Returns the cell with its operations as nodes; what lies on no path to the output is left out."""
    return nasbench201.graph(architecture)
