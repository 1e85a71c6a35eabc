"""Real trainings in real workers: killed and continued, they end bit-equal to those left in peace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import torch

from sartor.engine import Engine, Lost, Problem, Progress
from sartor.runs import Record
from sartor.strategies.listed import Listed
from sartor.trials import Fidelity, Proposal
from tests.engine.drive import table
from tests.estimators.digits import Digits

FIDELITIES = (Fidelity(1), Fidelity(3))


def search(out: Path, *, workers: int, on_event: Any = None) -> list[Any]:
    task = Digits(rows=300)
    first = task.baseline()
    second = task.space().architecture({**first, "network.width": 4})
    asked = [
        Proposal(first, FIDELITIES[0]), Proposal(second, FIDELITIES[0]), Proposal(first, FIDELITIES[1], continues=0),
        # Of another architecture, whose weights it inherits.
        Proposal(first, FIDELITIES[0], continues=1, replicate=1),
    ]
    problem = Problem(
        task.reference(), devices=("sartor.devices.counts:Counts",), fidelities=FIDELITIES,
        estimator_options={"checkpoint_s": 0.0, "keep": True},
    )
    with Record(out) as record:
        run = record.create_run("search", "digits", {}, seed=0, environment={})
        engine = Engine(record, problem, workers=workers, slots=2, retries=10)
        engine.run(run, Listed(asked), on_event=on_event)
        rows = table(record, run.id)
        for file in record.files(run.id):
            weights = torch.load(record.path(run.id) / file.path, weights_only=True)
            rows.append([file.number, file.name, {name: value.tolist() for name, value in weights.items()}])
    return rows


def test_trainings_in_killed_workers_end_bit_equal(tmp_path: Path) -> None:
    kills = 0

    def kill(event: Any) -> None:
        nonlocal kills
        if isinstance(event, Progress) and kills < 1 and event.trial.attempts == 0:
            for child in psutil.Process(os.getpid()).children():
                if "sartor.engine.worker" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)
                    kills += 1
                    return
        if isinstance(event, Lost):
            assert event.again

    peace = search(tmp_path / "peace", workers=0)
    assert [row[3] for row in peace[:4]] == ["complete"] * 4 and [row[1] for row in peace[4:]] == ["network"] * 4
    assert search(tmp_path / "war", workers=1, on_event=kill) == peace
    assert kills == 1
