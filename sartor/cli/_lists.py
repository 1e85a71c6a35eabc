"""Listings of the parts; no torch."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sartor.registry import Kind, specs


def _print(kind: Kind) -> None:
    table = Table("name", "what it is", "source", box=None, header_style="bold", pad_edge=False)
    for spec in specs(kind).values():
        table.add_row(spec.name, spec.summary, spec.citation)
    Console().print(table)


def tasks() -> None:
    """List the tasks."""
    _print("tasks")


def strategies() -> None:
    """List the search strategies: what each needs and when to use which."""
    table = Table("name", "what it is", box=None, header_style="bold", pad_edge=False)
    for spec in specs("strategies").values():
        lines = (
            spec.summary,
            f"[dim]needs[/] {spec.needs}" if spec.needs else "",
            f"[dim]use[/] {spec.when}" if spec.when else "",
            f"[dim]source[/] {spec.citation}" if spec.citation else "",
        )
        table.add_row(spec.name, "\n".join(filter(None, lines)))
    Console().print(table)


def spaces() -> None:
    """List the ready-made search spaces."""
    _print("spaces")


def compressors() -> None:
    """List the steps of compression."""
    _print("compressors")
