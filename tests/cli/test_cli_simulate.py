"""The command that searches tables: prints regrets, and says what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sartor.cli import main
from tests.estimators.tables.made import macro_columns, write

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables")
    write(made, "nasbench_macro.parquet", macro_columns())
    return made


def _run(capsys: pytest.CaptureFixture[str], *tokens: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["simulate", *tokens])
    printed = capsys.readouterr()
    return int(exit.value.code or 0), printed.out, printed.err


def test_regrets_of_both_protocols_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ["nasbench_macro", "--table", str(folder), "--strategy", "random", "--queries", "12", "--seeds", "3"]
    code, out, err = _run(capsys, *tokens)
    assert (code, err) == (0, "")
    assert "6,561 architectures, best accuracy 16%" in out and "+-" in out
    assert "clean" in out and "noisy" in out and [line.split()[0] for line in out.splitlines()[-2:]] == ["10", "12"]
    code, out, _ = _run(capsys, *tokens, "--protocol", "clean", "--limit", "params=1005")
    assert code == 0 and "noisy" not in out


def test_shorter_trainings_are_used_by_every_strategy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ["nasbench_macro", "--table", str(folder), "--queries", "6", "--seeds", "1", "--low-fidelities"]
    for strategy, said in (("random", "; random within asha, 1 seed mean"), ("hyperband", "; hyperband, 1 seed mean")):
        code, out, _ = _run(capsys, *tokens, "--strategy", strategy)
        assert code == 0 and said in " ".join(out.split())


def test_without_a_name_the_tables_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys)
    assert code == 0 and "nasbench201" in out and "transnasbench101_micro" in out


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["nasbench_makro", "--table", "."], "did you mean 'nasbench_macro'?"),
        (["nasbench_macro"], "--table DIR"),
        (["nasbench_macro", "--table", "nowhere"], "expected the table nasbench_macro.parquet in nowhere"),
        (["nasbench_macro", "--table", "HERE", "--strategy", "randon"], "did you mean 'random'?"),
        (["nasbench_macro", "--table", "HERE", "--dataset", "cifar"], "unknown data set 'cifar'"),
        (["nasbench_macro", "--table", "HERE", "--limit", "params=5"], "the least params is 1000"),
        (["nasbench_macro", "--table", "HERE", "--limit", "latency=5ms"], "no cost 'latency_ms'"),
        (["nasbench_macro", "--table", "HERE", "--seeds", "0"], "at least 1"),
        (["nasbench_macro", "--table", "HERE", "--queries", "0"], "--queries must be at least 1"),
        (["nasbench_macro", "--table", "HERE", "--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(tokens: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, *(str(folder) if token == "HERE" else token for token in tokens))
    assert code == 2 and said in err and err.startswith("sartor: error:") and err.count("\n") == 1
