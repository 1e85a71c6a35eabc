import json

import numpy as np
import pytest
import torch
from torch import nn

import sartor
from sartor._export import as_module, bench_names, calibration_inputs
from sartor.errors import InputError
from sartor.estimators.training import scores
from sartor.export import Loaded
from sartor.task import Metric, Task

EXAMPLE = (torch.zeros(1, 2),)


class Rows(Task):
    """Sums of rows, with a training part and a validation part."""

    metrics = {"mean": Metric(lambda predictions: float(predictions["y"].mean()))}

    def data(self):
        rows = np.arange(40, dtype=np.float32).reshape(20, 2)
        return sartor.data.Splits(sartor.data.Rows(x=torch.from_numpy(rows[:12])), torch.from_numpy(rows[12:]))

    def predict(self, deployed, part):
        x = part.columns["x"] if isinstance(part, sartor.data.Rows) else part
        return {"y": deployed(x).numpy()}


class Double(nn.Module):
    def forward(self, x):
        return x * 2


def test_calibration_data_are_rows_of_the_part_and_the_same_for_a_seed():
    task, network = Rows(), Double()
    first = calibration_inputs(task, network, EXAMPLE, task.data().train, num=5, seed=1)
    again = calibration_inputs(task, network, EXAMPLE, task.data().train, num=5, seed=1)
    assert len(first) == 5 and all(given[0].shape == (1, 2) for given in first)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    train = {tuple(row) for row in task.data().train.columns["x"].tolist()}
    assert {tuple(given[0][0].tolist()) for given in first} <= train
    assert not network._forward_pre_hooks


def test_calibration_data_of_a_task_that_calls_no_network_are_refused():
    class Silent(Rows):
        def predict(self, deployed, part):
            return {}

    with pytest.raises(InputError, match="Silent predicts without calling its network"):
        calibration_inputs(Silent(), Double(), EXAMPLE, Rows().data().train)


def test_a_file_is_scored_like_the_network_it_stands_for():
    task, network = Rows(), Double()
    module = as_module(Loaded(lambda arrays: lambda: [arrays[0] * 2]), network, (torch.ones(1, 2),))
    part = task.data().validation
    assert scores(task, module, part) == scores(task, network, part) == {"mean": 63.0}


def test_runtimes_are_all_or_named():
    assert {"torch", "torch-compiled", "onnxruntime", "openvino", "litert", "executorch"} <= set(bench_names(["all"]))
    with pytest.raises(InputError, match="unknown runtime 'tvm': expected all, or some of torch"):
        bench_names(["tvm"])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A record with one finalist of two epochs."""
    out = tmp_path_factory.mktemp("searched")
    task = sartor.load_task("images")
    sartor.search(task, trials=1, epochs=2, finalists=1, objectives=["params"], workers=0, out=out)
    return out


def command(capsys, *tokens):
    from sartor.cli import main

    try:
        main(tokens)
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


def test_an_export_prints_and_records_the_metric_before_and_after(searched, capsys):
    code, out, err = command(capsys, "export", "--format", "onnx", "--precision", "int8", "--out", str(searched))
    assert code == 0 and out.strip().endswith("0-int8.onnx"), err
    assert "accuracy on the validation part" in err and "before" in err and "after" in err
    with sartor.Record(searched, read_only=True) as record:
        final = record.run("images-1-final")
        assert any(kind == "export" and "onnx int8" in detail for _, kind, detail in record.log(final.id))
        assert "onnx.int8" in {file.name for file in record.files(final.id, 0)}


def test_bench_prints_a_table_and_records_it(searched, capsys):
    code, out, err = command(
        capsys, "bench", "-r", "torch", "-r", "onnxruntime", "-p", "fp32", "--json", "--out", str(searched)
    )
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [(row["runtime"], row["precision"]) for row in rows] == [("torch", "fp32"), ("onnxruntime", "fp32")]
    assert all(row["latency"]["value"] > 0 and row["bytes"] > 0 for row in rows)
    assert rows[0]["metric"] == pytest.approx(rows[1]["metric"]) and rows[1]["max_difference"] < 1e-4
    with sartor.Record(searched, read_only=True) as record:
        (run,) = [child for child in record.children("images-1") if child.kind == "bench"]
        assert run.state == "complete" and run.result["rows"] == rows


def test_wrong_words_are_one_error_with_exit_code_2(searched, capsys):
    for tokens, said in (
        (["export", "--format", "openvin"], "did you mean 'openvino'"),
        (["export", "--format", "executorch", "--precision", "fp16"], "it has fp32, int8"),
        (["bench", "-r", "tvm"], "unknown runtime 'tvm'"),
    ):
        code, _, err = command(capsys, *tokens, "--out", str(searched))
        assert code == 2 and said in err
