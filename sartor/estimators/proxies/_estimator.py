"""A training-free score in place of training, so that any strategy can search by it."""

from __future__ import annotations

from collections.abc import Mapping

from sartor.contracts import Candidate, Context
from sartor.errors import DivergedError
from sartor.estimators.proxies._proxy import DEAD, load, score
from sartor.trials import Fidelity


class Scored:
    """Estimates a candidate by a proxy on what its task's loss feeds to the network.

    Args:
        proxy: By name.
        metric: Name under which the score is returned; the proxy's own when None.
        batch_size: Samples in a pass.
    """

    fidelities = (Fidelity(1.0),)

    def __init__(self, proxy: str, metric: str | None = None, batch_size: int = 32) -> None:
        (self._proxy,) = load(proxy)
        self._metric, self._batch_size = metric or proxy, batch_size

    def estimate(self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context) -> Mapping[str, float]:
        """Returns the score, higher is better.

        Raises:
            DivergedError: The network is dead: it has no score.
            UnsupportedNetworkError: The proxy has nothing to look at.
        """
        from sartor.estimators.proxies.survey import fed

        module, inputs = fed(candidate.task, candidate.network, candidate.architecture, self._batch_size, seed)
        value = score(module, inputs, [self._proxy], seed=seed)[self._proxy.name]
        if value == DEAD:
            raise DivergedError(f"{self._proxy.name} finds the network dead: its output does not depend on its input")
        context.report(1, **{self._metric: value})
        return {self._metric: value}
