"""``sartor steer`` says something to a search, which heeds it, records when, and does the same when resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

import sartor
from sartor._steering import heeded
from sartor.cli import main

OPTIONS = {"epochs": 0.3, "finalists": 1, "workers": 0, "objectives": ["params"]}


def run(*tokens: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["steer", *tokens])
    return int(exit.value.code or 0)


def begun(out: Path, num: int, **more: object) -> sartor.Front:
    """Searches, and stops as a Ctrl-C would after ``num`` trials."""
    done = []

    def on_event(event: object) -> None:
        done.append(event)
        if sum(type(each).__name__ == "SearchProgress" for each in done) >= num:
            raise KeyboardInterrupt

    return sartor.search("images", trials=12, out=out, on_event=on_event, **OPTIONS, **more)  # type: ignore[arg-type]


def test_a_stopped_search_is_steered_and_goes_on_as_it_was_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    with pytest.raises(KeyboardInterrupt):
        begun(out, 8)
    with sartor.Record(out, read_only=True) as record:
        before = record.trials("images-1")
    assert run("--narrow", "stage*.kernel=5", "--dislike", "0", "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "dislikes" in said and "stage1.kernel is 5" in said and "once it is resumed" in said
    front = sartor.search("images", trials=12, out=out, resume=True, **OPTIONS)  # type: ignore[arg-type]
    assert len(front)
    with sartor.Record(out, read_only=True) as record:
        trials = record.trials("images-1")
        acts = heeded(record, "images-1")
        notes = [detail for _, kind, detail in record.log("images-1") if kind == "note"]
    assert [act.kind for _, act in acts] == ["dislike", "narrow"] and {at for at, _ in acts} == {len(before)}
    assert [t.architecture for t in trials[: len(before)]] == [t.architecture for t in before]
    after = trials[len(before) :]
    assert after and all(t.architecture[key] == 5 for t in after for key in t.architecture if key.endswith(".kernel"))
    assert f"from trial {len(before)} on: narrowed to stage1.kernel is 5" in " ".join(notes)
    # It is over: nothing more can be said.
    assert run("--like", "1", "--out", str(out)) == 2
    assert "images-1 is complete" in capsys.readouterr().err


def test_what_cannot_be_done_is_said_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    with pytest.raises(KeyboardInterrupt):
        begun(out, 3)
    for tokens, words in (
        (["--like", "99"], "no trial 99"),
        (["--narrow", "stage1.kernl=5"], "did you mean 'stage1.kernel'"),
        (["--narrow", "stage1.kernel=4"], "has the values"),
        (["--narrow", "stage1.kernel"], "expected KEY=VALUE"),
        ([], "expected --like"),
    ):
        assert run(*tokens, "--out", str(out)) == 2
        assert words in capsys.readouterr().err
    assert not (out / "images-1" / "steer.jsonl").exists()
