"""Searches on published tables."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table as Printed

from sartor.errors import InputError
from sartor.estimators.tables.lookup import load
from sartor.estimators.tables.simulate import Simulation, checkpoints, simulate
from sartor.goals import Limit
from sartor.registry import find, specs
from sartor.strategies._auto import AUTO, choose

HALVING = "asha"
"""The strategy around those that train everything in full, where trainings may be shorter."""


def run(
    name: Annotated[str | None, Parameter(show=True)] = None,
    /,
    *,
    table: Path | None = None,
    strategy: str = AUTO,
    queries: int = 100,
    seeds: int = 10,
    protocol: Literal["both", "clean", "noisy"] = "both",
    dataset: str | None = None,
    limit: list[str] | None = None,
    device: str | None = None,
    batch_size: int = 1,
    low_fidelities: bool = False,
) -> None:
    """Run a strategy on a published table of trained architectures: mean regret, and its standard error over seeds.

    Parameters
    ----------
    name
        Table; without it the tables are listed.
    table
        Folder of the benchmark's files.
    strategy
        Name of a search strategy; auto chooses one by the queries and the space, and says why.
    queries
        Trainings at the highest fidelity that the search may look up.
    seeds
        How many searches, with the seeds from 0 on.
    protocol
        clean: the search is shown the figure that it is judged by. noisy: it is shown a single training.
    dataset
        One of the table's own; its first by default.
    limit
        Upper bound of a cost of the table, e.g. params=1M or latency=5ms; may be given several times.
    device
        Device of the table whose costs are limited.
    batch_size
        Proposals asked before any of them is told.
    low_fidelities
        Also offer the table's shorter trainings; a strategy that trains all in full is put within asha, as in a search.
    """
    console = Console()
    if name is None:
        listed = Printed("name", "what it is", "source", box=None, header_style="bold", pad_edge=False)
        for spec in specs("tables").values():
            listed.add_row(spec.name, spec.summary, spec.citation)
        console.print(listed)
        return
    find("tables", name)
    if table is None:
        raise InputError(f"--table DIR names the folder of the files of {name}")
    for option, value in (("queries", queries), ("seeds", seeds), ("batch-size", batch_size)):
        if value < 1:
            raise InputError(f"--{option} must be at least 1, got {value}")
    loaded = load(table, name, dataset)
    if strategy == AUTO:
        strategy, why = choose(loaded.space, queries)
        console.print(f"strategy {strategy}: {why}", highlight=False)
    spec = find("strategies", strategy)
    make = spec.load()
    if low_fidelities and not spec.promotes:
        # As in a search: alone it would train everything in full.
        make = partial(find("strategies", HALVING).load(), sampler=strategy)
        strategy = f"{strategy} within {HALVING}"
    limits = [Limit.parse(text) for text in limit or []]
    fidelities = tuple(loaded.fidelities) if low_fidelities else None
    at = checkpoints(queries)
    cells: dict[str, list[str]] = {}
    notes: dict[str, None] = {}
    for each in loaded.protocols if protocol == "both" else (protocol,):
        search = partial(
            simulate, loaded, make, queries, protocol=each, limits=limits, device=device, fidelities=fidelities,
            batch_size=batch_size, at=at,
        )  # fmt: skip
        found = [search(seed=seed) for seed in range(seeds)]
        cells[f"{each}, best observed"] = [_mean([one.regret_at(q) for one in found]) for q in at]
        cells[f"{each}, recommended"] = [_mean([one.recommended[q] for one in found]) for q in at]
        notes |= dict.fromkeys(_notes(found))
    rows = Printed("queries", *cells, box=None, header_style="bold", pad_edge=False)
    for q, *row in zip(at, *cells.values(), strict=True):
        rows.add_row(str(q), *row)
    unit = f" in {loaded.unit}" if loaded.unit else ""
    console.print(
        f"{loaded.name}: {len(loaded):,} architectures, best {loaded.metric} {loaded.best():.6g}{loaded.unit};"
        f" {strategy}, {seeds} seed{'s' if seeds > 1 else ''}",
        highlight=False,
    )
    console.print(f"mean regret{unit} +- standard error after so many queries", highlight=False)
    console.print(rows)
    for note in notes:
        console.print(note, highlight=False)


def _mean(values: list[float]) -> str:
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return "-"
    error = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else 0.0
    missing = f" ({len(values) - len(known)} without)" if len(known) < len(values) else ""
    return f"{known.mean():.4g} +- {error:.2g}{missing}"


def _notes(found: list[Simulation]) -> list[str]:
    return [
        f"{sum(one.stopped == why for one in found)} of {len(found)} searches ended early: {why}"
        for why in dict.fromkeys(one.stopped for one in found if one.stopped)
    ]
