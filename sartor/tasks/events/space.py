"""The space of neural point processes: a continuous-time LSTM or causal attention, what past events excite besides,
and how all that learns."""

from __future__ import annotations

from functools import partial
from typing import Any

from sartor.space import Architecture, OneOf, Space


def make_space(shares: tuple[float, ...]) -> Space:
    """Returns the space: ``network`` and ``recipe``.

    Args:
        shares: Of each type among all events.
    """
    from sartor.tasks.events.continuous_lstm import ContinuousLSTM
    from sartor.tasks.events.network import CausalAttention, PointProcess

    widths: Any = OneOf(8, 16, 32, 64)
    lstm = partial(ContinuousLSTM, hidden=widths)
    # Architectures are drawn uniformly: with many more of attention, which needs more data, few would be LSTMs.
    heads: Any = OneOf(1, 4)
    depth: Any = OneOf(1, 2)
    wide: Any = OneOf(16, 32)
    attention = partial(CausalAttention, hidden=wide, heads=heads, layers=depth)
    encoder: Any = OneOf(lstm=lstm, attention=attention)
    excitations: Any = OneOf(0, 4, 8)
    return Space(
        {
            "network": partial(PointProcess, len(shares), encoder=encoder, excitations=excitations, shares=shares),
            "recipe": {"learning_rate": OneOf(5e-3, 1e-2, 2e-2), "weight_decay": OneOf(1e-1, 1.0)},
        }
    )


def hand_designed(space: Space) -> Architecture:
    """Returns the untuned neural Hawkes process: 32 cells, a rate of 0.005."""
    return space.architecture(
        {
            "network.encoder": "lstm", "network.encoder.hidden": 32, "network.excitations": 0,
            "recipe.learning_rate": 5e-3, "recipe.weight_decay": 1e-1,
        }
    )  # fmt: skip
