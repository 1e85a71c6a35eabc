"""Known faults of shared weights, measured: who is trained how often, who pulls against whom, whose statistics err.

Chu et al. 2021, arXiv:1907.01845 (training imbalance); Hu et al. 2022, arXiv:2203.15207, and Zhang et al. 2020,
arXiv:2001.01431 (conflict between architectures); Yu et al. 2020, arXiv:1902.08142 (ranking against training alone,
which is `sartor trust`). What mends them: ``fairnas`` imbalance between options, uniform architectures
(``one-shot`` with ``sampling="architectures"``) imbalance by depth, ``few-shot`` conflict, recalibration statistics.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.supernets.statistics import normalisations

if TYPE_CHECKING:
    from torch import Tensor

    from sartor.estimators.inherited import Inherited
    from sartor.space import Architecture
    from sartor.supernets import Sampled
    from sartor.task import Task

_NUM_DRAWN = 300
"""Steps that are drawn to count who is trained how often."""


@dataclass(frozen=True)
class Imbalance:
    """How often what is chosen is trained.

    Attributes:
        by_choice: Key -> value -> share of the trained architectures with this choice that take the value.
        by_depth: Key -> share of the trained architectures that have the choice at all: 1 where all do, less the deeper
            a repetition or the rarer an option that it lies under.
    """

    by_choice: Mapping[str, Mapping[Any, float]]
    by_depth: Mapping[str, float]

    @property
    def choice(self) -> float:
        """How many times as often the most trained option is trained as the least, of the worst choice."""
        ratios = [max(shares.values()) / max(min(shares.values()), 1e-9) for shares in self.by_choice.values()]
        return float(min(max(ratios, default=1.0), 1e6))

    @property
    def depth(self) -> float:
        """How many times as often the most trained choice is trained as the least."""
        shares = list(self.by_depth.values())
        return float(max(shares) / max(min(shares), 1e-9)) if shares else 1.0


def imbalance(method: Sampled, space_keys: Mapping[str, Sequence[Any]], recipe: Any, *, seed: int = 0) -> Imbalance:
    """Returns how often each option would be trained, by drawing steps over the whole course of a training.

    Args:
        method: Its weights are not changed.
        space_keys: Key -> values of the choices.
        recipe: Of the steps.
        seed: Of the draws.
    """
    from sartor.training import Step

    counts: dict[str, dict[Any, int]] = {key: dict.fromkeys(values, 0) for key, values in space_keys.items()}
    total = 0
    for index in range(_NUM_DRAWN):
        for architecture, _ in method.draw(Step(index, _NUM_DRAWN, seed, recipe)):
            total += 1
            for key, value in (architecture or {}).items():
                if value in counts.get(key, ()):
                    counts[key][value] += 1
    active = {key: sum(own.values()) for key, own in counts.items()}
    by_choice = {
        key: {value: count / active[key] for value, count in own.items()}
        for key, own in counts.items()
        if active[key] and len(own) > 1
    }
    return Imbalance(by_choice, {key: number / max(total, 1) for key, number in active.items() if number})


@dataclass(frozen=True)
class Conflict:
    """How gradients of architectures on one batch agree, where they share weights.

    Attributes:
        share: Of the pairs, those whose gradients have a negative cosine.
        mean_cosine: Over the pairs.
    """

    share: float
    mean_cosine: float


def conflict(
    method: Sampled, task: Task, train: Any, architectures: Sequence[Architecture], *, seed: int = 0
) -> Conflict:
    """Returns how the gradients of architectures agree, pair by pair over the tensors that both use.

    Weights, buffers and gradients are as before on return.

    Args:
        method: Sampled.
        task: Gives the loss.
        train: Rows of one batch.
        architectures: At least 2.
        seed: Which batch.
    """
    import torch

    from sartor.training import Step, to_device

    module = method.module
    parameters = dict(module.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    was_training = module.training
    module.train()
    gradients: list[dict[str, Tensor]] = []
    for architecture in architectures:
        learner = task.learner(architecture)
        step = Step(0, 1, seed, task.recipe_for(architecture), architecture=architecture)
        network = method.weights.network(architecture)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(step.default_seed)
            loss = learner.loss(network, to_device(learner.batch(network, train, step), step.device), step)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        own = {name: each for name, each in zip(parameters, found, strict=True) if each is not None}
        gradients.append(own)
    module.train(was_training)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
    cosines = []
    for one, other in itertools.combinations(gradients, 2):
        both = one.keys() & other.keys()
        dot = sum(float((one[name] * other[name]).sum()) for name in both)
        norms = [sum(float(each[name].square().sum()) for name in both) for each in (one, other)]
        if norms[0] > 0 and norms[1] > 0:
            cosines.append(dot / (norms[0] * norms[1]) ** 0.5)
    if not cosines:
        return Conflict(0.0, 0.0)
    return Conflict(float(np.mean(np.array(cosines) < 0)), float(np.mean(cosines)))


@dataclass(frozen=True)
class Drift:
    """How wrong the running statistics of shared normalisations are for an architecture on its own.

    Attributes:
        mean: Distance of the means, in deviations of the architecture's own, over channels and architectures.
        metric: What the primary metric loses by them, in its unit; positive is a loss.
    """

    mean: float
    metric: float


def drift(scorer: Inherited, architectures: Sequence[Architecture]) -> Drift:
    """Returns how far shared statistics are from those estimated for each architecture.

    Args:
        scorer: Of trained weights; it estimates statistics.
        architectures: Over which it is averaged.
    """
    from sartor.estimators.training import evaluate

    task = scorer.task
    sign = 1.0 if task.metrics[task.primary].direction == "max" else -1.0
    distances, losses = [], []
    for architecture in architectures:
        network = scorer.weights.child(architecture)
        before = {name: _statistics(layer) for name, layer in normalisations(network).items()}
        shared = evaluate(task, network, architecture, scorer.validation)[0][task.primary]
        scorer.calibrated(network, architecture)
        own = evaluate(task, network, architecture, scorer.validation)[0][task.primary]
        losses.append(sign * (own - shared))
        for name, layer in normalisations(network).items():
            mean, variance = _statistics(layer)
            distances.append(((before[name][0] - mean).abs() / (variance + 1e-5).sqrt()).mean().item())
    return Drift(float(np.mean(distances)) if distances else 0.0, float(np.mean(losses)))


def _statistics(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.running_mean.clone(), layer.running_var.clone()
