"""Earlier searches as sources of the strategy ``transfer``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sartor.errors import InputError
from sartor.goals import Goals
from sartor.runs import FILE_NAME, Record
from sartor.space import Space
from sartor.strategies.transfer import Source


def load_sources(places: Sequence[str | Path], space: Space) -> list[Source]:
    """Returns recorded searches as far as their architectures are in the space.

    Args:
        places: Folders of results, whose latest search is meant, or ``FOLDER:RUN``.
        space: To be searched now.

    Raises:
        InputError: No record, or no search in it.
        RecordError: No such run.
    """
    return [_source(str(place), space) for place in places]


def _source(place: str, space: Space) -> Source:
    folder, run_id = place, ""
    if not (Path(folder) / FILE_NAME).exists():
        folder, _, run_id = place.rpartition(":")
    if not folder or not (Path(folder) / FILE_NAME).exists():
        raise InputError(f"--transfer {place}: expected a folder of results, or FOLDER:RUN; there is no record")
    with Record(folder, read_only=True) as record:
        searches = [run for run in record.runs() if run.kind == "search"]
        if not searches:
            raise InputError(f"--transfer {place}: the record has no search")
        run = record.run(run_id) if run_id else searches[-1]
        if run.kind != "search":
            names = ", ".join(each.id for each in searches)
            raise InputError(f"--transfer {place}: {run.id} is no search; searches: {names}")
        goals = Goals.of_config(run.config)
        return Source.of_trials(f"{folder}:{run.id}", record.trials(run.id), goals, space)
