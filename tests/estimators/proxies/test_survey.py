"""Scores of a space: the same by any number of workers, killed or not; isomorphs once; what a task feeds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet
import pytest
import torch

import sartor
from sartor.cli import main
from sartor.contracts import Candidate, NullContext
from sartor.errors import InputError
from sartor.estimators.proxies import DEAD, Scored, load, score
from sartor.estimators.proxies.survey import SHORT_TRAINING, Subject, _noise, fed, representatives, survey
from sartor.estimators.training import Training
from sartor.space import Architecture
from sartor.testing.estimators import check_estimator
from sartor.trials import Fidelity

CELLS = Subject("space", "nasbench201", {"channels": 1, "classes": 4, "width": 4, "cells_per_stage": 1}, size=8)


def scored(tmp_path, name="scores.parquet", **options):
    given = {"proxies": ["jacov", "macs"], "num": 24, "batch_size": 8, **options}
    return survey(CELLS, given.pop("proxies"), out=tmp_path / name, **given)


def test_any_number_of_workers_gives_the_same_file(tmp_path):
    one, two = scored(tmp_path), scored(tmp_path, "two.parquet", workers=2)
    assert one == two and len(set(one["architecture"])) == 24
    kept = pyarrow.parquet.read_table(tmp_path / "scores.parquet").to_pydict()
    assert kept == one and not list(tmp_path.glob("*.journal"))
    space, _ = CELLS.open()
    assert all(Architecture.from_json(text) in space for text in kept["architecture"])


def test_another_seed_draws_others(tmp_path):
    assert set(scored(tmp_path)["architecture"]) != set(scored(tmp_path, seed=1)["architecture"])


def test_a_score_does_not_depend_on_what_else_is_scored(tmp_path):
    few, more = scored(tmp_path, num=12), scored(tmp_path, "more.parquet", num=60)
    rows = [more["architecture"].index(text) for text in few["architecture"]]
    assert [more["macs"][row] for row in rows] == few["macs"] and [more["jacov"][row] for row in rows] == few["jacov"]


def test_architectures_that_compute_the_same_are_scored_once_by_the_smallest(tmp_path):
    whole = scored(tmp_path, num=300)
    seen = []
    folded = scored(tmp_path, "folded.parquet", num=300, fold=True, progress=lambda *at: seen.append(at))
    texts = folded["architecture"]
    assert texts == whole["architecture"]
    space, _ = CELLS.open()
    macs = dict(zip(texts, whole["macs"], strict=True))
    rows = representatives(space, [Architecture.from_json(text) for text in texts], lambda a: macs[a.to_json()])
    assert seen[-1] == (len(set(rows)),) * 2 and len(set(rows)) < 300
    for name in ("jacov", "macs"):
        assert folded[name] == [whole[name][row] for row in rows]


def test_of_cells_of_the_same_operations_one_is_built_to_count_its_parameters(monkeypatch):
    from sartor.estimators.proxies import survey as module

    space, _ = CELLS.open()
    cells = space.sample(np.random.default_rng(0), 60)
    count, built = module._num_parameters, []
    monkeypatch.setattr(module, "_num_parameters", lambda *args: built.append(args[2]) or count(*args))
    sizes = list(map(module._sizes(space, None), cells))
    assert sizes == [count(space, None, cell) for cell in cells]
    assert len(built) == len({tuple(sorted(map(str, cell.values()))) for cell in cells}) < 60


def test_a_cell_whose_operations_lead_nowhere_is_the_cell_without_them():
    space, _ = CELLS.open()
    keys = space.keys
    plain = dict.fromkeys(keys, "none") | {keys[0]: "nor_conv_1x1", keys[4]: "nor_conv_3x3"}
    # From the input to the third node, from which nothing leads on.
    dangling = plain | {keys[1]: "nor_conv_3x3"}
    both = [space.architecture(each) for each in (dangling, plain)]
    assert representatives(space, both, lambda a: sum(p.numel() for p in space.build(a).parameters())) == [1, 1]


def test_scores_of_several_seeds_are_their_mean(tmp_path):
    first, second = scored(tmp_path, num=60, seed=1), None
    several = scored(tmp_path, "several.parquet", num=60, seed=1, num_seeds=2)
    space, _ = CELLS.open()
    architecture = Architecture.from_json(several["architecture"][0])
    with torch.random.fork_rng():
        torch.manual_seed(2)
        second = score(space.build(architecture), _noise(CELLS, 8, 2), load("jacov"), seed=2)["jacov"]
    assert several["jacov"][0] == (first["jacov"][0] + second) / 2 and several["macs"] == first["macs"]


def test_only_graphs_tell_what_computes_the_same(tmp_path):
    with pytest.raises(InputError, match="which this space does not know"):
        survey(Subject("task", "images"), ["macs"], num=2, out=tmp_path / "s.parquet", fold=True)


def test_the_noise_has_the_spectrum_of_photographs():
    (x,) = _noise(Subject("space", "mbconv", {"channels": 3, "classes": 2}, size=32), 64, 0)
    assert abs(float(x.mean())) < 1e-5 and float(x.std()) == pytest.approx(1, abs=1e-4)
    power = torch.fft.fft2(x).abs().square().mean((0, 1))
    # The power falls with the square of the frequency.
    assert float(power[0, 2] / power[0, 8]) == pytest.approx(16, rel=0.3)
    assert np.corrcoef(x[:, 0].ravel(), x[:, 1].ravel())[0, 1] > 0.7


def test_a_cell_without_a_path_is_dead():
    space, _ = CELLS.open()
    cut = space.build(space.architecture(dict.fromkeys(space.keys, "none")))
    assert set(score(cut, [torch.randn(4, 1, 8, 8)], load("macs", "jacov")).values()) == {DEAD}


def test_a_survey_goes_on_where_it_was_killed(tmp_path):
    whole = scored(tmp_path)
    code = (
        "from tests.estimators.proxies.test_survey import *; from pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "scored(folder, 'killed.parquet', workers=2, progress=lambda done, total: print(done, flush=True))"
    )
    journal = tmp_path / "killed.parquet.journal"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        # The first line is of the beginning.
        assert int(process.stdout.readline()) == 0 < int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    done = len(journal.read_text().splitlines()) - 1
    assert done > 0 and not (tmp_path / "killed.parquet").exists()
    # Workers are gone with their parent.
    for _ in range(50):
        if not subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False).stdout:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker outlived its parent")
    with journal.open("a") as file:
        file.write('["cut off by the ki')
    seen = []
    assert scored(tmp_path, "killed.parquet", progress=lambda *at: seen.append(at)) == whole
    assert not journal.exists() and seen[-1] == (24, 24)


def test_a_journal_of_another_survey_is_refused(tmp_path):
    (tmp_path / "scores.parquet.journal").write_text(json.dumps({"seed": 5}) + "\n")
    with pytest.raises(InputError, match="another .*seed.*delete it"):
        scored(tmp_path)
    (tmp_path / "scores.parquet.journal").write_text("my notes")
    with pytest.raises(InputError, match="not the journal of a survey"):
        scored(tmp_path)
    # Killed before anything was finished.
    for beginning in ("", '{"sub', '{"subject": {"kind": "task"}}'):
        (tmp_path / "scores.parquet.journal").write_text(beginning)
        assert len(scored(tmp_path, num=2)["macs"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proxies": []}, "expected the names of proxies"),
        ({"proxies": ["jacov", "jacov"]}, "each once"),
        ({"proxies": ["jacv"]}, "did you mean 'jacov'"),
        ({"num": 0}, "at least one architecture"),
        ({"workers": 0}, "expected at least 1 worker, got 0"),
        ({"num_seeds": 0}, "expected at least 1 seed, got 0"),
        ({"seed": -1}, "expected at least 0 as the seed, got -1"),
        ({"batch_size": 1}, "expected a batch of at least 2 samples, got 1"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        scored(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_task_is_scored_on_what_its_loss_feeds_the_network(tmp_path):
    task = sartor.load_task("images")
    network = task.build(task.space(), task.baseline())
    module, (x,) = fed(task, network, task.baseline(), 16, 0)
    assert module is network
    assert x.shape == (16, 1, 8, 8) and abs(float(x.mean())) < 0.3 and 0.7 < float(x.std()) < 1.3
    _, again = fed(task, network, task.baseline(), 16, 0)
    assert torch.equal(x, again[0])
    columns = survey(Subject("task", "images"), ["macs", "jacov"], num=4, out=tmp_path / "s.parquet", batch_size=8)
    assert np.isfinite(columns["jacov"]).all() and min(columns["macs"]) > 0


def test_where_time_is_first_the_deployed_network_is_scored_on_rows():
    pytest.importorskip("gymnasium", reason="needs the extra control")
    task = sartor.load_task("control", "CartPole-v1", demonstrations=4, evaluations=4)
    network = task.build(task.space(), task.baseline())
    module, (observation, state) = fed(task, network, task.baseline(), task.options.window, 0)
    assert module is not network and network in module.modules()
    assert len(observation) == len(state) and observation.shape[1] == 4


def test_a_persons_own_task_is_scored(tmp_path, capsys):
    out = tmp_path / "own.parquet"
    assert run("score", "--task", "docs.own_task:Halves", "--n", "3", "--proxy", "jacov", "--out", str(out)) == 0
    assert "3 architectures in" in capsys.readouterr().out
    assert np.isfinite(pyarrow.parquet.read_table(out)["jacov"].to_pylist()).all()


def test_a_search_can_run_on_a_score():
    task = sartor.load_task("images")
    check_estimator(lambda: Scored("naswot", batch_size=16), lambda: Candidate(task, task.space(), task.baseline(), 3))


def run(*arguments):
    """Returns the exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


def test_the_command_scores_lists_and_refuses(tmp_path, capsys):
    out = tmp_path / "own" / "scores.parquet"
    common = ["--n", "3", "--size", "8", "--channels", "1", "--classes", "3", "--batch-size", "4", "--out", str(out)]
    assert run("score", "mbconv", *common) == 0
    said = capsys.readouterr().out
    assert "aggregate" in said and f"3 architectures in {out}" in said.replace("\n", "")
    assert set(pyarrow.parquet.read_table(out).column_names) >= {"architecture", "naswot", "aggregate"}
    assert run("score") == 0
    assert "jacov" in capsys.readouterr().out
    for arguments, message in [
        (["score", "nasbench2O1"], "did you mean 'nasbench201'"),
        (["score", "mbconv", "--n", "none"], "--n is a number"),
        (["score", "tables", "--data", "x.csv", "--target", "y"], "x.csv is not there"),
        (["score", "tables", "--n", "2", "--proxy", "macs", "--out", str(out)], "macs finds all 2 networks dead"),
        (["score", "events", "--n", "2", "--out", str(out)], "by --proxy; three networks drawn have: grad-norm"),
        (["score", "mbconv", "--dataset", "x"], "give --table DIR too"),
        (["score", "mbconv", "--size", "0"], "at least 1 pixel a side"),
        (["score", "mbconv", "--out", str(tmp_path)], "got the folder"),
        (["score", "mbconv", "--table", str(tmp_path)], "no table of mbconv"),
    ]:
        assert run(*arguments) == 2
        said = capsys.readouterr().err
        assert message in said and ("scoring" not in said or "dead" in said or "--proxy" in said)


DIGITS = Subject("task", "tests.estimators.digits:Digits", {"rows": 200})


def test_a_short_training_is_a_score_that_uses_labels(tmp_path):
    columns = survey(DIGITS, ["params"], num=3, out=tmp_path / "s.parquet", steps=30)
    assert list(columns) == ["architecture", "params", *SHORT_TRAINING]
    space, task = DIGITS.open()
    fidelity = Fidelity(30, "steps")
    for text, value in zip(columns["architecture"], columns["short-training"], strict=True):
        candidate = Candidate(task, space, Architecture.from_json(text), 0)
        training = Training(task, space, task.data(), [fidelity])
        found = training.estimate(candidate, fidelity=fidelity, seed=0, context=NullContext())
        assert value == found["accuracy"] > 0.3
    assert all(seconds > 0 for seconds in columns["short-training-cpu-s"])


def test_a_short_training_alone_goes_on_where_it_was_and_not_with_other_steps(tmp_path):
    out, seen = tmp_path / "s.parquet", []
    columns = survey(DIGITS, [], num=3, out=out, steps=1)
    journal = tmp_path / "s.parquet.journal"
    assert not journal.exists()

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(DIGITS, [], num=3, out=out, steps=1, progress=stop)
    with pytest.raises(InputError, match="another steps"):
        survey(DIGITS, [], num=3, out=out, steps=2)
    with pytest.raises(InputError, match="another proxies, steps"):
        survey(DIGITS, ["params"], num=3, out=out)
    again = survey(DIGITS, [], num=3, out=out, steps=1, progress=lambda *at: seen.append(at))
    assert again["short-training"] == columns["short-training"] and seen == [(3, 3)]


def test_a_space_has_no_data_to_train_on(tmp_path):
    with pytest.raises(InputError, match="nasbench201 is a space"):
        survey(CELLS, [], num=2, out=tmp_path / "s.parquet", steps=1)
    with pytest.raises(InputError, match="at least 1 step"):
        survey(DIGITS, [], num=2, out=tmp_path / "s.parquet", steps=-1)


def test_the_command_ranks_by_a_short_training(tmp_path, capsys):
    out = tmp_path / "s.parquet"
    with pytest.raises(SystemExit) as ended:
        main(["score", "--task", DIGITS.name, "--short-training", "2", "--n", "4", "--out", str(out)])
    assert ended.value.code == 0
    kept = pyarrow.parquet.read_table(out).to_pydict()
    assert set(kept) == {"architecture", *SHORT_TRAINING}
    first = capsys.readouterr().out.splitlines()[1].split()
    assert float(first[1]) == pytest.approx(max(kept["short-training"]), rel=1e-4)
