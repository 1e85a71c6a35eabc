"""What mattered in a recorded search."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.cli._runs import Out, _search_run
from sartor.errors import InputError
from sartor.runs import Record
from sartor.units import format_figure

_VALUES_OF = 3
"""Choices whose values are listed; the report has more, as a picture."""


def explain(
    run: str = "latest",
    /,
    *,
    objective: list[str] | None = None,
    top: int = 10,
    row: int | None = None,
    network: str = "chosen",
    data: Annotated[str | None, Parameter(name=["--data", "-d"])] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Say which choices mattered in a run and what its best architectures share; or why one prediction is as it is.

    Parameters
    ----------
    run
        Run id, or "latest".
    objective
        Metric or cost to explain, e.g. latency_ms; by default the objectives of the search.
    top
        How many rows of each table.
    row
        Explain the prediction of this example of the data, from 1, instead of the search; the task says how.
    network
        For a row: "chosen", the number of a retrained trial, or an architecture as JSON.
    data
        For a row: other data than the run's.
    as_json
        Print everything as JSON.
    out
        Folder of results that holds the record.
    """
    from sartor.explain import explain_run

    if top < 1:
        raise InputError(f"expected at least 1 row, got --top {top}")
    record = Record(out, read_only=True)
    if row is not None:
        _explain_row(record, _search_run(record, run), network, row, data, top, as_json)
        return
    if data is not None or network != "chosen":
        raise InputError("--data and --network explain a prediction: say which by --row N")
    found = explain_run(record, _search_run(record, run), objective or ())
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
        return
    console = Console()
    for figure in found.figures:
        console.print(f"[bold]{escape(figure.objective)}[/bold]: {escape(figure.words)}", highlight=False)
        if not figure.choices:
            continue
        if len(figure.fidelities) > 1:
            console.print(f"Averaged over {', '.join(figure.fidelities)}.", highlight=False)
        rows = Table("choice", "share", "90% interval", "", box=None, header_style="bold", pad_edge=False)
        for choice in figure.choices[:top]:
            active = "" if choice.active > 0.999 else f"active in {choice.active:.0%} of the space"
            rows.add_row(escape(choice.name), f"{choice.share:.1%}", _between(choice.low, choice.high), active)
        for pair in figure.interactions[: max(1, top // 3)]:
            name = " with ".join(map(escape, pair.names))
            rows.add_row(name, f"{pair.share:.1%}", _between(pair.low, pair.high), "beyond what each does alone")
        console.print(rows)
        values = Table("value", "mean", "90% interval", "trials", box=None, header_style="bold", pad_edge=False)
        for choice in figure.choices[:_VALUES_OF]:
            for effect in choice.effects:
                mean, low, high = (format_figure(figure.objective, v) for v in (effect.mean, effect.low, effect.high))
                said = escape(f"{choice.name} = {effect.value}")
                values.add_row(said, mean, f"{low} to {high}", str(effect.num_trials))
        console.print(values)
        console.print()
    console.print(f"[bold]What the best share[/bold]: {escape(found.shared.words)}", highlight=False)
    if found.shared.rows:
        shared = Table("", "best", "evaluated", "space", "by chance", box=None, header_style="bold", pad_edge=False)
        for each in found.shared.rows[:top]:
            shares = (f"{share:.0%}" for share in (each.best, each.evaluated, each.space))
            shared.add_row(escape(each.what), *shares, f"{each.chance:.2g}")
        console.print(shared)
        console.print(f"By chance: corrected for {found.shared.num_tests} tests.", highlight=False)


def _explain_row(
    record: Record, run: str, network: str, row: int, data: str | None, top: int, as_json: bool
) -> None:
    """Prints why a retrained network says what it says of one example."""
    from sartor._export import Finalist
    from sartor.pictures import Table as Tabular

    opened = Finalist.open(record, run, network)
    tables = [picture for picture in opened.task.explain(opened.deployed, row, data) if isinstance(picture, Tabular)]
    if as_json:
        print(json.dumps([dataclasses.asdict(table) for table in tables], indent=1, ensure_ascii=False))
        return
    console = Console()
    for each in tables:
        table = Table(*map(escape, each.header), box=None, header_style="bold", pad_edge=False)
        # What the terms start from and come to is not cut off.
        last = each.rows[-1]
        for cells in each.rows[: top + 1]:
            table.add_row(*map(escape, cells))
        if len(each.rows) > top + 2:
            table.add_row(f"... {len(each.rows) - top - 2} smaller ones")
        if len(each.rows) > top + 1:
            table.add_row(*map(escape, last))
        console.print(f"[bold]{escape(each.title)}[/bold]", highlight=False)
        console.print(table)


def _between(low: float, high: float) -> str:
    return f"{low:.1%} to {high:.1%}"
