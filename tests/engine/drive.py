"""A search in a process of its own, to be killed: ``python -m tests.engine.drive JSON``. Not a test module."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from sartor.engine import Engine, Problem
from sartor.errors import SartorError
from sartor.goals import Limit
from sartor.runs import Record
from sartor.trials import Fidelity, Trial
from tests.engine.light import Climb, Light

FIDELITIES = (Fidelity(1), Fidelity(3), Fidelity(9))


def problem(**options: Any) -> Problem:
    """The light task with an exact count and a limit that some architectures break."""
    return Problem(
        Light().reference(), devices=("tests.engine.light:Size",), estimator="tests.engine.light:Walk",
        estimator_options=options, fidelities=FIDELITIES, limits=(Limit("params", 2_800),),
    )


def strategy() -> Climb:
    return Climb(Light().space(), FIDELITIES, seed=3)


def table(record: Record, run: str) -> list[Any]:
    """All that must be equal whatever happened on the way: trials, figures, every point."""
    found = []
    for trial in record.trials(run):
        points = {name: (s.tolist(), v.tolist()) for name, (s, v) in record.points(run, trial.number).items()}
        found.append([
            trial.number, trial.proposal, trial.seed, trial.state, trial.metrics, trial.costs, trial.failure, points
        ])
    return found


def search(
    out: str | Path, *, workers: int, trials: int, seconds: float | None = None, retries: int = 1, on_event: Any = None,
    **options: Any,
) -> list[Trial]:
    """Starts the search in ``out`` or goes on with it."""
    config = {"space": Light().space().fingerprint, "seed": 3, "slots": 4}
    with Record(out) as record:
        known = record.runs()
        run = (
            record.resume_run(known[0].id, config)
            if known
            else record.create_run("search", "light", config, seed=3, environment={})
        )
        engine = Engine(record, problem(**options), workers=workers, slots=4, retries=retries, grace_s=0.2)
        ends = time.monotonic() + (seconds or 0.0)
        deadline = None if seconds is None else (lambda trials: ends)
        found = engine.run(run, strategy(), max_trials=trials, deadline=deadline, on_event=on_event)
        if seconds is None:
            record.set_state(run.id, "complete")
        return found


if __name__ == "__main__":
    try:
        search(**json.loads(sys.argv[1]))
    except KeyboardInterrupt as error:
        print(error, flush=True)
        raise SystemExit(130) from None
    except SartorError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        raise SystemExit(2) from None
