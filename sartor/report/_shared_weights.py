"""What is known of the shared weights that a search scored by: their faults, and how far their order holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.errors import RecordError
from sartor.units import format_duration

if TYPE_CHECKING:
    from sartor.runs import Record, RunInfo

_MANY_TIMES = 2.0
"""An option trained so many times less than another is said to be neglected."""
_OFTEN = 0.25
"""Share of pairs of architectures whose gradients oppose each other that is said to be much."""


@dataclass(frozen=True)
class Fault:
    """A known fault of shared weights.

    Attributes:
        name: What is looked at.
        figure: What was measured.
        words: What it means, and what would mend it.
        is_grave: Whether something should be done.
    """

    name: str
    figure: str
    words: str
    is_grave: bool


@dataclass(frozen=True)
class SharedWeights:
    """Shared weights in words.

    Attributes:
        title: Method and length of the training.
        place: Where they are.
        faults: One row each.
        trust: How their order agrees with that of networks trained alone.
        pairs: Scores by shared weights and alone, as text, the best alone first.
        missing: Why there is nothing, or nothing.
    """

    title: str = ""
    place: str = ""
    faults: tuple[Fault, ...] = ()
    trust: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    missing: str = ""


def shared_weights(record: Record, run: RunInfo) -> SharedWeights | None:
    """Returns what is known of the weights that a run trained, compared or scored by, or None where it did neither."""
    from sartor.runs import Record

    if run.kind == "supernet":
        return _told(record, run)
    if run.kind in ("trust", "subnets") and run.parent:
        return _told(record, record.run(run.parent))
    place = run.config.get("shared_weights")
    if not place:
        return None
    folder, _, run_id = str(place).rpartition(":")
    if Path(folder) == record.out.resolve():
        return _told(record, record.run(run_id))
    try:
        with Record(folder, read_only=True) as other:
            return _told(other, other.run(run_id))
    except RecordError as error:
        return SharedWeights(place=str(place), missing=f"The record of the shared weights cannot be read: {error}")


def _told(record: Record, run: RunInfo) -> SharedWeights:
    trials = record.trials(run.id)
    metrics = dict(trials[0].metrics) if trials else {}
    spent = trials[0].usage.get("cpu_s") if trials else None
    amount, unit = run.config["fidelities"][-1]
    title = f"{run.config['supernet']}, {amount:g} {unit}"
    if spent is not None:
        title += f", {format_duration(spent)} of processor time"
    trust, pairs = _trust(record, run)
    return SharedWeights(title, f"{record.out}:{run.id}", tuple(_faults(metrics)), trust, pairs)


def _faults(metrics: Mapping[str, float]) -> list[Fault]:
    found: list[Fault] = []

    def add(name: str, figure: str, words: str, grave: bool, remedy: str) -> None:
        found.append(Fault(name, figure, f"{words}{f' {remedy}' if grave else ''}", grave))

    value = metrics.get("fault.imbalance_by_choice")
    if value is not None:
        words = "The most trained option of a choice is trained so many times as often as the least."
        add("Imbalance between options", f"{value:.2f} times", words, value >= _MANY_TIMES,
            "--method fairnas trains all alike.")  # fmt: skip
    value = metrics.get("fault.imbalance_by_depth")
    if value is not None:
        words = "The choice that is trained most is trained so many times as often as the one that lies deepest."
        add("Imbalance by depth", f"{value:.2f} times", words, value >= _MANY_TIMES,
            "--set sampling=architectures trains deep ones more often.")  # fmt: skip
    value = metrics.get("fault.conflict_share")
    if value is not None:
        cosine = metrics.get("fault.conflict_mean_cosine", 0.0)
        words = f"So many pairs of architectures pull shared weights against each other (mean cosine {cosine:.2f})."
        add("Conflict of gradients", f"{value:.0%} of pairs", words, value >= _OFTEN,
            "--method few-shot gives options copies of their own.")  # fmt: skip
    value = metrics.get("fault.drift_metric")
    if value is not None:
        mean = metrics.get("fault.drift_mean", 0.0)
        words = (
            f"Running statistics are {mean:.2f} deviations off for an architecture on its own; scored by them it would "
            "lose so much. They are estimated again before every score."
        )
        add("Drift of batch normalisation", f"{value:.4f}", words, False, "")
    value = metrics.get("skip_share")
    if value is not None:
        from sartor.supernets.collapse import judge

        verdict = judge(value)
        add("Collapse", f"{value:.0%} skips", f"{verdict.why[0].upper()}{verdict.why[1:]}.",
            verdict.is_collapsed, "--method darts-plus or darts-es stops before.")  # fmt: skip
    return found


def _trust(record: Record, run: RunInfo) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns the latest comparison with networks trained alone, in words and in pairs of scores."""
    done = [child for child in record.children(run.id) if child.kind == "trust" and child.result]
    if not done:
        return f"Nobody has compared them with networks trained alone yet: sartor trust {record.out}:{run.id}", ()
    result = done[-1].result or {}
    low, high = result["interval"]
    words = str(result["words"])
    if math.isfinite(result["tau"]):
        words = (
            f"Kendall's tau with {result['n']} networks trained alone is {result['tau']:.2f} (95% from {low:.2f} to "
            f"{high:.2f}). {words}"
        )
    primary = str(run.config["primary"])
    trials = [t for t in record.trials(done[-1].id) if t.state == "complete"]
    rows = sorted(((t.metrics[f"inherited.{primary}"], t.metrics[primary]) for t in trials), key=lambda row: -row[1])
    return words, tuple((f"{inherited:.4f}", f"{alone:.4f}") for inherited, alone in rows)
