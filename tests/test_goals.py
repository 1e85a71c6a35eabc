import math

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.goals import Goals, Limit, Objective, default_goals
from sartor.trials import Fidelity, Figure, Proposal, Trial, derive_seed


def trial(accuracy, latency):
    return Trial(
        0, Proposal({}, Fidelity(1.0)), 0, "complete", {"accuracy": accuracy}, {"latency_ms": Figure(latency, "ms")}
    )


def test_losses_turn_every_objective_so_that_smaller_is_better():
    goals = Goals((Objective("accuracy", "max"), Objective("latency_ms", "min")))
    np.testing.assert_array_equal(goals.losses(trial(0.9, 2.0)), [-0.9, 2.0])


def test_excess_is_relative_to_the_bound_and_zero_within():
    limit = Limit("latency_ms", 2.0)
    assert limit.excess(2.0) == 0.0
    assert limit.excess(3.0) == pytest.approx(0.5)
    assert limit.excess(math.nan) == math.inf


def test_broken_names_only_the_limits_that_known_values_break():
    goals = Goals((Objective("accuracy"),), (Limit("latency_ms", 1.0), Limit("params", 10.0)))
    assert goals.broken({"latency_ms": 2.0}) == [Limit("latency_ms", 1.0)]
    assert goals.broken({"params": 10.0}) == []


def test_the_default_trades_the_metric_against_the_first_limited_cost():
    goals = default_goals("accuracy", "max", [Limit("params", 10.0), Limit("latency_ms", 1.0)])
    assert [o.name for o in goals.objectives] == ["accuracy", "params"]
    assert [o.name for o in default_goals("accuracy", "max", []).objectives] == ["accuracy", "latency_ms"]


def test_an_objective_named_twice_is_refused():
    with pytest.raises(InputError, match="twice"):
        Goals((Objective("params", "min"), Objective("params", "min")))


def test_a_seed_is_a_function_of_its_parts_alone():
    assert derive_seed(0, {"b": 1, "a": 2}, 0) == derive_seed(0, {"a": 2, "b": 1}, 0)
    assert len({derive_seed(0, {"a": 2}, r) for r in range(50)}) == 50


def test_a_figure_survives_json():
    figure = Figure(0.147, "ms", 0.03, "measured", (0.15, 0.147), "busy")
    assert Figure.from_json(figure.to_json()) == figure


def test_a_limit_may_name_one_of_several_devices():
    assert Limit.parse("latency@pi-4=30ms") == Limit("latency_ms@pi-4", 30.0)
    assert str(Limit.parse("energy@tpu<=1mJ")) == "energy_mj@tpu <= 1 mJ"


def test_goals_for_several_devices_have_those_of_each():
    names = ("latency_ms@a", "latency_ms@b", "params")
    goals = Goals((Objective("accuracy"), *(Objective(name, "min") for name in names)), (Limit("latency_ms@a", 1.0),))
    assert goals.devices == ("a", "b")
    assert [o.name for o in goals.on("b").objectives] == ["accuracy", "latency_ms@b", "params"]
    assert goals.on("b").limits == goals.limits
    with pytest.raises(InputError, match="did you mean"):
        goals.on("bb")


def test_area_is_refused_since_no_model_of_it_was_validated():
    with pytest.raises(InputError, match="area is not estimated"):
        Limit.parse("area=3")
