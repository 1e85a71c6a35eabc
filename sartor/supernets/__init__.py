"""Weight sharing: one training instead of thousands. One published method a file.

| name | method | trains |
|---|---|---|
| ``one-shot`` | a random path a step (Guo et al. 2020) | shared weights |
| ``once-for-all`` | the largest, then ever smaller ones, which it teaches (Cai et al. 2020) | shared weights |
| ``bignas`` | the largest, the smallest and random ones, which it teaches (Yu et al. 2020) | shared weights |

A sampled method trains a `sartor.space.Supernet`, of which every architecture inherits its weights: it is scored by
them (`sartor.estimators.inherited`), and what is found is extracted or retrained; `sartor.supernets.subnets.serve`
finds and extracts a network for each of several limits. A differentiable method trains the weights of a
`sartor.space.Mixture` and logits of its alternatives, and derives one architecture to be retrained.

Every method is ``Class(space, inputs, *, part=None, seed=0, **own)``, satisfies `Method` and is trained by
`sartor.training.fit`; ``sartor supernet TASK --method NAME`` does so on the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.supernets._method import Differentiable, Method, Sampled, SharedWeights

__all__ = ["Differentiable", "Method", "Sampled", "SharedWeights"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sartor.supernets' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("sartor.supernets._method"), name)
