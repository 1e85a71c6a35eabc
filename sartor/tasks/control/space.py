"""The space of policies: circuits of continuous-time neurons, gated networks, perceptrons, and a learning rate."""

from __future__ import annotations

from functools import partial
from typing import Any

from sartor.space import Architecture, OneOf, Space


def make_space(num_inputs: int, num_outputs: int) -> Space:
    """Returns the space: ``network`` and ``recipe``."""
    from sartor.nets import ClosedFormCircuit, LiquidCircuit
    from sartor.tasks.control.network import Feedforward, Gated, neural_circuit, random_circuit

    def cells() -> Any:
        unfolds: Any = OneOf(3, 6)
        return OneOf(closed_form=partial(ClosedFormCircuit), liquid=partial(LiquidCircuit, unfolds=unfolds))

    # Few values a choice, or nearly all architectures drawn evenly would be circuits.
    circuit = partial(
        neural_circuit,
        cell=cells(),
        inter=OneOf(8, 12, 18),  # type: ignore[arg-type]
        command=OneOf(6, 11),  # type: ignore[arg-type]
        # The paper's, or all there can be: what must be remembered is learnt sooner by full layers.
        sensory_fanout=OneOf(6, 18),  # type: ignore[arg-type]
        inter_fanout=OneOf(4, 11),  # type: ignore[arg-type]
        recurrent=OneOf(6, 60),  # type: ignore[arg-type]
        motor_fanin=OneOf(6, 11),  # type: ignore[arg-type]
    )
    unlayered = partial(
        random_circuit,
        cell=cells(),
        neurons=OneOf(12, 18, 24),  # type: ignore[arg-type]
        sparsity=OneOf(0.5, 0.75, 0.9),  # type: ignore[arg-type]
    )
    widths: Any = OneOf(4, 8, 12, 16, 24, 32, 48, 64)
    lstm = partial(Gated, kind="lstm", hidden=widths)
    gru = partial(Gated, kind="gru", hidden=OneOf(4, 8, 12, 16, 24, 32, 48, 64))  # type: ignore[arg-type]
    perceptron = partial(
        Feedforward,
        hidden=OneOf(8, 16, 32, 64),  # type: ignore[arg-type]
        depth=OneOf(1, 2),  # type: ignore[arg-type]
        frames=OneOf(1, 2, 4),  # type: ignore[arg-type]
    )
    # Their first two arguments are the same.
    body: Any = OneOf(
        circuit=partial(circuit, num_inputs, num_outputs),
        random_circuit=partial(unlayered, num_inputs, num_outputs),
        lstm=partial(lstm, num_inputs, num_outputs),
        gru=partial(gru, num_inputs, num_outputs),
        perceptron=partial(perceptron, num_inputs, num_outputs),
    )
    return Space({"network": body, "recipe": {"learning_rate": OneOf(2e-3, 5e-3, 1e-2, 2e-2)}})


def hand_designed(space: Space) -> Architecture:
    """Returns the published circuit (Lechner et al. 2020): 12 inter and 6 command neurons, with closed-form cells."""
    return space.architecture(
        {
            "network": "circuit",
            "network.cell": "closed_form",
            "network.inter": 12,
            "network.command": 6,
            "network.sensory_fanout": 6,
            "network.inter_fanout": 4,
            "network.recurrent": 6,
            "network.motor_fanin": 6,
            "recipe.learning_rate": 1e-2,
        }
    )
