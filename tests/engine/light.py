"""A task, an estimator and devices without torch: trainings in milliseconds that checkpoint like real ones.

Loaded by file path, in workers too; not a test module.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.contracts import Candidate, Context
from sartor.data import Splits
from sartor.errors import DeadlineError, DivergedError
from sartor.space import Architecture, OneOf, Space
from sartor.task import Metric, Task
from sartor.trials import Fidelity, Figure

HERE = str(Path(__file__).resolve())


class Light(Task):
    """Architectures are five numbers; a score is how near an estimator's walk comes to their sum."""

    @dataclass(frozen=True)
    class Options:
        """``broken`` fails where a person's data would."""

        broken: bool = False

    metrics = {"score": Metric(lambda predictions: 0.0), "loss": Metric(lambda predictions: 0.0, "min")}

    def data(self) -> Splits:
        if self.options.broken:
            raise FileNotFoundError("no such folder: photos")
        return Splits(train=np.arange(10), validation=np.arange(10), fingerprint="light")

    def space(self) -> Space:
        return Space({name: OneOf(*range(10)) for name in "abcde"})

    def baseline(self) -> Architecture:
        return self.space().architecture(dict.fromkeys("abcde", 5))


class Walk:
    """Walks a number of steps that are functions of (seed, step), saves every few and may meet accidents.

    Args:
        sleep_s: At each step, up to twice as long by chance.
        accidents: Sum of the architecture's numbers -> what happens to it.
        calls: File to which each estimate adds a line.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        splits: Splits,
        fidelities: Sequence[Fidelity],
        *,
        sleep_s: float = 0.0,
        steps: int = 12,
        accidents: Mapping[str, str] | None = None,
        calls: str | None = None,
    ) -> None:
        assert splits.test is None
        self.fidelities = tuple(fidelities)
        self.sleep_s, self.steps, self.accidents, self.calls = sleep_s, steps, dict(accidents or {}), calls

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> dict[str, float]:
        total = sum(candidate.architecture[name] for name in "abcde")
        print("walking", total)
        if self.calls:
            with open(self.calls, "a") as file:
                file.write(f"{candidate.architecture.to_json()} {fidelity.amount}\n")
        self._accident(self.accidents.get(str(total), self.accidents.get("all", "")), context)
        state = context.load() or {"step": 0, "at": np.zeros(3)}
        step, at = state["step"], state["at"]
        until = int(self.steps * fidelity.amount)
        while step < until:
            at = at + np.random.default_rng([seed, step]).normal(size=3)
            step += 1
            context.report(step, **{"loss.walk": float(at[0]), "learning_rate": 0.1 / step})
            if step % 5 == 0:
                context.report(step, **{"validation.score": float(at[1])})
            if step % 4 == 0 or step == until:
                context.save({"step": step, "at": at})
            if self.sleep_s:
                time.sleep(self.sleep_s * 2 * random.random())
            if context.deadline is not None and time.monotonic() > context.deadline:
                raise DeadlineError("time is over")
        return {"score": float(-abs(total - 20) + 0.1 * at.mean()), "loss": float(at.sum())}

    @staticmethod
    def _accident(kind: str, context: Context) -> None:
        if kind == "memory":
            raise MemoryError("out of memory on cpu")
        if kind == "diverged":
            raise DivergedError("loss is nan at step 3")
        if kind == "value":
            raise ValueError(f"shapes do not fit: {random.random()}")
        if kind == "exit":
            sys.exit("bye")
        if kind == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "abort once" and context.load() is None:
            context.save({"step": 0, "at": np.zeros(3)})
            os._exit(3)
        if kind == "fork":
            if os.fork() == 0:
                time.sleep(4)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "nan":
            context.report(1, loss=float("nan"))


class NanWalk(Walk):
    """Scores that are no numbers."""

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> dict[str, float]:
        return {"score": float("nan"), "loss": 0.0}


class Free:
    """Gives its score at once."""

    def __init__(self, task: Task, space: Space, splits: Splits, fidelities: Sequence[Fidelity]) -> None:
        self.fidelities = tuple(fidelities)

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> dict[str, float]:
        return {"score": (seed % 1000) / 1000, "loss": 0.0}


class Size:
    """An exact count that needs no network."""

    name = "size"
    figures = ("params",)
    needs: Literal["architecture"] = "architecture"

    def cost(self, candidate: Candidate) -> dict[str, Figure]:
        return {"params": Figure(100 * sum(candidate.architecture[name] for name in "abcde"))}


class Stopwatch:
    """A measurement: never twice the same; adds a line to a file each time."""

    name = "stopwatch"
    figures = ("latency_ms",)
    needs: Literal["architecture"] = "architecture"

    def __init__(self, calls: str) -> None:
        self.calls = calls

    def cost(self, candidate: Candidate) -> dict[str, Figure]:
        with open(self.calls, "a") as file:
            file.write(candidate.architecture.to_json() + "\n")
        raw = tuple(sorted(random.random() for _ in range(3)))
        return {"latency_ms": Figure(raw[0], "ms", 0.05, "measured", raw, "machine was idle")}


class Climb:
    """A small strategy with successive halving, so that promotions continue trials; ask and tell of the contract.

    Draws at the lowest fidelity, promotes the best third told so far that is not promoted yet.
    """

    def __init__(self, space: Space, fidelities: Sequence[Fidelity], seed: int = 0) -> None:
        self.space, self.fidelities = space, tuple(fidelities)
        self.rng = np.random.default_rng(seed)
        self.told: list[list[Any]] = []
        self.promoted: set[int] = set()
        self.seen: set[str] = set()

    def ask(self, n: int) -> list[Any]:
        from sartor.trials import Proposal

        found = []
        for _ in range(n):
            for rung in range(len(self.fidelities) - 2, -1, -1):
                here = sorted((t for t in self.told if t[1] == rung), key=lambda t: (-t[2], t[0]))
                fit = [t for t in here[: len(here) // 3] if t[0] not in self.promoted]
                if fit:
                    number, _, _, text = fit[0]
                    self.promoted.add(number)
                    architecture = Architecture.from_json(text)
                    found.append(Proposal(architecture, self.fidelities[rung + 1], continues=number))
                    break
            else:
                best = max((t for t in self.told), key=lambda t: (t[2], -t[0]), default=None)
                while True:
                    if best is not None and self.rng.random() < 0.5:
                        parent = self.space.architecture(dict(Architecture.from_json(best[3])))
                        architecture = self.space.mutate(parent, self.rng)
                    else:
                        architecture = self.space.sample(self.rng)
                    if architecture.to_json() not in self.seen:
                        break
                self.seen.add(architecture.to_json())
                found.append(Proposal(architecture, self.fidelities[0]))
        return found

    def tell(self, trials: Sequence[Any]) -> None:
        for trial in trials:
            if trial.state == "complete":
                rung = self.fidelities.index(trial.proposal.fidelity)
                self.told.append([trial.number, rung, trial.metrics["score"], trial.architecture.to_json()])

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self.rng.bit_generator.state, "told": self.told, "promoted": sorted(self.promoted),
            "seen": sorted(self.seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.told, self.promoted, self.seen = list(state["told"]), set(state["promoted"]), set(state["seen"])
