"""What a worker executes: ``python -m sartor.engine.worker FD PARENT``, started by the engine.

It reads the problem, then jobs, from the connection and writes messages to it: JSON, length-prefixed. What a trial
prints goes to its ``<number>.log``. It writes nothing else but its checkpoint and what it keeps, and dies with its
parent.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from sartor._parent import die_with
from sartor.engine._job import Job, Message, run_job
from sartor.engine._problem import Problem
from sartor.errors import SartorError


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Sends file descriptors 1 and 2 to ``path``, also those of native code; an empty file is removed."""
    held = [os.dup(1), os.dup(2)]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        empty = os.fstat(file).st_size == 0
        for target, kept in zip((1, 2), held, strict=True):
            os.dup2(kept, target)
            os.close(kept)
        os.close(file)
        if empty:
            path.unlink(missing_ok=True)


def _one_thread() -> None:
    """Holds torch to one thread where something loaded it: the workers share the cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def main(descriptor: int, parent: int) -> None:
    """Serves jobs until the connection closes.

    Args:
        descriptor: Of the connection to the parent.
        parent: Its process id.
    """
    die_with(parent)
    # Ctrl-C reaches the whole terminal; what to do about it is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    connection = Connection(descriptor)

    def send(message: Message) -> None:
        connection.send_bytes(json.dumps(message).encode())

    hello = json.loads(connection.recv_bytes())
    sys.path[:] = hello["path"]
    folder = Path(hello["folder"])
    try:
        problem = Problem.from_json(hello["problem"]).open()
    # Whatever a person's task raises is for the parent to show.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        traceback.print_exc()
        ours = isinstance(error, SartorError)
        send({"kind": "broken", "ours": ours, "message": str(error) if ours else f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    _one_thread()
    send({"kind": "ready"})
    while True:
        try:
            text = connection.recv_bytes()
        except EOFError:
            return
        job = Job.from_json(text.decode())
        with _output_to(folder / f"{job.number}.log"):
            ended = run_job(problem, job, folder, send)
        _one_thread()
        # Only now, as the parent may end this process as soon as it knows.
        send(ended)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
