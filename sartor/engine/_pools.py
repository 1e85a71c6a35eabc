"""Where jobs run: in worker processes, or in this one."""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO, Protocol

import sartor
from sartor._threads import one_thread
from sartor.engine._job import Job, Message, run_job
from sartor.engine._problem import OpenedProblem, Problem
from sartor.errors import InputError, SartorError

Handle = Callable[[Message], None]
"""Called with every message; beside those of a job, ``lost``: number and reason."""

_MAX_EARLY_DEATHS = 5
"""Workers that may be killed one after the other before any is ready, until it is no bad luck any more."""
_END_S = 2.0
_SHOWN_CHARACTERS = 2_000


class WorkerError(SartorError):
    """Workers cannot be started: a broken installation, or a machine that kills them."""


class Pool(Protocol):
    """Runs jobs."""

    def num_idle(self) -> int:
        """Returns how many jobs may be submitted now."""
        ...

    def submit(self, job: Job) -> None:
        """Hands a job to an idle place."""
        ...

    def wait(self, timeout_s: float, handle: Handle) -> None:
        """Handles messages; returns once some were handled or the time is over."""
        ...

    def close(self) -> None:
        """Stops everything at once; running jobs can go on from their checkpoints."""
        ...


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    output: IO[bytes]
    ready: bool = False
    number: int | None = None


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    names = {
        signal.SIGKILL: "killed by signal 9, as the system does when memory runs out",
        signal.SIGSEGV: "crashed by signal 11, a segmentation fault",
    }
    return names.get(signal.Signals(-code), f"killed by signal {-code}")


def _environment() -> dict[str, str]:
    """Returns the environment of a worker: one thread each, and equal hashes so that sets have one order in all."""
    found = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        found[name] = "1"
    found.setdefault("PYTHONHASHSEED", "0")
    found["SARTOR_WORKER"] = "1"
    root = str(Path(sartor.__file__).resolve().parent.parent)
    if root not in site.getsitepackages():
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [found.get("PYTHONPATH"), root]))
    return found


class WorkerPool:
    """Worker processes.

    Args:
        problem: Opened by each.
        folder: Of the run: checkpoints and logs.
        num: How many.

    Raises:
        InputError: a part of the problem cannot be reached from another process.
    """

    def __init__(self, problem: Problem, folder: Path, num: int) -> None:
        problem.check_reachable()
        self._hello = json.dumps({
            "problem": problem.to_json(),
            "folder": str(folder.resolve()),
            "path": [str(Path(entry or ".").resolve()) for entry in sys.path],
        }).encode()
        self._early_deaths = 0
        self._workers: list[_Worker] = []
        try:
            for _ in range(num):
                self._workers.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    def _start(self) -> _Worker:
        ours, theirs = Pipe()
        # A worker that dies before its first trial says why here.
        output = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            process = subprocess.Popen(
                # -P: nothing in the current folder may shadow what the worker imports before it has its path.
                [sys.executable, "-P", "-m", "sartor.engine.worker", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(theirs.fileno(),), env=_environment(),
            )
        except OSError as error:
            output.close()
            ours.close()
            raise WorkerError(f"a worker process cannot be started: {error}") from error
        finally:
            theirs.close()
        worker = _Worker(process, ours, output)
        # If it died at once, waiting for its messages finds that out.
        with suppress(OSError):
            ours.send_bytes(self._hello)
        return worker

    def num_idle(self) -> int:
        return sum(worker.ready and worker.number is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        worker = next(worker for worker in self._workers if worker.ready and worker.number is None)
        worker.number = job.number
        # If it died since, waiting for its messages finds that out, with the job as lost.
        with suppress(OSError):
            worker.connection.send_bytes(job.to_json().encode())

    def wait(self, timeout_s: float, handle: Handle) -> None:
        ready = wait([worker.connection for worker in self._workers], timeout_s)
        if not ready:
            # A child that a task forked may hold a dead worker's connection open.
            for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
                self._replace(worker, handle)
        for connection in ready:
            worker = next(worker for worker in self._workers if worker.connection is connection)
            try:
                message: Message = json.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                self._replace(worker, handle)
                continue
            if message["kind"] == "ready":
                worker.ready, self._early_deaths = True, 0
            elif message["kind"] == "broken":
                if message["ours"]:
                    raise InputError(message["message"])
                raise WorkerError(f"a worker cannot set up the search: {message['message']}\n{self._output(worker)}")
            else:
                if message["kind"] == "ended":
                    worker.number = None
                handle(message)

    @staticmethod
    def _output(worker: _Worker) -> str:
        worker.output.seek(0)
        return worker.output.read().decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]

    def _replace(self, worker: _Worker, handle: Handle) -> None:
        """Starts another worker for a dead one, unless it shows that none can live."""
        try:
            code = worker.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            code = worker.process.wait()
        reason = _how_it_died(code)
        output = self._output(worker)
        self._workers.remove(worker)
        self._discard(worker)
        if not worker.ready:
            self._early_deaths += 1
            if code >= 0:
                raise WorkerError(f"a worker {reason} before it was ready: is the installation broken?\n{output}")
            if self._early_deaths > _MAX_EARLY_DEATHS:
                raise WorkerError(f"{self._early_deaths} workers in a row died before one was ready: {reason}")
        self._workers.append(self._start())
        if worker.number is not None:
            handle({"kind": "lost", "number": worker.number, "reason": reason})

    @staticmethod
    def _discard(worker: _Worker) -> None:
        worker.connection.close()
        worker.output.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            self._discard(worker)
        self._workers.clear()


class _Escape(BaseException):
    """Carries an error of the engine past the estimator and past whatever it catches."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class InProcess:
    """Runs one job after the other in this process: no isolation, but breakpoints, notebooks and no start-up.

    Args:
        problem: Opened.
        folder: Of the run: checkpoints and logs.
    """

    def __init__(self, problem: OpenedProblem, folder: Path) -> None:
        self._problem, self._folder = problem, folder
        self._jobs: deque[Job] = deque()

    def num_idle(self) -> int:
        return 0 if self._jobs else 1

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, timeout_s: float, handle: Handle) -> None:
        if not self._jobs:
            time.sleep(min(timeout_s, 0.05))
            return

        def send(message: Message) -> None:
            try:
                # Through JSON, so that a value is the same here as from a worker.
                handle(json.loads(json.dumps(message)))
            except BaseException as error:
                raise _Escape(error) from error

        try:
            with one_thread():
                send(run_job(self._problem, self._jobs.popleft(), self._folder, send))
        except _Escape as escape:
            raise escape.error from None

    def close(self) -> None:
        self._jobs.clear()


def make_pool(problem: Problem, folder: Path, workers: int, opened: OpenedProblem | None) -> Pool:
    """Returns ``workers`` processes, or this process for 0."""
    if workers > 0:
        return WorkerPool(problem, folder, workers)
    return InProcess(opened or problem.open(), folder)
