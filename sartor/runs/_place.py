"""Runs by the text that people name them by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sartor.errors import InputError
from sartor.runs._info import RunInfo
from sartor.runs._record import Record
from sartor.runs._schema import FILE_NAME


def find_run(place: str | Path, what: str, is_one: Callable[[RunInfo], bool], remedy: str = "") -> tuple[Path, RunInfo]:
    """Returns folder and run of ``FOLDER`` (whose latest such run is meant) or ``FOLDER:RUN``.

    Args:
        place: As a person gave it.
        what: Such a run in words, for errors: ``search``.
        is_one: Whether a run is such a run.
        remedy: What to do where the record has none.

    Raises:
        InputError: No record; no such run in it, or another one; those that would do are named.
        RecordError: No run of this name.
    """
    folder, run_id = str(place), ""
    if not (Path(folder) / FILE_NAME).exists():
        folder, _, run_id = folder.rpartition(":")
    if not folder or not (Path(folder) / FILE_NAME).exists():
        raise InputError(f"{place}: expected a folder of results, or FOLDER:RUN; there is no record")
    with Record(folder, read_only=True) as record:
        known = [run for run in record.runs() if is_one(run)]
        if not known:
            raise InputError(f"{place}: the record has no {what}{f'; {remedy}' if remedy else ''}")
        run = record.run(run_id) if run_id else known[-1]
        if not is_one(run):
            raise InputError(f"{place}: {run.id} is no {what}; there are: {', '.join(each.id for each in known)}")
        return Path(folder), run
