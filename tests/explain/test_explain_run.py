"""A recorded search explained: in the terminal, as JSON, in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sartor.cli import main
from sartor.errors import InputError
from sartor.explain import explain_run
from sartor.report import write_report
from sartor.runs import Record
from tests.explain.cells import EVIL, recorded


def run(*tokens: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["explain", *tokens])
    return int(exit.value.code or 0)


def test_the_command_prints_shares_values_and_what_the_best_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    recorded(tmp_path).close()
    assert run("cells-1", "--out", str(tmp_path), "--top", "4") == 0
    said = capsys.readouterr().out
    assert "accuracy: On architectures" in said and "latency_ms: On architectures" in said
    assert "90% interval" in said and "op = conv" in said and "What the best share" in said


def test_one_objective_as_json_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path).close()
    assert run("latest", "--out", str(tmp_path), "--objective", "latency_ms", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (figure,) = found["figures"]
    assert figure["objective"] == "latency_ms" and figure["choices"][0]["name"] == "width"
    means = [effect["mean"] for effect in figure["choices"][0]["effects"]]
    assert means == sorted(means)


def test_a_figure_that_no_trial_has_and_a_row_count_of_none_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path).close()
    assert run("--out", str(tmp_path), "--objective", "latncy_ms") == 2
    assert "did you mean 'latency_ms'?" in capsys.readouterr().err
    assert run("--out", str(tmp_path), "--top", "0") == 2
    assert run("cells-9", "--out", str(tmp_path)) == 2


def test_another_space_or_task_than_was_searched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="explain it with the version and options"):
        explain_run(recorded(tmp_path / "a", space="0123456789abcdef"), "cells-1")
    gone = {"class": "tests.explain.gone:Cells", "source": None, "options": {}}
    with pytest.raises(InputError, match=r"the task tests\.explain\.gone:Cells: No module named .* expected it where"):
        explain_run(recorded(tmp_path / "b", task=gone), "cells-1")


def test_the_report_draws_it_and_escapes_values(tmp_path: Path) -> None:
    html = write_report(recorded(tmp_path), "cells-1").read_text(encoding="utf-8")
    section = html[html.index('<section id="mattered">') : html.index('<section id="network">')]
    assert section.count('<rect class="share"') >= 6 and section.count("<circle") >= 6
    assert EVIL not in section and "&lt;script&gt;" in section
    assert "op = conv" in section and "by chance" in section


def test_the_report_says_why_there_is_nothing(tmp_path: Path) -> None:
    html = write_report(recorded(tmp_path / "a", space="0123456789abcdef"), "cells-1").read_text(encoding="utf-8")
    assert "The search cannot be explained: the space of cells-1 is 0123456789abcdef" in html
    few = write_report(recorded(tmp_path / "b", num=3), "cells-1").read_text(encoding="utf-8")
    assert "too few to tell choices apart" in few and '<rect class="share"' not in few


def test_a_run_that_is_no_search_is_refused(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        run_id = record.create_run("score", "cells", {"weights": "w"}, seed=0, environment={}).id
        with pytest.raises(InputError, match="cells-1 is no search"):
            explain_run(record, run_id)
