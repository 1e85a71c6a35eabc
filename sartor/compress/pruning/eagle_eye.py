"""EagleEye: several ways to reach a target are tried without training, and the one with the least loss is taken.

Li et al. 2020, "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", arXiv:2007.02491: candidates
are judged after the statistics of their batch normalisations are estimated again, which tells how they will do after
training far better than the loss right after the cut. Deviations: shares of layers are not drawn uniformly but follow
from scores over their layer's mean, times a log-normal emphasis on each layer, so that every candidate is just within
the target; the plain choice is a candidate too; they are judged by the loss on training data, not by accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from sartor.compress.pruning.choice import Choice
from sartor.compress.pruning.magnitude import relative
from sartor.compress.pruning.structure import Scores, Structure
from sartor.errors import InputError
from sartor.supernets.statistics import recalibrate

_SPREAD = 0.7
"""Deviation of the logarithm of an emphasis: one layer in six counts twice as much as the mean, or half as much."""


@dataclass(frozen=True)
class Judged:
    """A candidate.

    Attributes:
        choice: What goes.
        network: What is left, with statistics estimated again.
        loss: Of it.
    """

    choice: Choice
    network: nn.Module
    loss: float


def eagle_eye(
    structure: Structure,
    scores: Scores,
    plain: Choice,
    choose: Callable[[Scores], Choice],
    judge: Callable[[nn.Module], float],
    *,
    candidates: int,
    seed: int,
) -> list[Judged]:
    """Returns candidates, the least loss first; equal ones once.

    Args:
        structure: Of the network.
        scores: Of its units.
        plain: The choice by the scores alone, a candidate too.
        choose: Reaches the target by scores that compare between layers as they are.
        judge: Runs a network on data and returns the mean loss. It is called once with normalisations that estimate
            their statistics, and once with these.
        candidates: Tried beside the plain one.
        seed: Of the emphases.

    Raises:
        InputError: a negative number of candidates.
    """
    if candidates < 0:
        raise InputError(f"expected at least 0 candidates, got {candidates}")
    rng = np.random.default_rng(seed)
    base = relative(structure, scores)
    choices = [plain]
    for number in range(candidates):
        emphasised = base.copy()
        if number:
            for group in structure.groups:
                emphasised[group.units] *= np.exp(rng.normal(0.0, _SPREAD))
        choices.append(choose(emphasised))
    found = []
    for gone in {choice.gone.tobytes(): choice for choice in choices}.values():
        network = recalibrate(structure.without(gone.gone), judge)
        found.append(Judged(gone, network, judge(network)))
    return sorted(found, key=lambda judged: judged.loss)
