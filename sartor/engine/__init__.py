"""Where trials run: asked of a strategy, evaluated in worker processes, recorded step by step.

    problem = Problem(task.reference(), devices=("sartor.devices.counts:Counts",), fidelities=fidelities)
    trials = Engine(record, problem, workers=2, slots=4).run(run, strategy, max_trials=100)

Workers are separate processes, so that a crash costs one retry from a checkpoint; they are given importable names and
JSON, write only their checkpoint and log, and die with their parent. Results are told to the strategy by a virtual
clock (``VirtualClock``), so that neither the number of workers nor any kill and resume changes a search. With
``workers=0`` everything runs in this process.
"""

from __future__ import annotations

from sartor.engine._engine import NUM_FIRST_FAILURES, BrokenTaskError, Engine, default_work
from sartor.engine._events import Costs, Event, Failed, Finished, Lost, Progress, Started
from sartor.engine._order import VirtualClock
from sartor.engine._pools import WorkerError
from sartor.engine._problem import OpenedProblem, Problem, open_task

__all__ = [
    "NUM_FIRST_FAILURES", "BrokenTaskError", "Costs", "Engine", "Event", "Failed", "Finished", "Lost", "OpenedProblem",
    "Problem", "Progress", "Started", "VirtualClock", "WorkerError", "default_work", "open_task",
]
