import csv
from pathlib import Path

import numpy as np
import pytest

from sartor.cli import main
from sartor.runs import Record


def run(*tokens: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(tokens))
    assert stopped.value.code in (0, None), stopped.value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="latency is measured and files are checked with onnxruntime")
    folder = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    with open(folder / "a.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "kind", "good"])
        for _ in range(80):
            x, kind = rng.normal(), str(rng.choice(["p", "q"]))
            writer.writerow([f"{x:.3f}", kind, "yes" if x + (kind == "p") > 0.5 else "no"])
    run(
        "train", "tables", "--data", str(folder / "a.csv"), "--target", "good", "--epochs", "2",
        "--device", "desktop-cpu",
        "--architecture", '{"network.members": 8, "network.units": 16}', "--out", str(folder / "out"),
    )  # fmt: skip
    return folder


def test_one_network_is_trained_tested_exported_and_reported(place: Path) -> None:
    with Record(place / "out", read_only=True) as record:
        searched, final = record.runs()
        (trial,) = record.trials(final.id)
    assert (searched.state, final.state, final.kind) == ("complete", "complete", "final")
    assert trial.architecture["network.members"] == 8 and "test.cross_entropy" in trial.metrics
    assert trial.costs["latency_ms"].kind == "estimated", "of the device that was asked for, not of this machine"
    assert (place / "out" / final.id / "0.onnx").is_file()
    page = (place / "out" / searched.id / "report.html").read_text()
    assert "How much each term moves predictions" in page and 'class="curve"' in page


def test_a_prediction_is_explained_and_a_table_predicted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", "latest", "--row", "3", "--out", str(place / "out"))
    said = capsys.readouterr().out
    assert "Row 3 of" in said and "all terms at their mean" in said and "probability of yes" in said
    network = next((place / "out").glob("*-final/0.onnx"))
    run("predict", str(network), str(place / "a.csv"), "--to", str(place / "said.csv"))
    with open(place / "said.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80 and rows[79]["row"] == "80"
    for row in rows:
        assert float(row["no"]) + float(row["yes"]) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(("no", "yes"), key=lambda name: float(row[name]))


def test_a_row_needs_a_task_that_explains(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["explain", "latest", "--row", "999", "--out", str(place / "out")])
    assert stopped.value.code == 2 and "got row 999" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["explain", "latest", "--data", "a.csv", "--out", str(place / "out")])
    assert "--row" in capsys.readouterr().err


def test_a_network_is_not_put_behind_other_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "a.csv").read_text()
    (place / "a.csv").write_text(before.replace(",p,", ",q,", 5))
    with pytest.raises(SystemExit) as stopped:
        main(["explain", "latest", "--row", "3", "--out", str(place / "out")])
    (place / "a.csv").write_text(before)
    assert stopped.value.code == 2 and "are not those that its networks were trained on" in capsys.readouterr().err
