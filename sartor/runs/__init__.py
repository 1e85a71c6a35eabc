"""The record of runs: store and query.

Everything a run did is in one SQLite file, ``OUT/record.sqlite``, and in the folder ``OUT/<run id>/``. One process
writes it (WAL, one transaction a proposal and one a result, so that a kill at any moment leaves it whole); any number
read it meanwhile.

    from sartor.runs import Record

    with Record("sartor-out", read_only=True) as record:
        run = record.run("latest")
        for trial in record.best(run.id, "accuracy", "max", num=3, within={"params": 200_000}):
            print(trial.number, trial.values)
        steps, values = record.points(run.id, 0)["loss.network"]

A record of runs loads no torch.
"""

from __future__ import annotations

from sartor.runs._info import Comparison, FileInfo, RunInfo, RunState
from sartor.runs._place import find_run
from sartor.runs._record import Record
from sartor.runs._schema import FILE_NAME

__all__ = ["FILE_NAME", "Comparison", "FileInfo", "Record", "RunInfo", "RunState", "find_run"]
