"""What was recorded: runs, fronts, reports."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from sartor.cli import DEFAULT_OUT
from sartor.errors import InputError
from sartor.front import Front
from sartor.goals import Goals
from sartor.runs import Record, RunInfo
from sartor.units import format_duration, format_figure

Out = Annotated[Path, Parameter(name=["--out", "-o"], help="Folder of results that holds the record.")]
_LONG = ("space_text", "describe", "initial", "sources", "architectures", "networks")
"""Entries of a configuration or a result that a terminal is too small for; the report has them."""

runs = App(name="runs", help="List, show and compare recorded runs.")


def front_of(record: Record, run_id: str) -> tuple[RunInfo, Front]:
    """Returns the front of a run's retrained finalists, or of the search itself while it has none."""
    run = record.run(run_id)
    if "networks" in (run.result or {}):
        raise InputError(f"{run.id} has no front, but a network for each limit: sartor runs show {run.id}")
    finals = [child for child in record.children(run.id) if child.kind == "final"]
    trials = [t for child in finals for t in record.trials(child.id) if t.state == "complete"]
    source = finals[-1] if trials else run
    return source, Front(trials or record.trials(run.id), Goals.of_config(run.config))


def _plain(value: object) -> str:
    """Returns a value of a configuration as a person writes it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={_plain(each)}" for key, each in value.items() if each not in (None, {}))
    if isinstance(value, list):
        return ", ".join(" ".join(map(_plain, each)) if isinstance(each, list) else _plain(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


@runs.command(name="list")
def list_runs(*, out: Out = DEFAULT_OUT) -> None:
    """List the runs of a record, newest last."""
    record = Record(out, read_only=True)
    table = Table("run", "state", "started", "took", "trials", "best", box=None, header_style="bold", pad_edge=False)
    for run in record.runs():
        trials = record.trials(run.id)
        complete = [t for t in trials if t.state == "complete"]
        best = ""
        if complete:
            primary = Goals.of_config(run.config).primary
            values = [t.values[primary.name] for t in complete if primary.name in t.values]
            if values:
                best = f"{primary.name} {min(values, key=primary.loss):.4f}"
        table.add_row(
            run.id,
            run.state,
            _when(run.created),
            format_duration(run.elapsed_s),
            f"{len(complete)}/{len(trials)}",
            best,
        )
    Console().print(table)


@runs.command
def show(run: str = "latest", /, *, out: Out = DEFAULT_OUT, trials: bool = False) -> None:
    """Show one run: configuration, environment, states, files and warnings.

    Parameters
    ----------
    run
        Run id, or "latest".
    out
        Folder of results that holds the record.
    trials
        Also print every trial.
    """
    record = Record(out, read_only=True)
    info = record.run(run)
    console = Console()
    console.print(
        f"[bold]{info.id}[/bold]  {info.kind}, {info.state}, started {_when(info.created)},"
        f" took {format_duration(info.elapsed_s)}",
        highlight=False,
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in info.config.items():
        if name not in _LONG:
            table.add_row(name, _plain(value))
    for name, value in info.environment.items():
        table.add_row(f"environment.{name}", _plain(value))
    for name, value in (info.result or {}).items():
        if name not in _LONG:
            table.add_row(f"result.{name}", _plain(value))
    for network in (info.result or {}).get("networks", ()):
        limits = ",".join(f"{name}={bound:g}" for name, bound in network["limits"])
        table.add_row(f"network for {limits}", network["unmet"] or f"{network['file']}: {_plain(network['metrics'])}")
    console.print(table)
    found = record.trials(info.id)
    counts = {state: sum(t.state == state for t in found) for state in ("complete", "infeasible", "failed", "running")}
    if info.state != "running":
        # What the end of the budget cut off runs no more.
        counts["not finished"] = counts.pop("running")
    console.print("trials: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n))
    if trials:
        rows = Table(
            "#", "state", "fidelity", "metrics", "costs", "architecture", box=None, header_style="bold", pad_edge=False
        )
        for t in found:
            rows.add_row(
                str(t.number),
                t.state,
                str(t.proposal.fidelity),
                ", ".join(f"{k} {v:.4g}" for k, v in t.metrics.items()) or (t.failure or ""),
                ", ".join(format_figure(k, f.value) for k, f in t.costs.items()),
                t.architecture.to_json(),
            )
        console.print(rows)
    for file in record.files(info.id):
        console.print(f"file: {record.path(info.id) / file.path}", highlight=False, soft_wrap=True)
    for child in record.children(info.id):
        console.print(f"run: {child.id} ({child.kind}, {child.state})", highlight=False)
    for time, kind, detail in record.log(info.id):
        console.print(f"{_when(time)} {kind}: {detail}", highlight=False, markup=False)


@runs.command
def compare(first: str, second: str, /, *more: str, out: Out = DEFAULT_OUT) -> None:
    """Compare runs: what differs in their configuration, and what each found."""
    record = Record(out, read_only=True)
    infos = [record.run(run) for run in (first, second, *more)]
    console = Console()
    table = Table("", *(info.id for info in infos), box=None, header_style="bold", pad_edge=False)
    for name in dict.fromkeys(key for info in infos for key in info.config):
        values = [_plain(info.config.get(name, "")) for info in infos]
        if len(set(values)) > 1 and name not in _LONG:
            table.add_row(name, *values)
    fronts = [front_of(record, info.id)[1] for info in infos]
    table.add_row("took", *(format_duration(info.elapsed_s) for info in infos))
    table.add_row("trials", *(str(len(record.trials(info.id))) for info in infos))
    for objective in Goals.of_config(infos[0].config).objectives:
        best = []
        for front in fronts:
            reached = [t.values[objective.name] for t in front if objective.name in t.values]
            best.append(format_figure(objective.name, min(reached, key=objective.loss)) if reached else "")
        table.add_row(f"best {objective.name}", *best)
    table.add_row("on the front", *(str(len(front)) for front in fronts))
    console.print(table)


def front(
    run: str = "latest", /, *, out: Out = DEFAULT_OUT, pick: list[str] | None = None, device: str | None = None
) -> None:
    """Print the Pareto front of a run.

    Parameters
    ----------
    run
        Run id, or "latest".
    out
        Folder of results that holds the record.
    pick
        Print only the best network within these limits, e.g. latency<=1ms.
    device
        Print the front of this device alone, of a search for several.
    """
    record = Record(out, read_only=True)
    source, found = front_of(record, _search_run(record, run))
    if device is not None:
        found = found.on(device)
    console = Console()
    if pick:
        chosen = found.pick(*pick)
        console.print(f"trial {chosen.number} of {source.id}", highlight=False)
        for name, value in chosen.values.items():
            console.print(f"  {name}: {format_figure(name, value)}", highlight=False)
        console.print(f"  architecture: {chosen.architecture.to_json()}", highlight=False, markup=False, soft_wrap=True)
        return
    console.print(
        f"{source.id}: {len(found)} on the front"
        + ("" if source.kind == "final" else " (search scores; nothing retrained yet)"),
        highlight=False,
    )
    console.print(str(found), highlight=False, markup=False, soft_wrap=True)


def _search_run(record: Record, run: str) -> str:
    """Returns the search that a run belongs to: the latest search, or the parent of a finalists' run."""
    if run == "latest":
        searches = [info for info in record.runs() if info.kind == "search"]
        return searches[-1].id if searches else record.run(run).id
    info = record.run(run)
    return info.parent if info.kind == "final" and info.parent else info.id


def report(run: str = "latest", /, *, out: Out = DEFAULT_OUT) -> None:
    """Write the HTML report of a run and print where it is."""
    from sartor.report import write_report

    record = Record(out, read_only=True)
    print(write_report(record, _search_run(record, run)))
