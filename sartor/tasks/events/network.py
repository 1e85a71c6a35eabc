"""Neural point processes: what happened so far becomes the intensity of what comes next.

A network reads events and gives a state after each; from it, hidden values decay until the next event, and the
intensity of each type is a softplus of them:

    h(d) = gate * tanh(target + (start - target) exp(-rate d)),    lambda_k(d) = s_k softplus(w_k h(d) / s_k)

with d the time since the last event. Two encoders give the states: the continuous-time LSTM (Mei and Eisner 2017,
arXiv:1612.09328) and causal self-attention, whose intensity decays in the same form (Zhang et al. 2020, Self-Attentive
Hawkes Process, arXiv:1907.07561).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.nets import FeedForward, MultiHeadAttention


class State(NamedTuple):
    """How hidden values move until the next event, ``(..., hidden)`` each; ``rate`` is positive."""

    start: Tensor
    target: Tensor
    rate: Tensor
    gate: Tensor

    def after(self, gap: Tensor) -> Tensor:
        """Returns the hidden values after a gap of shape ``(...)``: ``(..., hidden)``."""
        decay = torch.exp(-self.rate * gap.unsqueeze(-1))
        return self.gate * torch.tanh(self.target + (self.start - self.target) * decay)

    def ends(self) -> tuple[Tensor, Tensor]:
        """Returns the hidden values at once and in the end, between which each of them stays."""
        return self.gate * torch.tanh(self.start), self.gate * torch.tanh(self.target)

    def at(self, position: int) -> State:
        """Returns the state after so many events, of states ``(n, length, hidden)``."""
        return State(*(each[:, position] for each in self))


class ContinuousLSTM(nn.Module):
    """The LSTM whose cells decay between events, each towards a target of its own (Mei and Eisner 2017, section 3.2).

    Args:
        num_types: Of events; one more stands for the beginning.
        hidden: Cells.
    """

    def __init__(self, num_types: int, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(num_types + 1, 7 * hidden)
        nn.init.uniform_(self.embedding.weight, -(hidden**-0.5), hidden**-0.5)
        self.recurrent = nn.Linear(hidden, 7 * hidden)

    def forward(self, gap: Tensor, kind: Tensor) -> State:
        """Maps gaps before each event and types, ``(n, length)``, to states ``(n, length + 1, hidden)``.

        The first state is that of the beginning, from which the first gap counts.
        """
        n = len(gap)
        begin = torch.full((n, 1), self.embedding.num_embeddings - 1, dtype=kind.dtype, device=kind.device)
        inputs = self.embedding(torch.cat((begin, kind), 1)).unbind(1)
        state = State(*(inputs[0].new_zeros(n, self.hidden) for _ in range(4)))
        states: list[State] = []
        cell, hidden = state.start, state.start
        for i, read in enumerate(inputs):
            if i:
                decay = torch.exp(-state.rate * gap[:, i - 1 : i])
                cell = state.target + (state.start - state.target) * decay
                hidden = state.gate * torch.tanh(cell)
            mixed = read + self.recurrent(hidden)
            gates = mixed[:, : 5 * self.hidden].sigmoid().chunk(5, 1)
            new, rate = mixed[:, 5 * self.hidden :].chunk(2, 1)
            new = torch.tanh(new)
            state = State(
                gates[0] * cell + gates[1] * new,
                gates[2] * state.target + gates[3] * new,
                functional.softplus(rate),
                gates[4],
            )
            states.append(state)
        return State(*(torch.stack(parts, 1) for parts in zip(*states, strict=True)))


class CausalAttention(nn.Module):
    """Each event reads those before it; what it finds decays as the LSTM's cells do.

    Args:
        num_types: Of events; one more stands for the beginning.
        hidden: Features of an event.
        heads: Of the attention.
        layers: Blocks.
    """

    def __init__(self, num_types: int, hidden: int = 32, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(num_types + 1, hidden)
        # Gaps in units of the mean one: periods from a tenth of it to a thousand.
        self.register_buffer("frequencies", 2 * math.pi / torch.logspace(-1, 3, hidden // 2))
        self.time = nn.Linear(2 * (hidden // 2) + 1, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, 4 * hidden)

    frequencies: Tensor

    def forward(self, gap: Tensor, kind: Tensor) -> State:
        """Maps gaps before each event and types, ``(n, length)``, to states ``(n, length + 1, hidden)``."""
        n, length = gap.shape
        begin = torch.full((n, 1), self.embedding.num_embeddings - 1, dtype=kind.dtype, device=kind.device)
        gaps = functional.pad(gap, (1, 0))
        phase = gaps.cumsum(1).unsqueeze(-1) * self.frequencies
        time = torch.cat((phase.sin(), phase.cos(), torch.log1p(gaps).unsqueeze(-1)), -1)
        x = self.embedding(torch.cat((begin, kind), 1)) + self.time(time)
        mask = torch.ones(length + 1, length + 1, dtype=torch.bool, device=x.device).tril()
        for block in self.blocks:
            x = block(x, mask)
        start, target, rate, gate = self.out(self.norm(x)).chunk(4, -1)
        return State(start, target, functional.softplus(rate), gate.sigmoid())


class _Block(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = MultiHeadAttention(hidden, heads, max(1, hidden // heads))
        self.ffn = FeedForward(hidden, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask=mask)
        out: Tensor = x + self.ffn(self.ffn_norm(x))
        return out


class PointProcess(nn.Module):
    """An encoder of what happened and the intensities that it leads to; times in units of the mean gap.

    Args:
        num_types: Of events.
        encoder: A factory called with ``num_types``.
    """

    def __init__(self, num_types: int, encoder: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.num_types = num_types
        self.encoder = encoder(num_types)
        hidden = self.encoder.hidden
        assert isinstance(hidden, int)
        self.weight = nn.Linear(hidden, num_types)
        self.log_scale = nn.Parameter(torch.zeros(num_types))
        # About one event a unit of time in all, at the start.
        nn.init.constant_(self.weight.bias, math.log(math.expm1(1 / num_types)))

    def forward(self, gap: Tensor, kind: Tensor) -> State:
        """Maps gaps before each event and types, ``(n, length)``, to states ``(n, length + 1, hidden)``."""
        state: State = self.encoder(gap, kind)
        return state

    def intensity(self, hidden: Tensor) -> Tensor:
        """Maps hidden values ``(..., hidden)`` to the intensity of each type, ``(..., types)``, above 0."""
        scale = self.log_scale.exp()
        return scale * functional.softplus(self.weight(hidden) / scale) + 1e-9

    def bound(self, state: State) -> Tensor:
        """Returns what the sum of intensities never exceeds until the next event, ``(...)`` (Mei and Eisner, B.3)."""
        first, last = state.ends()
        weight = self.weight.weight
        most = torch.maximum(first.unsqueeze(-2) * weight, last.unsqueeze(-2) * weight).sum(-1) + self.weight.bias
        scale = self.log_scale.exp()
        return (scale * functional.softplus(most / scale) + 1e-9).sum(-1)

    def integral(self, state: State, begin: Tensor, end: Tensor, nodes: int) -> Tensor:
        """Returns the integral of each type's intensity over gaps from ``begin`` to ``end``, ``(..., types)``.

        By Gauss's rule after a change of variable that puts nodes where a decay is steep, right behind an event.

        Args:
            state: Of each gap, ``(..., hidden)``.
            begin, end: Since the event, ``(...)``.
            nodes: Of the rule.
        """
        place, weight = (torch.from_numpy(each).to(begin) for each in _rule(nodes))
        length = (end - begin).unsqueeze(-1)
        gap = begin.unsqueeze(-1) + length * place
        values = self.intensity(State(*(each.unsqueeze(-2) for each in state)).after(gap))
        return (values * (length * weight).unsqueeze(-1)).sum(-2)


def _rule(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns places in 0..1 and weights: Gauss-Legendre in the square root of the place."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    root = (x + 1) / 2
    return root**2, weight * root


def simulate(
    network: PointProcess, until: float, generator: torch.Generator, max_events: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """Returns times and types of events from 0 to ``until``, in units of the mean gap, drawn exactly by thinning.

    Raises:
        RuntimeError: more events than ``max_events``.
    """
    gaps: list[float] = []
    kinds: list[int] = []
    now = last = 0.0
    with torch.no_grad():
        while len(gaps) < max_events:
            history = torch.tensor([gaps]), torch.tensor([kinds], dtype=torch.int64)
            state = network(history[0].view(1, -1), history[1].view(1, -1)).at(len(gaps))
            bound = float(network.bound(state))
            while True:
                now += float(torch.empty(1, dtype=torch.float64).exponential_(bound, generator=generator))
                if now > until:
                    return np.cumsum(gaps), np.array(kinds, np.int64)
                rates = network.intensity(state.after(torch.tensor([now - last])))[0].double()
                place = float(torch.rand(1, dtype=torch.float64, generator=generator)) * bound
                if place < float(rates.sum()):
                    kinds.append(int(torch.searchsorted(rates.cumsum(0), place)))
                    gaps.append(now - last)
                    last = now
                    break
    raise RuntimeError(f"more than {max_events} events until {until}: the process explodes")
