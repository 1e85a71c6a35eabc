"""The space of networks over series: controlled differential equations of three kinds, and a recurrent network."""

from __future__ import annotations

from functools import partial
from typing import Any

from sartor.space import Architecture, OneOf, Shared, Space

INTERPOLATIONS = ("cubic", "rectilinear")


def make_space(num_channels: int, num_outputs: int, rows: float, *, adjoint: bool = False) -> Space:
    """Returns the space: ``network`` and ``recipe``.

    Args:
        num_channels: Of the data.
        num_outputs: Scores.
        rows: Observations of a series, on average.
        adjoint: How solvers find gradients.
    """
    from sartor.tasks.series.cde import DiagonalCDE, LowRankField, NonlinearField, SolvedCDE
    from sartor.tasks.series.gru import DecayGRU
    from sartor.tasks.series.network import SeriesNetwork
    from sartor.tasks.series.solvers import DormandPrince, FixedSteps

    # Choices stand where the networks take their values.
    path: Any = {
        "interpolation": Shared("interpolation", OneOf(*INTERPOLATIONS)),
        "counts": Shared("counts", OneOf(False, True)),
    }
    features: Any = Shared("features", OneOf(0, 16, 64))
    # The adjoint gives no gradients of a path, so that none can be learnt.
    solved: Any = SolvedCDE if adjoint else partial(SolvedCDE, features=features)
    tolerance: Any = OneOf(1e-2, 1e-3)
    solver: Any = Shared(
        "solver",
        OneOf(
            euler=partial(FixedSteps, "euler", adjoint=adjoint),
            midpoint=partial(FixedSteps, "midpoint", adjoint=adjoint),
            rk4=partial(FixedSteps, "rk4", adjoint=adjoint),
            dopri5=partial(DormandPrince, tolerance=tolerance, adjoint=adjoint),
        ),
    )
    width: Any = OneOf(32, 64)
    depth: Any = OneOf(1, 2)
    layers: Any = OneOf(1, 2)
    rank: Any = OneOf(2, 4, 8)
    few: Any = OneOf(16, 32, 64)
    many: Any = OneOf(32, 64, 128)
    nonlinear = partial(
        solved, field=partial(NonlinearField, width=width, depth=depth), solver=solver, hidden=few, **path
    )
    low_rank = partial(solved, field=partial(LowRankField, rank=rank), solver=solver, hidden=few, **path)
    diagonal = partial(DiagonalCDE, hidden=many, depth=layers, features=features, **path)
    gru = partial(DecayGRU, hidden=many)
    encoder: Any = OneOf(nonlinear=nonlinear, low_rank=low_rank, diagonal=diagonal, gru_d=gru)
    dropout: Any = OneOf(0.0, 0.2, 0.4)
    return Space(
        {
            "network": partial(SeriesNetwork, num_channels, num_outputs, rows, encoder=encoder, dropout=dropout),
            "recipe": {"learning_rate": OneOf(1e-3, 2e-3, 5e-3, 1e-2), "weight_decay": OneOf(1e-3, 1e-2, 1e-1)},
        }
    )


def hand_designed(space: Space, *, adjoint: bool = False) -> Architecture:
    """Returns the untuned neural CDE: nonlinear, on a cubic spline, solved by the classical Runge-Kutta method.

    Args:
        space: See `make_space`.
        adjoint: As it was made.
    """
    values = {
        "network.encoder": "nonlinear", "network.encoder.hidden": 32, "network.encoder.field.width": 32,
        "network.encoder.field.depth": 1, "solver": "rk4", "interpolation": "cubic", "counts": False,
        "network.dropout": 0.0, "recipe.learning_rate": 2e-3, "recipe.weight_decay": 1e-2,
    }  # fmt: skip
    return space.architecture(values if adjoint else {**values, "features": 0})
