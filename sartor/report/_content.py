"""What the page says of a run, from the record: plain values for the template and the page's script."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.goals import Goals
from sartor.report._explanation import Mattered, mattered
from sartor.report._figures import Row, figure_rows, heroes
from sartor.report._finalists import Finalist, baseline_of_search, best_so_far, make_finalist, name_of_baseline
from sartor.report._ranking import Agreement, agreement
from sartor.report._script import STATES, script_data
from sartor.report._shared_weights import SharedWeights, shared_weights
from sartor.report._wording import SHORT, format_cost, format_fidelity, format_metric, how_scored, label, was_disturbed
from sartor.trials import Fidelity, Trial
from sartor.units import FIGURES, format_duration, format_figure, of_device

if TYPE_CHECKING:
    from sartor.runs import Record, RunInfo

MAX_NOTES = 10
MAX_LOG = 400


@dataclass(frozen=True)
class Spent:
    """Trials and processor time of one fidelity."""

    fidelity: str
    counts: tuple[int, ...]
    cpu: str
    mean_cpu: str
    share: float


@dataclass(frozen=True)
class Page:
    """All that the template reads; ``data`` is for the script."""

    run: RunInfo
    title: str
    created: str
    elapsed: str
    headline: str
    why: str
    status: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    heroes: tuple[Row, ...]
    rows: tuple[Row, ...]
    subject: str
    against: str
    primary: str
    notes: tuple[tuple[str, int], ...]
    more_notes: int
    finalists: tuple[Finalist, ...]
    columns: tuple[tuple[str, str], ...]
    table: tuple[tuple[Finalist, tuple[str, ...]], ...]
    search_retrained: Agreement | None
    validation_test: Agreement | None
    fidelities_compared: str
    mattered: Mattered
    shared_weights: SharedWeights | None
    counts: tuple[tuple[str, int], ...]
    spent: tuple[Spent, ...]
    totals: tuple[tuple[str, str], ...]
    failures: tuple[tuple[str, int], ...]
    command: str
    python: str
    settings: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    space_text: str
    config: str
    log: tuple[tuple[str, str, str], ...]
    log_left_out: int
    data: dict[str, Any] = field(default_factory=dict)


def collect(record: Record, run_id: str) -> Page:
    """Returns the content of the report of a search.

    Raises:
        RecordError: no such run.
    """
    run = record.run(run_id)
    goals = Goals.of_config(run.config)
    trials = record.trials(run.id)
    finals = [child for child in record.children(run.id) if child.kind == "final"]
    final_run = finals[-1] if finals else None
    final_trials = record.trials(final_run.id) if final_run else []
    baseline = trials[0].architecture if trials and not run.config.get("is_other") else None
    retrained = [t for t in final_trials if t.state == "complete"]
    chosen_number = (run.result or {}).get("chosen")
    finalists = tuple(
        make_finalist(
            record,
            final_run,
            t,
            trials,
            goals,
            chosen=t.number == chosen_number,
            is_baseline=t.architecture == baseline,
        )
        for t in retrained
        if final_run is not None
    )
    subject = next((f for f in finalists if f.chosen), None) or best_so_far(finalists, trials, goals, baseline)
    against = next((f for f in finalists if "baseline" in f.role), None) or baseline_of_search(trials, finalists)
    costs, metrics = _cost_names([*trials, *retrained]), _metric_names(trials, retrained, goals)
    rows = figure_rows(subject, against, goals, costs, metrics) if subject else ()
    columns, table = _table(finalists, goals, costs, metrics)
    search_retrained, validation_test, compared = _agreements(finalists, goals)
    log = [*record.log(run.id), *(record.log(final_run.id) if final_run else [])]
    notes = _notes(log, trials, retrained, costs)
    return Page(
        run=run,
        title=f"{run.config.get('task_name', run.id)} on {_source(run)}",
        created=_when(run.created),
        elapsed=format_duration(run.elapsed_s + (final_run.elapsed_s if final_run else 0.0)),
        headline=_headline(run, subject, finalists),
        why=str((run.result or {}).get("why", "")),
        status=_status(run, final_run, trials, final_trials, finalists),
        facts=_facts(run, trials, finalists, goals),
        heroes=heroes(rows, goals),
        rows=rows,
        subject=subject.label if subject else "",
        against=name_of_baseline(against, subject),
        primary=goals.primary.name,
        notes=notes[:MAX_NOTES],
        more_notes=max(0, len(notes) - MAX_NOTES),
        finalists=finalists,
        columns=columns,
        table=table,
        search_retrained=search_retrained,
        validation_test=validation_test,
        fidelities_compared=compared,
        mattered=mattered(record, run.id),
        shared_weights=shared_weights(record, run),
        counts=tuple((state, n) for state in STATES if (n := sum(t.state == state for t in trials))),
        spent=_spent(trials),
        totals=_totals(run, final_run, trials, final_trials),
        failures=tuple(
            Counter(
                f"{t.state}: {t.failure or 'no message'}" for t in [*trials, *final_trials] if t.state == "failed"
            ).most_common(8)
        ),
        command=str(run.config.get("command") or ""),
        python=_python(run, goals),
        settings=_settings(run),
        environment=tuple(
            (name.removesuffix("_bytes"), _environment_text(name, value)) for name, value in run.environment.items()
        ),
        space_text=str(run.config.get("space_text", "")),
        config=json.dumps(run.config, indent=1, sort_keys=True, default=str, ensure_ascii=False),
        log=tuple((_when(time, "%H:%M:%S"), str(kind), _text(detail)) for time, kind, detail in log[-MAX_LOG:]),
        log_left_out=max(0, len(log) - MAX_LOG),
        data=script_data(record, run, final_run, goals, trials, finalists, costs, metrics, subject),
    )


def _cost_names(trials: Sequence[Trial]) -> list[str]:
    found = {name for t in trials for name in t.costs}
    known = [name for figure in FIGURES for name in sorted(found) if of_device(name)[0] == figure]
    return known + sorted(found - set(known))


def _metric_names(trials: Sequence[Trial], retrained: Sequence[Trial], goals: Goals) -> list[str]:
    found = {name for t in [*trials, *retrained] for name in t.metrics if not name.startswith("test.")}
    first = [goals.primary.name] if goals.primary.name in found else []
    return first + sorted(found - set(first))


def _table(
    finalists: Sequence[Finalist], goals: Goals, costs: Sequence[str], metrics: Sequence[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[Finalist, tuple[str, ...]], ...]]:
    """Returns the columns (name, what they are) and the finalists with their texts, the best validation first."""
    primary = goals.primary
    shown = [f"test.{name}" for name in metrics if any(f"test.{name}" in f.trial.metrics for f in finalists)][:2] + [
        primary.name
    ]
    columns = [(label(name) if name.startswith("test.") else f"validation {label(name)}", name) for name in shown]
    columns += [(SHORT.get(name, label(name)), name) for name in costs if any(name in f.trial.costs for f in finalists)]

    def text(finalist: Finalist, name: str) -> str:
        if name in finalist.trial.costs:
            return format_cost(name, finalist.trial.costs[name])
        value = finalist.trial.metrics.get(name)
        return "" if value is None else format_metric(value)

    ordered = sorted(finalists, key=lambda f: primary.loss(f.trial.metrics.get(primary.name, math.nan)))
    return tuple(columns), tuple((f, tuple(text(f, name) for _, name in columns)) for f in ordered)


def _agreements(finalists: Sequence[Finalist], goals: Goals) -> tuple[Agreement | None, Agreement | None, str]:
    name = goals.primary.name
    both = [f for f in finalists if f.origin is not None and name in f.origin.metrics and name in f.trial.metrics]
    tested = [f for f in finalists if f"test.{name}" in f.trial.metrics and name in f.trial.metrics]
    first = (
        agreement(
            [f.origin.metrics[name] for f in both if f.origin],
            [f.trial.metrics[name] for f in both],
            ("search", "retrained"),
        )
        if finalists
        else None
    )
    second = (
        agreement(
            [f.trial.metrics[name] for f in tested],
            [f.trial.metrics[f"test.{name}"] for f in tested],
            ("validation", "test"),
        )
        if finalists
        else None
    )
    fidelities = sorted({f.origin.proposal.fidelity for f in both if f.origin})
    compared = ", ".join(map(how_scored, fidelities))
    return first, second, compared


def _headline(run: RunInfo, subject: Finalist | None, finalists: Sequence[Finalist]) -> str:
    if subject is None:
        return "Nothing to choose yet: no trial is complete within the limits"
    if subject.chosen:
        return f"Chosen: {subject.label}" + (
            f", found as trial {subject.origin.number} of the search" if subject.origin else ""
        )
    if finalists:
        return f"Best retrained so far: {subject.label}"
    return f"Best of the search so far: {subject.label}, not retrained and not tested"


def _status(
    run: RunInfo,
    final_run: RunInfo | None,
    trials: Sequence[Trial],
    final_trials: Sequence[Trial],
    finalists: Sequence[Finalist],
) -> tuple[str, ...]:
    """Says what is missing and how to get it."""
    said = []
    if run.state == "interrupted":
        said.append("The search was interrupted. The same command with --resume goes on where it stopped.")
    elif run.state == "running":
        said.append("The search was still running when this page was written.")
    elif run.state == "failed":
        said.append("The search failed; the log at the end says why.")
    if not trials:
        said.append("No trial was recorded.")
    if final_run is None and trials:
        said.append(
            "No finalists were retrained, so there are no test figures, graphs, mistakes or exported networks: "
            "scores below are the search's own, on the validation part."
        )
    elif final_run is not None:
        failed = sum(t.state == "failed" for t in final_trials)
        unfinished = sum(t.state == "running" for t in final_trials)
        beyond = sum(t.state == "infeasible" for t in final_trials)
        if failed:
            said.append(f"{failed} of {len(final_trials)} finalists failed when retrained.")
        if beyond:
            said.append(f"{beyond} of {len(final_trials)} finalists broke a limit when measured again.")
        if unfinished:
            said.append(f"{unfinished} of {len(final_trials)} finalists were not finished.")
        if finalists and not any(name.startswith("test.") for f in finalists for name in f.trial.metrics):
            said.append("The finalists were not tested: figures are on the validation part.")
    return tuple(said)


def _facts(
    run: RunInfo, trials: Sequence[Trial], finalists: Sequence[Finalist], goals: Goals
) -> tuple[tuple[str, str], ...]:
    limits = (
        ", ".join(f"{label(limit.name)} ≤ {format_figure(limit.name, limit.bound)}" for limit in goals.limits) or "none"
    )
    objectives = ", ".join(
        f"{'highest' if o.direction == 'max' else 'lowest'} {label(o.name)}" for o in goals.objectives
    )
    strategy = str(run.config.get("strategy", ""))
    if run.config.get("halving"):
        strategy += " with successive halving"
    counts = Counter[str](t.state for t in trials)
    if trials:
        # What the end of the budget cut off runs no more.
        words = {"running": "running" if run.state == "running" else "not finished"}
        states = ", ".join(f"{counts[state]} {words.get(state, state)}" for state in STATES if counts[state])
        strategy += f", {len(trials)} trial{'s' if len(trials) > 1 else ''} ({states})"
    return (
        ("Goal", objectives),
        ("Limits", limits),
        ("Search", strategy),
        ("Finalists", f"{len(finalists)} retrained from scratch" if finalists else "none yet"),
    )


def _source(run: RunInfo) -> str:
    task = run.config.get("task")
    source = task.get("source") if isinstance(task, Mapping) else None
    return str(source) if source else "the bundled data"


def _notes(
    log: Sequence[tuple[float, str, Any]], trials: Sequence[Trial], retrained: Sequence[Trial], costs: Sequence[str]
) -> tuple[tuple[str, int], ...]:
    """Returns the warnings of the log with how often each came, and how many measurements were disturbed."""
    found = list(Counter(_text(detail) for _, kind, detail in log if kind in ("note", "warning")).items())
    for name in costs:
        measured = [t.costs[name] for t in (retrained or trials) if name in t.costs]
        disturbed = [figure for figure in measured if was_disturbed(figure)]
        if disturbed:
            whose = "finalists'" if retrained else "trials'"
            share = f"{len(disturbed)} of the {len(measured)} {whose} measurements"
            words = f"{label(name).capitalize()}: other work on the machine disturbed {share}; their error is larger. "
            words += f"For example: {disturbed[0].note}"
            found.append((words, 1))
    return tuple(found)


def _text(detail: Any) -> str:
    if isinstance(detail, Mapping):
        return ", ".join(f"{name}: {value}" for name, value in detail.items())
    return str(detail)


def _when(seconds: float, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def _spent(trials: Sequence[Trial]) -> tuple[Spent, ...]:
    groups: dict[tuple[float, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.proposal.fidelity.amount, trial.proposal.fidelity.unit), []).append(trial)
    whole = sum(t.usage.get("cpu_s", 0.0) for t in trials)
    rows = []
    for key in sorted(groups):
        group = groups[key]
        cpu = sum(t.usage.get("cpu_s", 0.0) for t in group)
        done = [t.usage["cpu_s"] for t in group if t.state == "complete" and "cpu_s" in t.usage]
        rows.append(
            Spent(
                fidelity=format_fidelity(group[0].proposal.fidelity),
                counts=tuple(sum(t.state == state for t in group) for state in STATES),
                cpu=format_duration(cpu),
                mean_cpu=format_duration(float(np.mean(done))) if done else "",
                share=cpu / whole if whole else 0.0,
            )
        )
    return tuple(rows)


def _totals(
    run: RunInfo, final_run: RunInfo | None, trials: Sequence[Trial], final_trials: Sequence[Trial]
) -> tuple[tuple[str, str], ...]:
    def total(name: str, group: Sequence[Trial]) -> float:
        return sum(t.usage.get(name, 0.0) for t in group)

    rows = [
        ("Wall-clock of the search", format_duration(run.elapsed_s)),
        ("Processor time of the search", format_duration(total("cpu_s", trials))),
    ]
    if final_run is not None:
        rows += [
            ("Wall-clock of retraining and testing", format_duration(final_run.elapsed_s)),
            ("Processor time of retraining", format_duration(total("cpu_s", final_trials))),
        ]
    everything = [*trials, *final_trials]
    distinct = len({t.architecture for t in trials})
    rows.append(("Different architectures looked at", f"{distinct:,}"))
    if peak := max((t.usage.get("peak_rss_bytes", 0.0) for t in everything), default=0.0):
        rows.append(("Largest memory of a worker", format_figure("peak_memory_bytes", peak)))
    if lost := sum(t.attempts for t in everything):
        rows.append(("Workers lost and replaced", str(lost)))
    # Only what was measured is said: usage without energy leaves both out.
    for name, words, unit in (
        ("energy_j", "Energy", "J"),
        ("energy_kwh", "Energy", "kWh"),
        ("co2e_kg", "CO2e", "kg"),
        ("co2e_g", "CO2e", "g"),
    ):
        if any(name in t.usage for t in everything):
            rows.append((words, f"{total(name, everything):.3g} {unit}"))
    return tuple(rows)


def _python(run: RunInfo, goals: Goals) -> str:
    """Returns the call that repeats the search from Python."""
    config = run.config
    task = config.get("task")
    reference: Mapping[str, Any] = task if isinstance(task, Mapping) else {}
    module, _, kind = str(reference.get("class", "")).partition(":")
    arguments = [repr(reference["source"])] if reference.get("source") is not None else []
    arguments += [f"{name}={value!r}" for name, value in dict(reference.get("options") or {}).items()]
    limits = [f"{limit.name}={limit.bound:g}" for limit in goals.limits]
    lines = [
        "import sartor",
        f"from {module} import {kind}" if kind else "",
        "",
        f"task = {kind or 'Task'}({', '.join(arguments)})",
        "front = sartor.search(",
        f"    task, limits={limits!r}, strategy={config.get('strategy')!r}, halving={bool(config.get('halving'))},",
        f"    objectives={[o.name for o in goals.objectives[1:]]!r}, epochs={_longest(config)},",
        f"    seed={run.seed}, slots={config.get('slots', 1)},",
        "    trials=...,  # as many as are listed above, or a budget",
        ")",
    ]
    return "\n".join(line for i, line in enumerate(lines) if line or i == 2)


def _longest(config: Mapping[str, Any]) -> str:
    amounts = [amount for amount, unit in config.get("fidelities", ()) if unit == "epochs"]
    return f"{max(amounts):g}" if amounts else "None"


def _settings(run: RunInfo) -> tuple[tuple[str, str], ...]:
    config = run.config
    fidelities = ", ".join(format_fidelity(Fidelity(amount, unit)) for amount, unit in config.get("fidelities", ()))
    rows = [
        ("Seed", str(run.seed)),
        (
            "Strategy",
            f"{config.get('strategy')} {json.dumps(config.get('strategy_options') or {})}".removesuffix(" {}"),
        ),
        ("Fidelities", fidelities),
        ("Slots", str(config.get("slots", ""))),
        ("Fingerprint of the data", str(config.get("data", ""))),
        ("Fingerprint of the space", str(config.get("space", ""))),
        ("Fingerprint of the run", str(run.fingerprint)),
        ("Data", _source(run)),
    ]
    task = config.get("task")
    if isinstance(task, Mapping):
        rows.insert(0, ("Task", str(task.get("class", ""))))
        rows += [(f"Option {name}", str(value)) for name, value in dict(task.get("options") or {}).items()]
    describe = config.get("describe")
    if isinstance(describe, Mapping):
        rows += [(str(name).replace("_", " ").capitalize(), _brief(value)) for name, value in describe.items()]
    return tuple((name, value) for name, value in rows if value)


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {_brief(part)}" for name, part in value.items())
    else:
        text = ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _environment_text(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return format_figure("peak_memory_bytes", float(value))
    return str(value)
