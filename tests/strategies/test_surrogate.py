"""The process equals the textbook's formula, tells what matters from what does not, and reads capped losses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sartor.strategies._acquisition import log_improvement
from sartor.strategies._surrogate import Surrogate, capped


def make_groups(num: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2, (num, 8)).astype(float), rng.normal(size=(num, 3))]


def test_the_posterior_equals_the_formula_with_an_explicit_inverse() -> None:
    known, new = make_groups(30, 0), make_groups(7, 1)
    targets = known[0] @ np.arange(8.0) + np.sin(known[1][:, 0])
    fitted = Surrogate.fit(known, targets)
    kernel, parameters = fitted._kernel, fitted.parameters

    def covariance(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
        return kernel.mixed(kernel.parts(a, b), parameters)

    values = (targets - targets.mean()) / targets.std()
    inverse = np.linalg.inv(covariance(known, known) + (np.exp(parameters[-1]) + 1e-6) * np.eye(30))
    variance = values @ inverse @ values / 30
    mean, deviation = fitted.marginals(new)
    assert mean == pytest.approx(targets.mean() + targets.std() * covariance(new, known) @ inverse @ values)
    expected = covariance(new, new) - covariance(new, known) @ inverse @ covariance(known, new)
    assert deviation**2 == pytest.approx(targets.var() * variance * np.diag(expected), rel=1e-4)
    joint_mean, joint = fitted.joint(new)
    assert joint_mean == pytest.approx(mean)
    assert joint == pytest.approx(targets.var() * variance * expected, abs=1e-6)


def test_it_finds_out_which_description_matters() -> None:
    known, new = make_groups(80, 2), make_groups(200, 3)
    for matters in (0, 1):
        fitted = Surrogate.fit(known, np.sin(2 * known[matters][:, 0]) + known[matters][:, 1])
        mean, _ = fitted.marginals(new)
        assert np.corrcoef(mean, np.sin(2 * new[matters][:, 0]) + new[matters][:, 1])[0, 1] > 0.9


def test_the_search_for_parameters_goes_on_from_where_it_was() -> None:
    groups = make_groups(40, 4)
    targets = groups[0].sum(1)
    first = Surrogate.fit(groups, targets)
    assert np.array_equal(Surrogate.fit(groups, targets, first.parameters, search=False).parameters, first.parameters)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_few_and_equal_values_can_be_fitted(num: int) -> None:
    mean, deviation = Surrogate.fit([np.ones((num, 3))], np.full(num, 2.0)).marginals([np.eye(3)])
    assert mean == pytest.approx(2.0)
    assert np.isfinite(deviation).all()


def test_only_how_bad_the_bad_ones_are_is_cut() -> None:
    losses = np.array([1.0, 1.1, 1.2, 1.3, 90.0])
    cut = capped(losses)
    assert cut[:4] == pytest.approx(losses[:4])
    assert 1.3 < cut[4] < 2.0
    assert capped(np.ones(4)) == pytest.approx(1.0)


def test_the_improvement_is_expected_also_where_it_is_next_to_nothing() -> None:
    mean, deviation = np.array([0.0, 1.0, 3.0]), np.array([1.0, 0.5, 1.0])
    z = (0.2 - mean) / deviation
    assert np.exp(log_improvement(mean, deviation, 0.2)) == pytest.approx(deviation * (norm.pdf(z) + z * norm.cdf(z)))
    far = log_improvement(np.array([10.0, 20.0, 60.0]), np.ones(3), 0.0)
    assert np.isfinite(far).all()
    assert far[0] > far[1] > far[2]
