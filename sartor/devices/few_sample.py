"""Latency on a device of which only a few networks were measured, from a pool of devices of which all were.

A Gaussian process over networks. Its covariance is a sum of linear kernels, of the latencies on the pool and of each
block of descriptions, and of squared exponentials of both; the weights are learnt once, on the pool alone: each of its
devices in turn is what the others must explain. The new device's measurements then only condition the process. The
networks to measure are chosen without any measurement: greedily those that leave the least variance over the others
(Cohn, Ghahramani, Jordan 1996, arXiv:cs/9603104).

The setting, a pool of devices and ten networks of a new one, is that of HELP (Lee et al. 2021, arXiv:2106.08630), which
adapts a neural network by meta-learning instead. Latencies add up over operators on most devices, but dead or pruned
networks are outliers on some; so one process is of milliseconds and another of their logarithms, and the one under
which the measurements are likelier predicts.

``python benchmarks/devices.py`` measures it on HELP's tables and split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sartor.errors import InputError

__all__ = ["FewSample"]

Array = npt.NDArray[np.float64]

_NUM_LEARNT = 100
"""Networks drawn from each device of the pool to learn the weights on."""
_NUM_CANDIDATES, _NUM_REFERENCE = 1000, 500
_PRIOR = 0.1
"""Inverse variance of the logarithms of weights around where they begin: keeps them where the pool says nothing."""
_OFFSET = 4.0
"""Variance of a device's mean latency, which ten measurements leave open, in standardised units."""
_MIN_NETWORKS = 3


@dataclass(frozen=True)
class _Process:
    """A Gaussian process on one scale of latency.

    Attributes:
        logarithmic: Whether it is of the logarithm of milliseconds.
        pool: Latencies on the pool on that scale, standardised over networks, ``[n, devices]``.
        weights: Logarithms of the weights of the kernels, of the noise and of the two squared lengths.
    """

    logarithmic: bool
    pool: Array
    weights: Array

    def scale(self, latency_ms: Array) -> Array:
        return np.log(latency_ms) if self.logarithmic else latency_ms


class FewSample:
    """Predicts the latency of all networks of a list on a new device.

    Args:
        pool_ms: Latencies on known devices, ``[n, devices]`` with at least two devices, milliseconds, positive.
        blocks: Descriptions of the same networks, each ``[n, features]``: operator counts, one-hot choices.
        seed: Of the networks that weights are learnt on and that are considered for measuring.

    Raises:
        InputError: too few devices or networks, latencies that are not positive and finite, another number of rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> counts = rng.integers(0, 5, (60, 3)).astype(float)
        >>> known = np.stack([1 + counts @ w for w in ([1.0, 2, 3], [3.0, 1, 1], [1.0, 1, 4])], 1)
        >>> new = 2 + counts @ [2.0, 2, 3]
        >>> model = FewSample(known, [counts])
        >>> chosen = model.choose(8)
        >>> bool(np.corrcoef(model.predict(chosen, new[chosen]), new)[0, 1] > 0.99)
        True
    """

    def __init__(self, pool_ms: Array, blocks: Sequence[Array], *, seed: int = 0) -> None:
        pool_ms = np.asarray(pool_ms, float)
        if pool_ms.ndim != 2 or pool_ms.shape[1] < 2 or len(pool_ms) < _MIN_NETWORKS:
            raise InputError(
                f"expected latencies of at least {_MIN_NETWORKS} networks on 2 or more devices, [networks, devices],"
                f" got the shape {pool_ms.shape}"
            )
        if not (np.isfinite(pool_ms).all() and (pool_ms > 0).all()):
            raise InputError("expected positive, finite latencies of the pool, in milliseconds: leave the others out")
        if any(len(block) != len(pool_ms) for block in blocks):
            raise InputError(
                f"expected descriptions of {len(pool_ms)} networks, got {[len(block) for block in blocks]} rows"
            )
        self._blocks = tuple(_unit(np.asarray(block, float)) for block in blocks)
        self._rng = np.random.default_rng(seed)
        drawn = [
            self._rng.choice(len(pool_ms), min(_NUM_LEARNT, len(pool_ms)), replace=False) for _ in pool_ms.T
        ]
        self._processes = tuple(self._learn(pool_ms, logarithmic, drawn) for logarithmic in (False, True))

    def choose(self, count: int) -> npt.NDArray[np.int64]:
        """Returns the rows of ``count`` networks to measure, chosen from up to 1,000 drawn ones.

        Raises:
            InputError: more than there are, or fewer than 3.
        """
        num = len(self._processes[0].pool)
        candidates = self._rng.choice(num, min(_NUM_CANDIDATES, num), replace=False)
        if not _MIN_NETWORKS <= count <= len(candidates):
            raise InputError(f"expected {_MIN_NETWORKS} to {len(candidates)} networks to measure, got {count}")
        reference = self._rng.choice(num, min(_NUM_REFERENCE, num), replace=False)
        process = self._processes[0]
        own = self._covariance(process, candidates, candidates)
        cross = self._covariance(process, candidates, reference)
        noise = float(np.exp(process.weights[-3]))
        chosen: list[int] = []
        for _ in range(count):
            gain = (cross**2).sum(1) / (np.diag(own) + noise)
            gain[chosen] = -1.0
            best = int(gain.argmax())
            chosen.append(best)
            column, row, total = own[:, best].copy(), cross[best].copy(), own[best, best] + noise
            own -= np.outer(column, column) / total
            cross -= np.outer(column, row) / total
        return np.asarray(candidates[chosen], np.int64)

    def predict(self, rows: Sequence[int] | npt.NDArray[np.int64], latency_ms: Sequence[float] | Array) -> Array:
        """Returns the latency of every network on the new device, ``[n]``, milliseconds.

        Args:
            rows: The networks measured.
            latency_ms: What was measured, positive.

        Raises:
            InputError: fewer than 3 measurements, not as many as rows, not positive and finite, or all equal.
        """
        index, measured = np.asarray(rows, np.int64), np.asarray(latency_ms, float)
        if index.shape != measured.shape or index.ndim != 1 or len(index) < _MIN_NETWORKS:
            raise InputError(
                f"expected one latency for each of {_MIN_NETWORKS} or more networks, got {measured.shape} for"
                f" {index.shape}"
            )
        if not (np.isfinite(measured).all() and (measured > 0).all()) or measured.min() == measured.max():
            raise InputError("expected positive, finite latencies in milliseconds that are not all equal")
        fits = [self._condition(process, index, measured) for process in self._processes]
        return min(fits, key=lambda fit: fit[0])[1]

    def _condition(self, process: _Process, rows: npt.NDArray[np.int64], measured: Array) -> tuple[float, Array]:
        """Returns minus the log density of the measurements in milliseconds, up to a constant, and the predictions."""
        values = process.scale(measured)
        mean, std = float(values.mean()), float(values.std())
        own = self._covariance(process, rows, rows)
        loss, solved = _loss(own, float(np.exp(process.weights[-3])), (values - mean) / std)
        # A density of standardised or logarithmic values becomes one of milliseconds by the derivative.
        loss += len(rows) * np.log(std) + (float(np.log(measured).sum()) if process.logarithmic else 0.0)
        everything = np.arange(len(process.pool))
        predicted = mean + std * (self._covariance(process, everything, rows) @ solved)
        return loss, np.exp(predicted) if process.logarithmic else predicted

    def _covariance(self, process: _Process, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> Array:
        return _kernel(
            process.weights, process.pool[left], process.pool[right],
            [block[left] for block in self._blocks], [block[right] for block in self._blocks],
        )

    def _learn(self, pool_ms: Array, logarithmic: bool, drawn: list[npt.NDArray[np.int64]]) -> _Process:
        from scipy.optimize import minimize

        pool = _standard(np.log(pool_ms) if logarithmic else pool_ms)
        count = len(self._blocks)
        begin = np.log([1.0, 0.1, *[0.1] * count, 0.1, 0.01, 1.0, 1.0])
        bounds = [(-9, 4)] * (count + 3) + [(-9, 1), (-3, 4), (-3, 5)]
        parts = [
            (np.delete(pool, device, 1)[rows], [block[rows] for block in self._blocks], pool[rows, device])
            for device, rows in enumerate(drawn)
        ]

        def loss(weights: Array) -> float:
            noise = float(np.exp(weights[-3]))
            total = sum(_loss(_kernel(weights, p, p, b, b), noise, y)[0] for p, b, y in parts)
            return total + _PRIOR / 2 * float(((weights - begin) ** 2).sum())

        found = minimize(loss, begin, method="L-BFGS-B", bounds=bounds, options={"maxiter": 25})
        return _Process(logarithmic, pool, np.asarray(found.x, float))


def _kernel(weights: Array, p: Array, q: Array, a: Sequence[Array], b: Sequence[Array]) -> Array:
    scale, devices = np.exp(weights), p.shape[1]
    out = _OFFSET + scale[0] / devices * (p @ q.T)
    out += scale[1] * np.exp(-_squares(p, q) / (2 * devices * scale[-2]))
    for weight, left, right in zip(scale[2:], a, b, strict=False):
        out += weight * (left @ right.T)
    if a:
        apart = sum(_squares(left, right) for left, right in zip(a, b, strict=True)) / len(a)
        out += scale[2 + len(a)] * np.exp(-apart / (2 * scale[-1]))
    return np.asarray(out)


def _loss(covariance: Array, noise: float, values: Array) -> tuple[float, Array]:
    """Returns minus the log evidence without its constant, and the covariance's inverse times the values."""
    factor = np.linalg.cholesky(covariance + (noise + 1e-8) * np.eye(len(values)))
    solved = np.linalg.solve(factor.T, np.linalg.solve(factor, values))
    return float(values @ solved / 2 + np.log(np.diag(factor)).sum()), solved


def _squares(a: Array, b: Array) -> Array:
    return np.asarray(np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0.0))


def _standard(values: Array) -> Array:
    std = values.std(0)
    return np.asarray((values - values.mean(0)) / np.where(std > 0, std, 1.0))


def _unit(block: Array) -> Array:
    """Returns the block centred and scaled so that rows have a mean square of one."""
    centred = block - block.mean(0)
    size = float((centred**2).sum(1).mean())
    return np.asarray(centred / np.sqrt(size) if size > 0 else centred)
