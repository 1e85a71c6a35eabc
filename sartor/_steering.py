"""What a person says to a search, from another process: a file of acts, and the record of when each was heeded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sartor.runs import Record, RunInfo
from sartor.strategies._steered import Act

FILE = "steer.jsonl"
"""In the folder of a run, one act a line, appended to by ``sartor steer``."""
_KIND = "steer"
"""Of the entries in the record's log: number of proposals made when it was heeded, and the act."""


def say(record: Record, run: RunInfo, acts: Sequence[Act]) -> None:
    """Leaves acts for a search, running or to be resumed; the record may be open elsewhere."""
    folder = record.path(run.id)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / FILE, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(act.to_json()) + "\n" for act in acts))


def said(record: Record, run: RunInfo) -> list[Act]:
    """Returns all acts left for a search, heeded or not."""
    path = record.path(run.id) / FILE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    # What is being written has no end of line yet.
    return [Act.from_json(json.loads(line)) for line in text.split("\n")[:-1]]


def heeded(record: Record, run_id: str) -> list[tuple[int, Act]]:
    """Returns the acts that a search has heeded, each with the number of proposals made before."""
    found = []
    for _, kind, detail in record.log(run_id):
        if kind == _KIND:
            at, act = json.loads(detail)
            found.append((int(at), Act.from_json(act)))
    return found


class Heard:
    """Acts by the number of proposals made: those of the record, then new ones of the file, recorded as they are read.

    Args:
        record: Open for writing.
        run: The search.
    """

    def __init__(self, record: Record, run: RunInfo) -> None:
        self._record, self._run = record, run
        self._path: Path = record.path(run.id) / FILE
        self._known = heeded(record, run.id)
        self._num_recorded = len(record.trials(run.id))
        self._size = -1

    def __call__(self, num_asked: int) -> list[Act]:
        """Returns the acts to be heeded before the next proposal."""
        self._read(num_asked)
        return [act for at, act in self._known if at <= num_asked]

    def _read(self, num_asked: int) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size == self._size:
            return
        self._size = size
        for act in said(self._record, self._run)[len(self._known) :]:
            # What is recorded already was asked without it.
            at = max(num_asked, self._num_recorded)
            self._record.log(self._run.id, _KIND, json.dumps([at, act.to_json()]))
            self._record.log(self._run.id, "note", f"from trial {at} on: {act.words}")
            self._known.append((at, act))
