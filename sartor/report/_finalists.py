"""The networks that the page is about: those retrained and tested, with their graphs and pictures."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import pictures
from sartor.errors import InputError
from sartor.goals import Goals
from sartor.pictures import Matrix, Picture, Table
from sartor.report._graph import Drawing, draw
from sartor.report._pictures import View, confusion, per_class, view
from sartor.report._wording import format_fidelity
from sartor.trials import Trial
from sartor.units import format_figure

if TYPE_CHECKING:
    from sartor.runs import Record, RunInfo


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


def make_finalist(
    record: Record,
    run: RunInfo,
    trial: Trial,
    trials: Sequence[Trial],
    goals: Goals,
    *,
    chosen: bool,
    is_baseline: bool,
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
        files=tuple(
            (name, str(file.path), format_figure("model_bytes", file.bytes)) for name, file in sorted(files.items())
        ),
    )


def _origin(trial: Trial, trials: Sequence[Trial]) -> Trial | None:
    same = [t for t in trials if t.state == "complete" and t.architecture == trial.architecture]
    return max(same, key=lambda t: (t.proposal.fidelity.amount, -t.number), default=None)


def _drawing(folder: Path, files: Mapping[str, Any], missing: list[str]) -> Drawing | None:
    if "graph" not in files:
        missing.append("Its graph was not recorded.")
        return None
    try:
        drawing = draw(json.loads((folder / files["graph"].path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, InputError) as error:
        missing.append(f"Its graph cannot be read from {files['graph'].path}: {error}")
        return None
    if drawing.num_operations and not drawing.sections:
        missing.append(f"Its graph has {drawing.num_operations} operations and too many edges over many to be drawn.")
        return None
    return drawing


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


def best_so_far(
    finalists: Sequence[Finalist], trials: Sequence[Trial], goals: Goals, baseline: object
) -> Finalist | None:
    """Returns the best by validation: of the finalists, else of the search at the highest fidelity reached."""
    primary = goals.primary
    scored = [f for f in finalists if primary.name in f.trial.metrics]
    if scored:
        within = [f for f in scored if not goals.broken(f.trial.values)] or scored
        return min(within, key=lambda f: primary.loss(f.trial.metrics[primary.name]))
    done = [t for t in trials if t.state == "complete" and primary.name in t.metrics and not goals.broken(t.values)]
    if not done:
        return None
    top = max(t.proposal.fidelity.amount for t in done)
    best = min(
        (t for t in done if t.proposal.fidelity.amount == top),
        key=lambda t: (primary.loss(t.metrics[primary.name]), t.number),
    )
    return _as_subject(best, "baseline" if best.architecture == baseline else "")


def baseline_of_search(trials: Sequence[Trial], finalists: Sequence[Finalist]) -> Finalist | None:
    if not trials:
        return None
    same = [t for t in trials if t.architecture == trials[0].architecture and t.costs | t.metrics]
    best = max(same, key=lambda t: (t.state == "complete", t.proposal.fidelity.amount), default=None)
    return _as_subject(best, "baseline") if best is not None else None


def name_of_baseline(against: Finalist | None, subject: Finalist | None) -> str:
    if against is None or subject is None:
        return "baseline"
    if against.trial is subject.trial:
        return ""
    if against.key.startswith("F"):
        return "baseline"
    return (
        f"baseline (search, {format_fidelity(against.trial.proposal.fidelity)})"
        if against.trial.metrics
        else "baseline (not trained)"
    )
