"""Policies: from an observation and a state to an action and the next state.

A body reads standardised observations; what it gives is a score for each choice, or each component of an action from
-1 to 1 of its range. Sequences are time first, ``(length, n, features)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sartor.nets import ClosedFormCircuit, LiquidCircuit, Wiring, circuit_wiring, random_wiring

Held = Tensor | None


class Policy(nn.Module):
    """The base of all: a step with a state, and the same over a sequence at once.

    Attributes:
        num_inputs: Observations.
        num_outputs: Choices, or components of an action.
        state_size: Numbers that are remembered from step to step; zeros at the beginning.
    """

    def __init__(self, num_inputs: int, num_outputs: int, state_size: int) -> None:
        super().__init__()
        self.num_inputs, self.num_outputs, self.state_size = num_inputs, num_outputs, state_size

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(n, inputs)`` and ``(n, state_size)`` to outputs ``(n, outputs)`` and the next states."""
        outputs, state = self(x.unsqueeze(0), state)
        return outputs[0], state

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(length, n, inputs)`` and states to outputs ``(length, n, outputs)`` and the last states."""
        raise NotImplementedError


class Circuit(Policy):
    """A circuit of continuous-time neurons, the last of which are motor neurons.

    Args:
        num_inputs, num_outputs: See ``Policy``.
        wire: Called with both, gives the wiring.
        cell: Called with the wiring, gives its neurons.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        wire: Callable[[int, int], Wiring] = circuit_wiring,
        cell: Callable[[Wiring], ClosedFormCircuit | LiquidCircuit] = ClosedFormCircuit,
    ) -> None:
        wiring = wire(num_inputs, num_outputs)
        super().__init__(num_inputs, num_outputs, wiring.num_neurons)
        self.wiring = wiring
        self.cell = cell(wiring)
        self.scale = nn.Parameter(torch.ones(num_outputs))
        self.shift = nn.Parameter(torch.zeros(num_outputs))

    def _read(self, states: Tensor) -> Tensor:
        return states[..., -self.num_outputs :] * self.scale + self.shift

    def step(self, x: Tensor, state: Tensor, held: Held = None) -> tuple[Tensor, Tensor]:
        state = self.cell.step(x, state, held)
        return self._read(state), state

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        states = self.cell(inputs, state)
        return self._read(states), states[-1]


def neural_circuit(
    num_inputs: int,
    num_outputs: int,
    cell: Callable[[Wiring], ClosedFormCircuit | LiquidCircuit] = ClosedFormCircuit,
    inter: int = 12,
    command: int = 6,
    sensory_fanout: int = 6,
    inter_fanout: int = 4,
    recurrent: int = 6,
    motor_fanin: int = 6,
    seed: int = 0,
) -> Circuit:
    """Returns a neural circuit policy; see `sartor.nets.circuit_wiring` for the numbers."""
    return Circuit(
        num_inputs,
        num_outputs,
        lambda inputs, outputs: circuit_wiring(
            inputs, outputs, inter=inter, command=command, sensory_fanout=sensory_fanout, inter_fanout=inter_fanout,
            recurrent=recurrent, motor_fanin=motor_fanin, seed=seed,
        ),
        cell,
    )  # fmt: skip


def random_circuit(
    num_inputs: int,
    num_outputs: int,
    cell: Callable[[Wiring], ClosedFormCircuit | LiquidCircuit] = ClosedFormCircuit,
    neurons: int = 20,
    sparsity: float = 0.5,
    seed: int = 0,
) -> Circuit:
    """Returns a circuit wired at random, without layers, to tell what the layers are good for."""
    neurons = max(neurons, num_outputs + 1)
    return Circuit(
        num_inputs,
        num_outputs,
        lambda inputs, outputs: random_wiring(inputs, outputs, neurons=neurons, sparsity=sparsity, seed=seed),
        cell,
    )


class Gated(Policy):
    """An LSTM (Hochreiter and Schmidhuber 1997) or a GRU (Cho et al. 2014) with a linear layer behind it.

    Args:
        num_inputs, num_outputs: See ``Policy``.
        kind: Which of the two.
        hidden: Units.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, kind: Literal["lstm", "gru"] = "lstm", hidden: int = 16
    ) -> None:
        super().__init__(num_inputs, num_outputs, 2 * hidden if kind == "lstm" else hidden)
        self.kind, self.hidden = kind, hidden
        self.cell: nn.Module = (nn.LSTM if kind == "lstm" else nn.GRU)(num_inputs, hidden)
        self.head = nn.Linear(hidden, num_outputs)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        given: Any = state.unsqueeze(0).contiguous()
        if self.kind == "lstm":
            given = tuple(each.contiguous() for each in given.chunk(2, 2))
        states, last = self.cell(inputs, given)
        state = torch.cat(last, 2)[0] if self.kind == "lstm" else last[0]
        return self.head(states), state


class Feedforward(Policy):
    """A perceptron that reads the last few observations; what it remembers is those before the present one.

    Args:
        num_inputs, num_outputs: See ``Policy``.
        hidden: Units of a layer.
        depth: Hidden layers.
        frames: Observations read; with 1 there is nothing to remember, and the state of one number stays 0.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, hidden: int = 32, depth: int = 2, frames: int = 1
    ) -> None:
        super().__init__(num_inputs, num_outputs, max(1, (frames - 1) * num_inputs))
        self.frames = frames
        layers: list[nn.Module] = []
        width = frames * num_inputs
        for _ in range(depth):
            layers += [nn.Linear(width, hidden), nn.Tanh()]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.frames == 1:
            return self.layers(inputs), state
        length, n, width = inputs.shape
        before = state.view(n, self.frames - 1, width).transpose(0, 1)
        every = torch.cat((before, inputs))
        read = torch.cat([every[i : i + length] for i in range(self.frames)], 2)
        return self.layers(read), every[length:].transpose(0, 1).reshape(n, -1)


class Deployed(nn.Module):
    """A policy with what surrounds it: observations are standardised, actions are the environment's.

    Args:
        policy: Of standardised observations.
        mean, spread: Of the observations.
        middle, reach: Middle and half of the range of each component of an action; None where choices are scored.
    """

    mean: Tensor
    spread: Tensor
    middle: Tensor | None
    reach: Tensor | None

    def __init__(
        self, policy: Policy, mean: Tensor, spread: Tensor, middle: Tensor | None, reach: Tensor | None
    ) -> None:
        super().__init__()
        self.policy = policy
        self.state_size = policy.state_size
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.register_buffer("middle", middle)
        self.register_buffer("reach", reach)

    def forward(self, observation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Maps observations ``(n, d)`` and states ``(n, state_size)``, zeros at the beginning, to scores of the
        choices ``(n, choices)`` or actions ``(n, components)``, and to the next states."""
        outputs, state = self.policy.step(standardised(observation, self.mean, self.spread), state)
        return self.action(outputs), state

    def action(self, outputs: Tensor) -> Tensor:
        """Returns what is done by outputs of the policy."""
        if self.middle is None or self.reach is None:
            return outputs
        return self.middle + self.reach * outputs.clamp(-1.0, 1.0)


MOST_DEVIATIONS = 10.0
"""Observations farther from the mean are taken to be there: velocities have no bound."""


def standardised(observation: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Returns observations in standard deviations from their mean."""
    return ((observation - mean) / spread).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
