"""The space of additive models, and the one that a person would have taken."""

from __future__ import annotations

from functools import partial
from typing import Any

from sartor.nets.additive import NeuralAdditive
from sartor.space import Architecture, OneOf, Shared, Space

BINS = (1, 4, 8, 16, 32, 64)
"""Bins of a number: 1 is the number itself, scaled."""
UNITS = (8, 16, 32)
MAX_PAIRS = 60
PAIRS_A_FEATURE = (0.5, 1.0, 2.0, 3.0)
FEW_BINS = 4
"""Of the baseline: on rows left out, ahead of 2, 8, 16 and 32 on small tables."""


def pair_counts(num_features: int) -> tuple[int, ...]:
    """Returns how many pairs may be chosen: none, and up to three times the number of features as far as there are."""
    most = min(num_features * (num_features - 1) // 2, MAX_PAIRS)
    return tuple(sorted({0, *(min(most, round(share * num_features)) for share in PAIRS_A_FEATURE)}))


def make_space(num_features: int, num_levels: int, num_outputs: int) -> Space:
    """Returns the space of additive models with and without pairs, with what training them may vary.

    Args:
        num_features: Terms of one feature.
        num_levels: Most levels of a category, 0 without categories.
        num_outputs: Of the sum.
    """
    bins, unit = Shared("bins", OneOf(*BINS)), Shared("unit", OneOf("relu", "silu", "exu"))
    # Choices stand where the network takes their values.
    kind: Any = NeuralAdditive
    network = partial(
        kind,
        num_features,
        num_outputs,
        bins=bins,
        levels=num_levels,
        units=OneOf(*UNITS),
        depth=OneOf(1, 2, 3),
        unit=unit,
        dropout=OneOf(0.0, 0.1, 0.3),
        feature_dropout=OneOf(0.0, 0.05, 0.2),
        pairs=OneOf(*pair_counts(num_features)),
        pair_units=OneOf(*UNITS),
        members=OneOf(8, 16, 32),
    )
    space = Space(
        {
            "network": network,
            "penalty": OneOf(0.0, 1e-3, 1e-2),
            "recipe": {"learning_rate": OneOf(1e-3, 2e-3, 5e-3, 1e-2), "weight_decay": OneOf(0.0, 1e-2, 1e-1)},
        }
    )
    # Units that are centred on a value need the value itself, not how far it is through each bin.
    return space.where(_centred, "unit", "bins", name="exu units see numbers, not bins")


def _centred(unit: str, bins: int) -> bool:
    return unit != "exu" or bins == 1


def hand_designed(space: Space, num_features: int) -> Architecture:
    """Returns the additive model that a person would have taken: coarse shapes, a pair a feature."""
    pairs = min(num_features, pair_counts(num_features)[-1])
    return space.architecture(
        {
            "bins": FEW_BINS, "unit": "relu", "network.units": 16, "network.depth": 1, "network.dropout": 0.0,
            "network.feature_dropout": 0.0, "network.pairs": pairs, "network.pair_units": 16, "network.members": 16,
            "penalty": 1e-3, "recipe.learning_rate": 5e-3, "recipe.weight_decay": 1e-2,
        }
    )  # fmt: skip
