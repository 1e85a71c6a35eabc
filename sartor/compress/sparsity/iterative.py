"""Iterative magnitude pruning: remove some weights, train, remove more; with rewinding, to find lottery tickets.

Frankle & Carbin 2019, "The Lottery Ticket Hypothesis", arXiv:1803.03635; rewinding to an early step instead of the
start: Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", arXiv:1912.05671. Without
rewinding the weights stay and the schedule of the rate runs again: Renda et al. 2020, "Comparing Rewinding and
Fine-tuning in Neural Network Pruning", arXiv:2003.02389, who find it at least as accurate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sartor.compress.sparsity.held import Held
from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import Masks, Scores, apply, global_masks, sparsity_of
from sartor.errors import InputError
from sartor.training import Learner, Recipe, Single, TrainingState, fit


@dataclass(frozen=True)
class Round:
    """Where iterative pruning stands, at the end of a round or, when it is saved, within one.

    Attributes:
        number: Of the round, from 0.
        masks: Of the round.
        training: Where its training stands.
    """

    number: int
    masks: Mapping[str, Tensor]
    training: TrainingState

    @property
    def sparsity(self) -> float:
        """Share of the weights that is zero."""
        return sparsity_of(self.masks)

    def to_dict(self) -> dict[str, Any]:
        """Returns a plain dict that ``torch.save`` writes and ``torch.load(weights_only=True)`` reads."""
        return {"number": self.number, "masks": dict(self.masks), "training": self.training.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Round:
        return cls(value["number"], value["masks"], TrainingState.from_dict(value["training"]))


def sparsities(final: float, rounds: int) -> tuple[float, ...]:
    """Returns the sparsity of each round: the same share of what is left goes in each (20% in the papers).

    Raises:
        InputError: a final sparsity that is not above 0 and below 1, fewer than one round.
    """
    if not 0 < final < 1 or rounds < 1:
        raise InputError(f"expected a final sparsity above 0 and below 1 and at least 1 round, got {final:g}, {rounds}")
    return tuple(1.0 - (1.0 - final) ** ((i + 1) / rounds) for i in range(rounds))


def prune_iteratively(
    module: nn.Module,
    learner: Learner,
    data: Any,
    recipe: Recipe,
    *,
    targets: Sequence[float],
    total: int,
    seed: int,
    rewind: TrainingState | None = None,
    scores: Callable[[nn.Module], Scores] = magnitude,
    select: Callable[[Scores, float, Masks], dict[str, Tensor]] = global_masks,
    finished: Callable[[Round], None] | None = None,
    start: Round | None = None,
    checkpoint: Callable[[Round], None] | None = None,
    checkpoint_s: float = 5.0,
) -> Round:
    """Prunes and trains a trained network in place, round by round; returns the last round.

    Killed and started again with what ``checkpoint`` last got, it ends as if it had not been.

    Args:
        module: Trained; a copy, if the dense network is to be kept.
        learner: As it was trained with.
        data: What ``learner.batch`` reads.
        recipe: Of each round's training; its rate falls to zero, so each round ends with a trained network.
        targets: Sparsity of each round, ascending, e.g. ``sparsities(0.9, 8)``.
        total: Steps of each round, counted from the rewound state where there is one.
        seed: Of each round.
        rewind: What ``fit(..., total=total, until=k)`` returned: each round goes on from there, with fewer weights. Or
            None: weights stay, and the schedule runs again.
        scores: Of the weights of a trained network.
        select: Makes masks of scores, a sparsity and earlier masks.
        finished: Told each round when its training ends.
        start: Where to go on.
        checkpoint: Given where it stands, at most once in ``checkpoint_s`` seconds.
        checkpoint_s: Least seconds between checkpoints.

    Raises:
        InputError: targets that do not ascend within 0..1, or ``start`` of other targets.
        DivergedError: see `sartor.training.fit`.
    """
    if not targets or list(targets) != sorted(targets) or not (targets[0] >= 0 and targets[-1] < 1):
        raise InputError(f"targets: expected ascending sparsities from 0 to below 1, got {list(targets)}")
    if start is not None and start.number >= len(targets):
        raise InputError(f"start is of round {start.number}, but there are {len(targets)} targets")
    masks: Masks = {} if start is None else start.masks
    first = 0 if start is None else start.number
    done: Round | None = None
    for number in range(first, len(targets)):
        if start is not None and number == first:
            state: TrainingState | None = start.training
        else:
            found = scores(module)
            before = masks or {name: torch.ones_like(value, dtype=torch.bool) for name, value in found.items()}
            masks = select(found, targets[number], before)
            state = None
        held = Held(learner, masks)
        if state is None and rewind is not None:
            state = _rewound(module, held, masks, rewind)

        def keep(training: TrainingState, number: int = number, masks: Masks = masks) -> None:
            if checkpoint is not None:
                checkpoint(Round(number, masks, training))

        training = fit(
            Single(module), held, data, recipe, total=total, seed=seed, state=state, checkpoint=keep,
            checkpoint_s=checkpoint_s,
        )  # fmt: skip
        done = Round(number, masks, training)
        if checkpoint is not None:
            checkpoint(done)
        if finished is not None:
            finished(done)
    assert done is not None  # there is at least one target
    return done


def _rewound(module: nn.Module, held: Held, masks: Masks, rewind: TrainingState) -> TrainingState:
    """Returns the state that a round begins with: that of the dense training, without the weights that are gone."""
    module.load_state_dict(rewind.module)
    apply(module, masks)
    learner = {**held.state_dict(), **{f"inner.{name}": value for name, value in rewind.learner.items()}}
    return dataclasses.replace(rewind, module=module.state_dict(), learner=learner)
