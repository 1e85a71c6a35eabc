"""Live progress of a search: one line in a terminal, sparse lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sartor._progress import FinalistsChosen, Note, PhaseStarted, SearchDone, SearchProgress
from sartor.front import Front
from sartor.units import format_duration, format_figure

_LOG_EVERY_S = 10.0
"""Seconds between lines where there is no terminal to redraw."""


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
        shown = sorted(
            {done.chosen.number: done.chosen, **{t.number: t for t in front}}.values(), key=lambda t: t.number
        )
        if done.baseline is not None and all(t.number != done.baseline.number for t in shown):
            shown.append(done.baseline)
        metrics = [name for name in done.chosen.metrics if name.endswith(self._primary(done))]
        costs = list(done.chosen.costs)
        table = Table("", "network", *metrics, *costs, box=None, header_style="bold", pad_edge=False)
        for trial in shown:
            mark = "chosen" if trial.number == done.chosen.number else "baseline" if trial is done.baseline else ""
            table.add_row(
                mark,
                str(trial.number),
                *(f"{trial.metrics[m]:.4f}" if m in trial.metrics else "" for m in metrics),
                *(format_figure(c, trial.costs[c].value) if c in trial.costs else "" for c in costs),
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

    @staticmethod
    def _primary(done: SearchDone) -> str:
        return next(iter(done.chosen.metrics))
