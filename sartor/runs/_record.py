"""The record of runs: what was asked, what came out, in one SQLite file that one process writes and any may read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

import numpy as np

from sartor.errors import InputError, RecordError, near
from sartor.runs._config import differences, fingerprint, flat, normalised
from sartor.runs._info import Comparison, FileInfo, RunInfo, RunState
from sartor.runs._series import SeriesWriter
from sartor.runs._series import read as read_series
from sartor.runs._store import Store, explain
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, Trial

_RUN_COLUMNS = (
    "id, kind, config, environment, fingerprint, state, created, updated, elapsed_s, seed, parent, result"
)
_TRIAL_COLUMNS = (
    "number, architecture, amount, unit, continues, replicate, seed, state, attempts, failure, cpu_s, wall_s, "
    "peak_rss_bytes"
)


class Record:
    """All runs of a folder of results.

    Args:
        out: Folder of results; made when it is written to.
        read_only: Reads beside a writer, and takes no lock.

    Attributes:
        out: The folder; a run's files are in ``out / run id``.

    Raises:
        RecordError: not there, in use by another process (which is named), damaged, not a record, of a newer version.

    Example:
        with Record(Path("sartor-out"), read_only=True) as record:
            best = record.best(record.run("latest").id, "accuracy", "max", num=10, within={"params": 200_000})
    """

    def __init__(self, out: str | Path, read_only: bool = False) -> None:
        if not read_only and "SARTOR_WORKER" in os.environ:
            raise InputError(
                "a search was started while a worker process read your script: put the call under "
                'if __name__ == "__main__":'
            )
        self.out = Path(out)
        self._store = Store(self.out, read_only=read_only)
        self._series = SeriesWriter()
        self._waiting_costs: list[tuple[str, str, str, str]] = []

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the folder for the next writer."""
        self._store.close()

    # --- reading

    def runs(self) -> list[RunInfo]:
        """Returns all runs in the order they were created."""
        with self._store.reading() as db:
            rows = db.execute(f"select {_RUN_COLUMNS} from runs order by position").fetchall()
        return [self._info(row) for row in rows]

    def run(self, run_id: str) -> RunInfo:
        """Returns a run by its id, or the one created last for ``"latest"``.

        Raises:
            RecordError: no such run; the message has the near name.
        """
        with self._store.reading() as db:
            if run_id == "latest":
                row = db.execute(f"select {_RUN_COLUMNS} from runs order by position desc limit 1").fetchone()
            else:
                row = db.execute(f"select {_RUN_COLUMNS} from runs where id=?", (run_id,)).fetchone()
            if row is None:
                known = [name for (name,) in db.execute("select id from runs")]
        if row is None:
            if not known:
                raise RecordError(f"{self._store.path} has no runs yet")
            raise RecordError(f"no run {run_id!r} in {self.out}{near(run_id, known)}")
        return self._info(row)

    def _info(self, row: Sequence[Any]) -> RunInfo:
        run_id, kind, config, environment, print_, state, created, updated, elapsed_s, seed, parent, result = row
        if state == "running" and not self._store.is_being_written():
            state = "interrupted"
        return RunInfo(
            run_id, kind, json.loads(config), json.loads(environment), print_, state, created, updated, elapsed_s, seed,
            parent, None if result is None else json.loads(result),
        )

    def children(self, run_id: str) -> list[RunInfo]:
        """Returns the runs that came from this one, in the order they were created."""
        with self._store.reading() as db:
            rows = db.execute(
                f"select {_RUN_COLUMNS} from runs where parent=? order by position", (run_id,)
            ).fetchall()
        return [self._info(row) for row in rows]

    def path(self, run_id: str) -> Path:
        """Returns the folder of a run's files."""
        return self.out / run_id

    def trials(self, run_id: str) -> list[Trial]:
        """Returns the trials of a run in the order they were asked, with their figures."""
        with self._store.reading() as db:
            # One snapshot, so that a trial and its figures agree while a search writes.
            db.execute("begin")
            try:
                rows = db.execute(
                    f"select {_TRIAL_COLUMNS} from trials where run=? order by number", (run_id,)
                ).fetchall()
                figures = db.execute(
                    "select number, role, name, value, error, unit, kind, raw, note from figures where run=? "
                    "order by rowid", (run_id,),
                ).fetchall()
            finally:
                db.execute("commit")
        return _trials(rows, figures)

    def best(
        self,
        run_id: str,
        name: str,
        direction: Literal["max", "min"],
        num: int = 10,
        within: Mapping[str, float] | None = None,
    ) -> list[Trial]:
        """Returns up to ``num`` complete trials by one figure, best first.

        Args:
            run_id: The run.
            name: A metric or a cost.
            direction: Which end of it is best.
            num: How many at most.
            within: Figure -> upper bound that must hold; a trial without the figure does not count.
        """
        order = "desc" if direction == "max" else "asc"
        limits = list((within or {}).items())
        # Indexes are named: left alone, SQLite scans all values below the bound for every trial (50 ms, not 1).
        inside = " and exists(select 1 from figures l indexed by figures_by_trial "
        inside += "where l.run=f.run and l.number=f.number and l.name=? and l.value<=?)"
        found = (
            "select f.number from figures f indexed by figures_by_value cross join trials t "
            "where f.run=? and f.name=? and f.value is not null and t.run=f.run and t.number=f.number "
            f"and t.state='complete'{inside * len(limits)} "
            f"order by f.value {order}, f.number limit ?"
        )
        bounds = [part for limit in limits for part in limit]
        with self._store.reading() as db:
            numbers = [number for (number,) in db.execute(found, (run_id, name, *bounds, num))]
            marks = ",".join("?" * len(numbers))
            rows = db.execute(
                f"select {_TRIAL_COLUMNS} from trials where run=? and number in ({marks})", (run_id, *numbers)
            ).fetchall()
            figures = db.execute(
                "select number, role, name, value, error, unit, kind, raw, note from figures "
                f"where run=? and number in ({marks}) order by rowid", (run_id, *numbers),
            ).fetchall()
        by_number = {trial.number: trial for trial in _trials(rows, figures)}
        return [by_number[number] for number in numbers]

    def points(self, run_id: str, number: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns series -> steps (int64) and values (float64), both of shape ``(num_points,)``, of one trial."""
        with self._store.reading() as db:
            return read_series(
                db.execute(
                    "select series, steps, vals from points where run=? and number=? order by series, chunk",
                    (run_id, number),
                )
            )

    def files(self, run_id: str, number: int | None = None) -> list[FileInfo]:
        """Returns the files of a run, or of one of its trials; their paths are relative to ``path(run_id)``."""
        where = "" if number is None else " and number=?"
        with self._store.reading() as db:
            rows = db.execute(
                f"select number, name, path, bytes, sha256 from files where run=?{where} order by number, name",
                (run_id,) if number is None else (run_id, number),
            ).fetchall()
        return [FileInfo(*row) for row in rows]

    @overload
    def log(self, run_id: str) -> list[tuple[float, str, str]]: ...

    @overload
    def log(self, run_id: str, kind: str, detail: str) -> None: ...

    def log(self, run_id: str, kind: str | None = None, detail: str = "") -> list[tuple[float, str, str]] | None:
        """Returns the log of a run as (unix seconds, kind, detail); with a kind and a detail, adds to it."""
        if kind is None:
            with self._store.reading() as db:
                return db.execute("select time, kind, detail from log where run=? order by rowid", (run_id,)).fetchall()
        with self._store.writing() as db:
            db.execute("insert into log values(?,?,?,?)", (run_id, time.time(), kind, detail))
        return None

    def compare(self, run_ids: Sequence[str]) -> Comparison:
        """Returns runs side by side: where their configurations differ, the best value of every objective."""
        infos = tuple(self.run(run_id) for run_id in run_ids)
        long = ("space_text", "describe", "sources")
        flats = [flat({k: v for k, v in info.config.items() if k not in long}) for info in infos]
        differing: dict[str, list[Any]] = {}
        for key in dict.fromkeys(key for config in flats for key in config):
            values = [config.get(key) for config in flats]
            if any(value != values[0] for value in values[1:]):
                differing[key] = values
        directions = {name: way for info in infos for name, way in info.config.get("objectives", [])}
        best: dict[str, list[float | None]] = {}
        for name, way in directions.items():
            found = [self.best(info.id, name, way, num=1) for info in infos]
            best[name] = [trials[0].values[name] if trials else None for trials in found]
        return Comparison(infos, differing, best)

    def known_costs(self, task: str, architecture: Architecture) -> dict[str, dict[str, Figure]]:
        """Returns device -> figures that were counted or measured for an architecture of a task, in any run."""
        with self._store.reading() as db:
            rows = db.execute(
                "select device, figures from costs where task=? and architecture=?", (task, architecture.to_json())
            ).fetchall()
        return {
            device: {name: Figure.from_json(value) for name, value in json.loads(figures).items()}
            for device, figures in rows
        }

    # --- writing: runs

    def create_run(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        *,
        seed: int,
        environment: Mapping[str, Any],
        parent: str | None = None,
    ) -> RunInfo:
        """Starts a run and makes its folder; ids are ``name-1``, ``name-2`` ..., of a child ``parent-kind``.

        Raises:
            InputError: the configuration is not JSON.
            RecordError: the record cannot be written, or there is no such parent.
        """
        kept = normalised(config)
        with self._store.writing() as db:
            ids = {run_id for (run_id,) in db.execute("select id from runs")}
            if parent is None:
                stem = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "run"
                found = (re.fullmatch(rf"{re.escape(stem)}-(\d+)", run_id) for run_id in ids)
                run_id = f"{stem}-{max((int(match[1]) for match in found if match), default=0) + 1}"
            else:
                if parent not in ids:
                    raise RecordError(f"no run {parent!r} in {self.out}{near(parent, ids)}")
                run_id = f"{parent}-{kind}"
                number = 2
                while run_id in ids:
                    run_id, number = f"{parent}-{kind}-{number}", number + 1
            now = time.time()
            db.execute(
                "insert into runs values(?,?,?,?,?,?,'running',?,?,0,?,?,null,"
                "(select coalesce(max(position), 0) + 1 from runs))",
                (run_id, kind, name, json.dumps(kept), json.dumps(dict(environment)), fingerprint(kept), now, now, seed,
                 parent),
            )
            try:
                self.path(run_id).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise explain(error, self.path(run_id)) from error
        return self.run(run_id)

    def resume_run(self, run_id: str, config: Mapping[str, Any]) -> RunInfo:
        """Reopens a run with the configuration it was started with; budget and workers may differ.

        Raises:
            RecordError: no such run, or another configuration: every differing key with its old and new value, for a
                different space the choices that differ.
        """
        info = self.run(run_id)
        if fingerprint(config) != info.fingerprint:
            changed = differences(info.config, config)
            raise RecordError(
                f"{info.id} was started with another configuration, so going on would mix two searches: "
                f"{'; '.join(changed)}. Restore these, or start a new search without --resume"
            )
        self.set_state(info.id, "running")
        return self.run(info.id)

    def set_state(self, run_id: str, state: RunState) -> None:
        with self._store.writing() as db:
            db.execute("update runs set state=?, updated=? where id=?", (state, time.time(), run_id))

    def set_result(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Keeps what was concluded from a run, as JSON."""
        with self._store.writing() as db:
            db.execute(
                "update runs set result=?, updated=? where id=?", (json.dumps(dict(result)), time.time(), run_id)
            )

    def add_elapsed(self, run_id: str, seconds: float) -> None:
        """Adds wall-clock time to what was worked on a run; saves what waits with it."""
        with self._store.writing() as db:
            self._write_waiting(db)
            _add_elapsed(db, run_id, seconds)
        self._written()

    def _write_waiting(self, db: sqlite3.Connection) -> None:
        self._series.write(db)
        if self._waiting_costs:
            db.executemany("insert or ignore into costs values(?,?,?,?)", self._waiting_costs)

    def _written(self) -> None:
        self._series.written()
        self._waiting_costs.clear()

    # --- writing: trials

    def add_trial(
        self,
        run_id: str,
        trial: Trial,
        *,
        begins: float = 0.0,
        ends: float = 0.0,
        snapshot: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an asked trial, in one transaction with the state of who asked it when given.

        Args:
            run_id: The run.
            trial: With the next number of the run.
            begins, ends: Its place on the virtual clock.
            snapshot: State of strategy and clock after this ask, JSON.
        """
        proposal = trial.proposal
        with self._store.writing() as db:
            db.execute(
                "insert into trials values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (run_id, trial.number, proposal.architecture.to_json(), proposal.fidelity.amount,
                 proposal.fidelity.unit, proposal.continues, proposal.replicate, trial.seed, trial.state,
                 trial.attempts, trial.failure, None, None, None, begins, ends),
            )
            if trial.state != "running":
                _write_end(db, run_id, trial)
            if snapshot is not None:
                packed = zlib.compress(json.dumps(snapshot, separators=(",", ":")).encode(), 1)
                db.execute("insert or replace into states values(?,?,?)", (run_id, trial.number + 1, packed))

    def snapshot(self, run_id: str) -> tuple[int, dict[str, Any]] | None:
        """Returns how many trials had been asked and the state of strategy and clock then, or None before the first."""
        with self._store.reading() as db:
            row = db.execute("select asked, state from states where run=?", (run_id,)).fetchone()
        if row is None:
            return None
        try:
            return row[0], json.loads(zlib.decompress(row[1]))
        except (zlib.error, ValueError) as error:
            raise RecordError(
                f"{self._store.path} is damaged: the state of {run_id} cannot be read ({error})"
            ) from error

    def start_attempt(self, run_id: str, trial: Trial) -> None:
        """Notes how often a worker died on a trial and drops its points: the attempt that begins tells them anew."""
        self._series.forget(run_id, trial.number)
        with self._store.writing() as db:
            db.execute("delete from points where run=? and number=?", (run_id, trial.number))
            db.execute(
                "update trials set attempts=? where run=? and number=?", (trial.attempts, run_id, trial.number)
            )

    def finish_trial(self, run_id: str, trial: Trial, elapsed_s: float = 0.0) -> None:
        """Keeps the end of a trial: state, figures, usage, what waits and the time worked, or none of it."""
        with self._store.writing() as db:
            self._write_waiting(db)
            _write_end(db, run_id, trial)
            _add_elapsed(db, run_id, elapsed_s)
        self._written()
        self._series.forget(run_id, trial.number)

    def clear_trials(self, run_id: str) -> None:
        """Forgets all trials of a run, to start it over."""
        with self._store.writing() as db:
            for table in ("trials", "figures", "points", "states"):
                db.execute(f"delete from {table} where run=?", (run_id,))
            db.execute("delete from files where run=? and number is not null", (run_id,))

    def add_metrics(self, run_id: str, number: int, metrics: Mapping[str, float]) -> None:
        """Adds metrics to a trial that has ended, e.g. those of the test part; known names are replaced."""
        with self._store.writing() as db:
            _write_metrics(db, run_id, number, metrics)

    def add_points(
        self, run_id: str, number: int, series: str, steps: Iterable[int], values: Iterable[float]
    ) -> None:
        """Appends points to a series of a trial; saved with the next ``finish_trial``, ``add_elapsed`` or ``flush``."""
        with self._store.reading() as db:
            self._series.add(db, (run_id, number, series), steps, values)

    @property
    def num_waiting_points(self) -> int:
        """Points added but not yet saved."""
        return self._series.num_waiting

    def flush(self) -> None:
        """Saves the points and costs that wait."""
        with self._store.writing() as db:
            self._write_waiting(db)
        self._written()

    def add_file(self, run_id: str, number: int | None, name: str, path: str | Path) -> FileInfo:
        """Keeps name, size and hash of a file in the run's folder; the same name again replaces it.

        Raises:
            RecordError: the file is missing or lies outside the run's folder.
        """
        folder = self.path(run_id).resolve()
        inside = folder / path
        file = inside if inside.exists() else Path(path)
        try:
            relative = file.resolve().relative_to(folder).as_posix()
        except ValueError as error:
            raise RecordError(f"expected a file in {folder}, got {file}") from error
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = file.stat().st_size
        except OSError as error:
            raise explain(error, file) from error
        info = FileInfo(number, name, relative, size, digest)
        with self._store.writing() as db:
            db.execute("delete from files where run=? and number is ? and name=?", (run_id, number, name))
            db.execute("insert into files values(?,?,?,?,?,?)", (run_id, number, name, relative, size, digest))
        return info

    def record_costs(self, task: str, architecture: Architecture, device: str, figures: Mapping[str, Figure]) -> None:
        """Keeps what a device said of an architecture, once: a later word on the same does not replace it.

        A measurement is saved at once; exact counts, which can be had again, with the next ``finish_trial``,
        ``add_elapsed`` or ``flush``.
        """
        text = json.dumps({name: figure.to_json() for name, figure in figures.items()})
        self._waiting_costs.append((task, architecture.to_json(), device, text))
        if any(figure.kind != "exact" for figure in figures.values()):
            self.flush()


def _add_elapsed(db: sqlite3.Connection, run_id: str, seconds: float) -> None:
    db.execute("update runs set elapsed_s=elapsed_s+?, updated=? where id=?", (seconds, time.time(), run_id))


def _write_metrics(db: sqlite3.Connection, run_id: str, number: int, metrics: Mapping[str, float]) -> None:
    db.executemany(
        "insert or replace into figures values(?,?,'metric',?,?,null,'','exact','[]','')",
        [(run_id, number, name, float(value)) for name, value in metrics.items()],
    )


def _write_end(db: sqlite3.Connection, run_id: str, trial: Trial) -> None:
    usage = trial.usage
    db.execute(
        "update trials set state=?, attempts=?, failure=?, cpu_s=?, wall_s=?, peak_rss_bytes=? "
        "where run=? and number=?",
        (trial.state, trial.attempts, trial.failure, usage.get("cpu_s"), usage.get("wall_s"),
         usage.get("peak_rss_bytes"), run_id, trial.number),
    )
    _write_metrics(db, run_id, trial.number, trial.metrics)
    db.executemany(
        "insert or replace into figures values(?,?,'cost',?,?,?,?,?,?,?)",
        [
            (run_id, trial.number, name, f.value, f.error, f.unit, f.kind, json.dumps(list(f.raw)), f.note)
            for name, f in trial.costs.items()
        ],
    )


def _trials(rows: Iterable[Sequence[Any]], figures: Iterable[Sequence[Any]]) -> list[Trial]:
    trials: dict[int, Trial] = {}
    for number, text, amount, unit, continues, replicate, seed, state, attempts, failure, *usage in rows:
        proposal = Proposal(Architecture.from_json(text), Fidelity(amount, unit), continues, replicate)
        names = ("cpu_s", "wall_s", "peak_rss_bytes")
        used = {name: value for name, value in zip(names, usage, strict=True) if value is not None}
        trials[number] = Trial(number, proposal, seed, state, usage=used, failure=failure, attempts=attempts)
    for number, role, name, value, error, unit, kind, raw, note in figures:
        if number not in trials:
            continue
        # SQLite keeps NaN as null.
        number_of = math.nan if value is None else value
        if role == "metric":
            trials[number].metrics[name] = number_of
        else:
            trials[number].costs[name] = Figure(number_of, unit, error, kind, tuple(json.loads(raw)), note)
    return list(trials.values())
