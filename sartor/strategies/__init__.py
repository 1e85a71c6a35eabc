"""Search strategies: one published algorithm a file, all spoken to by ask and tell (`sartor.contracts.Strategy`).

| name | algorithm | when |
|---|---|---|
| ``random`` | uniform sampling | the baseline that a strategy must beat |
| ``local-search`` | hill climbing with restarts (White et al. 2021) | small spaces, one objective |
| ``evolution`` | regularised (aging) evolution (Real et al. 2019) | many cheap evaluations |
| ``nash`` | hill climbing by morphisms (Elsken et al. 2017): children keep weights | long trainings |
| ``nsga2`` | NSGA-II (Deb et al. 2002) | several objectives, many trials |
| ``bayesian`` | Gaussian processes, Thompson sampling (Paria et al. 2020) | few, costly trainings: the default |
| ``tpe`` | tree-structured Parzen estimator (Bergstra et al. 2011) | many trainings, numbers, little time |
| ``nas-bowl`` | Gaussian process over subtrees (Ru et al. 2021) | few trainings of graphs |
| ``bananas`` | ensemble over paths, sampled (White et al. 2021) | a hundred trainings of cells, in batches |
| ``npenas`` | evolution behind a graph network (Wei et al. 2022) | the same |
| ``pnas`` | from simple to complex (Liu et al. 2018) | simple architectures are cheap to train |
| ``reinforce`` | a controller trained by policy gradient (Zoph and Le 2017) | many cheap evaluations |
| ``ppo`` | the same by proximal policy optimisation (Zoph et al. 2018) | the same, results late |
| ``conditional-generator`` | a Transformer under conditions (An et al. 2024) | limits that differ by device |
| ``transfer`` | Gaussian processes over earlier searches (Feurer et al. 2018) | the space was searched before |
| ``warm-start`` | training-free scores (Abdelfattah et al. 2021) before any of these | such scores are at hand |
| ``asha`` | asynchronous successive halving (Li et al. 2020) around any of these | whenever trainings can be short |
| ``hyperband`` | the same from several fidelities (Li et al. 2018) | short trainings may mislead |
| ``bohb`` | Hyperband around ``tpe`` (Falkner et al. 2018) | the same, and dozens of trainings |

`listed.Listed` proposes what it is given (retraining finalists) and so has no name.

Every strategy is ``Class(space, goals, fidelities, *, seed=0, initial=(), **own)``. Results may come late and in any
order. Infeasible and failed trials are told too. A strategy proposes no architecture twice at one fidelity and, when
the space is exhausted, fewer than asked, at last none. Without successive halving trials are at the highest fidelity.
Suite for your own: `sartor.testing.strategies`.
"""
