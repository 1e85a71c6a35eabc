"""Predictors conform, rank better than a mean, and say how far they are off."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sartor.contracts import Candidate, NullContext, Predictor
from sartor.errors import InputError
from sartor.estimators.predictors import Predicted
from sartor.estimators.predictors._committee import Training
from sartor.estimators.predictors._inputs import Scores
from sartor.estimators.predictors._warp import Warp
from sartor.estimators.predictors.calibration import figures, report
from sartor.estimators.predictors.curves import Curves, extrapolated
from sartor.estimators.predictors.ensemble import Ensemble, calibrated
from sartor.estimators.predictors.gaussian_process import GaussianProcess, _kernel, _medians, _most_probable
from sartor.estimators.predictors.gnn import GNN
from sartor.estimators.predictors.mlp import MLP
from sartor.estimators.predictors.stack import Stack
from sartor.estimators.predictors.trees import Trees
from sartor.registry import find, specs
from sartor.space import OneOf, Space
from sartor.testing import check_predictor
from sartor.testing.strategies import Simulation, make_spaces
from sartor.testing.tasks import check_listing
from sartor.trials import Fidelity

SPACES = make_spaces()
SHORT = Training((24,), 40)
QUICK = {
    "ensemble": partial(Ensemble, training=SHORT, num_networks=3),
    "gaussian-process": GaussianProcess,
    "gnn": partial(GNN, steps=15, width=16, num_layers=2),
    "mlp": partial(MLP, training=SHORT),
    "stack": partial(Stack, num_trees=8),
    "trees": partial(Trees, num_trees=8),
}
BRIEF = {
    "ensemble": partial(Ensemble, training=Training((8,), 10), num_networks=2),
    "gaussian-process": GaussianProcess,
    "gnn": partial(GNN, steps=4, width=8, num_layers=1, num_networks=2),
    "mlp": partial(MLP, training=Training((8,), 10)),
    "stack": partial(Stack, num_trees=2),
    "trees": partial(Trees, num_trees=2),
}
"""Hardly trained: conformance does not depend on how well they learn."""
NASBENCH = Path(__file__).parents[4] / "shared" / "data" / "nas"


def test_predictors_are_listed_without_torch_and_load() -> None:
    check_listing("predictors")
    assert set(specs("predictors")) >= {*QUICK, "curves"}
    assert find("predictors", "gaussian-process").load() is GaussianProcess


@pytest.mark.parametrize("name", QUICK)
def test_each_conforms_on_a_space_of_choices(name: str) -> None:
    check_predictor(BRIEF[name], SPACES["conditional"], learns=False)


@pytest.mark.parametrize("space", SPACES)
def test_the_gaussian_process_conforms_on_every_space(space: str) -> None:
    check_predictor(GaussianProcess, SPACES[space], learns=space != "collections")


@pytest.mark.parametrize("name", ["gaussian-process", "ensemble", "mlp", "trees", "stack", "gnn"])
def test_each_ranks_the_unseen_and_says_how_far_it_is_off(name: str) -> None:
    make = {
        **QUICK,
        "gnn": partial(GNN, steps=60, loss="rank"),
        "trees": partial(Trees, num_trees=60),
        "stack": partial(Stack, num_trees=30),
    }
    space = SPACES["plain"]
    architectures = list(dict.fromkeys(space.sample_choices(np.random.default_rng(3), 300)))
    simulation = Simulation(space, seed=5)
    values = np.array([simulation.score(each) for each in architectures])
    found = report(make[name](space), architectures[:100], values[:100], architectures[100:], values[100:])
    assert found.kendall_tau > 0.35
    assert 0.55 < found.within[0.8] <= 1 and 0.3 < found.z_std < 2
    assert found.num_trained == 100 and found.fit_s is not None and found.fit_s > 0


@pytest.mark.parametrize("name", ["gaussian-process", "ensemble", "mlp", "trees", "stack", "gnn"])
def test_scores_with_nan_and_infinity_are_read_and_help(name: str) -> None:
    space = Space({f"choice{i}": OneOf(*range(4)) for i in range(8)})
    architectures = list(dict.fromkeys(space.sample_choices(np.random.default_rng(4), 200)))
    hidden = dict(zip(architectures, np.random.default_rng(5).normal(size=len(architectures)), strict=True))
    values = np.array([hidden[each] for each in architectures])

    def scores(asked: object) -> np.ndarray:
        known = np.exp(5 * np.array([hidden[each] for each in asked]))  # type: ignore[attr-defined]
        noise = np.where(known < 1, np.nan, np.inf)
        return np.stack([known, noise], 1)

    predictor = QUICK[name](space, features=scores)
    if name == "gnn":
        predictor = GNN(space, features=scores, steps=60)
    found = report(predictor, architectures[:60], values[:60], architectures[60:], values[60:])
    assert found.kendall_tau > 0.3


@pytest.mark.parametrize("name", QUICK)
def test_what_cannot_be_learnt_is_refused(name: str) -> None:
    space = SPACES["plain"]
    predictor: Predictor = QUICK[name](space)
    some = space.sample_choices(np.random.default_rng(0), 3)
    with pytest.raises(InputError, match="not fitted"):
        predictor.predict(some)
    for values in (np.array([1.0, np.nan, 2.0]), np.array([1.0]), np.empty(0)):
        with pytest.raises(InputError):
            predictor.fit(some[: max(len(values), 1)] if len(values) != 1 else some, values)


# --- scales


@pytest.mark.parametrize("kind", ["log", "rank", "none"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_warp_increases_and_goes_back(kind: str, sign: float) -> None:
    rng = np.random.default_rng(0)
    values = sign * (94 - np.exp(rng.normal(0, 1.5, 60)))
    warp = Warp.fit(values, kind)  # type: ignore[arg-type]
    grid = np.linspace(values.min(), values.max(), 200)
    assert (np.diff(warp(grid)) > 0).all()
    np.testing.assert_allclose(warp.inverse(warp(grid)), grid, rtol=1e-9)


def test_the_log_warp_brings_failures_near_and_leaves_good_values_apart() -> None:
    values = np.array([10.0] * 3 + list(np.linspace(88, 94, 30)))
    warped = Warp.fit(values)(values)
    assert (warped.max() - np.median(warped)) > 0.2 * (np.median(warped) - warped.min())


def test_moments_agree_with_drawing() -> None:
    warp = Warp.fit(94 - np.exp(np.random.default_rng(0).normal(size=50)))
    drawn = warp.inverse(-0.5 + 0.4 * np.random.default_rng(1).standard_normal(400_000))
    mean, std = warp.moments(np.array([-0.5]), np.array([0.4]))
    assert mean[0] == pytest.approx(drawn.mean(), abs=0.01) and std[0] == pytest.approx(drawn.std(), rel=0.02)


def test_scores_are_ranked_among_those_of_the_trained() -> None:
    scale = Scores(np.array([[1.0], [10.0], [1e9], [np.nan]]))
    found = scale(np.array([[1.0], [10.0], [1e9], [-np.inf], [np.nan]]))[:, 0]
    assert found[0] < found[1] < found[2] and found[3] == found[4] == found[0]


# --- the process


def test_the_gradient_of_the_kernel_is_its_difference() -> None:
    squared = np.linspace(0.1, 5, 20)
    step = 1e-6
    numeric = (_kernel(squared + step)[0] - _kernel(squared - step)[0]) / (2 * step)
    np.testing.assert_allclose(_kernel(squared)[1], numeric, rtol=1e-6)


def test_the_process_gives_a_score_without_meaning_little_weight() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(80, 2))
    targets = np.sin(2 * inputs[:, 0])
    distances = (inputs.T[:, :, None] - inputs.T[:, None]) ** 2
    linear = (inputs @ inputs.T / 2)[None]
    weights, _, _, noise = _most_probable(distances, linear, targets, _medians(1, 1, 1), 100)
    assert weights[0] > 20 * weights[1] and noise < 0.05


def test_the_process_is_sure_where_it_has_seen_values() -> None:
    space = SPACES["plain"]
    architectures = list(dict.fromkeys(space.sample_choices(np.random.default_rng(6), 120)))
    simulation = Simulation(space)
    predictor = GaussianProcess(space)
    predictor.fit(architectures[:60], np.array([simulation.score(each) for each in architectures[:60]]))
    assert predictor.predict(architectures[:60])[1].mean() < predictor.predict(architectures[60:])[1].mean()


# --- calibration


def test_figures_of_true_deviations_are_those_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=20_000), rng.uniform(0.5, 2, 20_000)
    found = figures(mean, std, mean + std * rng.standard_normal(20_000))
    assert found.z_std == pytest.approx(1, abs=0.02)
    for share, within in found.within.items():
        assert within == pytest.approx(share, abs=0.02)
    too_small = figures(mean, std / 3, mean + std * rng.standard_normal(20_000))
    assert too_small.z_std == pytest.approx(3, abs=0.1)
    assert too_small.negative_log_likelihood > found.negative_log_likelihood


def test_tau_is_undefined_without_differences() -> None:
    assert np.isnan(figures(np.ones(3), np.ones(3), np.arange(3.0)).kendall_tau)


def test_deviations_are_scaled_to_the_residuals() -> None:
    rng = np.random.default_rng(0)
    variances = rng.uniform(0.01, 0.1, 3_000)
    factor, floor = calibrated(np.sqrt(16 * variances) * rng.standard_normal(3_000), variances)
    assert 8 <= factor <= 32 and floor < 0.1


# --- in place of training


def test_a_search_can_run_on_predictions() -> None:
    space = SPACES["plain"]
    some = space.sample_choices(np.random.default_rng(1), 12)
    predictor = GaussianProcess(space)
    predictor.fit(some, np.arange(12.0))
    estimator = pickle.loads(pickle.dumps(Predicted(predictor, "accuracy", (Fidelity(3.0),))))
    candidate = Candidate(None, space, some[3])  # type: ignore[arg-type]
    found = estimator.estimate(candidate, fidelity=Fidelity(3.0), seed=0, context=NullContext())
    mean, std = predictor.predict([some[3]])
    assert found == {"accuracy": pytest.approx(mean[0]), "accuracy_std": pytest.approx(std[0])}


# --- curves


def _curve(final: float, rate: float, num: int, rng: np.random.Generator, noise: float = 0.003) -> list:
    steps = np.arange(1, num + 1)
    return list(
        zip(steps.tolist(), (final - 0.5 * steps**-rate + noise * rng.standard_normal(num)).tolist(), strict=True)
    )


def test_a_power_law_is_extrapolated() -> None:
    curve = _curve(0.9, 0.7, 12, np.random.default_rng(0), 0.0)
    mean, std = extrapolated(curve, 100)
    assert mean == pytest.approx(0.9 - 0.5 * 100**-0.7, abs=0.01) and std < 0.05


def test_curves_learn_from_finished_ones_and_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    finals, rates = rng.uniform(0.6, 0.95, 90), rng.uniform(0.4, 1.2, 90)
    curves = [_curve(final, rate, 10, rng) for final, rate in zip(finals, rates, strict=True)]
    values = finals - 0.5 * 100**-rates
    predictor = Curves(100)
    predictor.fit(curves[:40], values[:40])
    found = figures(*predictor.predict(curves[40:]), values[40:])
    last = np.array([curve[-1][1] for curve in curves[40:]])
    naive = figures(last, np.ones(50), values[40:])
    assert found.rmse < 0.5 * naive.rmse and found.kendall_tau > naive.kendall_tau
    assert 0.6 < found.within[0.8] <= 0.98


def test_curves_without_finished_ones_short_and_wrong_ones() -> None:
    predictor = Curves(50)
    predictor.fit([], np.empty(0))
    mean, std = predictor.predict([[(1, 0.5)], [(1, 0.5), (2, 0.5), (3, 0.5)]])
    assert mean.tolist() == [0.5, 0.5] and np.isfinite(std).all()
    for wrong in ([], [(2, 0.1), (1, 0.2)], [(0, 0.1)], [(1, np.nan)]):
        with pytest.raises(InputError):
            predictor.predict([wrong])


# --- a published table


@pytest.mark.skipif(not NASBENCH.exists(), reason="the NAS-Bench-201 table of ../shared is not here")
def test_on_nasbench201_the_process_ranks_as_well_as_is_claimed() -> None:
    pytest.importorskip("pyarrow")
    from sartor.estimators.tables.nasbench201 import nasbench201

    table = nasbench201(NASBENCH)
    columns = np.stack([table.scores[name] for name in ("logsynflow", "naswot", "nregions", "zen", "jacov")], 1)
    taus = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(table))[:1156]
        architectures = [table.architectures[int(i)] for i in order]
        values = table.observed()[order]
        predictor = GaussianProcess(table.space, features=lambda asked: columns[table.indices(asked)])
        found = report(predictor, architectures[:156], values[:156], architectures[156:], values[156:])
        taus.append(found.kendall_tau)
    assert np.mean(taus) > 0.8
