"""The pipeline of compression: on the record, resumed after a kill, the original never touched."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sartor.compress import compress, load_network, of_model
from sartor.errors import BudgetError, InputError, RecordError
from sartor.runs import Record
from sartor.tasks.images.task import Images
from sartor.tasks.tables.task import Tables
from tests.compress.networks import Small


def test_a_network_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task) -> None:
    (tmp_path / "network_found_here.py").write_text("from tests.compress.networks import Small\n")
    torch.save(Small().state_dict(), tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert isinstance(of_model("network_found_here:Small", "weights.pt", task).network, Small)
    with pytest.raises(InputError, match="--model network_gone:Small: No module named 'network_gone'"):
        of_model("network_gone:Small", "weights.pt", task)


def wider() -> nn.Module:
    return Small(24)


@pytest.fixture(scope="module")
def task() -> Images:
    return Images("digits")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.pt"
    torch.save(Small().state_dict(), path)
    return path


def test_every_step_is_measured_recorded_and_exported(task: Images, weights: Path, tmp_path: Path) -> None:
    before = weights.read_bytes()
    found = compress(
        of_model(Small, weights, task), ["prune"], epochs=1, out=tmp_path / "out", report=True,
        options={"prune": {"rounds": 1, "round_to": 2, "batches": 2, "candidates": 3}},
    )  # fmt: skip
    first, last = found.stages
    assert (first.step, last.step) == ("before", "prune")
    assert last.costs["macs"].value <= 0.5 * first.costs["macs"].value
    assert last.costs["latency_ms"].kind == "measured" and last.costs["params"].value < first.costs["params"].value
    assert {"accuracy", "test.accuracy"} <= set(first.metrics) and {"accuracy", "test.accuracy"} <= set(last.metrics)
    assert last.file is not None and last.file.exists() and found.report is not None and found.report.exists()
    assert weights.read_bytes() == before
    page = found.report.read_text()
    for text in ("Before and after", "1 prune", f"{last.metrics['test.accuracy']:.4f}", "worth their price"):
        assert text in page, text
    network = load_network(tmp_path / "out")
    assert sum(p.numel() for p in network.parameters()) == last.costs["params"].value
    with Record(tmp_path / "out", read_only=True) as record:
        (run,) = record.runs()
        assert (run.kind, run.state) == ("compress", "complete")


def test_what_ones_own_network_is_given_and_a_worse_teacher_are_said(
    task: Images, weights: Path, tmp_path: Path
) -> None:
    compress(
        of_model(Small, weights, task), ["prune", "distil"], epochs=4, out=tmp_path / "out", report=False,
        options={"prune": {"rounds": 1, "batches": 2, "candidates": 1, "keep": 0.9}},
    )  # fmt: skip
    with Record(tmp_path / "out", read_only=True) as record:
        said = " ".join(text for _, kind, text in record.log(record.runs()[0].id) if kind == "note")
    assert "the network is given images as float32 (n, 1, 8, 8)" in said
    assert "distil: the teacher's accuracy is 0." in said and "it is drawn to a worse one" in said


def test_missing_values_and_layers_without_zeros_are_no_hindrance(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(120, 2)).tolist()
    rows = [f"{x:.3f},{'' if i % 7 == 0 else f'{z:.3f}'},{x - z:.3f}" for i, (x, z) in enumerate(numbers)]
    table.write_text("\n".join(["x,z,y", *rows]) + "\n")
    task = Tables(str(table), target="y", validation=0.2)
    network = task.build(task.space(), task.baseline())
    weights = tmp_path / "w.pt"
    torch.save(network.state_dict(), weights)
    own = of_model(lambda: network, weights, task, "own")
    found = compress(own, ["distil", "quantise"], epochs=0.2, out=tmp_path / "out", report=False)
    assert found.stages[-1].file is not None and "int8" in found.stages[-1].file.name


def test_the_same_seed_gives_the_same_network(task: Images, weights: Path, tmp_path: Path) -> None:
    networks = []
    for name, own in (("a", {}), ("b", {}), ("taught", {"teacher": 0.9})):
        compress(
            of_model(Small, weights, task), ["prune"], options={"prune": {"candidates": 3, "batches": 2, **own}},
            epochs=0.5, out=tmp_path / name, report=False, seed=3,
        )  # fmt: skip
        networks.append(load_network(tmp_path / name).state_dict())
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])
    assert not torch.equal(networks[0]["head.weight"], networks[2]["head.weight"])


SCRIPT = """
import sys
from pathlib import Path
from sartor.compress import compress, of_model
from sartor.tasks.images.task import Images
from tests.compress.networks import Small
options = {"prune": {"rounds": 2, "batches": 2, "candidates": 3}}
compress(of_model(Small, Path(sys.argv[1]), Images("digits")), ["prune"], options=options, epochs=2, out=sys.argv[2],
         report=False, resume=len(sys.argv) > 3)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill by signal")
def test_a_compression_that_was_killed_goes_on_to_the_same_network(weights: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}

    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", SCRIPT, str(weights), str(tmp_path / out), *more]
        return subprocess.Popen(command, env=environment)

    assert start("whole").wait() == 0
    process = start("killed")
    folder = tmp_path / "killed"
    until = time.monotonic() + 120
    while time.monotonic() < until and not list(folder.rglob("*cut-0*")):
        time.sleep(0.05)
    assert list(folder.rglob("*cut-0*")), [str(path) for path in folder.rglob("*")]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start("killed", "--resume").wait() == 0
    whole, resumed = (load_network(tmp_path / name).state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_limit_out_of_reach_says_what_is_closest(task: Images, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="macs"):
        compress(
            of_model(Small, weights, task), ["prune"], limits=["macs=10"], epochs=0, out=tmp_path / "out", report=False,
            options={"prune": {"batches": 1}},
        )  # fmt: skip


def test_what_cannot_be_used_is_said_before_anything_is_written(task: Images, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"first.weight.*\(24, 1, 3, 3\)|\(24, 1, 3, 3\)"):
        of_model(wider, weights, task)
    with pytest.raises(InputError, match="no such file"):
        of_model(Small, tmp_path / "none.pt", task)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(InputError, match="torch.save"):
        of_model(Small, tmp_path / "text.pt", task)
    source = of_model(Small, weights, task)
    for steps, options, message in [
        (["purne"], {}, "prune"), ([], {}, "at least one step"),
        (["prune"], {"prune": {"criterion": "l3"}}, "there is no 'l3'"), (["prune"], {"distil": {}}, "no step of this"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            compress(source, steps, options=options, out=out)
    assert not out.exists()
    with pytest.raises((InputError, RecordError), match="resume"):
        compress(source, ["prune"], out=out, resume=True)
