"""BANANAS (White, Neiswanger and Savani 2021, "BANANAS: Bayesian optimization with neural architectures for NAS").

An ensemble of perceptrons reads which paths an architecture has; candidates are mutations of the best trained ones, and
the batch is what is best by a sample of each candidate's predicted distribution by itself. arXiv:1910.11858.

Deviations: the ensemble is `sartor.estimators.predictors.ensemble`, of small networks whose deviations are calibrated;
a space of chains, where one architecture has one path, is read choice by choice. What all such strategies have in
common here, several objectives and limits among it, is in `sartor.strategies._guided`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._acquisition import independent_sample
from sartor.strategies._features import branches
from sartor.strategies._fresh import check_at_least
from sartor.strategies._guided import Guided, mutated
from sartor.trials import Fidelity

SPEC = Spec(
    "bananas",
    "sartor.strategies.bananas:bananas",
    "an ensemble of networks over paths, sampled, on mutations of the best",
    citation="White, Neiswanger and Savani 2021, arXiv:1910.11858",
    needs="Nothing but results; some seconds a batch to train its networks.",
    when="When a hundred or more results are to be had of cells, in batches.",
)


def bananas(
    space: Space,
    goals: Goals,
    fidelities: Sequence[Fidelity],
    *,
    seed: int = 0,
    initial: Sequence[Architecture] = (),
    num_initial: int = 10,
    batch_size: int = 10,
    num_networks: int = 5,
    num_parents: int = 10,
    num_candidates: int = 500,
) -> Guided:
    """Returns the strategy.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        num_initial: Random architectures before the first that is predicted.
        batch_size: Proposals of each fit.
        num_networks: In the ensemble.
        num_parents: Of the best, mutated in turn.
        num_candidates: Mutations a batch.

    Raises:
        InputError: An option is too small.
    """
    check_at_least("num_parents", num_parents, 1)
    check_at_least("num_candidates", num_candidates, 1)
    from sartor.estimators.predictors.ensemble import Ensemble
    from sartor.space.encodings.path import Path

    encoding = Path(space) if branches(space) else None
    return Guided(
        space,
        goals,
        fidelities,
        seed=seed,
        stream=16,
        initial=initial,
        num_initial=num_initial,
        batch_size=batch_size,
        predictor=lambda seed: Ensemble(space, seed, encoding=encoding, num_networks=num_networks),
        candidates=mutated(space, num_parents, num_candidates),
        acquisition=independent_sample,
    )
