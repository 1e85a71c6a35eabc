"""A ranking corrected by trainings: what is alike moves, the dead stay last, nothing is learnt of what agrees."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow.parquet
import pytest
from scipy.stats import kendalltau

from sartor.cli import main
from sartor.errors import InputError
from sartor.estimators.proxies.calibration import LEAST, calibrated, spread
from sartor.spaces.nasbench201 import nasbench201

SPACE = nasbench201(3, 10)
CELLS = SPACE.sample(np.random.default_rng(0), 200)
TRUTH = np.array([sum(v == "nor_conv_3x3" for v in cell.values()) + 0.01 * i / 200 for i, cell in enumerate(CELLS)])


def tau(scores):
    return kendalltau(scores, TRUTH).statistic


def test_what_is_trained_is_spread_over_the_ranking():
    prior = np.array([-math.inf, *range(100)], float)
    rows = spread(prior, 10, seed=3)
    assert [row // 10 for row in np.array(rows) - 1] == list(range(10))
    assert rows == spread(prior, 10, seed=3) != spread(prior, 10, seed=4)


@pytest.mark.parametrize("seed", range(5))
def test_trainings_improve_a_ranking_that_is_half_wrong(seed):
    prior = TRUTH + 1.5 * np.random.default_rng(seed).standard_normal(200)
    rows = spread(prior, 20, seed)
    assert tau(calibrated(SPACE, CELLS, prior, rows, TRUTH[rows])) > tau(prior) + 0.05


def test_trainings_that_agree_leave_the_order():
    rows = spread(TRUTH, 20, 0)
    assert tau(calibrated(SPACE, CELLS, TRUTH, rows, TRUTH[rows])) > 0.95


def test_a_ranking_that_is_wrong_is_not_held_on_to():
    rows = spread(-TRUTH, 20, 0)
    assert tau(calibrated(SPACE, CELLS, -TRUTH, rows, TRUTH[rows])) > 0.5


def test_dead_networks_stay_last_and_failed_trainings_count():
    prior = TRUTH.copy()
    prior[:5] = -math.inf
    rows = spread(prior, 10, 0)
    values = TRUTH[rows]
    values[2] = -math.inf
    found = calibrated(SPACE, CELLS, prior, rows, values)
    assert (found[:5] == -math.inf).all() and np.isfinite(found[5:]).all()


def test_bad_input_is_said():
    with pytest.raises(InputError, match=f"from {LEAST} trainings to 200"):
        spread(TRUTH, 4, 0)
    with pytest.raises(InputError, match="got 3 of 3"):
        calibrated(SPACE, CELLS, TRUTH, [1, 2, 3], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="expected numbers"):
        calibrated(SPACE, CELLS, TRUTH, range(5), [1.0, 2.0, 3.0, 4.0, math.nan])


def run(*tokens):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, tokens)))
    return ended.value.code


def test_a_task_s_few_trainings_are_kept_until_the_ranking_is_written(tmp_path):
    out = tmp_path / "scores.parquet"
    command = ["score", "images", "--n", 8, "--calibrate", 5, "--epochs", 0.02, "--proxy", "macs", "--out", out]
    assert run(*command) == 0
    kept = pyarrow.parquet.read_table(out).to_pydict()
    assert set(kept) == {"architecture", "macs", "calibrated"} and np.isfinite(kept["calibrated"]).all()
    file = tmp_path / "scores.parquet.trained"
    trained = json.loads(file.read_text())
    assert len(trained["values"]) == 5
    # Not trained again: what the file says is believed.
    trained["values"] = {text: float(i) for i, text in enumerate(trained["values"])}
    file.write_text(json.dumps(trained))
    assert run(*command) == 0
    assert pyarrow.parquet.read_table(out).to_pydict()["calibrated"] != kept["calibrated"]


def test_a_space_has_nothing_to_train_on(tmp_path, capsys):
    assert run("score", "nasbench201", "--calibrate", 5, "--out", tmp_path / "s.parquet") == 2
    assert "give a task or --table DIR" in capsys.readouterr().err
