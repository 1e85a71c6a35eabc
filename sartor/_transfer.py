"""Earlier searches as sources of the strategy ``transfer``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sartor.goals import Goals
from sartor.runs import Record, find_run
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
    folder, run = find_run(place, "search", lambda run: run.kind == "search")
    with Record(folder, read_only=True) as record:
        return Source.of_trials(f"{folder}:{run.id}", record.trials(run.id), Goals.of_config(run.config), space)
