"""What the page's script draws, as compact JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.goals import Goals
from sartor.report._finalists import Finalist
from sartor.report._pictures import LinesView
from sartor.report._wording import certainty, format_fidelity, label
from sartor.supernets import INHERITED
from sartor.trials import Figure, Trial
from sartor.units import unit_of

if TYPE_CHECKING:
    from sartor.runs import Record, RunInfo

STATES = ("complete", "infeasible", "failed", "running")
MAX_POINTS = 300
"""Points of one curve that are put into the page."""
MAX_CURVES = 8
"""Search trials whose curves are shown while nothing is retrained."""


def script_data(
    record: Record,
    run: RunInfo,
    final_run: RunInfo | None,
    goals: Goals,
    trials: Sequence[Trial],
    finalists: Sequence[Finalist],
    costs: Sequence[str],
    metrics: Sequence[str],
    subject: Finalist | None,
) -> dict[str, Any]:
    """Returns what the script draws: columns and indices instead of repeated names, since a search has many trials."""
    keys: dict[str, int] = {}
    options: list[dict[str, int]] = []
    certainties: dict[str, int] = {}
    found = {t.proposal.fidelity for t in [*trials, *(f.trial for f in finalists)]}
    fidelities = sorted(found, key=lambda each: (each != INHERITED, each))

    def coded(architecture: Mapping[str, Any]) -> list[list[int]]:
        codes = []
        for key, value in architecture.items():
            k = keys.setdefault(key, len(keys))
            if k == len(options):
                options.append({})
            codes.append(
                [k, options[k].setdefault(json.dumps(value, ensure_ascii=False, default=str), len(options[k]))]
            )
        return codes

    def plain(trial: Trial, names: Sequence[str]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "n": trial.number,
            "s": STATES.index(trial.state),
            "f": fidelities.index(trial.proposal.fidelity),
            "m": [_number(trial.metrics.get(name)) for name in names],
            "c": [_number(trial.costs[name].value) if name in trial.costs else None for name in costs],
            "e": [
                certainties.setdefault(_known(trial.costs[name]), len(certainties)) if name in trial.costs else None
                for name in costs
            ],
            "a": coded(trial.architecture),
            "u": round(trial.usage.get("cpu_s", 0.0), 3),
        }
        if trial.failure:
            row["x"] = trial.failure[:400]
        if trial.proposal.continues is not None:
            row["k"] = trial.proposal.continues
        return row

    searched = [plain(trial, metrics) for trial in trials]
    tested = [f"test.{name}" for name in metrics]
    final_rows = []
    for finalist in finalists:
        final_rows.append(
            {
                **plain(finalist.trial, [*metrics, *tested]),
                "key": finalist.key,
                "role": finalist.role,
                "origin": finalist.origin.number if finalist.origin else None,
                "errors": [
                    finalist.trial.costs[name].error if name in finalist.trial.costs else None for name in costs
                ],
            }
        )
    return {
        "primary": goals.primary.name,
        "direction": goals.primary.direction,
        "metrics": [[name, label(name)] for name in metrics],
        "costs": [[name, label(name), _kind(name, trials, finalists)] for name in costs],
        "limits": {limit.name: limit.bound for limit in goals.limits},
        "objective": next((o.name for o in goals.objectives[1:] if o.name in costs), costs[0] if costs else None),
        "fidelities": [format_fidelity(fidelity) for fidelity in fidelities],
        "states": list(STATES),
        "keys": list(keys),
        "options": [[json.loads(text) for text in values] for values in options],
        "certainties": list(certainties),
        "trials": searched,
        "finals": final_rows,
        "selected": subject.key if subject else ("T0" if trials else None),
        "curves": _curves(record, run, final_run, finalists, trials, goals),
        "lines": [
            {"id": f"{f.key}-{i}", "series": v.series, "x": v.x_label, "y": v.y_label}
            for f in finalists
            for i, v in enumerate(f.views)
            if isinstance(v, LinesView)
        ],
    }


def _kind(name: str, trials: Sequence[Trial], finalists: Sequence[Finalist]) -> str:
    """Returns the unit by which the script formats a cost: ``ms``, ``mJ``, ``B``, ``count`` or another device's own."""
    unit = unit_of(name)
    if unit is not None:
        return unit or "count"
    return next((t.costs[name].unit for t in [*trials, *(f.trial for f in finalists)] if name in t.costs), "")


def _known(figure: Figure) -> str:
    return f"{certainty(figure)}; {figure.note}" if figure.note else certainty(figure)


def _number(value: float | None) -> float | None:
    """Returns a value with 7 significant digits, or None where JSON has no number for it."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def _curves(
    record: Record,
    run: RunInfo,
    final_run: RunInfo | None,
    finalists: Sequence[Finalist],
    trials: Sequence[Trial],
    goals: Goals,
) -> dict[str, dict[str, list[list[float | None]]]]:
    """Returns the series of the finalists, or of the best trials of the search while there are none."""
    wanted: list[tuple[str, str, int]]
    if finalists and final_run is not None:
        wanted = [(f.key, final_run.id, f.trial.number) for f in finalists]
    else:
        primary = goals.primary
        scored = [t for t in trials if t.state == "complete" and primary.name in t.metrics]
        scored.sort(key=lambda t: (-t.proposal.fidelity.amount, primary.loss(t.metrics[primary.name]), t.number))
        wanted = [(f"T{t.number}", run.id, t.number) for t in scored[:MAX_CURVES]]
    curves: dict[str, dict[str, list[list[float | None]]]] = {}
    for key, run_id, number in wanted:
        series: dict[str, list[list[float | None]]] = {}
        for name, (steps, values) in record.points(run_id, number).items():
            kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MAX_POINTS)).astype(int))
            series[name] = [[float(steps[i]) for i in kept], [_number(float(values[i])) for i in kept]]
        curves[key] = series
    return curves
