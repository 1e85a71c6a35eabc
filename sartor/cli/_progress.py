"""Live progress of a search: one line in a terminal, sparse lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sartor._progress import FinalistsChosen, Note, PhaseStarted, SearchDone, SearchProgress
from sartor.front import Front
from sartor.units import format_duration, format_figure, of_device, on_device

_LOG_EVERY_S = 10.0
"""Seconds between lines where there is no terminal to redraw."""
_SHOWN = {"latency_ms": "latency", "params": "params", "peak_memory_bytes": "memory", "model_bytes": "file"}
"""Costs in the closing table, and what they are called there."""


class Progress:
    """Draws events; called with each. A context manager: the line is removed at the end."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._last = 0.0
        self._done: SearchDone | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, event: Any) -> None:
        if isinstance(event, PhaseStarted):
            self._say(f"{event.run}: {event.what}")
            self._last = 0.0
        elif isinstance(event, Note):
            self._say(f"note: {event.text}")
        elif isinstance(event, FinalistsChosen):
            self._say(
                f"retraining {len(event.trials)} networks from scratch: trials {', '.join(map(str, event.trials))}"
            )
        elif isinstance(event, SearchDone):
            self._done = event
        elif isinstance(event, SearchProgress):
            line = self._line(event)
            if self._live:
                self._live.update(Text(line, overflow="ellipsis", no_wrap=True))
            elif time.monotonic() - self._last > _LOG_EVERY_S:
                self._last = time.monotonic()
                self._say(line)

    def _line(self, event: SearchProgress) -> str:
        done = f"{event.finished}/{event.total}" if event.total else str(event.finished)
        parts = [f"{event.run}  {done} trials", format_duration(event.elapsed_s)]
        if event.remaining_s is not None:
            parts.append(f"{format_duration(max(0.0, event.remaining_s))} left")
        if event.infeasible:
            parts.append(f"{event.infeasible} beyond a limit")
        if event.failed:
            parts.append(f"{event.failed} failed")
        if event.best:
            parts.append(
                "best " + ", ".join(f"{name} {format_figure(name, value)}" for name, value in event.best.items())
            )
        if event.running:
            parts.append(event.running)
        return "  |  ".join(parts)

    def finish(self, front: Front) -> None:
        """Prints the retrained networks and where everything is, on standard output."""
        done = self._done
        assert done is not None, "a search that returns has said SearchDone"
        console = Console()
        primary = done.primary
        costs = [name for shown in _SHOWN for name in done.chosen.costs if of_device(name)[0] == shown]
        heads = ["validation", "test", *(on_device(_SHOWN[of_device(name)[0]], of_device(name)[1]) for name in costs)]
        title = f"{primary} of the retrained networks on validation and test"
        table = Table(
            "network", *heads, "", title=title, title_justify="left", box=None, header_style="bold", pad_edge=False
        )
        front_numbers = {trial.number for trial in front}
        for trial in sorted(done.finals, key=lambda t: t.costs[costs[0]].value if costs else t.number):
            marks = (
                ("chosen", trial is done.chosen),
                ("baseline", trial is done.baseline),
                ("beaten", trial.number not in front_numbers),
            )
            table.add_row(
                str(trial.number),
                *(f"{trial.metrics[m]:.4f}" if m in trial.metrics else "" for m in (primary, f"test.{primary}")),
                *(format_figure(name, trial.costs[name].value) for name in costs),
                ", ".join(text for text, holds in marks if holds),
            )
        console.print(table)
        for label, value in (
            ("chosen", f"network {done.chosen.number}: {done.why}"),
            ("network", done.network),
            ("report", done.report),
            ("took", format_duration(done.elapsed_s)),
        ):
            if value is not None:
                console.print(f"{label:8s} {value}", highlight=False, markup=False, soft_wrap=True)
