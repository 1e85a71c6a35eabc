"""Scores of networks that were never trained: one published proxy a file, each a `Proxy`.

    from sartor.estimators.proxies import load, score
    score(network, (images,), load("naswot", "jacov", "synflow"))

A proxy says what it looks at (`Need`), and a `Probe` computes what all those asked for look at in as few passes as
there can be: one forward pass yields activation patterns and features, one backward pass parameter and activation
gradients. Higher is better for each. Networks may be anything that maps one tensor, or several, to one: what a proxy
cannot say anything about (no activation functions, no convolution) is refused by name, and a network whose output does
not depend on its input or whose score is not finite gets minus infinity: it is ranked last, never by a number.

`Scored` puts a proxy in place of training, `aggregate` makes one rank of several, `survey` scores a space.
"""

from __future__ import annotations

from sartor.estimators.proxies._estimator import Scored
from sartor.estimators.proxies._proxy import DEAD, Need, Proxy, load, score

__all__ = ["DEAD", "Need", "Proxy", "Scored", "load", "score"]
