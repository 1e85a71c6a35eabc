"""NPENAS (Wei, Niu, Tang and Liang 2022, "NPENAS: neural predictor guided evolution for NAS", arXiv:2003.12857).

Evolution of which a predictor sees the children before they are trained: parents win tournaments among all that was
trained, each has many mutations, and those that a graph network predicts best are trained (the paper's NPENAS-NP).

Deviations: the network is `sartor.estimators.predictors.gnn`. What all such strategies have in common here, several
objectives and limits among it, is in `sartor.strategies._guided`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._acquisition import mean
from sartor.strategies._fresh import check_at_least
from sartor.strategies._guided import Guided, MakeCandidates, Parents
from sartor.trials import Fidelity

SPEC = Spec(
    "npenas",
    "sartor.strategies.npenas:npenas",
    "evolution whose children a graph network ranks before they are trained",
    citation="Wei, Niu, Tang and Liang 2022, arXiv:2003.12857",
    needs="Nothing but results; some seconds a batch to train its network.",
    when="When a hundred or more results are to be had, in batches, and evolution would need too many.",
)


def npenas(
    space: Space,
    goals: Goals,
    fidelities: Sequence[Fidelity],
    *,
    seed: int = 0,
    initial: Sequence[Architecture] = (),
    num_initial: int = 20,
    batch_size: int = 10,
    num_parents: int = 10,
    num_children: int = 20,
    tournament: int = 5,
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
        num_parents: A batch.
        num_children: Mutations of each.
        tournament: Trained architectures of which the best is a parent.

    Raises:
        InputError: An option is too small.
    """
    for name, value in (("num_parents", num_parents), ("num_children", num_children), ("tournament", tournament)):
        check_at_least(name, value, 1)
    from sartor.estimators.predictors.gnn import GNN

    return Guided(
        space,
        goals,
        fidelities,
        seed=seed,
        stream=18,
        initial=initial,
        num_initial=num_initial,
        batch_size=batch_size,
        predictor=lambda seed: GNN(space, seed),
        candidates=_children(space, num_parents, num_children, tournament),
        acquisition=mean,
    )


def _children(space: Space, num_parents: int, num_children: int, tournament: int) -> MakeCandidates:
    def make(parents: Parents, batch: int, rng: np.random.Generator) -> list[Architecture]:
        # Best first, so that the winner is the first of those drawn.
        winners = rng.integers(len(parents), size=(num_parents, tournament)).min(1).tolist()
        return [space.mutate(parents[i], rng) for i in winners for _ in range(num_children)]

    return make
