"""Training of shared weights, as an estimator: one trial trains the weights of all architectures, and keeps them."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sartor.contracts import Candidate, Context, NullContext
from sartor.data import Splits
from sartor.errors import InputError, ShapesDifferError
from sartor.estimators.inherited import Inherited
from sartor.estimators.training import NUM_REPORTS, evaluate, steps_for
from sartor.registry import find, specs
from sartor.supernets import Differentiable, Method, Sampled
from sartor.supernets.collapse import can_skip
from sartor.training import TrainingState, fit
from sartor.training.average import put
from sartor.training.state import copied
from sartor.trials import Fidelity, derive_seed

if TYPE_CHECKING:
    from torch import nn

    from sartor.space import Architecture, Label, Space
    from sartor.task import Task
    from sartor.training.parallel import Ranks

WEIGHTS = "supernet"
"""Name under which a trial keeps its weights."""
NUM_SCORED = 8
"""Random architectures whose mean score is that of sampled weights."""


def make_method(
    task: Task, space: Space, name: str, seed: int, options: Mapping[str, Any]
) -> tuple[Method, dict[str, Label]]:
    """Returns a method of `sartor.supernets` on a task's space, with initial weights, and choices that it cannot have.

    Alternatives of different shapes, such as widths, cannot be summed. A differentiable method takes them as the task's
    baseline has them, as published ones take them as given (Wu et al. 2019, arXiv:1812.03443).

    Returns:
        The method; key -> value of the choices that were so decided.

    Raises:
        InputError: unknown method, or options that it refuses.
    """
    start = task.baseline()
    inputs = task.example_inputs(start, batch_size=2)
    make = find("supernets", name).load()
    decided: dict[str, Label] = {}
    while True:
        try:
            given = dict(options)
            if given.get("costs"):
                given["costs"] = {key: own for key, own in given["costs"].items() if key not in decided}
            method: Method = make(space.given(decided) if decided else space, inputs, seed=seed, **given)
        except ShapesDifferError as error:
            more = {key: start[key] for key in error.keys if key in start and key not in decided}
            if not more:
                raise
            decided |= more
        else:
            return method, decided


def check_ranks(method: str, ranks: int) -> None:
    """Refuses several processes where a method keeps what they would all have to see.

    Raises:
        InputError: such a method, or an unknown one.
    """
    if ranks > 1 and find("supernets", method).one_process:
        several = ", ".join(spec.name for spec in specs("supernets").values() if not spec.one_process)
        raise InputError(
            f"{method} is trained by one process, got {ranks}: leave --ranks out, or take one of {several}"
        )


class SupernetTraining:
    """Trains shared weights to a fidelity; the candidate's architecture only says where a search would begin.

    The metrics are, by the inherited weights on the validation part, the means over a few random architectures and the
    best of them (``<metric>.best``), and known faults (``fault.*``: see `sartor.supernets.faults`); of a differentiable
    method those of the relaxed network, and its indicators of collapse, the share of skips where there can be some.
    What is kept as ``supernet``: the weights, and the architecture that a differentiable method derives.

    Args:
        task: What the networks are for.
        space: Whose architectures share weights.
        splits: ``train`` and ``validation`` are read.
        fidelities: In ``epochs`` or ``steps``.
        method: Name of the method.
        method_options: Its keyword arguments.
        device: Where to train.
        checkpoint_s: Least seconds between checkpoints.
        ranks: Processes that share the micro-batches of each step; a step then has so many times more.

    Raises:
        InputError: no fidelity, no process, or several for a method of one.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        splits: Splits,
        fidelities: Sequence[Fidelity],
        *,
        method: str = "one-shot",
        method_options: Mapping[str, Any] | None = None,
        device: str = "cpu",
        checkpoint_s: float = 20.0,
        ranks: int = 1,
    ) -> None:
        if not fidelities or ranks < 1:
            raise InputError(f"expected a fidelity and at least 1 process, got {list(fidelities)} and {ranks}")
        check_ranks(method, ranks)
        self.task, self.space, self.splits = task, space, splits
        self.fidelities = tuple(fidelities)
        self.method, self.method_options = method, dict(method_options or {})
        self.device, self.checkpoint_s, self.ranks = device, checkpoint_s, ranks

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> Mapping[str, float]:
        """Trains, going on from ``context.load()``, and returns the metrics.

        Raises:
            DivergedError: a loss or gradient is not finite.
            DeadlineError: the context's deadline passed; a checkpoint was saved.
        """
        if self.ranks == 1:
            method, state = self._trained(candidate.architecture, fidelity, seed, context, context.load(), None)
        else:
            method, state = self._trained_together(candidate.architecture, fidelity, seed, context)
        if state.averaged is not None:
            put(method.module, state.averaged)
        method.module.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        kept: dict[str, Any] = {"module": copied(method.module.state_dict()), "derived": None}
        if isinstance(method, Differentiable):
            kept["derived"] = method.derive().to_json()
        context.keep(WEIGHTS, kept)
        metrics = self._metrics(method, candidate.architecture, seed)
        context.report(state.step, **{f"validation.{name}": value for name, value in metrics.items()})
        return metrics

    def _trained(
        self,
        start: Architecture,
        fidelity: Fidelity,
        seed: int,
        context: Context,
        saved: Mapping[str, Any] | None,
        ranks: Ranks | None,
    ) -> tuple[Method, TrainingState]:
        task, train = self.task, self.splits.train
        method, _ = make_method(task, self.space, self.method, derive_seed(seed, "supernet"), self.method_options)
        # Pools and depthwise convolutions are 2 to 8 times as fast on a CPU when channels lie next to one another.
        method.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recipe = method.recipe(task.recipe)
        if ranks is not None:
            recipe = dataclasses.replace(recipe, accumulate=recipe.accumulate * ranks.size)
        total = steps_for(fidelity, train, recipe)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "learner"))
            learner = method.learner(task.learner(start))
        every = math.ceil(total / NUM_REPORTS)

        def indicators(module: nn.Module) -> Mapping[str, float]:
            return method.indicators() if isinstance(method, Differentiable) else {}

        state = fit(
            method,
            learner,
            train,
            recipe,
            total=total,
            seed=seed,
            state=None if saved is None else TrainingState.from_dict(dict(saved)),
            device=self.device,
            report=context.report,
            report_every=every,
            validate=indicators,
            validate_every=every if isinstance(method, Differentiable) else 0,
            checkpoint=lambda state: context.save(state.to_dict()),
            checkpoint_s=self.checkpoint_s,
            deadline=context.deadline,
            ranks=ranks,
        )
        return method, state

    def _trained_together(
        self, start: Architecture, fidelity: Fidelity, seed: int, context: Context
    ) -> tuple[Method, TrainingState]:
        """Trains in several processes, of which this one alone reports and saves."""
        from sartor.training.parallel import group

        saved = context.load()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.pt"
            torch.save(saved, path)
            options = {"method": self.method, "method_options": self.method_options, "device": self.device}
            space = self.space.fingerprint
            about = (self.task.reference(), space, [fidelity.amount, fidelity.unit], options, dict(start), seed)
            with group(self.ranks, _train_rank, *about, str(path)) as ranks:
                return self._trained(start, fidelity, seed, context, saved, ranks)

    def _metrics(self, method: Method, start: Architecture, seed: int) -> dict[str, float]:
        task = self.task
        if isinstance(method, Differentiable):
            told = dict(method.indicators())
            if not can_skip(self.space):
                del told["skip_share"]
            return {**evaluate(task, method.module, start, self.splits.validation)[0], **told}
        assert isinstance(method, Sampled)
        scorer = Inherited(task, method.weights, self.splits.train, self.splits.validation, seed=seed)
        rng = np.random.default_rng(derive_seed(seed, "scored"))
        scores = [scorer.score(architecture) for architecture in self.space.sample_choices(rng, NUM_SCORED)]
        found = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
        for name, metric in task.metrics.items():
            best = max if metric.direction == "max" else min
            found[f"{name}.best"] = best(score[name] for score in scores)
        return {**found, **self._faults(method, scorer, seed)}

    def _faults(self, method: Sampled, scorer: Inherited, seed: int) -> dict[str, float]:
        from sartor.supernets.faults import conflict, drift, imbalance

        task, space = self.task, self.space
        drawn = space.sample_choices(np.random.default_rng(derive_seed(seed, "faults")), NUM_SCORED)
        choices = {key: space.values(key) for key in space.keys if key not in space.continuous}
        trained = imbalance(method, choices, task.recipe, seed=seed)
        against, moved = conflict(method, task, self.splits.train, drawn, seed=seed), drift(scorer, drawn[:4])
        return {
            "fault.imbalance_by_choice": trained.choice,
            "fault.imbalance_by_depth": trained.depth,
            "fault.conflict_share": against.share,
            "fault.conflict_mean_cosine": against.mean_cosine,
            "fault.drift_mean": moved.mean,
            "fault.drift_metric": moved.metric,
        }


def _train_rank(
    reference: Mapping[str, Any],
    fingerprint: str,
    fidelity: tuple[float, str],
    options: Mapping[str, Any],
    start: Mapping[str, Any],
    seed: int,
    path: str,
) -> None:
    """Takes part in the training of another process."""
    from sartor.engine import open_task
    from sartor.training.parallel import Ranks

    task = open_task(reference)
    space, splits = task.space(), task.data()
    if space.fingerprint != fingerprint:
        raise InputError("several processes can train shared weights of a task's own space only")
    listed = Fidelity(*fidelity)
    training = SupernetTraining(task, space, dataclasses.replace(splits, test=None), [listed], **options)
    saved = torch.load(path, weights_only=True)
    training._trained(space.architecture(start), listed, seed, NullContext(), saved, Ranks())
