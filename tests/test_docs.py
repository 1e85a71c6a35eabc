"""What the documentation shows is run."""

import pytest

import sartor
from docs.own_network import Mine
from sartor.cli import main


def test_a_persons_own_network_loss_and_metric_are_searched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv",
        ["sartor", "search", "--task", "docs.own_network:Mine", "--trials", "2", "--epochs", "1", "--finalists", "1"]
        + ["--limit", "params=50k", "--workers", "0", "--out", str(tmp_path / "results")],
    )
    with pytest.raises(SystemExit) as exit:
        main()
    assert not exit.value.code
    assert "chosen" in capsys.readouterr().out
    with sartor.Record(tmp_path / "results", read_only=True) as record:
        final = record.trials("mine-1-final")[0]
    assert final.architecture in Mine().space()
    assert {"accuracy", "worst_recall", "test.worst_recall"} <= set(final.metrics)
