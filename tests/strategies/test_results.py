"""Results are told by fidelity; lower ones are lifted by what others gained, by their costs too."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.goals import Goals, Limit, Objective
from sartor.space import OneOf, Space
from sartor.strategies._results import Results, scalarised
from sartor.trials import Fidelity, Figure, Proposal, Trial

SPACE = Space({"width": OneOf(*range(1, 33))})
BOTH = Goals((Objective("accuracy"), Objective("latency_ms", "min")), (Limit("latency_ms", 20.0),))


def _told(goals: Goals, runs: list[tuple[int, float, float]]) -> Results:
    """Returns results of (width, amount, accuracy); the latency is the width."""
    results = Results(SPACE, goals)
    for number, (width, amount, accuracy) in enumerate(runs):
        proposal = Proposal(SPACE.architecture({"width": width}), Fidelity(amount))
        trial = Trial(number, proposal, 0, "complete", {"accuracy": accuracy})
        trial.costs["latency_ms"] = Figure(float(width), "ms")
        results.tell(trial)
    return results


def test_a_short_training_is_lifted_by_the_mean_gain_of_those_that_have_both() -> None:
    goals = Goals((Objective("accuracy"),))
    runs = [(1, 1.0, 0.5), (2, 1.0, 0.4), (1, 3.0, 0.7), (2, 3.0, 0.6), (3, 1.0, 0.3)]
    results = _told(goals, runs)
    assert results.lifted(results.known)[:, 0] == pytest.approx([-0.7, -0.6, -0.5])


def test_gains_are_added_up_from_fidelity_to_fidelity() -> None:
    runs = [(1, 1.0, 0.5), (1, 3.0, 0.6), (1, 9.0, 0.8), (2, 1.0, 0.1)]
    results = _told(Goals((Objective("accuracy"),)), runs)
    assert results.lifted(results.known)[:, 0] == pytest.approx([-0.8, -0.4])


def test_costly_networks_are_lifted_by_more_where_costly_ones_gained_more() -> None:
    runs = [(width, 1.0, 0.5) for width in range(1, 17)]
    runs += [(width, 3.0, 0.5 + 0.1 * np.log2(width)) for width in (1, 2, 4, 8)]
    results = _told(BOTH, runs)
    widths = [known.architecture["width"] for known in results.known]
    lifted = dict(zip(widths, -results.lifted(results.known)[:, 0], strict=True))
    assert lifted[3] < lifted[5] < lifted[7]
    assert lifted[5] == pytest.approx(0.5 + 0.1 * np.log2(5), abs=0.05)
    assert lifted[16] == pytest.approx(lifted[9])  # as far as was seen, no further


def test_equal_costs_and_a_single_pair_give_the_mean_gain() -> None:
    results = _told(BOTH, [(2, 1.0, 0.5), (2, 3.0, 0.6), (5, 1.0, 0.4)])
    assert results.lifted(results.known)[:, 0] == pytest.approx([-0.6, -0.5])


def test_the_scale_of_a_scalarisation_is_that_of_what_is_known() -> None:
    known = np.array([[0.0, 10.0], [1.0, 20.0]])
    assert scalarised(known, None, known) == pytest.approx([0.0, 1.0])
    assert scalarised(known, np.array([0.5, 0.5]), known) == pytest.approx([0.0, 0.5 + 0.05])
