"""The closed-form continuous-time cell (CfC; Hasani et al. 2022, Nature Machine Intelligence 4, 992-1003).

An approximation of the liquid time-constant cell that needs no solver of differential equations (equation 10):

    h(t) = sigma(-f t) * g + (1 - sigma(-f t)) * k

with f, g and k read from the input and the state before, g and k through tanh, and t the time since that state. There
is no backbone before the three heads: each of their weights is then a synapse of the wiring.

Over a sequence, all that does not wait for the state before is computed at once, and the gradient is written out: the
library ncps, which leaves both to autograd step by step, takes many times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sartor.nets.wiring import Wiring


class ClosedFormLayer(nn.Module):
    """Neurons of one layer, each with the synapses of a mask; what is not there is no parameter.

    Args:
        mask: ``(inputs + neurons, neurons)``, not 0 where a synapse is: rows are inputs, then the layer itself.
    """

    index: Tensor

    def __init__(self, mask: np.ndarray) -> None:
        super().__init__()
        rows, self.num_neurons = mask.shape
        self.num_inputs = rows - self.num_neurons
        where = np.flatnonzero(mask)
        self.register_buffer("index", torch.from_numpy(where))
        # Glorot and Bengio (2010) for what is there: the synapses into and out of a neuron on average.
        bound = (6 / (len(where) / self.num_neurons + len(where) / rows)) ** 0.5
        self.weight = nn.Parameter(torch.empty(3, len(where)).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(3, self.num_neurons))

    def dense(self) -> Tensor:
        """Returns the weights of the heads f, g and k, ``(3, inputs + neurons, neurons)``, 0 where no synapse is."""
        rows = self.num_inputs + self.num_neurons
        flat = self.weight.new_zeros(3, rows * self.num_neurons)
        return flat.scatter(1, self.index.expand(3, -1), self.weight).view(3, rows, self.num_neurons)

    def _joined(self) -> tuple[Tensor, Tensor]:
        """Returns weights ``(inputs + neurons, 3 neurons)`` and biases ``(3 neurons,)``, those of f negative."""
        f, g, k = self.dense().unbind(0)
        return torch.cat((-f, g, k), 1), torch.cat((-self.bias[0], self.bias[1], self.bias[2]))

    def step(self, x: Tensor, state: Tensor, elapsed: Tensor | None = None) -> Tensor:
        """Maps inputs ``(n, inputs)`` and states ``(n, neurons)`` to the states ``elapsed`` later, ``(n, 1)`` or 1."""
        weight, bias = self._joined()
        gate, g, k = (torch.cat((x, state), 1) @ weight + bias).chunk(3, 1)
        share = torch.sigmoid(gate if elapsed is None else gate * elapsed)
        return share * torch.tanh(g) + (1 - share) * torch.tanh(k)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Maps inputs ``(length, n, inputs)``, one unit of time apart, and a state to ``(length, n, neurons)``."""
        weight, bias = self._joined()
        read = torch.addmm(bias, inputs.flatten(0, 1), weight[: self.num_inputs]).view(*inputs.shape[:2], -1)
        states: Tensor = _Scan.apply(read, weight[self.num_inputs :], state)
        return states


class ClosedFormCircuit(nn.Module):
    """Layers of closed-form neurons; a signal passes all of them within a step, and each layer remembers.

    Besides the wiring's synapses every neuron reads its own state, as every liquid neuron does by its leak.

    Args:
        wiring: Of the circuit.
    """

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self.wiring = wiring
        self.layers = nn.ModuleList()
        for number in range(len(wiring.layers)):
            before, within = wiring.into(number)
            own = (within != 0) | np.eye(len(within), dtype=bool)
            self.layers.append(ClosedFormLayer(np.concatenate((before != 0, own))))

    @property
    def state_size(self) -> int:
        return self.wiring.num_neurons

    def step(self, x: Tensor, state: Tensor, held: Tensor | None = None) -> Tensor:
        """Maps inputs ``(n, inputs)`` and states ``(n, neurons)`` to the next states.

        Args:
            x: Inputs.
            state: States.
            held: Values that neurons are held at, ``(n, neurons)``; NaN for those that are free.
        """
        found = []
        sizes = [size for _, size in self.wiring.layers]
        kept = [None] * len(sizes) if held is None else held.split(sizes, 1)
        for layer, own, hold in zip(self.layers, state.split(sizes, 1), kept, strict=True):
            assert isinstance(layer, ClosedFormLayer)
            x = layer.step(x, own)
            if hold is not None:
                x = torch.where(hold.isnan(), x, hold)
            found.append(x)
        return torch.cat(found, 1)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Maps inputs ``(length, n, inputs)`` and states ``(n, neurons)`` to states ``(length, n, neurons)``."""
        found, x = [], inputs
        for layer, own in zip(self.layers, state.split([size for _, size in self.wiring.layers], 1), strict=True):
            x = layer(x, own)
            found.append(x)
        return torch.cat(found, 2)

    def strengths(self) -> tuple[Tensor, Tensor]:
        """Returns how strong synapses are, ``(inputs, neurons)`` and ``(neurons, neurons)``: the mean weight of the
        heads g and k, between which a neuron moves."""
        num = self.wiring.num_neurons
        sensory, internal = torch.zeros(self.wiring.num_inputs, num), torch.zeros(num, num)
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ClosedFormLayer)
            mean, own = layer.dense()[1:].mean(0).detach().cpu(), self.wiring.neurons_of(number)
            before = internal[self.wiring.neurons_of(number - 1)] if number else sensory
            before[:, own] = mean[: layer.num_inputs]
            internal[own, own] = mean[layer.num_inputs :]
        return sensory, internal


class _Scan(torch.autograd.Function):
    """The recurrence over a sequence, with its gradient written out: two products a step instead of a graph."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        neurons = weight.shape[0]
        gates = torch.empty_like(read)
        states = read.new_empty(*read.shape[:2], neurons)
        state = start
        for gate, own, out in zip(gates.unbind(0), read.unbind(0), states.unbind(0), strict=True):
            torch.addmm(own, state, weight, out=gate)
            share, ends = gate[:, :neurons].sigmoid_(), gate[:, neurons:].tanh_()
            state = torch.lerp(ends[:, neurons:], ends[:, :neurons], share, out=out)
        ctx.save_for_backward(gates, weight, start, states)
        return states

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gates, weight, start, states = ctx.saved_tensors
        length, n, neurons = states.shape
        share, g, k = gates.chunk(3, 2)
        slope = torch.stack(((g - k) * share * (1 - share), share * (1 - g * g), (1 - share) * (1 - k * k)), 2)
        change = torch.empty_like(slope)
        back = weight.T.contiguous()
        given = grads[0].unbind(0)
        carried = given[-1]
        steps = zip(slope.unbind(0), change.unbind(0), (None, *given[:-1]), strict=True)
        for own, out, before in reversed(list(steps)):
            torch.mul(own, carried.unsqueeze(1), out=out)
            flat = out.view(n, 3 * neurons)
            carried = flat @ back if before is None else torch.addmm(before, flat, back)
        flat = change.view(length * n, 3 * neurons)
        before = torch.cat((start.unsqueeze(0), states[:-1])).view(length * n, neurons)
        return change.view(length, n, 3 * neurons), before.T @ flat, carried
