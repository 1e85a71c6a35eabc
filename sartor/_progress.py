"""What a search says while it runs: frozen events for whoever draws progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sartor.trials import Trial


@dataclass(frozen=True)
class PhaseStarted:
    """A run begins or goes on; ``what`` says so in words."""

    run: str
    what: str


@dataclass(frozen=True)
class Note:
    """Something that the person should know; also in the record's log."""

    text: str


@dataclass(frozen=True)
class SearchProgress:
    """The state of a run after an event of its engine.

    Attributes:
        best: The objectives of the best trial within the limits, by the primary one.
        running: What was heard of last.
    """

    run: str
    finished: int
    total: int | None
    infeasible: int
    failed: int
    elapsed_s: float
    remaining_s: float | None
    best: Mapping[str, float] = field(default_factory=dict)
    running: str = ""


@dataclass(frozen=True)
class FinalistsChosen:
    """Numbers of the search's trials whose architectures are retrained from scratch."""

    trials: tuple[int, ...]


@dataclass(frozen=True)
class SearchDone:
    """Everything is trained, tested, exported and written.

    Attributes:
        run: Id of the search.
        primary: Name of the primary metric.
        finals: The retrained trials, with test metrics.
        chosen: The one of them that is recommended.
        baseline: The hand-designed architecture's final trial, or None when it breaks a limit or failed.
        why: Why it was chosen, in words.
        network: The exported file of the chosen network, or None when export is not installed.
        report: The HTML report, or None when the report's packages are not installed.
    """

    run: str
    primary: str
    finals: tuple[Trial, ...]
    chosen: Trial
    baseline: Trial | None
    why: str
    network: Path | None
    report: Path | None
    elapsed_s: float
