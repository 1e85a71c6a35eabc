"""Neural point processes: what happened so far becomes the intensity of what comes next.

A network reads events and gives a state after each; from it, hidden values decay until the next event, and the
intensity of each type is a softplus of them, to which what past events excite may be added:

    h(d) = gate * tanh(target + (start - target) exp(-rate d))
    lambda_k(d) = s_k softplus(w_k h(d) / s_k) + sum over j, r of a_jkr b_r e_jr exp(-b_r d)

with d the time since the last event. Two encoders give the states: the continuous-time LSTM (Mei and Eisner 2017,
arXiv:1612.09328) and causal self-attention, whose intensity decays in the same form (Zhang et al. 2020, Self-Attentive
Hawkes Process, arXiv:1907.07561).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.nets import FeedForward, MultiHeadAttention

SLOWEST, FASTEST = 0.1, 30.0
"""Rates at which hidden values decay at first, by mean gap; spread evenly in the logarithm."""
SLOWEST_EXCITATION, FASTEST_EXCITATION = 0.03, 300.0
"""The same of excitations."""
SPEED = 3.0
"""How much faster logarithms of excitations learn than weights, as they have further to go."""
CHILDREN = 0.5
"""Of an event at first, on the mean; the other events come by themselves."""


class Moment(NamedTuple):
    """Hidden values, ``(..., hidden)``, and excitations, ``(..., excitations)`` or None, some time after an event."""

    hidden: Tensor
    excited: Tensor | None


class State(NamedTuple):
    """What moves until the next event: hidden values, ``(..., hidden)`` each, and excitations, ``(..., excitations)``.

    ``rate`` and ``fall`` are positive, ``excited`` is not negative; None stands for no excitations.
    """

    start: Tensor
    target: Tensor
    rate: Tensor
    gate: Tensor
    excited: Tensor | None = None
    fall: Tensor | None = None

    def after(self, gap: Tensor) -> Moment:
        """Returns what is there after a gap of shape ``(...)``."""
        gap = gap.unsqueeze(-1)
        cell = torch.lerp(self.target, self.start, torch.exp(-self.rate * gap))
        hidden = self.gate * torch.tanh(cell)
        if self.excited is None or self.fall is None:
            return Moment(hidden, None)
        return Moment(hidden, self.excited * self.fall * torch.exp(-self.fall * gap))

    def ends(self) -> tuple[Moment, Moment]:
        """Returns what is there at once and in the end, between which each value stays."""
        nothing = None if self.excited is None else torch.zeros_like(self.excited)
        first = None if self.excited is None or self.fall is None else self.excited * self.fall
        return (
            Moment(self.gate * torch.tanh(self.start), first),
            Moment(self.gate * torch.tanh(self.target), nothing),
        )

    def each(self, function: Callable[[Tensor], Tensor]) -> State:
        """Returns the state whose parts are a function of these."""
        return State(*(None if part is None else function(part) for part in self))  # type: ignore[arg-type]

    def at(self, position: int) -> State:
        """Returns the state after so many events, of states ``(n, length, ...)``."""
        return self.each(lambda part: part[:, position])


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
        with torch.no_grad():
            self.out.bias[2 * hidden : 3 * hidden] = first_rates(hidden)

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


def first_rates(num: int) -> Tensor:
    """Returns what softplus makes rates of decay of, at first."""
    return torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), num).expm1().log()


MOST_SOURCES = 16
"""Types that excite each in its own way; of more, each is a mixture of so many, which bounds memory."""


class Excitation(nn.Module):
    """What events excite by kernels that are sums of exponentials: a Hawkes process, learnt with the network.

    An event of type j begets ``a_jkr`` of type k on the mean at each rate ``b_r``. With a single rate that is
    the exponential Hawkes process whose types all decay alike; many come close to a power law, as of aftershocks
    (Omori 1894).

    Args:
        num_types: Of events.
        num_rates: Exponentials of a kernel.
        hidden: Values that say, just after an event, how much it excites.
    """

    def __init__(self, num_types: int, num_rates: int, hidden: int) -> None:
        super().__init__()
        self.num_types = num_types
        self.num_sources = min(num_types, MOST_SOURCES)
        self.source = nn.Embedding(num_types, self.num_sources) if num_types > MOST_SOURCES else None
        slowest, fastest = (math.log(each) for each in (SLOWEST_EXCITATION, FASTEST_EXCITATION))
        middle = (slowest + fastest) / 2
        first = torch.linspace(slowest, fastest, num_rates) if num_rates > 1 else torch.full((1,), middle)
        self.log_rate = nn.Parameter(first / SPEED)
        children = CHILDREN / (num_types * num_rates)
        # One dimension, so that weight decay, whose aim would be one child, leaves it alone.
        self.log_offspring = nn.Parameter(
            torch.full((self.num_sources * num_rates * num_types,), math.log(children) / SPEED)
        )
        self.strength = nn.Linear(hidden, 1)
        nn.init.zeros_(self.strength.weight)
        nn.init.zeros_(self.strength.bias)

    @property
    def offspring(self) -> Tensor:
        """``(excitations, types)``: what of each type comes of an excitation of 1."""
        return (SPEED * self.log_offspring).exp().view(-1, self.num_types)

    def forward(self, gap: Tensor, kind: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Maps gaps before each event and types, ``(n, length)``, and hidden values ``(n, length + 1, hidden)`` to
        excitations and their rates, ``(n, length + 1, sources * rates)``."""
        if self.source is None:
            came = functional.one_hot(kind, self.num_types).to(gap.dtype)
        else:
            came = self.source(kind).softmax(-1)
        came = came * self.strength(hidden[:, 1:]).exp()
        rate = (SPEED * self.log_rate).exp()
        excited = functional.pad(came, (0, 0, 1, 0)).repeat_interleave(len(rate), 2)
        fall = rate.repeat(self.num_sources)
        # An inclusive scan (Hillis and Steele 1986): after each step, twice as many events are summed.
        since, by = functional.pad(gap, (1, 0)).unsqueeze(-1), 1
        while by < excited.shape[1]:
            more = torch.addcmul(excited[:, by:], torch.exp(-fall * since[:, by:]), excited[:, :-by])
            excited = torch.cat((excited[:, :by], more), 1)
            since = torch.cat((since[:, :by], since[:, by:] + since[:, :-by]), 1)
            by *= 2
        return excited, fall.expand_as(excited)


class PointProcess(nn.Module):
    """An encoder of what happened and the intensities that it leads to; times in units of the mean gap.

    Args:
        num_types: Of events.
        encoder: A factory called with ``num_types``.
        excitations: Rates of what past events excite besides, see `Excitation`; 0 for none.
        shares: Of each type among all events, from which intensities begin; equal ones when None.
    """

    def __init__(
        self,
        num_types: int,
        encoder: Callable[[int], nn.Module],
        excitations: int = 0,
        shares: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.num_types = num_types
        self.encoder = encoder(num_types)
        hidden = self.encoder.hidden
        assert isinstance(hidden, int)
        self.weight = nn.Linear(hidden, num_types)
        self.log_scale = nn.Parameter(torch.zeros(num_types))
        self.excitation = Excitation(num_types, excitations, hidden) if excitations else None
        # About one event a unit of time in all, at the start, whatever came before.
        rates = torch.tensor(shares or [1 / num_types] * num_types) * (1 - CHILDREN if excitations else 1)
        with torch.no_grad():
            self.weight.bias.copy_(rates.expm1().log())
            if excitations:
                self.weight.weight.zero_()

    def forward(self, gap: Tensor, kind: Tensor) -> State:
        """Maps gaps before each event and types, ``(n, length)``, to states ``(n, length + 1, ...)``."""
        state: State = self.encoder(gap, kind)
        if self.excitation is None:
            return state
        excited, fall = self.excitation(gap, kind, state.ends()[0].hidden)
        return state._replace(excited=excited, fall=fall)

    def intensity(self, moment: Moment) -> Tensor:
        """Returns the intensity of each type, ``(..., types)``, above 0."""
        rates = self._own(self.weight(moment.hidden))
        if self.excitation is not None and moment.excited is not None:
            rates = rates + moment.excited @ self.excitation.offspring
        return rates

    def _own(self, read: Tensor) -> Tensor:
        scale = self.log_scale.exp()
        return scale * functional.softplus(read / scale) + 1e-9

    def bound(self, state: State) -> Tensor:
        """Returns what the sum of intensities never exceeds until the next event, ``(...)`` (Mei and Eisner, B.3)."""
        first, last = state.ends()
        weight = self.weight.weight
        both = torch.maximum(first.hidden.unsqueeze(-2) * weight, last.hidden.unsqueeze(-2) * weight)
        most = self._own(both.sum(-1) + self.weight.bias)
        if self.excitation is not None and first.excited is not None:
            most = most + first.excited @ self.excitation.offspring
        return most.sum(-1)

    def integral(self, state: State, begin: Tensor, end: Tensor, nodes: int) -> Tensor:
        """Returns the integral of each type's intensity over gaps from ``begin`` to ``end``, ``(..., types)``.

        By Gauss's rule after a change of variable that puts nodes where a decay is steep, right behind an event; of
        excitations exactly.

        Args:
            state: Of each gap, ``(..., hidden)``.
            begin, end: Since the event, ``(...)``.
            nodes: Of the rule.
        """
        place, weight = (torch.from_numpy(each).to(begin) for each in _rule(nodes))
        length = (end - begin).unsqueeze(-1)
        gap = begin.unsqueeze(-1) + length * place
        cells = state._replace(excited=None, fall=None).each(lambda part: part.unsqueeze(-2))
        total = (self._own(self.weight(cells.after(gap).hidden)) * (length * weight).unsqueeze(-1)).sum(-2)
        if self.excitation is None or state.excited is None or state.fall is None:
            return total
        gone = -torch.expm1(-state.fall * length) * torch.exp(-state.fall * begin.unsqueeze(-1))
        return total + (state.excited * gone) @ self.excitation.offspring


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
