"""Shared weights as a person trains, trusts and searches by them, on the bundled digits, small."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import sartor
from sartor._search import _Deadline, _Weights
from sartor._supernet import compared, open_supernet, trust
from sartor.cli import main
from sartor.contracts import Candidate, NullContext
from sartor.errors import InputError, RecordError
from sartor.estimators.supernet import SupernetTraining
from sartor.estimators.training import evaluate
from sartor.space import Architecture
from sartor.supernets import INHERITED
from sartor.trials import Fidelity, Proposal, Trial

TRAIN = ["supernet", "images", "--space", "nasbench201", "--epochs", "3", "--seed", "3"]


def run(*tokens: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sartor.cli", *tokens], cwd=cwd, text=True, capture_output=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    done = run(*TRAIN, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "sartor trust" in done.stdout and "fault.conflict_share" in done.stdout
    return folder / "sartor-out"


class _Kept(NullContext):
    """Keeps what it is given; may stop at the first checkpoint."""

    def __init__(self, state: Any = None, *, stops: bool = False) -> None:
        self.state, self.stops, self.kept = state, stops, {}

    def load(self) -> Any:
        return self.state

    def save(self, state: Any) -> None:
        if self.stops:
            self.state = state
            raise KeyboardInterrupt

    def keep(self, name: str, state: Any) -> None:
        self.kept[name] = state


@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_at_a_checkpoint_it_ends_with_the_same_weights(ranks: int) -> None:
    task = sartor.load_task("images", space="nasbench201")
    splits = dataclasses.replace(task.data(), test=None)
    fidelity = Fidelity(4, "steps")
    training = SupernetTraining(task, task.space(), splits, [fidelity], checkpoint_s=0.0, ranks=ranks)
    candidate = Candidate(task, task.space(), task.baseline())
    whole, stopped = _Kept(), _Kept(stops=True)
    metrics = training.estimate(candidate, fidelity=fidelity, seed=1, context=whole)
    with pytest.raises(KeyboardInterrupt):
        training.estimate(candidate, fidelity=fidelity, seed=1, context=stopped)
    again = _Kept(stopped.state)
    assert training.estimate(candidate, fidelity=fidelity, seed=1, context=again) == metrics
    weights = again.kept["supernet"]["module"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in whole.kept["supernet"]["module"].items())


def test_its_networks_are_scored_by_it_and_taken_out_of_it(trained: Path) -> None:
    supernet = open_supernet(f"{trained}:images-1")
    scorer = supernet.scorer()
    architecture = supernet.task.baseline()
    score = scorer.score(architecture)
    assert score["accuracy"] > 0.2
    child = scorer.child(architecture)
    assert evaluate(supernet.task, child, architecture, supernet.task.data().validation)[0] == score


def test_trust_trains_some_alone_and_says_how_the_orders_agree(trained: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        trust(trained, k=3, resume=True)
    found = trust(trained, k=3, epochs=0.5, workers=0)
    assert len(found.alone) == len(found.inherited) == 3 and -1 <= found.tau <= 1
    assert found.interval[0] <= found.tau <= found.interval[1]
    with sartor.Record(trained, read_only=True) as record:
        own = record.run(found.run)
        assert own.kind == "trust" and own.parent == "images-1" and own.result is not None
        assert own.result["tau"] == pytest.approx(found.tau)
        assert [t.metrics["inherited.accuracy"] for t in record.trials(own.id)] == list(found.inherited)
    again = trust(trained, k=3, epochs=0.5, workers=0, resume=True)
    assert again.run == found.run and again.alone == found.alone
    with pytest.raises(InputError, match="at least 3"):
        trust(trained, k=2)
    with pytest.raises(RecordError, match="another configuration"):
        trust(trained, k=4, epochs=0.5, workers=0, resume=True)


def test_the_interval_of_a_rank_correlation_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    named = [Architecture({"x": i}) for i in range(40)]
    perfect = compared("r", "m", named, truth.tolist(), (2 * truth).tolist(), 0)
    assert perfect.tau == pytest.approx(1.0) and perfect.interval == pytest.approx((1.0, 1.0))
    noise = compared("r", "m", named, truth.tolist(), rng.normal(size=40).tolist(), 0)
    assert noise.interval[0] < 0 < noise.interval[1] and "unproven" in noise.words


def test_a_search_scores_by_them_and_retrains_what_it_found(trained: Path, tmp_path: Path) -> None:
    done = run(
        "search", "images", "--space", "nasbench201", "--shared-weights", str(trained), "--trials", "10",
        "--objective", "params", "--epochs", "0.5", "--finalists", "2", "--workers", "0", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with sartor.Record(tmp_path / "sartor-out", read_only=True) as record:
        search, final = record.run("images-1"), record.run("images-1-final")
        assert search.config["strategy"] == "nsga2" and search.config["shared_weights"].endswith(":images-1")
        scored = [t for t in record.trials(search.id) if t.state == "complete"]
        assert len(scored) == 10 and {t.proposal.fidelity.unit for t in scored} == {"score by shared weights"}
        scorer = open_supernet(trained).scorer()
        assert scored[0].metrics == scorer.score(scored[0].architecture)
        retrained = [t for t in record.trials(final.id) if t.state == "complete"]
        assert len(retrained) >= 2 and all("test.accuracy" in t.metrics for t in retrained)
        report = (record.path(search.id) / "report.html").read_text()
    assert "Known fault" in report and "Imbalance between options" in report


def test_scores_by_shared_weights_leave_the_finalists_their_share_of_a_time_budget() -> None:
    job: Any = SimpleNamespace(weights=_Weights("out:images-1", "", None))
    deadline = _Deadline(job, Fidelity(1.0), 100.0, ends=100.0)
    scored = Trial(0, Proposal(Architecture({"x": 1}), INHERITED), 0, "complete", usage={"cpu_s": 0.1})
    assert deadline([scored]) == pytest.approx(65.0)


def test_networks_for_several_limits_are_taken_out_without_training(trained: Path, tmp_path: Path) -> None:
    done = run("subnet", str(trained), "-l", "params=30k", "-l", "params=45k,macs=4M", "-l", "params=9",
               "--evaluations", "8", "--seed", "3", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "none found" in done.stdout and "limit 9" in done.stderr.replace("\n", " ")
    with sartor.Record(trained, read_only=True) as record:
        own = next(each for each in record.runs() if each.kind == "subnets")
        assert own.parent == "images-1" and own.result is not None
        small, large, none = own.result["networks"]
        assert small["costs"]["params"]["value"] <= 30_000 and large["costs"]["params"]["value"] <= 45_000
        assert none["architecture"] is None and "9" in none["unmet"]
        assert all((record.path(own.id) / file.path).exists() for file in record.files(own.id))
    supernet = open_supernet(f"{trained}:images-1")
    child = supernet.scorer().child(supernet.space.architecture(small["architecture"]))
    again = evaluate(supernet.task, child, small["architecture"], supernet.task.data().validation)[0]
    assert again == pytest.approx(small["metrics"])


def test_a_differentiable_method_derives_what_is_retrained(tmp_path: Path) -> None:
    done = run("supernet", "images", "--space", "nasbench201", "--method", "darts", "--epochs", "0.2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "derived" in done.stdout and "collapse" in done.stderr
    out = tmp_path / "sartor-out"
    supernet = open_supernet(out)
    assert supernet.derived is not None and supernet.derived in supernet.space
    with pytest.raises(InputError, match="derives one architecture"):
        supernet.scorer()
    tokens = ("search", "images", "--space", "nasbench201", "--shared-weights", str(out), "--trials", "1",
              "--epochs", "0.3", "--objective", "params", "--workers", "0")  # fmt: skip
    refused = run(*tokens, "--strategy", "random", cwd=tmp_path)
    assert refused.returncode == 2 and "nothing is left to choose" in refused.stderr.replace("\n", " ")
    again = run(*tokens, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    with sartor.Record(out, read_only=True) as record:
        assert {t.architecture for t in record.trials("images-2-final")} == {supernet.derived}


def test_bad_input_is_one_clear_error_and_writes_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = {
        ("supernet", "images", "--method", "oneshot"): "did you mean 'one-shot'",
        ("supernet", "images", "--set", "paths"): "NAME=VALUE",
        ("supernet", "images", "--set", "pats=2"): "pats",
        ("supernet", "images", "--method", "few-shot", "--set", "split=stage1.with"): "did you mean 'stage1.width'",
        ("subnet", str(trained), "--limit", "params=9k", "--evaluations", "0"): "at least 1 evaluation",
        ("supernet", "images", "--epochs", "0"): "above 0",
        ("supernet", "images", "--ranks", "0"): "at least 1 process",
        ("supernet", "images", "--method", "darts-es", "--ranks", "2"): "trained by one process, got 2",
        ("supernet", "images", "--method", "proxylessnas", "--ranks", "2"): "trained by one process, got 2",
        ("supernet", "images", "--resume"): "nothing to resume",
        ("trust", "nowhere"): "no record",
        ("trust", str(trained), "--epochs", "0"): "epochs above 0",
        ("trust", str(trained), "--workers", "-1"): "at least 0",
        ("trust", f"{trained}:nothing"): "known: images-1",
        ("subnet", str(trained), "--limit", "params=9"): "closest",
        ("subnet", str(trained), "--limit", "parms=9k"): "did you mean",
        ("search", "images", "--trials", "2", "--shared-weights", str(trained)): "another space",
    }
    for tokens, said in cases.items():
        with pytest.raises(SystemExit) as ended:
            main(tokens)
        stderr = capsys.readouterr().err
        assert ended.value.code == 2 and said in stderr.replace("\n", " "), (tokens, stderr)
        assert len(stderr.strip().splitlines()) < 6
        if "--resume" not in tokens:
            assert not (tmp_path / "sartor-out" / "runs").exists()


def test_weights_that_were_changed_are_refused(trained: Path, tmp_path: Path) -> None:
    supernet = open_supernet(trained)
    data = supernet.file.read_bytes()
    try:
        supernet.file.write_bytes(data[:-1])
        with pytest.raises(RecordError, match="missing or were changed"):
            open_supernet(trained)
    finally:
        supernet.file.write_bytes(data)
    assert json.loads(open_supernet(trained).task.baseline().to_json())


def test_widths_that_cannot_be_mixed_are_the_baselines_and_it_is_said(tmp_path: Path) -> None:
    done = run("supernet", "images", "--size", "8", "--method", "fbnet", "--epochs", "0.02", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not searched" in done.stderr and "collapse" not in done.stderr and "skip_share" not in done.stdout
    supernet = open_supernet(tmp_path / "sartor-out")
    baseline = supernet.task.baseline()
    assert supernet.derived is not None and supernet.derived in supernet.task.space()
    decided = {key: value for key, value in supernet.derived.items() if key.endswith("width")}
    assert len(decided) == 4 and all(baseline[key] == value for key, value in decided.items())
    with sartor.Record(tmp_path / "sartor-out", read_only=True) as record:
        assert any("stage1.width" in detail for _, kind, detail in record.log("images-1") if kind == "note")
