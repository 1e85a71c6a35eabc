"""A task with nothing but a space, as a record refers to it. Not a test module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sartor.runs import Record
from sartor.space import OneOf, Space
from sartor.trials import Fidelity, Figure, Proposal, Trial

EVIL = "<script>alert(1)</script>"


class Cells:
    def __init__(self, source: str | None) -> None:
        self.source = source

    def space(self) -> Space:
        return Space({"op": OneOf("conv", EVIL, "skip"), "width": OneOf(8, 16, 32), "kernel": OneOf(3, 5)})


def recorded(out: Path, num: int = 18, **changes: Any) -> Record:
    """Returns the record of a search in which the operation decides the accuracy and the width the latency."""
    space = Cells(None).space()
    config = {
        "task": {"class": "tests.explain.cells:Cells", "source": None, "options": {}},
        "task_name": "cells",
        "objectives": [["accuracy", "max"], ["latency_ms", "min"]],
        "limits": [["latency_ms", 9.0]],
        "strategy": "random",
        "fidelities": [[1.0, "epochs"]],
        "space": space.fingerprint,
        **changes,
    }
    record = Record(out)
    run = record.create_run("search", "cells", config, seed=1, environment={"cpu": "a"})
    rng = np.random.default_rng(0)
    for number, architecture in enumerate(list(space)[:num]):
        latency = 0.1 * architecture["width"]
        trial = Trial(number, Proposal(architecture, Fidelity(1.0)), 1, "complete")
        trial.metrics = {"accuracy": (0.9 if architecture["op"] == "conv" else 0.5) + 0.001 * rng.random()}
        trial.costs = {"latency_ms": Figure(latency, "ms", 0.1, "measured")}
        trial.usage = {"cpu_s": 1.0, "wall_s": 1.0, "peak_rss_bytes": 1e8}
        record.add_trial(run.id, trial)
    record.set_state(run.id, "complete")
    return record
