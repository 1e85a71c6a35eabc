"""NAS-BOWL (Ru, Wan, Dong and Osborne 2021, "Interpretable NAS via BO with Weisfeiler-Lehman kernels").

A Gaussian process compares architectures by the labelled subtrees that they share; of candidates, half of them
mutations of the best and half random, those of the largest expected improvement are proposed. arXiv:2006.07556.

Deviations: the process is `sartor.estimators.predictors.gaussian_process`, which weights a rational quadratic kernel
and a linear one on the counts of subtrees; in a space of chains or with ranges of numbers, which no two architectures
share, the choices are read too. What all such strategies have in common here, several objectives and limits among it,
is in `sartor.strategies._guided`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sartor.goals import Goals
from sartor.registry import Spec
from sartor.space import Architecture, Space
from sartor.strategies._acquisition import improvement
from sartor.strategies._features import branches
from sartor.strategies._fresh import check_at_least
from sartor.strategies._guided import Guided, mutated
from sartor.trials import Fidelity

SPEC = Spec(
    "nas-bowl",
    "sartor.strategies.nas_bowl:nas_bowl",
    "a Gaussian process over Weisfeiler-Lehman subtrees, expected improvement",
    citation="Ru, Wan, Dong and Osborne 2021, arXiv:2006.07556",
    needs="Nothing but results.",
    when="When trainings are few and architectures are graphs whose parts are to be told good from bad.",
)


def nas_bowl(
    space: Space,
    goals: Goals,
    fidelities: Sequence[Fidelity],
    *,
    seed: int = 0,
    initial: Sequence[Architecture] = (),
    num_initial: int = 10,
    batch_size: int = 5,
    num_parents: int = 10,
    num_candidates: int = 200,
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
        num_parents: Of the best, mutated in turn.
        num_candidates: A batch, half of them mutations.

    Raises:
        InputError: An option is too small.
    """
    check_at_least("num_parents", num_parents, 1)
    check_at_least("num_candidates", num_candidates, 2)
    from sartor.estimators.predictors._structure import Structure
    from sartor.estimators.predictors.gaussian_process import GaussianProcess

    graphs = branches(space) and not space.continuous
    structure = Structure(space, ("subtrees",) if graphs else ("subtrees", "choices"))
    return Guided(
        space,
        goals,
        fidelities,
        seed=seed,
        stream=17,
        initial=initial,
        num_initial=num_initial,
        batch_size=batch_size,
        predictor=lambda seed: GaussianProcess(space, seed, structure=structure),
        candidates=mutated(space, num_parents, num_candidates, random_share=0.5),
        acquisition=improvement,
    )
