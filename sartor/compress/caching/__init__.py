"""Neural caches: what was computed or seen lately is used again.

| | what is kept | what for |
|---|---|---|
| ``ContinuousCache`` | states of a sequence model and the tokens that followed | better predictions of what repeats |
| ``ReuseCache`` | outputs for inputs that a server was asked lately | less computing for inputs that come again |

Both leave the network as it is.
"""

from __future__ import annotations

from sartor.compress.caching.continuous import ContinuousCache, Tuned, cached_log_likelihood, tune
from sartor.compress.caching.reuse import ReuseCache, Statistics

__all__ = ["ContinuousCache", "ReuseCache", "Statistics", "Tuned", "cached_log_likelihood", "tune"]
