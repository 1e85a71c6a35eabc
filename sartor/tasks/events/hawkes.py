"""The classical models that a network must beat: Poisson, and the exponential Hawkes process.

Hawkes 1971, "Spectra of some self-exciting and mutually exciting point processes", Biometrika 58(1); maximum likelihood
by Ogata 1978. An event of type j raises the intensity of type k by ``alpha[j, k]``, which decays at ``beta[j, k]``:

    lambda_k(t) = mu_k + sum over events i before t of alpha[type_i, k] exp(-beta[type_i, k] (t - t_i))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sartor.errors import InputError
from sartor.tasks.events.windows import Sequences, padded

_ROUNDS = 40
"""Calls of L-BFGS, of 10 steps each; it has converged after a few."""
_CONVERGED = 1e-7
_CHUNK = 512


@dataclass(frozen=True)
class Hawkes:
    """An exponential Hawkes process.

    Attributes:
        mu: Background rates, ``(types,)``, above 0.
        alpha: Jumps, ``(types, types)``: row j, column k is what an event of type j adds to the rate of type k.
        beta: Decays of these, ``(types, types)``, above 0.
    """

    mu: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray

    def log_likelihood(self, sequences: Sequences) -> np.ndarray:
        """Returns the log-likelihood of each sequence's window given its history, in nats, ``(n,)``."""
        mu, alpha, beta = (torch.from_numpy(each) for each in (self.mu, self.alpha, self.beta))
        with torch.no_grad():
            parts = [
                _log_likelihood(
                    mu, alpha, beta, _tensors(sequences.take(np.arange(at, min(at + _CHUNK, len(sequences)))))
                )
                for at in range(0, len(sequences), _CHUNK)
            ]
        return torch.cat(parts).numpy()

    def simulate(self, num: int, end: float, rng: np.random.Generator) -> Sequences:
        """Returns sequences watched from 0, without history, to ``end``, by Ogata's thinning.

        Raises:
            InputError: the process explodes: an event has one child or more on the mean.
        """
        children = float(np.abs(np.linalg.eigvals(self.alpha / self.beta)).max())
        if children >= 1:
            raise InputError(f"each event begets {children:.2f} others on the mean: expected fewer than 1")
        times, types = [], []
        for _ in range(num):
            now, excited = 0.0, np.zeros_like(self.alpha)
            moments: list[float] = []
            labels: list[int] = []
            while True:
                bound = self.mu.sum() + excited.sum()
                wait = rng.exponential(1 / bound)
                if now + wait > end:
                    break
                now += wait
                excited = excited * np.exp(-self.beta * wait)
                rates = self.mu + excited.sum(0)
                place = rng.random() * bound
                if place < rates.sum():
                    kind = int(np.searchsorted(np.cumsum(rates), place))
                    moments.append(now)
                    labels.append(kind)
                    excited[kind] += self.alpha[kind]
            times.append(np.array(moments))
            types.append(np.array(labels, np.int64))
        return padded(times, types, np.zeros(num), np.full(num, end))


def fit_poisson(sequences: Sequences, num_types: int) -> Hawkes:
    """Returns constant rates by maximum likelihood; types that never came count half an event."""
    counts = np.bincount(sequences.type[sequences.scored], minlength=num_types)
    still = np.zeros((num_types, num_types))
    return Hawkes(np.maximum(counts, 0.5) / sequences.end.sum(), still, still + 1.0)


def fit_hawkes(sequences: Sequences, num_types: int) -> Hawkes:
    """Returns the exponential Hawkes process of the largest likelihood, found by L-BFGS from the Poisson rates."""
    poisson = fit_poisson(sequences, num_types)
    rate = float(poisson.mu.sum())
    data = _tensors(sequences)
    num_scored = max(1, int(sequences.scored.sum()))
    shape = (num_types, num_types)
    log_mu = torch.from_numpy(np.log(poisson.mu / 2)).requires_grad_()
    # Half of the events are children at the start, in about ten gaps.
    log_alpha = torch.full(shape, float(np.log(0.05 * rate / num_types)), dtype=torch.float64).requires_grad_()
    log_beta = torch.full(shape, float(np.log(0.1 * rate)), dtype=torch.float64).requires_grad_()
    parameters = [log_mu, log_alpha, log_beta]
    optimizer = torch.optim.LBFGS(parameters, max_iter=10, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # Decays beyond these bounds say nothing that the data could tell.
        loss = -_log_likelihood(log_mu.exp(), log_alpha.exp(), log_beta.exp(), data).sum() / num_scored
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    before = np.inf
    for _ in range(_ROUNDS):
        loss = float(optimizer.step(closure).detach())  # type: ignore[no-untyped-call]
        if before - loss < _CONVERGED:
            break
        before = loss
    mu, alpha, beta = (each.detach().exp().numpy() for each in parameters)
    return Hawkes(mu, alpha, beta)


def _tensors(sequences: Sequences) -> tuple[Tensor, ...]:
    return tuple(
        torch.from_numpy(each)
        for each in (
            sequences.time,
            sequences.type,
            sequences.present,
            sequences.scored,
            sequences.origin,
            sequences.end,
        )
    )


def _log_likelihood(mu: Tensor, alpha: Tensor, beta: Tensor, data: tuple[Tensor, ...]) -> Tensor:
    time, kind, present, scored, origin, end = data
    excited = torch.zeros(len(time), *alpha.shape, dtype=mu.dtype)
    before, logs = origin, torch.zeros(len(time), dtype=mu.dtype)
    for i in range(time.shape[1]):
        excited = excited * torch.exp(-beta * (time[:, i] - before)[:, None, None])
        rates = mu + excited.sum(1)
        own = rates.gather(1, kind[:, i : i + 1])[:, 0]
        logs = logs + torch.where(scored[:, i], own.clamp_min(1e-300).log(), 0.0)
        raised = torch.nn.functional.one_hot(kind[:, i], len(mu)).to(mu.dtype)[:, :, None] * alpha
        excited = excited + raised * present[:, i, None, None]
        before = time[:, i]
    # Of what an event raises, the part inside of the window.
    since, left = time.clamp_min(0) - time, end[:, None] - time
    inside = torch.exp(-beta[kind] * since[..., None]) - torch.exp(-beta[kind] * left[..., None])
    raised = (alpha[kind] / beta[kind] * inside).sum(-1) * present
    return logs - mu.sum() * end - raised.sum(1)
