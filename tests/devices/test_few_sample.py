"""Latency on a new device from a few measurements and a pool of known devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from sartor.devices import few_sample
from sartor.devices.few_sample import FewSample
from sartor.errors import InputError

TABLE = Path(__file__).parents[3] / "shared" / "data" / "nas" / "fbnet_latency.parquet"


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).integers(0, 6, (200, 4)).astype(float)


@pytest.fixture(scope="module")
def pool(counts):
    prices = np.array([[1.0, 2, 3, 1], [3, 1, 1, 2], [1, 1, 4, 1], [2, 2, 1, 5]])
    return 1 + counts @ prices.T


@pytest.fixture(scope="module")
def model(counts, pool):
    return FewSample(pool, [counts])


def test_a_device_whose_operators_cost_otherwise_is_predicted_from_eight_networks(counts, model):
    new = 2 + counts @ [1.0, 5, 1, 3]
    chosen = model.choose(8)
    others = np.setdiff1d(np.arange(len(counts)), chosen)
    predicted = model.predict(chosen, new[chosen])
    assert spearmanr(predicted[others], new[others]).statistic > 0.98
    assert np.abs(predicted[others] / new[others] - 1).mean() < 0.05


def test_a_device_on_which_factors_multiply_is_predicted_on_the_logarithmic_scale(counts):
    known = np.exp(counts @ np.array([[0.5, 0.2, 0.1, 0.3], [0.1, 0.4, 0.3, 0.2], [0.3, 0.3, 0.2, 0.1]]).T)
    new = np.exp(counts @ [0.2, 0.3, 0.4, 0.5])
    model = FewSample(known, [counts])
    chosen = model.choose(8)
    predicted = model.predict(chosen, new[chosen])
    assert (predicted > 0).all()
    assert spearmanr(predicted, new).statistic > 0.98


def test_predictions_of_a_linear_kernel_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    pool, values = rng.normal(size=(12, 3)), rng.normal(size=12)
    noise, tiny = 0.3, -60.0
    weights = np.array([np.log(3.0), tiny, tiny, np.log(noise), 0.0, 0.0])
    own = few_sample._kernel(weights, pool, pool, [], [])
    asked = rng.normal(size=(5, 3))
    loss, solved = few_sample._loss(own, noise, values)
    theirs = GaussianProcessRegressor(DotProduct(sigma_0=2.0), alpha=noise, optimizer=None).fit(pool, values)
    np.testing.assert_allclose(
        few_sample._kernel(weights, asked, pool, [], []) @ solved, theirs.predict(asked), rtol=1e-5
    )
    constant = len(values) / 2 * np.log(2 * np.pi)
    assert -loss - constant == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-6)


def test_chosen_networks_are_distinct_and_the_same_for_the_same_seed(counts, pool):
    first, second = (FewSample(pool, [counts], seed=3).choose(10) for _ in range(2))
    assert len(set(first.tolist())) == 10
    np.testing.assert_array_equal(first, second)


def test_bad_latencies_are_refused_with_what_was_expected(counts, pool, model):
    with pytest.raises(InputError, match="2 or more devices"):
        FewSample(pool[:, :1], [counts])
    with pytest.raises(InputError, match="positive, finite latencies of the pool"):
        FewSample(-pool, [counts])
    with pytest.raises(InputError, match="descriptions of 200 networks, got"):
        FewSample(pool, [counts[:5]])
    with pytest.raises(InputError, match="3 to 200 networks to measure, got 201"):
        model.choose(201)
    with pytest.raises(InputError, match="one latency for each"):
        model.predict([1, 2, 3], [1.0, 2.0])
    for latencies in ([1.0, float("nan"), 2.0], [0.0, 1.0, 2.0], [2.0, 2.0, 2.0]):
        with pytest.raises(InputError, match="positive, finite latencies in milliseconds that are not all equal"):
            model.predict([1, 2, 3], latencies)


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE.name} is not there")
def test_six_unseen_devices_are_on_average_ranked_better_than_by_the_device_of_the_pool_most_like_each():
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = parquet.read_table(TABLE).slice(0, 1000)
    codes = np.array([[int(digit) for digit in text.split("_")] for text in table["arch"].to_pylist()])
    hot = (codes[:, :, None] == np.arange(9)).astype(float)
    known = ("1080ti_1", "1080ti_32", "1080ti_64", "silver_4114", "silver_4210r", "samsung_a50", "pixel3",
             "essential_ph_1", "samsung_s7")
    pool = np.stack([table[name].to_numpy() for name in known], 1)
    model = FewSample(pool, [hot.sum(1), hot.reshape(len(hot), -1)])
    chosen = model.choose(10)
    reached, alike = [], []
    for name in ("titan_rtx_64", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"):
        new = table[name].to_numpy()
        reached.append(spearmanr(model.predict(chosen, new[chosen]), new).statistic)
        # Told by all of the new device's latencies, which nobody has who measures ten.
        alike.append(max(spearmanr(pool[:, device], new).statistic for device in range(len(known))))
    assert np.mean(reached) > np.mean(alike)
