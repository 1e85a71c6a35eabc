"""What the page says of a run, from the record: plain values for the template and the page's script."""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import pictures
from sartor.errors import InputError
from sartor.goals import Goals, Limit, Objective
from sartor.pictures import Matrix, Picture, Table
from sartor.report._graph import Drawing, draw
from sartor.report._pictures import View, confusion, interval, per_class, view
from sartor.report._ranking import Agreement, agreement
from sartor.trials import Figure, Trial
from sartor.units import FIGURES, format_duration, format_figure

if TYPE_CHECKING:
    from sartor.runs import Record, RunInfo

LABELS = {
    "latency_ms": "latency",
    "energy_mj": "energy",
    "peak_memory_bytes": "peak activation memory",
    "params": "parameters",
    "macs": "multiply-accumulates",
    "model_bytes": "model size",
}
SHORT = {"peak_memory_bytes": "peak memory", "macs": "MACs", "model_bytes": "size"}
"""Names of the same in narrow columns."""
MAX_POINTS = 300
"""Points of one curve that are put into the page."""
MAX_CURVES = 8
"""Search trials whose curves are shown while nothing is retrained."""
MAX_NOTES = 10
MAX_LOG = 400
STATES = ("complete", "infeasible", "failed", "running")


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
    limit: str
    within: bool | None


@dataclass(frozen=True)
class Finalist:
    """A network retrained from scratch and tested, or (``trial`` of the search) the best so far while there is none.

    Attributes:
        key: ``F<number>`` of the finalists' run; how page and script name it.
        origin: The search trial of the same architecture at the highest fidelity that was completed.
        role: ``"chosen"``, ``"baseline"``, ``"chosen, baseline"`` or nothing.
        missing: What could not be shown, and why.
    """

    key: str
    label: str
    trial: Trial
    origin: Trial | None
    role: str
    chosen: bool
    drawing: Drawing | None = None
    views: tuple[View, ...] = ()
    matrix: Matrix | None = None
    missing: tuple[str, ...] = ()
    files: tuple[tuple[str, str, str], ...] = ()


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

    run: Any
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
    goals = Goals(
        tuple(Objective(name, direction) for name, direction in run.config["objectives"]),
        tuple(Limit(name, bound) for name, bound in run.config["limits"]),
    )
    trials = record.trials(run.id)
    finals = [child for child in record.children(run.id) if child.kind == "final"]
    final_run = finals[-1] if finals else None
    final_trials = record.trials(final_run.id) if final_run else []
    baseline = trials[0].architecture if trials else None
    retrained = [t for t in final_trials if t.state == "complete"]
    chosen_number = (run.result or {}).get("chosen")
    finalists = tuple(
        _finalist(record, final_run, t, trials, goals, chosen=t.number == chosen_number, is_baseline=t.architecture == baseline)
        for t in retrained if final_run is not None
    )
    subject = next((f for f in finalists if f.chosen), None) or _best_so_far(finalists, trials, goals, baseline)
    against = next((f for f in finalists if "baseline" in f.role), None) or _baseline_of_search(trials, finalists)
    costs, metrics = _cost_names([*trials, *retrained]), _metric_names(trials, retrained, goals)
    rows = _rows(subject, against, goals, costs, metrics) if subject else ()
    columns, table = _table(finalists, goals, costs, metrics)
    search_retrained, validation_test, compared = _agreements(finalists, goals)
    log = [*record.log(run.id), *(record.log(final_run.id) if final_run else [])]
    notes = _notes(log, trials, retrained)
    return Page(
        run=run,
        title=f"{run.config.get('task_name', run.id)} on {_source(run)}",
        created=_when(run.created),
        elapsed=format_duration(run.elapsed_s + (final_run.elapsed_s if final_run else 0.0)),
        headline=_headline(run, subject, finalists),
        why=str((run.result or {}).get("why", "")),
        status=_status(run, final_run, trials, final_trials, finalists),
        facts=_facts(run, trials, finalists, goals),
        heroes=_heroes(rows, goals),
        rows=rows,
        subject=subject.label if subject else "",
        against=_against_label(against, subject),
        primary=goals.primary.name,
        notes=notes[:MAX_NOTES],
        more_notes=max(0, len(notes) - MAX_NOTES),
        finalists=finalists,
        columns=columns,
        table=table,
        search_retrained=search_retrained,
        validation_test=validation_test,
        fidelities_compared=compared,
        counts=tuple((state, n) for state in STATES if (n := sum(t.state == state for t in trials))),
        spent=_spent(trials),
        totals=_totals(run, final_run, trials, final_trials),
        failures=tuple(Counter(f"{t.state}: {t.failure or 'no message'}" for t in [*trials, *final_trials] if t.state == "failed").most_common(8)),
        command=str(run.config.get("command") or ""),
        python=_python(run, goals),
        settings=_settings(run),
        environment=tuple((name.removesuffix("_bytes"), _environment_text(name, value)) for name, value in run.environment.items()),
        space_text=str(run.config.get("space_text", "")),
        config=json.dumps(run.config, indent=1, sort_keys=True, default=str, ensure_ascii=False),
        log=tuple((_when(time, "%H:%M:%S"), str(kind), _text(detail)) for time, kind, detail in log[-MAX_LOG:]),
        log_left_out=max(0, len(log) - MAX_LOG),
        data=_data(record, run, final_run, goals, trials, finalists, costs, metrics, subject),
    )


# --- finalists


def _finalist(
    record: Record, run: RunInfo, trial: Trial, trials: Sequence[Trial], goals: Goals, *, chosen: bool, is_baseline: bool
) -> Finalist:
    files = {file.name: file for file in record.files(run.id, trial.number)}
    folder = record.path(run.id)
    missing: list[str] = []
    drawing = _drawing(folder, files, missing)
    shown = _pictures(folder, files, missing)
    matrix = confusion(shown)
    if matrix is not None and not any(isinstance(picture, Table) for picture in shown):
        shown = [*shown, per_class(matrix)]
    role = ", ".join(word for word, holds in (("chosen", chosen), ("baseline", is_baseline)) if holds)
    return Finalist(
        key=f"F{trial.number}",
        label=f"finalist {trial.number}",
        trial=trial,
        origin=_origin(trial, trials),
        role=role,
        chosen=chosen,
        drawing=drawing,
        views=tuple(view(picture) for picture in shown),
        matrix=matrix,
        missing=tuple(missing),
        files=tuple((name, str(file.path), format_figure("model_bytes", file.bytes)) for name, file in sorted(files.items())),
    )


def _origin(trial: Trial, trials: Sequence[Trial]) -> Trial | None:
    same = [t for t in trials if t.state == "complete" and t.architecture == trial.architecture]
    return max(same, key=lambda t: (t.proposal.fidelity.amount, -t.number), default=None)


def _drawing(folder: Path, files: Mapping[str, Any], missing: list[str]) -> Drawing | None:
    if "graph" not in files:
        missing.append("Its graph was not recorded.")
        return None
    try:
        return draw(json.loads((folder / files["graph"].path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, InputError) as error:
        missing.append(f"Its graph cannot be read from {files['graph'].path}: {error}")
        return None


def _pictures(folder: Path, files: Mapping[str, Any], missing: list[str]) -> list[Picture]:
    if "pictures" not in files:
        missing.append("No pictures of its output were recorded: it was not tested.")
        return []
    try:
        return pictures.load(folder / files["pictures"].path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        missing.append(f"Its pictures cannot be read from {files['pictures'].path}: {error}")
        return []


def _as_subject(trial: Trial, role: str) -> Finalist:
    return Finalist(f"T{trial.number}", f"trial {trial.number}", trial, trial, role, chosen=False)


def _best_so_far(finalists: Sequence[Finalist], trials: Sequence[Trial], goals: Goals, baseline: object) -> Finalist | None:
    """Returns the best by the primary on validation: of the finalists, else of the search at the highest fidelity reached."""
    primary = goals.primary
    scored = [f for f in finalists if primary.name in f.trial.metrics]
    if scored:
        within = [f for f in scored if not goals.broken(f.trial.values)] or scored
        return min(within, key=lambda f: primary.loss(f.trial.metrics[primary.name]))
    done = [t for t in trials if t.state == "complete" and primary.name in t.metrics and not goals.broken(t.values)]
    if not done:
        return None
    top = max(t.proposal.fidelity.amount for t in done)
    best = min((t for t in done if t.proposal.fidelity.amount == top), key=lambda t: (primary.loss(t.metrics[primary.name]), t.number))
    return _as_subject(best, "baseline" if best.architecture == baseline else "")


def _baseline_of_search(trials: Sequence[Trial], finalists: Sequence[Finalist]) -> Finalist | None:
    if not trials:
        return None
    same = [t for t in trials if t.architecture == trials[0].architecture and t.costs | t.metrics]
    best = max(same, key=lambda t: (t.state == "complete", t.proposal.fidelity.amount), default=None)
    return _as_subject(best, "baseline") if best is not None else None


def _against_label(against: Finalist | None, subject: Finalist | None) -> str:
    if against is None or subject is None:
        return "baseline"
    if against.trial is subject.trial:
        return ""
    if against.key.startswith("F"):
        return "baseline"
    return f"baseline (search, {against.trial.proposal.fidelity})" if against.trial.metrics else "baseline (not trained)"


# --- figures


def label(name: str) -> str:
    """Returns how a figure or metric is called in a sentence."""
    if name.startswith("test."):
        return f"test {label(name.removeprefix('test.'))}"
    return LABELS.get(name, name.replace("_", " "))


def format_cost(name: str, figure: Figure) -> str:
    """Returns value and unit; figures of other devices than Sartor's carry their own unit."""
    return format_figure(name, figure.value) if name in FIGURES else f"{figure.value:.4g} {figure.unit}".strip()


def format_metric(value: float) -> str:
    """Returns a score as people compare them: four decimals, or significant digits when large or tiny."""
    if abs(value) >= 100:
        return f"{value:.6g}"
    return f"{value:.4g}" if 0 < abs(value) < 0.01 else f"{value:.4f}"


def certainty(figure: Figure) -> str:
    """Returns how far a figure is known: ``exact``, ``measured ±4.1%``, ``estimated, error unknown``."""
    if figure.kind == "exact" and not figure.error:
        return "exact"
    if figure.error is None:
        return f"{figure.kind}, error unknown"
    return f"{figure.kind} ±{100 * figure.error:.2g}%"


def _cost_names(trials: Sequence[Trial]) -> list[str]:
    found = {name for t in trials for name in t.costs}
    return [name for name in FIGURES if name in found] + sorted(found - set(FIGURES))


def _metric_names(trials: Sequence[Trial], retrained: Sequence[Trial], goals: Goals) -> list[str]:
    found = {name for t in [*trials, *retrained] for name in t.metrics if not name.startswith("test.")}
    first = [goals.primary.name] if goals.primary.name in found else []
    return first + sorted(found - set(first))


def _rows(subject: Finalist, against: Finalist | None, goals: Goals, costs: Sequence[str], metrics: Sequence[str]) -> tuple[Row, ...]:
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
        rows.append(Row(
            label=label(name),
            value=format_cost(name, figure),
            certainty=certainty(figure),
            note=figure.note,
            baseline=format_cost(name, beside) if beside is not None else "",
            change="" if ratio is None else "same" if ratio == 1 else "same within error" if same else f"×{ratio:.2g}" if ratio < 10 else f"×{ratio:.0f}",
            better=None if ratio is None or same else ratio < 1,
            limit=f"≤ {format_figure(name, limit.bound)}" if limit else "",
            within=None if limit is None else limit.excess(figure.value) == 0,
        ))
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
        text = "validation, retrained from scratch; used to choose"
    else:
        text = f"validation, in the search at {subject.trial.proposal.fidelity}"
    beside = against.trial.metrics.get(name) if against is not None else None
    change, better = "", None
    if beside is not None:
        difference = value - beside
        change = "same" if not difference else f"{difference:+.4f}" if 1e-4 < abs(difference) < 10 else f"{difference:+.4g}"
        if plain == goals.primary.name and difference:
            better = goals.primary.loss(value) < goals.primary.loss(beside)
        if spread is not None and difference:
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
        limit="",
        within=None,
    )


def _heroes(rows: Sequence[Row], goals: Goals) -> tuple[Row, ...]:
    """Returns the rows shown large: the primary metric, then the costs that are objectives or limited."""
    wanted = [label(o.name) for o in goals.objectives[1:]] + [label(limit.name) for limit in goals.limits] + ["parameters", "latency"]
    by_label = {row.label: row for row in rows}
    chosen = [rows[0]] if rows else []
    for name in dict.fromkeys(wanted):
        if name in by_label and by_label[name] not in chosen:
            chosen.append(by_label[name])
    return tuple(chosen[:4])


def _table(
    finalists: Sequence[Finalist], goals: Goals, costs: Sequence[str], metrics: Sequence[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[Finalist, tuple[str, ...]], ...]]:
    """Returns the columns (name, what they are) and the finalists with their texts, the best validation first."""
    primary = goals.primary
    shown = [f"test.{name}" for name in metrics if any(f"test.{name}" in f.trial.metrics for f in finalists)][:2] + [primary.name]
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
    first = agreement([f.origin.metrics[name] for f in both if f.origin], [f.trial.metrics[name] for f in both], ("search", "retrained")) if finalists else None
    second = agreement([f.trial.metrics[name] for f in tested], [f.trial.metrics[f"test.{name}"] for f in tested], ("validation", "test")) if finalists else None
    fidelities = sorted({f.origin.proposal.fidelity for f in both if f.origin})
    compared = ", ".join(str(fidelity) for fidelity in fidelities)
    return first, second, compared


# --- texts


def _headline(run: RunInfo, subject: Finalist | None, finalists: Sequence[Finalist]) -> str:
    if subject is None:
        return "Nothing to choose yet: no trial is complete within the limits"
    if subject.chosen:
        return f"Chosen: {subject.label}" + (f", found as trial {subject.origin.number} of the search" if subject.origin else "")
    if finalists:
        return f"Best retrained so far: {subject.label}"
    return f"Best of the search so far: {subject.label}, not retrained and not tested"


def _status(
    run: RunInfo, final_run: RunInfo | None, trials: Sequence[Trial], final_trials: Sequence[Trial], finalists: Sequence[Finalist]
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
        said.append("No finalists were retrained, so there are no test figures, graphs, mistakes or exported networks: scores below are the search's own, on the validation part.")
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


def _facts(run: RunInfo, trials: Sequence[Trial], finalists: Sequence[Finalist], goals: Goals) -> tuple[tuple[str, str], ...]:
    limits = ", ".join(f"{label(limit.name)} ≤ {format_figure(limit.name, limit.bound)}" for limit in goals.limits) or "none"
    objectives = ", ".join(f"{'highest' if o.direction == 'max' else 'lowest'} {label(o.name)}" for o in goals.objectives)
    strategy = str(run.config.get("strategy", ""))
    if run.config.get("halving"):
        strategy += " with successive halving"
    counts = Counter(t.state for t in trials)
    return (
        ("Goal", objectives),
        ("Limits", limits),
        ("Search", f"{strategy}, {len(trials)} trials ({', '.join(f'{counts[s]} {s}' for s in STATES if counts[s])})" if trials else strategy),
        ("Finalists", f"{len(finalists)} retrained from scratch" if finalists else "none yet"),
    )


def _source(run: RunInfo) -> str:
    task = run.config.get("task")
    source = task.get("source") if isinstance(task, Mapping) else None
    return str(source) if source else "the bundled data"


def _notes(log: Sequence[tuple[float, str, Any]], trials: Sequence[Trial], retrained: Sequence[Trial]) -> tuple[tuple[str, int], ...]:
    """Returns warnings with how often each came: those of the log, then those attached to figures."""
    found = Counter(_text(detail) for _, kind, detail in log if kind in ("note", "warning"))
    attached = Counter(
        f"{label(name)}: {figure.note}" for t in (retrained or trials) for name, figure in t.costs.items() if _is_warning(figure)
    )
    return tuple(found.items()) + tuple(attached.items())


def _is_warning(figure: Figure) -> bool:
    return figure.kind == "measured" and any(word in figure.note.lower() for word in ("busy", "interfer", "unstable", "warn"))


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
        rows.append(Spent(
            fidelity=str(group[0].proposal.fidelity),
            counts=tuple(sum(t.state == state for t in group) for state in STATES),
            cpu=format_duration(cpu),
            mean_cpu=format_duration(float(np.mean(done))) if done else "",
            share=cpu / whole if whole else 0.0,
        ))
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
    for name, words, unit in (("energy_j", "Energy", "J"), ("energy_kwh", "Energy", "kWh"), ("co2e_kg", "CO2e", "kg"), ("co2e_g", "CO2e", "g")):
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
        f"    objectives={[o.name for o in goals.objectives[1:]]!r}, epochs={_longest(config)}, seed={run.seed}, slots={config.get('slots', 1)},",
        "    trials=...,  # as many as are listed above, or a budget",
        ")",
    ]
    return "\n".join(line for i, line in enumerate(lines) if line or i == 2)


def _longest(config: Mapping[str, Any]) -> str:
    amounts = [amount for amount, unit in config.get("fidelities", ()) if unit == "epochs"]
    return f"{max(amounts):g}" if amounts else "None"


def _settings(run: RunInfo) -> tuple[tuple[str, str], ...]:
    config = run.config
    fidelities = ", ".join(f"{amount:g} {unit}" for amount, unit in config.get("fidelities", ()))
    rows = [
        ("Seed", str(run.seed)),
        ("Strategy", f"{config.get('strategy')} {json.dumps(config['strategy_options']) if config.get('strategy_options') else ''}".strip()),
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
    text = ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _environment_text(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return format_figure("peak_memory_bytes", float(value))
    return str(value)


# --- for the script


def _data(
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
    fidelities = sorted({t.proposal.fidelity for t in [*trials, *(f.trial for f in finalists)]})

    def coded(architecture: Mapping[str, Any]) -> list[list[int]]:
        codes = []
        for key, value in architecture.items():
            k = keys.setdefault(key, len(keys))
            if k == len(options):
                options.append({})
            codes.append([k, options[k].setdefault(json.dumps(value, ensure_ascii=False, default=str), len(options[k]))])
        return codes

    def plain(trial: Trial, names: Sequence[str]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "n": trial.number,
            "s": STATES.index(trial.state),
            "f": fidelities.index(trial.proposal.fidelity),
            "m": [_number(trial.metrics.get(name)) for name in names],
            "c": [_number(trial.costs[name].value) if name in trial.costs else None for name in costs],
            "e": [certainties.setdefault(_known(trial.costs[name]), len(certainties)) if name in trial.costs else None for name in costs],
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
        final_rows.append({
            **plain(finalist.trial, [*metrics, *tested]),
            "key": finalist.key,
            "role": finalist.role,
            "origin": finalist.origin.number if finalist.origin else None,
            "errors": [finalist.trial.costs[name].error if name in finalist.trial.costs else None for name in costs],
        })
    return {
        "primary": goals.primary.name,
        "direction": goals.primary.direction,
        "metrics": [[name, label(name)] for name in metrics],
        "costs": [[name, label(name), _kind(name, trials, finalists)] for name in costs],
        "limits": {limit.name: limit.bound for limit in goals.limits},
        "objective": next((o.name for o in goals.objectives[1:] if o.name in costs), costs[0] if costs else None),
        "fidelities": [str(fidelity) for fidelity in fidelities],
        "states": list(STATES),
        "keys": list(keys),
        "options": [[json.loads(text) for text in values] for values in options],
        "certainties": list(certainties),
        "trials": searched,
        "finals": final_rows,
        "selected": subject.key if subject else ("T0" if trials else None),
        "curves": _curves(record, run, final_run, finalists, trials, goals),
        "lines": [
            {"id": f"{f.key}-{i}", **{"series": v.series, "x": v.x_label, "y": v.y_label}}
            for f in finalists for i, v in enumerate(f.views) if v.kind == "lines"
        ],
    }


def _kind(name: str, trials: Sequence[Trial], finalists: Sequence[Finalist]) -> str:
    """Returns the unit by which the script formats a cost: ``ms``, ``mJ``, ``B``, ``count`` or another device's own."""
    if name in FIGURES:
        return FIGURES[name] or "count"
    return next((t.costs[name].unit for t in [*trials, *(f.trial for f in finalists)] if name in t.costs), "")


def _known(figure: Figure) -> str:
    return f"{certainty(figure)}; {figure.note}" if figure.note else certainty(figure)


def _number(value: float | None) -> float | None:
    """Returns a value with 7 significant digits, or None where JSON has no number for it."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def _curves(
    record: Record, run: RunInfo, final_run: RunInfo | None, finalists: Sequence[Finalist], trials: Sequence[Trial], goals: Goals
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
        series = {}
        for name, (steps, values) in record.points(run_id, number).items():
            kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MAX_POINTS)).astype(int))
            series[name] = [[float(steps[i]) for i in kept], [_number(float(values[i])) for i in kept]]
        curves[key] = series
    return curves
