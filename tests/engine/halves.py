"""Every built-in strategy's search up to a number of trials: ``python -m tests.engine.halves OUT TRIALS``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from sartor.engine import Engine, Problem
from sartor.goals import Goals, Limit, Objective
from sartor.registry import find, specs
from sartor.runs import Record
from sartor.strategies.transfer import Source
from sartor.trials import Fidelity
from tests.engine.light import Light

NAMES = [name for name in specs("strategies") if name != "warm-start"]
"""A warm start is another of them, and needs scores from Python."""
RUNGS = (Fidelity(1), Fidelity(3), Fidelity(9))
GOALS = Goals((Objective("score", "max"), Objective("params", "min")), (Limit("params", 3_000),))


def make(name: str) -> Any:
    spec = find("strategies", name)
    rungs = RUNGS if spec.promotes else RUNGS[:1]
    space = Light().space()
    options: dict[str, Any] = {}
    if name == "transfer":
        drawn = space.sample(np.random.default_rng(0), 12)
        options["sources"] = [Source("earlier", tuple(map(dict, drawn)), tuple(map(float, range(len(drawn)))))]
    return spec.load()(space, GOALS, rungs, seed=5, **options)


def search(out: Path, name: str, trials: int) -> list[Any]:
    problem = Problem(
        Light().reference(), devices=("tests.engine.light:Size",), estimator="tests.engine.light:Free",
        fidelities=RUNGS, limits=GOALS.limits,
    )
    with Record(out / name) as record:
        runs = record.runs()
        run = runs[0] if runs else record.create_run("search", name, {}, seed=5, environment={})
        found = Engine(record, problem, workers=0, slots=4).run(run, make(name), max_trials=trials)
    return [(trial.number, trial.proposal, trial.seed, trial.state, trial.metrics) for trial in found]


if __name__ == "__main__":
    for each in NAMES:
        search(Path(sys.argv[1]), each, int(sys.argv[2]))
