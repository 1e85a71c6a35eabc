"""The closed-form continuous-time cell (CfC; Hasani et al. 2022, Nature Machine Intelligence 4, 992-1003).

An approximation of the liquid time-constant cell that needs no solver of differential equations (equation 10):

    h(t) = sigma(-f t) * g + (1 - sigma(-f t)) * k

with f, g and k read from the input and the state before, g and k through tanh, and t the time since that state. There
is no backbone before the three heads: each of their weights is then a synapse of the wiring.

Over a sequence, inputs are read at once, layers run side by side and the gradient is written out: the library ncps,
which leaves all of that to autograd layer by layer and step by step, takes many times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.nets.wiring import Wiring

LEAST_KEPT, MOST_KEPT = 0.1, 0.9
"""Share of its state that a neuron keeps over a step at first."""


class ClosedFormCircuit(nn.Module):
    """Layers of closed-form neurons; a signal passes all of them within a step, and each layer remembers.

    Besides the wiring's synapses every neuron reads its own state, as every liquid neuron does by its leak. What is not
    there is no parameter.

    Args:
        wiring: Of the circuit; synapses lead from a layer to the next, or stay within it.

    Raises:
        ValueError: synapses lead elsewhere.
    """

    place: Tensor

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self.wiring = wiring
        exists = np.zeros((wiring.num_inputs + wiring.num_neurons, wiring.num_neurons), bool)
        for number in range(len(wiring.layers)):
            own, (before, within) = wiring.neurons_of(number), wiring.into(number)
            sources = wiring.neurons_of(number - 1) if number else None
            rows = slice(0, wiring.num_inputs) if sources is None else _behind(sources, wiring.num_inputs)
            exists[rows, own] = before != 0
            exists[_behind(own, wiring.num_inputs), own] = (within != 0) | np.eye(len(within), dtype=bool)
        if (np.concatenate((wiring.sensory, wiring.internal)) != 0)[~exists].any():
            raise ValueError("closed-form circuits have synapses from a layer to the next and within it, no others")
        where = np.flatnonzero(exists)
        # Where each of the dense weights is kept; those that are not there are the 0 behind the others.
        place = np.full(exists.size, len(where))
        place[where] = np.arange(len(where))
        self.register_buffer("place", torch.from_numpy(place))
        # Glorot and Bengio (2010) for what is there: the synapses into each neuron, as many out of it.
        bound = np.repeat(np.sqrt(3 / exists.sum(0))[None], len(exists), 0).ravel()[where]
        drawn = torch.empty(3, len(where)).uniform_(-1, 1) * torch.from_numpy(bound.astype(np.float32))
        # At first g keeps a neuron's state, k forgets it, and f alone decides how much is kept: so the circuit begins
        # with neurons fast and slow, whose difference tells how an input changes (as Tallec and Ollivier 2018,
        # arXiv:1804.11188, draw the biases of an LSTM's gates). Motor neurons answer at once.
        num = wiring.num_neurons
        own_place = torch.from_numpy(place.reshape(-1, num)[wiring.num_inputs :].diagonal().copy())
        drawn[:, own_place] = torch.tensor([[0.0], [1.0], [0.0]])
        kept = torch.empty(num).uniform_(LEAST_KEPT, MOST_KEPT)
        if len(wiring.layers) > 1:
            kept[wiring.neurons_of(len(wiring.layers) - 1)] = LEAST_KEPT
        self.weight = nn.Parameter(drawn)
        self.bias = nn.Parameter(torch.stack((-torch.logit(kept), torch.zeros(num), torch.zeros(num))))

    @property
    def state_size(self) -> int:
        return self.wiring.num_neurons

    def dense(self) -> Tensor:
        """Returns the weights of the heads f, g and k, ``(3, inputs + neurons, neurons)``, 0 where no synapse is."""
        kept = torch.cat((self.weight, torch.zeros_like(self.bias[:, :1])), 1)
        return kept.index_select(1, self.place).view(3, -1, self.wiring.num_neurons)

    def step(
        self, x: Tensor, state: Tensor, held: Tensor | None = None, elapsed: Tensor | None = None
    ) -> Tensor:
        """Maps inputs ``(n, inputs)`` and states ``(n, neurons)`` to the next states.

        Args:
            x: Inputs.
            state: States.
            held: Values that neurons are held at, ``(n, neurons)``; NaN for those that are free.
            elapsed: Time since the state, ``(n, 1)``; 1 when None.
        """
        f, g, k = self.dense().unbind(0)
        for number in range(len(self.wiring.layers)):
            own = self.wiring.neurons_of(number)
            read = torch.cat((x, state), 1)
            gate, first, second = (
                read @ weight[:, own] + bias[own] for weight, bias in zip((f, g, k), self.bias, strict=True)
            )
            share = torch.sigmoid(-gate if elapsed is None else -gate * elapsed)
            new = share * torch.tanh(first) + (1 - share) * torch.tanh(second)
            if held is not None:
                new = torch.where(held[:, own].isnan(), new, held[:, own])
            state = torch.cat((state[:, : own.start], new, state[:, own.stop :]), 1)
        return state

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Maps inputs ``(length, n, inputs)``, one unit of time apart, and states to ``(length, n, neurons)``."""
        f, g, k = self.dense().unbind(0)
        weight, bias = torch.cat((-f, g, k), 1), torch.cat((-self.bias[0], self.bias[1], self.bias[2]))
        num, sizes = self.wiring.num_inputs, [size for _, size in self.wiring.layers]
        # The layers run side by side, each a step behind the one before it, whose state it then finds in the past.
        padded = functional.pad(inputs, (0, 0, 0, 0, 0, len(sizes) - 1))
        read = torch.addmm(bias, padded.flatten(0, 1), weight[:num]).view(*padded.shape[:2], -1)
        late: Tensor = _Scan.apply(read, weight[num:], state, sizes)  # type: ignore[no-untyped-call]
        parts = torch.split(late, sizes, 2)
        return torch.cat([part[i : i + len(inputs)] for i, part in enumerate(parts)], 2)

    def strengths(self) -> tuple[Tensor, Tensor]:
        """Returns how strong synapses are, ``(inputs, neurons)`` and ``(neurons, neurons)``: the mean weight of the
        heads g and k, between which a neuron moves."""
        mean = self.dense()[1:].mean(0).detach().cpu()
        return mean[: self.wiring.num_inputs], mean[self.wiring.num_inputs :]


def _behind(rows: slice, num: int) -> slice:
    return slice(rows.start + num, rows.stop + num)


class _Scan(torch.autograd.Function):
    """The recurrence over a sequence, with its gradient written out: two products a step instead of a graph.

    Layer ``l`` is at step ``t - l`` where the first is at ``t``; until a layer begins it stays as it started.
    """

    @staticmethod
    def forward(ctx: Any, read: Tensor, weight: Tensor, start: Tensor, sizes: Sequence[int]) -> Tensor:
        neurons = weight.shape[0]
        gates = torch.empty_like(read)
        states = read.new_empty(*read.shape[:2], neurons)
        waiting = [sum(sizes[: number + 1]) for number in range(len(sizes) - 1)]
        state = start
        for at, (gate, own, out) in enumerate(zip(gates.unbind(0), read.unbind(0), states.unbind(0), strict=True)):
            torch.addmm(own, state, weight, out=gate)
            share, ends = gate[:, :neurons].sigmoid_(), gate[:, neurons:].tanh_()
            state = torch.lerp(ends[:, neurons:], ends[:, :neurons], share, out=out)
            if at < len(waiting):
                out[:, waiting[at] :] = start[:, waiting[at] :]
        ctx.save_for_backward(gates, weight, start, states)
        ctx.waiting = waiting
        return states

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gates, weight, start, states = ctx.saved_tensors
        length, n, neurons = states.shape
        share, g, k = gates.chunk(3, 2)
        slope = torch.stack(((g - k) * share * (1 - share), share * (1 - g * g), (1 - share) * (1 - k * k)), 2)
        for at, first in enumerate(ctx.waiting):
            slope[at, :, :, first:] = 0
        change = torch.empty_like(slope)
        back = weight.T.contiguous()
        given = grads[0].unbind(0)
        carried = given[-1]
        flats = change.view(length, n, 3 * neurons).unbind(0)
        steps = list(zip(slope.unbind(0), change.unbind(0), flats, (None, *given[:-1]), strict=True))
        for at in range(length - 1, -1, -1):
            own, out, flat, before = steps[at]
            torch.mul(own, carried.unsqueeze(1), out=out)
            straight = carried
            carried = flat @ back if before is None else torch.addmm(before, flat, back)
            if at < len(ctx.waiting):
                carried[:, ctx.waiting[at] :] += straight[:, ctx.waiting[at] :]
        flat = change.view(length * n, 3 * neurons)
        before = torch.cat((start.unsqueeze(0), states[:-1])).view(length * n, neurons)
        return change.view(length, n, 3 * neurons), before.T @ flat, carried, None
