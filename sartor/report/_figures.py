"""The figures of the chosen network beside those of the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.goals import Goals
from sartor.report._finalists import Finalist
from sartor.report._pictures import interval
from sartor.report._wording import certainty, format_cost, format_metric, how_scored, label, was_disturbed
from sartor.supernets import INHERITED
from sartor.units import format_figure


@dataclass(frozen=True)
class Row:
    """A figure of the chosen network beside that of the baseline."""

    label: str
    value: str
    certainty: str
    note: str
    baseline: str
    change: str
    better: bool | None
    disturbed: bool
    limit: str
    within: bool | None


def figure_rows(
    subject: Finalist, against: Finalist | None, goals: Goals, costs: Sequence[str], metrics: Sequence[str]
) -> tuple[Row, ...]:
    other = against.trial if against is not None and against.trial is not subject.trial else None
    rows: list[Row] = []
    names = [f"test.{name}" for name in metrics if f"test.{name}" in subject.trial.metrics]
    names += [name for name in metrics if name in subject.trial.metrics]
    primary = goals.primary.name
    for name in sorted(names, key=lambda name: (name.removeprefix("test.") != primary, not name.startswith("test."))):
        rows.append(_metric_row(name, subject, against if other is not None else None, goals))
    limits = {limit.name: limit for limit in goals.limits}
    for name in costs:
        figure = subject.trial.costs.get(name)
        if figure is None:
            continue
        beside = other.costs.get(name) if other is not None else None
        limit = limits.get(name)
        ratio = figure.value / beside.value if beside is not None and beside.value > 0 else None
        noise = math.hypot(figure.error or 0.0, beside.error or 0.0) if beside is not None else 0.0
        same = ratio is not None and abs(ratio - 1) <= noise
        rows.append(
            Row(
                label=label(name),
                value=format_cost(name, figure),
                certainty=certainty(figure),
                note=figure.note,
                baseline=format_cost(name, beside) if beside is not None else "",
                change=""
                if ratio is None
                else "same"
                if ratio == 1
                else "same within error"
                if same
                else f"×{ratio:.2g}"
                if ratio < 10
                else f"×{ratio:.0f}",
                better=None if ratio is None or same else ratio < 1,
                limit=f"≤ {format_figure(name, limit.bound)}" if limit else "",
                disturbed=was_disturbed(figure),
                within=None if limit is None else limit.excess(figure.value) == 0,
            )
        )
    return tuple(rows)


def _metric_row(name: str, subject: Finalist, against: Finalist | None, goals: Goals) -> Row:
    value = subject.trial.metrics[name]
    plain = name.removeprefix("test.")
    tested = name.startswith("test.")
    spread = interval(subject.matrix, value) if tested and subject.matrix is not None else None
    if spread is not None:
        text = f"95% within {spread[0]:.4f} to {spread[1]:.4f} by {spread[2]:,} test examples"
    elif tested:
        text = "on the test part, opened once"
    elif subject.key.startswith("F"):
        text = "validation, retrained from scratch"
        if name == goals.primary.name:
            text += "; used to choose"
    else:
        text = f"validation, in the search {how_scored(subject.trial.proposal.fidelity)}"
    beside = against.trial.metrics.get(name) if against is not None else None
    change, better = "", None
    if against is not None and beside is not None:
        difference = value - beside
        change = (
            "same" if not difference else f"{difference:+.4f}" if 1e-4 < abs(difference) < 10 else f"{difference:+.4g}"
        )
        if plain == goals.primary.name and difference:
            better = goals.primary.loss(value) < goals.primary.loss(beside)
        mine, theirs = subject.trial.proposal.fidelity, against.trial.proposal.fidelity
        if mine != theirs:
            if INHERITED in (mine, theirs):
                apart = "scored by shared weights" if mine == INHERITED else "trained alone"
            else:
                apart = f"trained {'longer' if mine > theirs else 'less'}"
            change, better = f"{change} ({apart})", None
        elif spread is not None and difference:
            error = math.sqrt((value * (1 - value) + beside * (1 - beside)) / spread[2])
            if abs(difference) < 1.96 * error:
                change, better = f"{change} (within noise)", None
    return Row(
        label=label(name) if tested else f"validation {label(name)}",
        value=format_metric(value),
        certainty=text,
        note="",
        baseline="" if beside is None else format_metric(beside),
        change=change,
        better=better,
        disturbed=False,
        limit="",
        within=None,
    )


def heroes(rows: Sequence[Row], goals: Goals) -> tuple[Row, ...]:
    """Returns the rows shown large: the primary metric, then the costs that are objectives or limited."""
    wanted = (
        [label(o.name) for o in goals.objectives[1:]]
        + [label(limit.name) for limit in goals.limits]
        + ["parameters", "latency"]
    )
    by_label = {row.label: row for row in rows}
    chosen = [rows[0]] if rows else []
    for name in dict.fromkeys(wanted):
        if name in by_label and by_label[name] not in chosen:
            chosen.append(by_label[name])
    return tuple(chosen[:4])
