"""The liquid time-constant cell (LTC; Hasani et al. 2021, Liquid Time-constant Networks, AAAI, arXiv:2006.04439).

A neuron is a leaky membrane whose time constant depends on its input, as synapses open and close:

    c dv/dt = g_leak (v_leak - v) + sum over synapses of w sigmoid(sigma (v_pre - mu)) (e - v)

with e the synapse's reversal potential: above what v is it excites, below it inhibits. One step of the network is
``unfolds`` steps of the paper's fused solver, semi-implicit Euler (algorithm 1), which is stable for any length.

Positive quantities (c, g_leak, w) are softplus of parameters, so that an optimiser needs no clipping. Over a sequence
sensory synapses are computed at once and the gradient is written out, as in `sartor.nets.closed_form`.

**Where it starts** is not as in the paper's code, whose thresholds of 0.3 to 0.8 and steepness of 3 to 8 are meant for
inputs between 0 and 1 and, with reversals of 1 and strengths like the leak's, lie beyond what most potentials reach:
each layer varies less than the one before it, and a signal is late by a step or two. Here synapses are weak beside the
leak (or potentials are averages, which shrink with their number), neurons are fast, inputs are expected with mean 0 and
variance 1, and reversals and thresholds are set so that potentials vary by about 1 around the thresholds (as Mishkin
and Matas 2016, All you need is a good init, arXiv:1511.06422, do for layers).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sartor.nets.wiring import Wiring

EPSILON = 1e-8
ROUNDS = 6
"""Of setting reversals and thresholds by how potentials vary."""
TRIED_LENGTH, TRIED, SETTLED = 64, 32, 16
"""Steps and sequences of the inputs that potentials are then seen to follow; the first steps do not count."""
PERSISTENCE = 0.9
"""Correlation of these inputs with those of a step before."""
FASTEST, SLOWEST = 0.02, 0.2
"""Time constants of neurons whose synapses are closed, in steps."""


class _Synapses(nn.Module):
    """Synapses of a mask of polarities ``(sources, targets)``, each with strength, steepness, threshold, reversal."""

    from_source: Tensor
    to_target: Tensor

    def __init__(self, polarity: np.ndarray, steepness: tuple[float, float]) -> None:
        super().__init__()
        self.num_sources, self.num_targets = polarity.shape
        source, target = np.nonzero(polarity)
        self.register_buffer("from_source", torch.from_numpy(np.eye(self.num_sources, dtype=np.float32)[:, source]))
        self.register_buffer("to_target", torch.from_numpy(np.eye(self.num_targets, dtype=np.float32)[target]))
        num = len(source)
        self.strength = nn.Parameter(_inverse_softplus(torch.empty(num).uniform_(0.02, 0.05)))
        self.steepness = nn.Parameter(torch.empty(num).uniform_(*steepness))
        self.threshold = nn.Parameter(torch.empty(num).uniform_(-1.0, 1.0))
        self.reversal = nn.Parameter(torch.from_numpy(polarity[source, target].astype(np.float32)))

    def opening(self) -> tuple[Tensor, Tensor]:
        """Returns weights ``(sources, synapses)`` and biases ``(synapses,)`` of what opens each synapse."""
        return self.from_source * self.steepness, -self.steepness * self.threshold

    def current(self) -> Tensor:
        """Returns what an open synapse adds to numerators and to denominators, ``(synapses, 2 targets)``."""
        strength = functional.softplus(self.strength)
        up = (strength * self.reversal).unsqueeze(1) * self.to_target
        return torch.cat((up, strength.unsqueeze(1) * self.to_target), 1)

    def forces(self) -> Tensor:
        """Returns strength times reversal potential, ``(sources, targets)``; negative where more of an exciting source
        closes the synapse."""
        each = functional.softplus(self.strength) * self.reversal * torch.sign(self.steepness)
        return (self.from_source @ (each.unsqueeze(1) * self.to_target)).detach().cpu()


class LiquidCircuit(nn.Module):
    """Liquid neurons with the synapses of a wiring; all of them move together.

    Args:
        wiring: Of the circuit.
        unfolds: Steps of the solver in a unit of time.
    """

    def __init__(self, wiring: Wiring, unfolds: int = 6) -> None:
        super().__init__()
        self.wiring, self.unfolds = wiring, unfolds
        num = wiring.num_neurons
        self.input_scale = nn.Parameter(torch.ones(wiring.num_inputs))
        self.input_shift = nn.Parameter(torch.zeros(wiring.num_inputs))
        # What reads inputs is nearly linear in them, or no neuron could weigh one against another.
        self.sensory, self.internal = _Synapses(wiring.sensory, (0.3, 1.0)), _Synapses(wiring.internal, (1.0, 3.0))
        leak = torch.empty(num).uniform_(0.3, 0.7)
        lag = torch.empty(num).uniform_(math.log(FASTEST), math.log(SLOWEST)).exp()
        self.capacity = nn.Parameter(_inverse_softplus(lag * leak))
        self.leak = nn.Parameter(_inverse_softplus(leak))
        self.rest = nn.Parameter(torch.zeros(num))
        self._settle()

    @property
    def state_size(self) -> int:
        return self.wiring.num_neurons

    @torch.no_grad()
    def _settle(self) -> None:
        """Scales reversals and moves thresholds so that each potential varies by 1 around those of its synapses."""
        x = torch.randn(TRIED_LENGTH, TRIED, self.wiring.num_inputs)
        for before, after in pairwise(x):
            after.mul_(math.sqrt(1 - PERSISTENCE**2)).add_(before, alpha=PERSISTENCE)
        start, offset = torch.zeros(TRIED, self.state_size), self.internal.threshold.clone()
        for _ in range(ROUNDS):
            found = self(x, start)[SETTLED:].flatten(0, 1)
            # Not by more at once: what varies little may do so because the neurons before it still do.
            scale = (1 / found.std(0)).clamp(1 / 3, 3)
            for synapses in (self.sensory, self.internal):
                synapses.reversal.mul_(synapses.to_target @ scale)
            self.internal.threshold.copy_((found.mean(0) * scale) @ self.internal.from_source + offset)

    def _drive(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns numerators and denominators without internal synapses, ``(..., 2 neurons)``, and c per unfold."""
        weight, bias = self.sensory.opening()
        opened = torch.sigmoid((inputs * self.input_scale + self.input_shift) @ weight + bias)
        capacity = functional.softplus(self.capacity) * self.unfolds
        leak = functional.softplus(self.leak)
        alone = torch.cat((leak * self.rest, leak + capacity + EPSILON))
        return opened @ self.sensory.current() + alone, capacity

    def step(self, x: Tensor, state: Tensor, held: Tensor | None = None) -> Tensor:
        """Maps inputs ``(n, inputs)`` and potentials ``(n, neurons)`` to those one unit of time later.

        Args:
            x: Inputs.
            state: Potentials.
            held: Potentials that neurons are held at, ``(n, neurons)``; NaN for those that are free.
        """
        drive, capacity = self._drive(x)
        weight, bias = self.internal.opening()
        current = self.internal.current()
        for _ in range(self.unfolds):
            up, down = (drive + torch.sigmoid(state @ weight + bias) @ current).chunk(2, 1)
            state = (up + capacity * state) / down
            if held is not None:
                state = torch.where(held.isnan(), state, held)
        return state

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Maps inputs ``(length, n, inputs)`` and potentials ``(n, neurons)`` to ``(length, n, neurons)``."""
        drive, capacity = self._drive(inputs)
        weight, bias = self.internal.opening()
        states: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
            drive, state, capacity, weight, bias, self.internal.current(), self.unfolds
        )
        return states

    def strengths(self) -> tuple[Tensor, Tensor]:
        """Returns how strong synapses are, ``(inputs, neurons)`` and ``(neurons, neurons)``: conductance times
        reversal potential, signed by whether more of the source excites."""
        return self.sensory.forces(), self.internal.forces()


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))


class _Scan(torch.autograd.Function):
    """The solver over a sequence, with its gradient written out."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, start: Tensor, capacity: Tensor, weight: Tensor, bias: Tensor, current: Tensor,
        unfolds: int,
    ) -> Tensor:  # fmt: skip
        (length, n, _), neurons = drive.shape, len(capacity)
        opened = drive.new_empty(length * unfolds, n, len(bias))
        below = drive.new_empty(length * unfolds, n, neurons)
        found = drive.new_empty(length * unfolds + 1, n, neurons)
        found[0] = start
        sums = drive.new_empty(n, 2 * neurons)
        up, down = sums[:, :neurons], sums[:, neurons:]
        states, openings, belows = found.unbind(0), opened.unbind(0), below.unbind(0)
        each = 0
        for own in drive.unbind(0):
            for _ in range(unfolds):
                opening = openings[each]
                torch.addmm(bias, states[each], weight, out=opening).sigmoid_()
                torch.addmm(own, opening, current, out=sums)
                belows[each].copy_(down)
                torch.addcmul(up, states[each], capacity, out=states[each + 1]).div_(down)
                each += 1
        ctx.save_for_backward(opened, below, found, capacity, weight, current)
        ctx.unfolds = unfolds
        return found[unfolds::unfolds].clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        opened, below, found, capacity, weight, current = ctx.saved_tensors
        unfolds, (many, n, neurons) = ctx.unfolds, below.shape
        given = grads[0].unbind(0)
        sums = torch.empty(many, n, 2 * neurons, dtype=below.dtype, device=below.device)
        change = torch.empty_like(opened)
        slope = opened * (1 - opened)
        # For each unfold, what a change of the state behind it does to numerator and denominator.
        inverse = 1 / below
        ratio = -found[1:]
        current_back, weight_back = current.T.contiguous(), weight.T.contiguous()
        columns = (sums, change, slope, inverse, ratio)
        rows = list(zip(*(each.unbind(0) for each in columns), strict=True))
        carried = torch.zeros_like(given[0])
        for each in range(many - 1, -1, -1):
            own, moved, steep, over, value = rows[each]
            if each % unfolds == unfolds - 1:
                carried = carried + given[each // unfolds]
            up = own[:, :neurons]
            torch.mul(carried, over, out=up)
            torch.mul(up, value, out=own[:, neurons:])
            torch.mm(own, current_back, out=moved).mul_(steep)
            carried = torch.addmm(up * capacity, moved, weight_back)
        flat, moves = sums.view(many * n, 2 * neurons), change.view(many * n, -1)
        before = found[:-1].reshape(many * n, neurons)
        return (
            sums.view(-1, unfolds, n, 2 * neurons).sum(1),
            carried,
            (flat[:, :neurons] * before).sum(0),
            before.T @ moves,
            moves.sum(0),
            opened.view(many * n, -1).T @ flat,
            None,
        )
