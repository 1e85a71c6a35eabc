"""What the documentation shows is run."""

import numpy as np
import pytest

import sartor
from docs import caches
from docs.own_device import Board
from docs.own_network import Mine
from docs.own_strategy import Annealing
from docs.own_task import Halves
from sartor import Candidate
from sartor.cli import main
from sartor.testing import check_device, check_strategy, check_task
from sartor.testing.strategies import make_spaces, mean_advantage


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["sartor", *words])
    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code


def test_a_persons_own_network_loss_and_metric_are_searched(tmp_path, monkeypatch, capsys):
    words = "search --task docs.own_network:Mine --trials 2 --epochs 1 --finalists 1 --limit params=50k --workers 0"
    assert not run(monkeypatch, *words.split(), "--out", str(tmp_path / "results"))
    assert "chosen" in capsys.readouterr().out
    with sartor.Record(tmp_path / "results", read_only=True) as record:
        final = record.trials("mine-1-final")[0]
    assert final.architecture in Mine().space()
    assert {"accuracy", "worst_recall", "test.worst_recall"} <= set(final.metrics)


def test_a_persons_own_task_conforms():
    check_task(Halves())


def test_a_persons_own_strategy_conforms_and_beats_random_search():
    check_strategy(Annealing, make_spaces()["plain"])
    assert mean_advantage(Annealing, make_spaces()["plain"]) > 0


def test_a_persons_own_device_conforms():
    task = Halves()
    space = task.space()
    ordered = sorted(space.sample(np.random.default_rng(0), 3), key=lambda each: each["width"])
    small, large = (Candidate(task, space, each) for each in (ordered[0], ordered[-1]))
    check_device(Board(), [small, large])
    assert Board().cost(small)["latency_ms"].value < Board().cost(large)["latency_ms"].value


def test_own_task_strategy_and_device_search_together(tmp_path, monkeypatch, capsys):
    words = (
        "search --task docs.own_task:Halves --strategy docs.own_strategy:Annealing --device docs.own_device:Board"
        " --limit latency=1ms --trials 3 --epochs 2 --finalists 1 --workers 0"
    )
    assert not run(monkeypatch, *words.split(), "--out", str(tmp_path / "results"))
    assert "by docs.own_strategy:Annealing" in capsys.readouterr().err
    with sartor.Record(tmp_path / "results", read_only=True) as record:
        trials = record.trials("halves-1")
        final = record.trials("halves-1-final")[0]
    assert len(trials) == 3
    assert final.costs["latency_ms"].kind == "estimated" and final.costs["latency_ms"].value <= 1.0
    assert final.metrics["test.error"] < 0.4


def test_a_part_that_is_not_there_is_said(monkeypatch, capsys):
    assert run(monkeypatch, "search", "images", "--strategy", "docs.own_strategy:Anneal", "--trials", "2")
    said = " ".join(capsys.readouterr().err.split())
    assert "'docs.own_strategy' has no attribute 'Anneal'; expected module:Name" in said


def test_caches_predict_what_repeats_and_spare_what_comes_again(capsys):
    alone, cached, likely = caches.predict(caches.MANUAL[:100_000], steps=100)
    assert cached < 0.9 * alone and len(set(likely)) == 3
    good, lax = caches.serve(frames=3)
    assert good.near_matches and good.hit_rate > 0.5 and good.error <= 0.05
    assert not lax.near_matches and lax.why_off in capsys.readouterr().out
