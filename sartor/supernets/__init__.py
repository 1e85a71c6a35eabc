"""Weight sharing: one training instead of thousands. One published method a file.

| name | method | trains |
|---|---|---|
| ``one-shot`` | a random path a step (Guo et al. 2020) | shared weights |
| ``once-for-all`` | the largest, then ever smaller ones, which it teaches (Cai et al. 2020) | shared weights |
| ``bignas`` | the largest, the smallest and random ones, which it teaches (Yu et al. 2020) | shared weights |
| ``darts`` | a softmax over all alternatives, of first or second order (Liu et al. 2019) | weights and logits |
| ``darts-plus`` | stops at two skip connections, or a stable order (Liang et al. 2019) | weights and logits |
| ``darts-es`` | stops when the loss sharpens, and goes back (Zela et al. 2020) | weights and logits |
| ``fair-darts`` | a sigmoid for each alternative (Chu et al. 2020) | weights and logits |
| ``p-darts`` | drops alternatives in stages, holds skips back (Chen et al. 2019) | weights and logits |
| ``pc-darts`` | mixes a part of the channels, edges apart (Xu et al. 2020) | weights and logits |
| ``proxylessnas`` | one path a step, two compared; expected cost (Cai et al. 2019) | weights and logits |
| ``fbnet`` | Gumbel softmax; cost in the loss (Wu et al. 2019) | weights and logits |

A sampled method trains a `sartor.space.Supernet`, of which every architecture inherits its weights: it is scored by
them (`sartor.estimators.inherited`), and what is found is extracted or retrained. A differentiable method trains the
weights of a `sartor.space.Mixture` and logits of its alternatives, and derives one architecture to be retrained;
`sartor.supernets.collapse` says whether skip connections won.

Every method is ``Class(space, inputs, *, part=None, seed=0, **own)``, satisfies `Method` and is trained by
`sartor.training.fit`; ``sartor supernet TASK --method NAME`` does so on the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.trials import Fidelity

if TYPE_CHECKING:
    from sartor.supernets._method import Differentiable, Method, Sampled, SharedWeights

INHERITED = Fidelity(1.0, "score by shared weights")
"""Of a score by shared weights: nothing is trained."""

__all__ = ["INHERITED", "Differentiable", "Method", "Sampled", "SharedWeights"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sartor.supernets' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("sartor.supernets._method"), name)
