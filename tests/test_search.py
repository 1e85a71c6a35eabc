"""The main job as a person runs it, on the bundled digits, small."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sartor
from docs.own_network import Mine
from sartor._export import export_trial
from sartor._progress import FinalistsChosen, SearchDone, SearchProgress
from sartor._search import choose_finalists
from sartor.goals import Goals, Objective
from sartor.trials import Fidelity, Figure, Proposal, Trial

SMALL = ["search", "images", "--trials", "8", "--epochs", "0.9", "--finalists", "2", "--objective", "params"]


def command(*tokens: str, cwd: Path, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sartor.cli", *tokens],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,  # type: ignore[arg-type]
    )


def table(out: Path) -> list[tuple[object, ...]]:
    """Returns everything of a record's trials that must not depend on workers, kills and clocks."""
    with sartor.Record(out, read_only=True) as record:
        rows: list[tuple[object, ...]] = []
        for run in record.runs():
            for t in record.trials(run.id):
                exact = {name: f.value for name, f in t.costs.items() if f.kind == "exact"}
                rows.append(
                    (
                        run.id,
                        t.number,
                        t.architecture.to_json(),
                        t.proposal.fidelity,
                        t.proposal.continues,
                        t.state,
                        t.metrics,
                        exact,
                    )
                )
                for name, (steps, values) in sorted(record.points(run.id, t.number).items()):
                    rows.append((run.id, t.number, name, steps.tolist(), values.tolist()))
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One search by two workers, through the command line."""
    folder = tmp_path_factory.mktemp("finished")
    process = command(*SMALL, "--workers", "2", "--out", "results", cwd=folder)
    stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    return folder / "results", stdout, stderr


def test_a_search_ends_with_tested_exported_networks_and_a_report(finished):
    out, stdout, _ = finished
    with sartor.Record(out, read_only=True) as record:
        search, final = record.runs()
        assert (search.kind, final.kind, final.parent) == ("search", "final", search.id)
        assert search.state == final.state == "complete"
        finals = record.trials(final.id)
        assert 2 <= len(finals) <= 3
        for trial in finals:
            assert trial.state == "complete"
            assert {"accuracy", "test.accuracy"} <= set(trial.metrics)
            assert {f.name for f in record.files(final.id, trial.number)} == {"network", "onnx", "pictures", "graph"}
        assert search.result["chosen"] in [t.number for t in finals]
        opened = [detail for _, kind, detail in record.log(final.id) if kind == "test"]
        assert len(opened) == len(finals), "the test part is opened once for each finalist"
        assert not any("test." in name for t in record.trials(search.id) for name in t.metrics)
        report = record.path(search.id) / "report.html"
    assert str(report.relative_to(out.parent)) in stdout
    assert report.stat().st_size > 10_000


def test_the_commands_read_what_was_recorded(finished, tmp_path):
    out, _, _ = finished
    said = {}
    for tokens in (
        ["runs", "list"],
        ["runs", "show", "--trials"],
        ["runs", "compare", "images-1", "images-1-final"],
        ["front"],
        ["front", "images-1", "--pick", "params<=1M"],
        ["report"],
    ):
        process = command(*tokens, "--out", str(out), cwd=tmp_path)
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, (tokens, stderr)
        said[tokens[0]] = stdout
    assert "images-1" in said["runs"] and "params" in said["front"]
    assert Path(said["report"].strip()).exists()


def test_an_exported_network_labels_images_with_its_class_names(finished, tmp_path):
    from PIL import Image
    from sklearn.datasets import load_digits

    out, _, _ = finished
    digits = load_digits()
    for i in range(3):
        Image.fromarray((digits.images[i] * 255 / 16).astype(np.uint8)).save(tmp_path / f"{i}.png")
    with sartor.Record(out, read_only=True) as record:
        path = export_trial(record, "images-1", "chosen", tmp_path / "net.onnx").report.path
    process = command("predict", str(path), "0.png", "1.png", "2.png", cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert all(f"{i}.png" in stdout for i in range(3))


def test_killed_at_random_moments_by_one_worker_it_ends_with_the_same_trials_and_figures(finished, tmp_path):
    out, _, _ = finished
    moments = random.Random(0)
    resume: list[str] = []
    kills = 0
    while True:
        process = command(*SMALL, "--workers", "1", "--out", "results", *resume, cwd=tmp_path)
        try:
            _, stderr = process.communicate(timeout=6 + moments.random() * 6 if kills < 4 else 280)
        except subprocess.TimeoutExpired:
            children = [
                int(pid)
                for pid in subprocess.run(
                    ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
                ).stdout.split()
            ]
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            ends = time.monotonic() + 10
            while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < ends:
                time.sleep(0.05)
            assert not any(Path(f"/proc/{pid}").exists() for pid in children), "a worker outlived its parent"
            if (tmp_path / "results" / "record.sqlite").exists():
                with sartor.Record(tmp_path / "results", read_only=True) as record:
                    resume = ["--resume"] if record.runs() else []
            continue
        assert process.returncode == 0, stderr
        break
    assert kills >= 1
    assert table(tmp_path / "results") == table(out)


def test_an_interrupt_finishes_the_record_and_says_how_to_go_on(tmp_path):
    process = command(*SMALL, "--workers", "1", "--out", "results", cwd=tmp_path)
    record = tmp_path / "results" / "record.sqlite"
    ends = time.monotonic() + 60
    while not record.exists() and time.monotonic() < ends:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr and "Traceback" not in stderr
    with sartor.Record(tmp_path / "results", read_only=True) as opened:
        assert opened.run("latest").state == "interrupted"


def test_resuming_with_a_changed_configuration_is_refused_with_the_names(finished):
    out, _, _ = finished
    changed = [token if token != "2" else "3" for token in SMALL]
    process = command(*changed, "--seed", "5", "--out", str(out), "--resume", cwd=out.parent)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "seed" in stderr and "finalists" in stderr and "Traceback" not in stderr


def test_an_earlier_search_is_begun_with_and_kept_for_going_on(finished, tmp_path):
    out, _, _ = finished
    source = shutil.copytree(out, tmp_path / "earlier")
    tokens = ["search", "images", "--trials", "7", "--epochs", "0.9", "--finalists", "1", "--objective", "params"]
    tokens += ["--transfer", "earlier", "--workers", "1", "--out", "results"]
    process = command(*tokens, cwd=tmp_path)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    with sartor.Record(tmp_path / "results", read_only=True) as record:
        run = record.run("images-1")
        assert run.config["strategy"] == "transfer"
        (known,) = run.config["sources"]
        assert known["name"] == "earlier:images-1" and len(known["architectures"]) >= 4
        asked = [dict(trial.architecture) for trial in record.trials("images-1")]
        assert any(architecture in asked for architecture in known["architectures"])
        notes = [detail for _, kind, detail in record.log("images-1") if kind == "note"]
        assert any(note.startswith("strategy transfer: begun with earlier") for note in notes)
        assert any(note.startswith("transfer from earlier:images-1: ") for note in notes)
    shutil.rmtree(source)
    process = command(*tokens, "--resume", cwd=tmp_path)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr


@pytest.mark.parametrize(
    ("place", "said"),
    [("nowhere", "there is no record"), ("{out}:images-1-final", "images-1-final is no search"), ("{out}:x", "no run")],
)
def test_what_cannot_be_transferred_is_an_error(finished, tmp_path, place, said):
    out, _, _ = finished
    tokens = ["--trials", "7", "--transfer", place.format(out=out), "--out", "results"]
    process = command("search", "images", *tokens, cwd=tmp_path)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2 and said in stderr and "Traceback" not in stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["transfer", "warm-start"])
def test_a_strategy_that_lacks_what_it_needs_leaves_nothing_behind(tmp_path, name):
    process = command("search", "images", "--trials", "7", "--strategy", name, "--out", "results", cwd=tmp_path)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2 and f"{name} needs" in stderr and "Traceback" not in stderr
    assert not (tmp_path / "results").exists()


def test_five_lines_of_python_give_a_front_and_tell_what_happens(tmp_path):
    events = []
    task = sartor.load_task("images")
    front = sartor.search(
        task,
        limits=["params=60k"],
        trials=3,
        epochs=0.3,
        finalists=1,
        workers=0,
        out=tmp_path / "results",
        on_event=events.append,
    )
    best = front.pick("params<=60k")
    assert best.costs["params"].value <= 60_000 and 0 <= best.metrics["test.accuracy"] <= 1
    kinds = {type(event) for event in events}
    assert {SearchProgress, FinalistsChosen, SearchDone} <= kinds


class Two(Mine):
    """Of two architectures."""

    def space(self):
        return Mine.space(self).given({"depth": 1, "width": 8})

    def baseline(self):
        return next(iter(self.space()))


def test_a_search_that_has_tried_all_says_so(tmp_path):
    notes = []
    options = {"epochs": 0.1, "objectives": ["params"], "finalists": 1, "workers": 0, "halving": False}
    sartor.search(Two(), trials=5, out=tmp_path, on_event=lambda event: notes.append(str(event)), **options)
    assert any("ended after 2 trials: its strategy had nothing left to propose" in note for note in notes)


def test_a_search_can_begin_with_what_training_free_scores_call_best(tmp_path):
    notes = []
    options = {"limits": ["params=40k"], "objectives": ["params"], "epochs": 0.5, "finalists": 1, "workers": 0}
    front = sartor.search(
        "images", trials=3, promising=12, out=tmp_path, on_event=lambda event: notes.append(str(event)), **options
    )
    assert any("of 12 architectures by az-expressivity, growth, logsynflow, naswot" in note for note in notes)
    with sartor.Record(tmp_path, read_only=True) as record:
        run = next(run for run in record.runs() if run.kind == "search")
        begun = [trial.architecture for trial in record.trials(run.id)]
        assert [dict(each) for each in begun] == run.config["initial"][:3] and len(run.config["initial"]) > 3
        assert all(trial.values["params"] <= 40_000 for trial in record.trials(run.id))
        assert len(run.config["scored"]["architectures"]) == 12
    assert len(front)
    assert sartor.search("images", trials=4, promising=12, out=tmp_path, resume=True, **options)
    with pytest.raises(sartor.SartorError, match="promising"):
        sartor.search("images", trials=3, promising=7, out=tmp_path, resume=True, **options)
    with pytest.raises(sartor.SartorError, match="promising"):
        sartor.search("images", trials=3, promising=-1, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def trial(number, architecture, accuracy, params, epochs=1.0, state="complete"):
    return Trial(
        number,
        Proposal(sartor.Architecture({"width": architecture}), Fidelity(epochs)),
        0,
        state,
        {"accuracy": accuracy},
        {"params": Figure(params)},
    )


def test_finalists_are_the_front_with_the_best_and_then_the_next_best():
    goals = Goals((Objective("accuracy"), Objective("params", "min")))
    found = [trial(i, i, 0.5 + 0.01 * i, 100 + i) for i in range(10)]
    chosen = choose_finalists(found, goals, 4)
    assert len(chosen) == 4 and chosen[-1].number == 9
    dominated = [
        trial(0, 0, 0.9, 100),
        trial(1, 1, 0.8, 200),
        trial(2, 2, 0.85, 300),
        trial(3, 3, 0.1, 1, state="failed"),
    ]
    assert [t.number for t in choose_finalists(dominated, goals, 2)] == [0, 2]


def test_everything_in_the_record_of_a_search_is_json(finished):
    out, _, _ = finished
    with sartor.Record(out, read_only=True) as record:
        run = record.run("images-1")
        json.dumps([run.config, run.environment, run.result])
        assert run.config["command"].startswith("sartor search images") and "--resume" not in run.config["command"]
        assert run.environment["torch"] and run.environment["cpu"]


@pytest.mark.parametrize("gain", [0.1, 0.3])
def test_what_is_dearer_than_the_baseline_and_better_within_noise_is_doubted(tmp_path, monkeypatch, gain):
    task = sartor.load_task("tables", "wine")
    monkeypatch.setattr("sartor.task.Metric.gain", lambda *_: (gain, 0.2))
    monkeypatch.setattr("sartor._finish._export", lambda *_: None)

    def estimate(self, candidate, *, context, **_):
        network, baseline = candidate.network, task.space().build(task.baseline())
        if self.keep:
            context.keep("network", network.state_dict())
        mine, its = (sum(p.numel() for p in each.parameters()) for each in (network, baseline))
        return {**dict.fromkeys(task.metrics, 0.5), "cross_entropy": 0.5 if mine == its else 0.4 if mine > its else 0.9}

    monkeypatch.setattr("sartor.estimators.training.Training.estimate", estimate)
    options = {"objectives": ["params"], "devices": ["counts"], "halving": False, "workers": 0, "finalists": 1}
    sartor.search(task, trials=4, strategy="random", out=tmp_path, epochs=1.0, task_name="tables", **options)
    with sartor.Record(tmp_path, read_only=True) as record:
        search, final = record.runs()
        finals = {t.number: t for t in record.trials(final.id)}
        chosen = finals[search.result["chosen"]]
        assert {t.metrics["cross_entropy"] for t in finals.values()} == {0.4, 0.5}
        assert chosen.metrics["cross_entropy"] == 0.4
        assert ("one standard error" in search.result["why"]) == (gain < 0.2)


def test_a_metric_compares_networks_example_by_example():
    from sartor.metrics import OF_CLASSES, OF_NUMBERS

    right = {"label": np.array([0, 1, 1]), "probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])}
    wrong = {**right, "probabilities": np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])}
    gain, error = OF_CLASSES["cross_entropy"].gain(right, wrong)
    assert gain == pytest.approx(np.log(2) / 3) and error == pytest.approx(np.log(2) / 3)
    assert OF_CLASSES["accuracy"].gain(wrong, right)[0] == pytest.approx(-1 / 3)
    near, far = ({"target": np.zeros(2), "value": np.array(value)} for value in ([1.0, 1.0], [2.0, 3.0]))
    assert OF_NUMBERS["rmse"].gain(near, far) == pytest.approx((5.5, 2.5))
    for metric in (*OF_CLASSES.values(), *OF_NUMBERS.values()):
        if metric.each is not None:
            of = near if metric in OF_NUMBERS.values() else right
            grows = np.sqrt if metric is OF_NUMBERS["rmse"] else np.asarray
            assert grows(metric.each(of).mean()) == pytest.approx(metric.function(of))
