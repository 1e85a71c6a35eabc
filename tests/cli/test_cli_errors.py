"""Bad input: one clear error, exit code 2, nothing half-written."""

from types import SimpleNamespace

import pytest

from sartor.cli import main


@pytest.fixture
def sartor(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, in this process: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*tokens: str) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["sartor", *tokens])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=exit.value.code or 0, stdout=printed.out, stderr=printed.err)

    return run


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["search", "imags", "--trials", "1"], "did you mean 'images'?"),
        (["search", "--trials", "1"], "expected a task"),
        (["search", "--task", "nowhere:Mine", "--trials", "1"], "nowhere"),
        (["search", "images"], "expected a budget such as 10m or a number of trials"),
        (["search", "images", "--trials", "0"], "at least 1 trial"),
        (["search", "images", "--budget", "soon"], "expected a duration"),
        (["search", "images", "--trials", "2", "--limit", "latenzy=1ms"], "did you mean 'latency'?"),
        (["search", "images", "--trials", "2", "--limit", "latency=1parsec"], "unknown unit 'parsec'"),
        (["search", "images", "--trials", "2", "--limit", "params=3", "--limit", "params=4"], "limited twice"),
        (["search", "images", "--trials", "2", "--strategy", "evolutoin"], "did you mean 'evolution'?"),
        (["search", "images", "--trials", "2", "--data", "no/such/folder"], "no/such/folder"),
        (["search", "images", "--trials", "2", "--limit", "params=3"], "the closest has params"),
        (["search", "images", "--budget", "0.02s"], "too small"),
        (["search", "images", "--trials", "2", "--resume"], "nothing to resume"),
        (["train", "tables", "--data", "none.csv", "--target", "y"], "none.csv is not there"),
        (["train", "images", "--device", "cortex-m5"], "did you mean 'cortex-m7'?"),
        (["score", "images", "--calibrate", "20", "--n", "3"], "no more than --n"),
        (["measure", "run", "."], "no folder that sartor measure pack wrote"),
        (["devices", "show", "eyeris"], "did you mean 'eyeriss'?"),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(sartor, tokens, said, tmp_path):
    out = [] if tokens[:1] != ["search"] else ["--out", "results"]
    result = sartor(*tokens, *out)
    assert result.returncode == 2, result.stdout + result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.html")) and not list(tmp_path.rglob("*.pt"))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("tokens", [["serch"], ["search", "images", "--budgett", "3s"], ["runs", "shw"]])
def test_a_mistyped_command_or_option_exits_with_2_and_names_the_nearest(sartor, tokens):
    result = sartor(*tokens)
    assert result.returncode == 2
    assert "Did you mean" in result.stderr + result.stdout


@pytest.mark.parametrize("tokens", [["runs", "list"], ["runs", "show"], ["front"], ["report"], ["export", "latest"]])
def test_reading_where_no_record_is_says_so(sartor, tokens, tmp_path):
    result = sartor(*tokens, "--out", str(tmp_path / "nothing"))
    assert result.returncode == 2
    assert "nothing" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "nothing").exists()
