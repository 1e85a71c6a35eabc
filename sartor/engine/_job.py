"""What is done for one trial, in a worker or in this process alike."""

from __future__ import annotations

import dataclasses
import errno
import gc
import json
import math
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sartor.contracts import Candidate
from sartor.engine._checkpoint import checkpoint_path, load, save
from sartor.engine._problem import OpenedProblem
from sartor.engine._usage import Meter
from sartor.errors import DeadlineError, DivergedError, InputError, RemoteError
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure
from sartor.units import format_figure

Message = dict[str, Any]
"""JSON from a worker: ``kind`` is ready, broken, points, costs or ended."""

Send = Callable[[Message], None]

_SEND_EVERY_S = 0.2
_SEND_POINTS = 2_000


@dataclass(frozen=True)
class Job:
    """One attempt at a trial, as JSON.

    Attributes:
        number: Of the trial.
        architecture: JSON.
        amount, unit: Fidelity.
        seed: Of the trial.
        continues: Trial that this one goes on from, or None.
        inherits: That trial's architecture as JSON, where it is another one, so that its weights are inherited.
        remaining_s: Time until it should have ended, or None.
        known: Device key -> figure -> its JSON, which need not be computed again.
    """

    number: int
    architecture: str
    amount: float
    unit: str
    seed: int
    continues: int | None = None
    inherits: str | None = None
    remaining_s: float | None = None
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        return cls(**json.loads(text))


class JobContext:
    """The ``Context`` of a trial: points go to the parent, checkpoints to the run's folder.

    A checkpoint carries the points reported before it, so that an attempt that goes on from it tells them again and
    the record misses none, whatever was under way when parent or worker were killed.
    """

    def __init__(self, job: Job, folder: Path, send: Send, meter: Meter, note: Callable[[str], None]) -> None:
        self.deadline = None if job.remaining_s is None else time.monotonic() + job.remaining_s
        self.kept: dict[str, str] = {}
        self._job, self._folder, self._send, self._meter, self._note = job, folder, send, meter, note
        self._series: dict[str, tuple[list[int], list[float]]] = {}
        self._sent: dict[str, int] = {}
        self._restored = False
        self._waiting = 0
        self._last = time.monotonic()

    def report(self, step: int, **values: float) -> None:
        """Adds points to the trial's series.

        Raises:
            InputError: the step is not an integer or a value not a number.
        """
        try:
            at = step.__index__()
            numbers = {name: float(value) for name, value in values.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"report takes an integer step and numbers, got step {step!r} and {values}") from error
        for name, value in numbers.items():
            steps, held = self._series.setdefault(name, ([], []))
            steps.append(at)
            held.append(value)
        self._waiting += len(numbers)
        if self._waiting >= _SEND_POINTS or time.monotonic() - self._last >= _SEND_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Sends the points that wait."""
        self._last, self._waiting = time.monotonic(), 0
        fresh = {}
        for name, (steps, values) in self._series.items():
            sent = self._sent.get(name, 0)
            if len(steps) > sent:
                fresh[name] = [steps[sent:], values[sent:]]
                self._sent[name] = len(steps)
        if fresh:
            self._send({"kind": "points", "number": self._job.number, "series": fresh})

    def _read(self, number: int) -> dict[str, Any] | None:
        path = checkpoint_path(self._folder, number)
        try:
            return load(path)
        except (pickle.UnpicklingError, OSError) as error:
            # The fidelity is what is spent in all, so a trial without its checkpoint ends the same, only later.
            self._note(f"{path.name} cannot be read, so this trial starts from scratch: {error}")
            return None

    def load(self) -> dict[str, Any] | None:
        """Returns the trial's own latest checkpoint, else the one it continues from, else None."""
        own = self._read(self._job.number)
        if own is not None:
            if not self._restored:
                self._restored = True
                self._meter.add(own["usage"])
                for name, (steps, values) in own["points"].items():
                    later = self._series.get(name, ([], []))
                    self._series[name] = (list(steps) + later[0], list(values) + later[1])
                self._sent.clear()
                self.flush()
            state: dict[str, Any] = own["state"]
            return state
        if self._job.continues is None or self._job.inherits is not None:
            return None
        earlier = self._read(self._job.continues)
        return None if earlier is None else earlier["state"]

    def inherited(self) -> tuple[Architecture, dict[str, Any]] | None:
        """Returns architecture and finished weights of the trial that this one inherits from, or None.

        Raises:
            InputError: the run keeps no weights of that trial.
        """
        if self._job.inherits is None:
            return None
        path = self._folder / f"{self._job.continues}.network.pt"
        weights = load(path)
        if weights is None:
            raise InputError(
                f"trial {self._job.number} inherits the weights of trial {self._job.continues}, but there is no {path}:"
                " the estimator must keep them (keep=True)"
            )
        return Architecture.from_json(self._job.inherits), weights

    def save(self, state: Mapping[str, Any]) -> None:
        """Keeps a checkpoint to go on from.

        Raises:
            OSError: it cannot be written, e.g. no space is left.
        """
        self.flush()
        points = {name: [list(steps), list(values)] for name, (steps, values) in self._series.items()}
        payload = {"state": dict(state), "points": points, "usage": self._meter.read()}
        save(checkpoint_path(self._folder, self._job.number), payload)

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        """Keeps a result beside the checkpoint as ``<number>.<name>.pt``."""
        if not name.isidentifier() or name == "checkpoint":
            raise InputError(f"a kept result has a plain name such as 'network', got {name!r}")
        file = f"{self._job.number}.{name}.pt"
        save(self._folder / file, state, durable=True)
        self.kept[name] = file


def _is_full(error: BaseException | None) -> bool:
    """Returns whether an error, or one it came from, says that the disk is full."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _costs(problem: OpenedProblem, job: Job, candidate: Candidate, send: Send) -> tuple[dict[str, Figure], str | None]:
    """Returns the figures in the order of the devices, up to the first that breaks a limit, and which it breaks."""
    costs: dict[str, Figure] = {}
    for key, device in problem.devices:
        if key in job.known:
            figures = {name: Figure.from_json(value) for name, value in job.known[key].items()}
        else:
            figures = dict(device.cost(candidate))
            packed = {name: figure.to_json() for name, figure in figures.items()}
            send({"kind": "costs", "number": job.number, "device": key, "figures": packed})
        costs.update(figures)
        broken = [
            f"{limit.name} {format_figure(limit.name, figures[limit.name].value)} is beyond "
            f"{format_figure(limit.name, limit.bound)}"
            for limit in problem.limits
            if limit.name in figures and limit.excess(figures[limit.name].value) > 0
        ]
        if broken:
            return costs, "; ".join(broken)
    return costs, None


def _evaluate(problem: OpenedProblem, job: Job, context: JobContext, send: Send, ended: Message) -> None:
    architecture = Architecture.from_json(job.architecture)
    candidate = Candidate(problem.task, problem.space, architecture, job.seed)
    costs, broken = _costs(problem, job, candidate, send)
    ended["costs"] = {name: figure.to_json() for name, figure in costs.items()}
    if broken is not None:
        ended.update(state="infeasible", failure=broken)
        return
    fidelity = Fidelity(job.amount, job.unit)
    metrics = problem.estimator.estimate(candidate, fidelity=fidelity, seed=job.seed, context=context)
    values = {str(name): float(value) for name, value in metrics.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergedError(f"metric {name!r} is {value}")
    ended.update(state="complete", metrics=values)


def run_job(problem: OpenedProblem, job: Job, folder: Path, send: Send) -> Message:
    """Computes costs, then metrics; sends points and costs on the way, returns the message of how it ended.

    Its ``state`` is ``complete``, ``infeasible``, ``failed``, or ``running`` when the deadline passed (it can go
    on from its checkpoint), ``full`` when the disk is, or ``gone`` when another machine that measures is.
    """
    meter = Meter()
    log = folder / f"{job.number}.log"

    def note(text: str) -> None:
        # What the trial printed comes before.
        sys.stdout.flush()
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text.rstrip() + "\n")

    context = JobContext(job, folder, send, meter, note)
    ended: Message = {
        "kind": "ended", "number": job.number, "state": "failed", "metrics": {}, "costs": {}, "failure": None,
    }
    try:
        try:
            _evaluate(problem, job, context, send, ended)
        except DeadlineError:
            ended["state"] = "running"
        except RemoteError as error:
            ended.update(state="gone", failure=str(error))
        # A trial runs whatever people bring: its error, whichever, fails that trial and nothing else.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            if _is_full(error):
                raise
            message = str(error).strip()
            ended["failure"] = f"{type(error).__name__}: {message}" if message else type(error).__name__
            note(traceback.format_exc())
            del error
            _free_memory()
        context.flush()
    except OSError as error:
        if not _is_full(error):
            raise
        ended.update(state="full", failure=str(error))
    ended.update(usage=meter.read(), kept=context.kept)
    return ended


def _free_memory() -> None:
    """Gives back what a failed trial held, so that running out of memory once does not fail the next trial too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
