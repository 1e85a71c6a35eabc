"""Performance estimation by training: the truth that all cheaper estimators are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sartor._modes import evaluating
from sartor.contracts import Candidate, Context
from sartor.data import Splits
from sartor.errors import DataError, DivergedError, InputError
from sartor.estimators.work import predicted_work
from sartor.task import Metric, Predictions, Task
from sartor.training import Learner, Recipe, Schedule, Single, Step, TrainingState, fit, to_device
from sartor.training.average import put
from sartor.training.state import copied
from sartor.trials import Fidelity, Proposal, derive_seed

if TYPE_CHECKING:
    from sartor.space import Architecture, Space

NUM_REPORTS = 64
"""Points of each training series."""

NUM_VALIDATIONS = 8
"""Validations along the way, at most; also at most one an epoch, so that they stay a small share of the work."""

NUM_STOPS = 32
"""Validations of the longest training, where it may end early: they are at the same steps whatever the fidelity."""

_CPU = torch.device("cpu")


def steps_for(fidelity: Fidelity, data: Any, recipe: Recipe) -> int:
    """Returns the optimiser steps of a fidelity in ``epochs`` or ``steps``, at least 1.

    An epoch is as many steps as there are whole batches in ``data``, which must have a length.

    Raises:
        InputError: the unit is another, or epochs of data without a length.
    """
    if fidelity.unit == "steps":
        return max(1, round(fidelity.amount))
    if fidelity.unit != "epochs":
        raise InputError(f"training has fidelities in epochs or steps, got {fidelity}")
    try:
        rows = len(data)
    except TypeError:
        raise InputError(f"{type(data).__name__} has no length, so no epochs: give fidelities in steps") from None
    if rows < 1:
        raise DataError("the part to train on is empty")
    batches = rows // min(recipe.batch_size, rows)
    return max(1, round(fidelity.amount * batches / recipe.accumulate))


def evaluate(
    task: Task,
    network: nn.Module,
    architecture: Architecture,
    part: Any,
    *,
    metrics: Mapping[str, Metric] | None = None,
) -> tuple[dict[str, float], Predictions]:
    """Returns the metrics and predictions of a network on a part of the data.

    What ``task.deploy`` makes of it is in eval mode, without gradients (a task that needs some enables them); every
    module's mode is put back. What torch's global generators give is the same at every call, and they are put back.
    On an accelerator, inputs follow the network there and outputs come back, so ``predict`` need not know.

    Args:
        metrics: Other than the task's own.

    Raises:
        DivergedError: a metric is not finite.
    """
    cuda = sorted({p.device.index for p in network.parameters() if p.device.type == "cuda"})
    with evaluating(network), torch.random.fork_rng(devices=cuda), torch.no_grad():
        for generator in (torch.default_generator, *(torch.cuda.default_generators[number] for number in cuda)):
            generator.manual_seed(0)
        deployed = task.deploy(network, architecture)
        with evaluating(deployed), _followed(deployed):
            predictions = task.predict(deployed, part)
    values = {name: float(metric.function(predictions)) for name, metric in (metrics or task.metrics).items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergedError(f"metric {name!r} is {value}: the network's output cannot be scored")
    return values, predictions


def scores(task: Task, deployed: nn.Module, part: Any) -> dict[str, float]:
    """Returns a task's metrics on a part, of what is deployed itself, e.g. a module that stands for a file.

    Args:
        task: Predicts.
        deployed: On the processor, in eval mode.
        part: Of the data.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        predictions = task.predict(deployed, part)
    return {name: float(metric.function(predictions)) for name, metric in task.metrics.items()}


class Training:
    """Trains a candidate's network to a fidelity and scores it on the validation part.

    With the recipe's ``trapezoid`` schedule the trunk (at constant rate) is what is saved; the score is of a branch
    that cools down from it. A trial that continues another goes on from its trunk and ends bit-equal to one trained
    from scratch, because rates, data order and random numbers are functions of the absolute step. A ``constant``
    schedule is all trunk; a ``cosine`` has none, so a promotion starts afresh.

    A trial that goes on from one of another architecture, which the candidate's must contain, starts with a network
    that computes what that one's does (`sartor.compress.morphism.inherit`).

    ``candidate.network`` is trained in place and comes back on the CPU with the evaluated weights (the averaged ones
    when the recipe averages; with ``patience`` those of the best validation), so a candidate is estimated once.

    Args:
        task: What the networks are for.
        space: Where the architectures come from.
        splits: ``train`` and ``validation`` are read (or ``folds``); ``test`` should be None.
        fidelities: In ``epochs`` or ``steps``; the longest fixes the warm-up.
        keep: Keeps the evaluated weights as ``network``.
        device: Where to train, e.g. ``cuda``.
        folds: Cross-validates over ``splits.folds``: the mean of each metric, and ``<metric>.se``, its standard error.
        checkpoint_s: Least seconds between checkpoints within the trunk or the branch.

    Reports ``loss.<player>``, ``learning_rate`` and ``validation.<metric>`` at multiples of a number of steps (in
    fold ``k`` prefixed by ``fold<k>.``); the last validation is the score.

    Raises:
        InputError: no fidelities, folds without any, or ``keep`` with ``folds``, which has no single network.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        splits: Splits,
        fidelities: Sequence[Fidelity],
        *,
        keep: bool = False,
        device: str = "cpu",
        folds: bool = False,
        checkpoint_s: float = 5.0,
    ) -> None:
        self.task, self.space, self.splits = task, space, splits
        self.fidelities = tuple(sorted(fidelities, key=lambda fidelity: fidelity.amount))
        if not self.fidelities:
            raise InputError("expected at least one fidelity")
        if len({fidelity.unit for fidelity in self.fidelities}) > 1:
            raise InputError(f"expected fidelities in one unit, got {', '.join(map(str, self.fidelities))}")
        if folds and len(splits.folds) < 2:
            raise InputError(f"cross-validation needs at least 2 folds, the task's data have {len(splits.folds)}")
        if folds and keep:
            raise InputError("cross-validation trains one network a fold, so there is none to keep: use keep or folds")
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device {device!r} was asked for, but torch finds no CUDA device here: use 'cpu'")
        self.keep, self.folds, self.checkpoint_s = keep, folds, checkpoint_s

    def work(self, proposal: Proposal, continued: Fidelity | None = None) -> float:
        """Returns the predicted work of a proposal in units of its fidelity, going on from a trial of ``continued``."""
        recipe = self.task.recipe_for(proposal.architecture)
        share = {"trapezoid": recipe.cooldown, "constant": 0.0, "cosine": 1.0}[recipe.schedule]
        return predicted_work(proposal.fidelity, continued, cooldown=share)

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> Mapping[str, float]:
        """Trains to ``fidelity``, going on from ``context.load()``, and returns the metrics.

        Raises:
            DivergedError: a loss, gradient or metric is not finite.
            DeadlineError: the context's deadline passed; a checkpoint was saved.
            MemoryError: the device's memory does not suffice.
        """
        try:
            if self.folds:
                return self._cross_validated(candidate, fidelity, seed, context)
            return self._trained(
                candidate, fidelity, seed, context, train=self.splits.train, validation=self.splits.validation
            )
        except torch.OutOfMemoryError as error:
            failure = str(error).splitlines()[0]
        # Outside of the handler, where no traceback holds on to what the training allocated.
        if not self.folds:
            candidate.network.to(_CPU)
        torch.cuda.empty_cache()
        raise MemoryError(f"out of memory on {self.device}: {failure}")

    def _cross_validated(
        self, candidate: Candidate, fidelity: Fidelity, seed: int, context: Context
    ) -> dict[str, float]:
        scores = []
        for number, (train, validation) in enumerate(self.splits.folds):
            fold_seed = derive_seed(seed, "fold", number)
            fold = Candidate(candidate.task, candidate.space, candidate.architecture, fold_seed)
            own = _FoldContext(context, number)
            score = own.score(fidelity)
            if score is None:
                score = self._trained(fold, fidelity, fold_seed, own, train=train, validation=validation)
                own.finish(fidelity, score)
            scores.append(score)
        table = {name: np.array([score[name] for score in scores]) for name in scores[0]}
        means = {name: float(values.mean()) for name, values in table.items()}
        errors = {f"{name}.se": float(v.std(ddof=1) / math.sqrt(len(v))) for name, v in table.items()}
        return means | errors

    def _trained(
        self, candidate: Candidate, fidelity: Fidelity, seed: int, context: Context, *, train: Any, validation: Any
    ) -> dict[str, float]:
        task, architecture, network = self.task, candidate.architecture, candidate.network
        recipe = task.recipe_for(architecture)
        learner = seeded_learner(task, architecture, seed)
        lengths = [steps_for(listed, train, recipe) for listed in self.fidelities]
        until = steps_for(fidelity, train, recipe)
        longest = max(until, *lengths)
        schedule = Schedule.of(recipe, until, longest=longest, shortest=min(until, *lengths))
        has_trunk = recipe.schedule != "cosine"
        saved = _Saved.load(context, until=until, turn=schedule.turn, has_trunk=has_trunk)
        best = None
        if recipe.patience is not None:
            maximise = task.metrics[task.primary].direction == "max"
            best = _Best(recipe.patience, maximise, **(saved.branch_best or saved.best or {}))

        if saved.trunk is None and saved.branch is None and (parent := context.inherited()) is not None:
            _inherit(candidate, *parent, learner, train, seed)

        def score(module: nn.Module) -> dict[str, float]:
            found = evaluate(task, module, architecture, validation)[0]
            if best is not None:
                best.take(found[task.primary], found, module)
            return found

        def save(**state: Any) -> None:
            context.save(_Saved(**state).to_dict())

        def so_far() -> dict[str, Any] | None:
            return None if best is None else best.to_dict()

        def score_end(state: TrainingState) -> dict[str, float]:
            if state.averaged is not None:
                put(network, state.averaged)
            return score(network)

        every = math.ceil(until / NUM_VALIDATIONS) if best is None else math.ceil(longest / NUM_STOPS)
        every = max(_epoch_steps(train, recipe), every)
        stage: Callable[..., TrainingState] = partial(
            fit,
            Single(network, architecture),
            learner,
            train,
            recipe,
            total=longest if has_trunk else until,
            seed=seed,
            device=self.device,
            report=context.report,
            report_every=math.ceil(until / NUM_REPORTS),
            validate=score,
            validate_every=every,
            checkpoint_s=self.checkpoint_s,
            deadline=context.deadline,
        )
        trunk, at_turn = saved.trunk, None
        try:
            if best is not None:
                best.check()
            if has_trunk and (trunk is None or trunk.step < schedule.turn):
                trunk = stage(
                    schedule=schedule.trunk,
                    until=schedule.turn,
                    state=trunk,
                    checkpoint=lambda state: save(trunk=state, best=so_far()),
                )
                if best is not None and trunk.step % every == 0:  # as a longer training's trunk is scored here
                    score_end(trunk)
                save(trunk=trunk, best=so_far())
            at_turn = saved.best if saved.branch is not None else so_far()
            end = stage(
                schedule=schedule,
                until=until,
                state=saved.branch or trunk,
                checkpoint=lambda state: save(
                    trunk=trunk, best=at_turn, branch=state, branch_best=so_far(), until=until
                ),
            )
            metrics = score_end(end)
        except _Settled:
            if at_turn is None and has_trunk:
                # A longer training would end here too: a promotion has nothing to go on with, and finds so.
                save(trunk=trunk, best=so_far())
        if best is not None:
            network.load_state_dict(best.weights)
            metrics = dict(best.metrics)
        context.report(until, **{f"validation.{name}": value for name, value in metrics.items()})
        network.to(_CPU)
        if self.keep:
            context.keep("network", copied(network.state_dict()))
        return metrics


class _Settled(Exception):  # noqa: N818  # no error: it leaves the loop
    """No validation has been better for as many as the recipe waits."""


class _Best:
    """The best validation so far of a training that ends when there is none better for a while.

    Args:
        patience: Validations in a row without a better one before the end.
        maximise: Whether more is better.
        value, metrics, weights, waited: Where it stands.
    """

    def __init__(
        self,
        patience: int,
        maximise: bool,
        *,
        value: float | None = None,
        metrics: Mapping[str, float] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
        waited: int = 0,
    ) -> None:
        self.patience, self.maximise = patience, maximise
        self.value, self.metrics, self.weights, self.waited = value, metrics or {}, weights or {}, waited

    def take(self, value: float, metrics: Mapping[str, float], module: nn.Module) -> None:
        """Takes a validation and the weights that it is of.

        Raises:
            _Settled: it was the last to wait for.
        """
        if self.value is None or (value > self.value if self.maximise else value < self.value):
            self.value, self.metrics, self.weights, self.waited = value, metrics, copied(module.state_dict()), 0
        else:
            self.waited += 1
        self.check()

    def check(self) -> None:
        """Raises when there is nothing more to wait for."""
        if self.waited >= self.patience:
            raise _Settled

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "metrics": self.metrics, "weights": self.weights, "waited": self.waited}


class _Saved:
    """A trial's checkpoint: the trunk that a promotion continues, and while it cools down the branch that is scored.

    With early stopping also the best validation of the trunk, and of trunk and branch.
    """

    def __init__(
        self,
        *,
        trunk: TrainingState | None = None,
        branch: TrainingState | None = None,
        until: int | None = None,
        best: dict[str, Any] | None = None,
        branch_best: dict[str, Any] | None = None,
    ) -> None:
        self.trunk, self.branch, self.until = trunk, branch, until
        self.best, self.branch_best = best, branch_best

    def to_dict(self) -> dict[str, Any]:
        return {
            "trunk": self.trunk and self.trunk.to_dict(),
            "branch": self.branch and self.branch.to_dict(),
            "until": self.until,
            "best": self.best,
            "branch_best": self.branch_best,
        }

    @classmethod
    def load(cls, context: Context, *, until: int, turn: int, has_trunk: bool) -> _Saved:
        """Returns what of the context's checkpoint can be gone on from.

        A branch is gone on with only by the training of that length: for another, it is the continued trial's.
        """
        state = context.load()
        if state is None:
            return cls()
        trunk = TrainingState.from_dict(state["trunk"]) if state["trunk"] and has_trunk else None
        branch = TrainingState.from_dict(state["branch"]) if state["branch"] and state["until"] == until else None
        if branch is None and trunk is not None and trunk.step > turn:
            raise InputError(
                f"the continued trial's trunk has {trunk.step} steps, beyond the {turn} of this one of {until} in all:"
                " continue at a higher fidelity"
            )
        return cls(
            trunk=trunk,
            branch=branch,
            until=until,
            best=state["best"] if has_trunk else None,
            branch_best=None if branch is None else state["branch_best"],
        )


class _FoldContext:
    """A fold's share of its trial's context: its checkpoint is kept under its own name beside the other folds'."""

    def __init__(self, context: Context, number: int) -> None:
        self._context, self._number, self._name = context, number, f"fold{number}"
        self.deadline = context.deadline
        self._all: dict[str, Any] = dict(context.load() or {})

    def report(self, step: int, **values: float) -> None:
        self._context.report(step, **{f"{self._name}.{series}": value for series, value in values.items()})

    def load(self) -> dict[str, Any] | None:
        own: dict[str, Any] | None = self._all.get(self._name)
        return own

    def inherited(self) -> tuple[Architecture, dict[str, Any]] | None:
        return self._context.inherited()

    def save(self, state: Mapping[str, Any]) -> None:
        self._all[self._name] = {**state, "score": None, "fidelity": None}
        self._context.save(self._all)

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        raise InputError(f"a fold keeps nothing, got {name!r}")

    def score(self, fidelity: Fidelity) -> dict[str, float] | None:
        """Returns the fold's metrics at a fidelity, when it was finished before an interruption."""
        own = self.load()
        if own is None or own["fidelity"] != [fidelity.amount, fidelity.unit]:
            return None
        return dict(own["score"])

    def finish(self, fidelity: Fidelity, score: Mapping[str, float]) -> None:
        own = self._all.get(self._name) or _Saved().to_dict()
        self._all[self._name] = {**own, "score": dict(score), "fidelity": [fidelity.amount, fidelity.unit]}
        self._context.save(self._all)


def _inherit(
    candidate: Candidate,
    architecture: Architecture,
    weights: Mapping[str, torch.Tensor],
    learner: Learner,
    train: Any,
    seed: int,
) -> None:
    """Gives a candidate's network the function of a trained one that it contains.

    Raises:
        UnsupportedNetworkError: it does not contain it.
    """
    from sartor.compress.morphism.grow import load
    from sartor.compress.morphism.inherit import inherit, settle_by

    parent, network = Candidate(candidate.task, candidate.space, architecture, seed), candidate.network
    load(parent.network, weights)
    # Example inputs are the deployed network's; where it is made of other weights, they are tried on the network.
    wrapped = {id(p) for p in network.parameters()} <= {id(p) for p in candidate.deployed.parameters()}
    if wrapped:
        inherit(parent.deployed, candidate.deployed, candidate.inputs, seed=seed)
    else:
        inherit(parent.network, network, candidate.inputs, seed=seed)
    recipe = candidate.task.recipe_for(candidate.architecture)
    step = Step(0, 1, seed, recipe, architecture=candidate.architecture)
    batch = learner.batch(network, train, step)

    def run(module: nn.Module) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(step.default_seed)
            learner.loss(module, batch, step)

    settle_by(network, run)


def seeded_learner(task: Task, architecture: Architecture, seed: int) -> Learner:
    """Returns the task's learner with initial weights from ``seed``; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "learner"))
        return task.learner(architecture)


def _epoch_steps(data: Any, recipe: Recipe) -> int:
    """Returns the steps of an epoch, or 1 for data without a length (an environment)."""
    return steps_for(Fidelity(1.0, "epochs"), data, recipe) if hasattr(data, "__len__") else 1


@contextmanager
def _followed(module: nn.Module) -> Iterator[None]:
    """While entered, a module on an accelerator takes inputs from anywhere and gives outputs on the CPU."""
    tensor = next((t for tensors in (module.parameters(), module.buffers()) for t in tensors), None)
    if tensor is None or tensor.device == _CPU:
        yield
        return
    device = tensor.device
    handles = (
        module.register_forward_pre_hook(
            lambda _, args, kwargs: (to_device(args, device), to_device(kwargs, device)), with_kwargs=True
        ),
        module.register_forward_hook(lambda _, args, output: to_device(output, _CPU)),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
